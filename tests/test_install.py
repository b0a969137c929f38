"""What is installed is what a lock names, whatever the index offers besides."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.conftest import ROOT
from tests.packaging.index import NEWER, Index, served, write_wheel
from tests.packaging.locks import EXTRAS, installed, pinned, project_requirements, reached

ROADS = ("pip", "uv")
PLAIN = [f"plain-{number}" for number in range(10)]
PYTHONS = [("3.11", "3.11.9"), ("3.12", "3.12.9"), ("3.13", "3.13.9")]
PLATFORMS = [("linux", "Linux", "x86_64"), ("darwin", "Darwin", "arm64")]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Serve an index where everything that is locked has a newer release."""
    with served(tmp_path_factory.mktemp("index")) as index:
        for name in (*PLAIN, "asks", "asked", "for-the-extra", "setuptools"):
            index.add(name, NEWER)
        # as pytest-cov asks for coverage[toml]
        index.add("asked", NEWER, extra="more", requires=['for-the-extra>=1; extra == "more"'])
        yield index


@pytest.fixture(scope="module")
def lock(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a lock of thirteen packages; one asks for another with an extra."""
    lines = [index.add(name, "1.0") for name in PLAIN]
    lines += [
        index.add("asks", "1.0", requires=["asked[more]>=1", "plain-0"]),
        index.add("asked", "1.0", extra="more", requires=['for-the-extra>=1; extra == "more"']),
        index.add("for-the-extra", "1.0"),
    ]
    path = tmp_path_factory.mktemp("locks") / "requirements.lock"
    path.write_text("".join(lines))
    return path


@pytest.fixture
def stranger(index: Index, tmp_path: Path) -> dict[str, str]:
    """Variables of a machine where nothing was cached or set up: it knows the index, no more."""
    told = r"(?i)pip_|uv_|xdg_|python|virtual_env|.*_proxy$"
    kept = {name: value for name, value in os.environ.items() if not re.match(told, name)}
    home = tmp_path / "home"
    home.mkdir()
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "PIP_INDEX_URL": index.address}
    uv = {"UV_NO_CONFIG": "1", "UV_NO_CACHE": "1", "UV_DEFAULT_INDEX": index.address}
    index.fetched.clear()
    return {**kept, **pip, **uv, "HOME": str(home), "PYTHON": sys.executable}


def bootstrap(
    variables: dict[str, str], road: str, *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run scripts/bootstrap.sh, along one of its two roads."""
    uv = {"pip": "", "uv": str(Path(sys.executable).with_name("uv"))}[road]
    return subprocess.run(
        ["bash", ROOT / "scripts/bootstrap.sh", *arguments],
        env={**variables, "UV": uv},
        capture_output=True,
        text=True,
        check=False,
    )


def versions(venv: Path) -> dict[str, str]:
    """Return what was installed; setuptools, which an older Python brings along, was not."""
    return {name: one.version for name, one in installed(venv).items() if name != "setuptools"}


@pytest.mark.slow  # an environment each
@pytest.mark.parametrize("road", ROADS)
def test_newer_releases_on_the_index_are_left_there(index, lock, stranger, tmp_path, road):
    project = write_wheel(tmp_path, "project", "3.0", requires=["asks", *PLAIN])
    done = bootstrap(stranger, road, tmp_path / "env", lock, project)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(pinned(lock)) == 13
    assert versions(tmp_path / "env") == {**pinned(lock), "project": "3.0"}
    assert installed(tmp_path / "env")["asked"].read_text("INSTALLER").strip() == road
    assert {name.split("-")[1] for name in index.fetched} == {"1.0"}


@pytest.mark.slow  # an environment each
def test_the_lines_without_make_leave_them_too(index, lock, stranger, tmp_path):
    page = (ROOT / "docs/commands.md").read_text()
    block = re.search(r"Without `make`, .*?```console\n(.*?)```", page, re.DOTALL)[1]
    lines = [line.removeprefix("$ ") for line in block.splitlines()]
    # this project's own wheel is built with the setuptools of the real lock
    (ours,) = (line for line in lines if "-e ." in line)
    lines.remove(ours)
    (tmp_path / "requirements.lock").write_text(lock.read_text())
    path = f"{Path(sys.executable).parent}{os.pathsep}{stranger['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", "\n".join(lines)],
        cwd=tmp_path,
        env={**stranger, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "No broken requirements" in done.stdout
    assert versions(tmp_path / ".venv") == pinned(lock)


@pytest.mark.slow  # an environment each
@pytest.mark.parametrize("road", ROADS)
def test_a_lock_that_is_not_whole_is_refused(lock, stranger, tmp_path, road):
    part = tmp_path / "part.lock"
    part.write_text(re.sub("(?m)^plain-0.*\n.*\n", "", lock.read_text()))
    done = bootstrap(stranger, road, tmp_path / "env", part)
    assert done.returncode != 0
    assert re.search("asks.* requires .*plain-0", done.stdout + done.stderr)


@pytest.mark.slow  # an environment each
@pytest.mark.parametrize("road", ROADS)
def test_a_file_that_is_not_the_locked_one_is_refused(lock, stranger, tmp_path, road):
    other = tmp_path / "other.lock"
    other.write_text(re.sub("(plain-0.*\n.*sha256:).*", rf"\g<1>{'0' * 64}", lock.read_text()))
    done = bootstrap(stranger, road, tmp_path / "env", other)
    assert done.returncode != 0
    assert "hash" in done.stderr.lower()


@pytest.mark.slow  # an environment each
def test_what_an_older_lock_named_does_not_stay(lock, stranger, tmp_path):
    venv, newer = tmp_path / "env", tmp_path / "newer.lock"
    newer.write_text(re.sub("(?m)^plain-9.*\n.*\n", "", lock.read_text()))
    for given in (lock, newer):
        done = bootstrap(stranger, "uv", venv, given)
        assert done.returncode == 0, done.stderr
        assert versions(venv) == pinned(given)


@pytest.mark.parametrize("lock", EXTRAS)
@pytest.mark.parametrize(("system", "platform", "machine"), PLATFORMS)
@pytest.mark.parametrize(("short", "full"), PYTHONS)
def test_whatever_a_pinned_package_asks_for_is_pinned(lock, system, platform, machine, short, full):
    where = {"python_version": short, "python_full_version": full, "sys_platform": system}
    where |= {"platform_system": platform, "platform_machine": machine}
    pins = pinned(ROOT / lock, where)
    names, unmet = reached(project_requirements(*EXTRAS[lock]), pins, of_this_environment(), where)
    assert unmet == []
    # of packages that are for MLflow, or for another Python, the metadata are not here
    assert len(names) > 150


def of_this_environment():
    """Return what this environment holds, without what setuptools brings along for itself."""
    return distributions(path=[sysconfig.get_paths()["purelib"]])


def test_all_that_is_locked_is_installed_and_needed():
    pins = pinned(ROOT / "requirements.lock")
    here = {canonicalize_name(found.name): found.version for found in of_this_environment()}
    assert {name: here.get(name) for name in pins} == pins
    names, _ = reached(
        project_requirements(*EXTRAS["requirements.lock"]), pins, of_this_environment()
    )
    assert names == pins.keys()
