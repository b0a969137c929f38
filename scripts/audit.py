"""Look at what is installed, without a network: locked, of a known licence, not known to be bad.

    python scripts/audit.py        # what this environment holds

Three questions of every distribution: does ``requirements.lock`` name this version, do its own
words name a licence that we know, and does no advisory in ``known_bad.toml`` cover it. That list
is reviewed by people and cannot know tomorrow's advisories; SECURITY.md tells the limits.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_LICENCES = re.compile(
    r"\b(apache|mit|x11|bsd|0bsd|isc|psf|python software foundation|mpl|mozilla|zlib|hpnd|"
    r"unlicense|public domain|lgpl|lesser general public|zpl|cc0|historical permission)",
    re.IGNORECASE,
)
OURS_AND_THE_INSTALLERS = {"soundx", "pip", "wheel"}


def locked_versions(lock: str) -> dict[str, set[str]]:
    """Return the versions that a lock names, by package; of some there is one for each Python."""
    found: dict[str, set[str]] = {}
    for name, version in _LOCKED.findall(lock):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def licence(distribution: Distribution) -> str:
    """Return what a distribution says of its licence, or nothing."""
    said = [
        words
        for field in ("License-Expression", "Classifier", "License")
        for words in distribution.metadata.get_all(field) or []
        if field != "Classifier" or words.startswith("License ::")
    ]
    return next((words for words in said if _LICENCES.search(words)), "")


def complaints(
    name: str,
    version: str,
    licence_said: str,
    *,
    locked: dict[str, set[str]],
    known_bad: dict[str, dict[str, str]],
    reviewed: dict[str, str],
) -> Iterator[str]:
    """Yield what is wrong with one distribution.

    Args:
        name: Its name.
        version: Its version.
        licence_said: What it says of its licence.
        locked: Versions by package.
        known_bad: Ranges of versions by advisory, by package.
        reviewed: Licences that people looked up where the package says none, by package.
    """
    name = canonicalize_name(name)
    if name not in OURS_AND_THE_INSTALLERS and version not in locked.get(name, set()):
        yield f"{name} {version} is not what requirements.lock names"
    if not licence_said and name not in reviewed:
        yield f"{name} {version} names no licence that is known here"
    for advisory, versions in known_bad.get(name, {}).items():
        if SpecifierSet(versions, prereleases=True).contains(version):
            yield f"{name} {version} is covered by {advisory} ({versions})"


def main() -> int:
    """Print what is wrong; return 0 where nothing is."""
    known = tomllib.loads((ROOT / "scripts/known_bad.toml").read_text(encoding="utf-8"))
    locked = locked_versions((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    wrong: list[str] = []
    installed = {canonicalize_name(one.metadata["Name"]): one for one in distributions()}
    for name, one in sorted(installed.items()):
        wrong += complaints(
            name,
            one.version,
            licence(one),
            locked=locked,
            known_bad=known["advisories"],
            reviewed=known["licences"],
        )
    print("\n".join(wrong) or f"{len(installed)} packages: locked, licensed, none known to be bad.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
