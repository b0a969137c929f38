"""What the locks pin, and what the pinned packages ask for in their turn."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

# pyproject.toml's extras in each lock, as `make lock` names them
EXTRAS = {
    "requirements.lock": ("dask", "notebook", "docs", "browser", "dev"),
    "requirements-mlflow.lock": ("mlflow",),
}


def applies(requirement: Requirement, where: dict[str, str], extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**where, "extra": extra})


def pinned(lock: Path, where: dict[str, str] | None = None) -> dict[str, str]:
    """Return the versions a lock pins, by name.

    Args:
        lock: Its path.
        where: Values of markers in which another Python or platform differs from this one.
    """
    lines = re.findall(r"^[\w.-]+==.*?(?= *\\?$)", lock.read_text(), re.MULTILINE)
    return {
        canonicalize_name(pin.name): next(iter(pin.specifier)).version
        for pin in map(Requirement, lines)
        if applies(pin, where or {})
    }


def part_of(lock: Path, names: Iterable[str]) -> str:
    """Return the lines of a lock, with hashes, that are about some packages."""
    wanted = set(names)
    found = re.finditer(r"^([\w.-]+)==.*\n(?: .*\n)*", lock.read_text(), re.MULTILINE)
    return "".join(lines[0] for lines in found if canonicalize_name(lines[1]) in wanted)


def installed(venv: Path) -> dict[str, Distribution]:
    """Return what an environment holds, by name, without pip."""
    (site,) = venv.glob("lib/python3.*/site-packages")
    found = {canonicalize_name(one.name): one for one in distributions(path=[str(site)])}
    found.pop("pip", None)
    return found


def project_requirements(*extras: str) -> list[Requirement]:
    """Return what pyproject.toml asks for, with some of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    return [Requirement(line) for line in lines]


def reached(
    asked: Iterable[Requirement],
    pins: dict[str, str],
    distributions: Iterable[Distribution],
    where: dict[str, str] | None = None,
) -> tuple[set[str], list[str]]:
    """Follow requirements from package to package, with extras, through what is pinned.

    Args:
        asked: The first requirements.
        pins: Versions by name.
        distributions: Their metadata. What a package that is not among them asks for stays
            unknown.
        where: As for ``pinned``.

    Returns:
        Names that are reached, and a line for each requirement that no pin meets.
    """
    known = {canonicalize_name(found.name): found for found in distributions}
    names: set[str] = set()
    unmet: list[str] = []
    seen: set[tuple[str, str]] = set()
    waiting = [("the project", requirement) for requirement in asked]
    while waiting:
        who, wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name not in pins or not wanted.specifier.contains(pins[name], prereleases=True):
            unmet.append(f"{who} wants {wanted}, pinned is {pins.get(name)}")
            continue
        names.add(name)
        if name not in known:
            continue
        for extra in ("", *map(canonicalize_name, wanted.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            offered = known[name].metadata.get_all("Provides-Extra") or []
            if extra and extra not in map(canonicalize_name, offered):
                unmet.append(f"{who} wants {wanted}, and {name} has no such extra")
            for requirement in map(Requirement, known[name].requires or []):
                if applies(requirement, where or {}, extra):
                    waiting.append((f"{name} {pins[name]}", requirement))
    return names, unmet
