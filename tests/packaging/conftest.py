"""The wheel, the archive of conf/, and environments that hold nothing else."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.packaging.index import NEWER, write_wheel
from tests.packaging.locks import pinned

UV = Path(sys.executable).with_name("uv")
SECRET = "dev: {key: not-for-others}"


@dataclass(frozen=True)
class Dist:
    """What ``kedro package`` made, and the project it was made from."""

    project: Path
    wheel: Path
    conf: Path


def variables(**more: str) -> dict[str, str]:
    """Return this process's variables, without those by which programs here are told things.

    Where tests run, some of them by themselves do not call home.
    """
    told = "MAKE|PYTHON|VIRTUAL_ENV|KEDRO|SOUNDX|MLFLOW|DO_NOT_TRACK|STREAMLIT|COV_|PYTEST|CI|GIT"
    kept = {name: value for name, value in os.environ.items() if not re.match(told, name)}
    return {**kept, "COLUMNS": "200", **more}


def run(
    *command: str | Path, cwd: Path, check: bool = True, **more: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=variables(**more),
        capture_output=True,
        text=True,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def offer_newer_releases(lock: Path, folder: Path) -> str:
    """Return a lock as it is, with an index beside it that has a newer release of everything."""
    for name in pinned(lock):
        write_wheel(folder, name, NEWER)
    return f"--find-links {folder}\n{lock.read_text()}"


@contextmanager
def environment(folder: Path, lock: Path, *project: Path) -> Iterator[Path]:
    """Make an environment as bootstrap.sh does; yield its Python; remove it: it is of 3 GB.

    Args:
        folder: Where it is made.
        lock: What is installed, whatever newer releases there are.
        project: Our wheel, to be installed last.
    """
    given = folder.with_suffix(".lock")
    given.write_text(offer_newer_releases(lock, folder.with_suffix(".index")))
    command = ("bash", ROOT / "scripts/bootstrap.sh", folder, given, *project)
    try:
        run(*command, cwd=ROOT, UV=str(UV), PYTHON=sys.executable)
        yield folder / "bin/python"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def plain_environment(folder: Path, *locks: str) -> Iterator[Path]:
    """Make an environment of what locks name and nothing else; yield its Python; remove it.

    Args:
        folder: Where it is made; its parent is there.
        locks: Their texts, with hashes, in the order in which they are installed.
    """
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    python = folder / "bin/python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    exactly = ("--no-deps", "--require-hashes", "--no-build-isolation", "-r")
    given = folder.with_suffix(".lock")
    try:
        for lock in locks:
            given.write_text(lock)
            run(*pip, *exactly, given, cwd=folder.parent)
        yield python
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def nobody_calls_home() -> Iterator[dict[str, str]]:
    """Yield variables that lead all traffic to a proxy of ours; fail if something reaches it."""
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        led = {f"{kind}_proxy": address for kind in ("http", "https", "all")} | {"no_proxy": ""}
        yield led | {name.upper(): value for name, value in led.items()}
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def copy_project(to: Path, *more: str) -> None:
    """Copy what the wheel is made of, and more files of the project's root."""
    for name in ("src", "conf"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "local")
        shutil.copytree(ROOT / name, to / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", *more):
        shutil.copy(ROOT / name, to)


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Dist:
    """``kedro package`` of a copy of this project, whose owner has local settings."""
    project = tmp_path_factory.mktemp("copy")
    copy_project(project)
    (project / "conf/local").mkdir()
    (project / "conf/local/credentials.yml").write_text(SECRET)
    # what an older build left behind
    old = project / "build/lib/soundx/pipelines/gone/__init__.py"
    old.parent.mkdir(parents=True)
    old.touch()
    run(sys.executable, "-m", "kedro", "package", cwd=project, DO_NOT_TRACK="1")
    (wheel,) = (project / "dist").glob("*.whl")
    return Dist(project, wheel, project / "dist/conf-soundx.tar.gz")
