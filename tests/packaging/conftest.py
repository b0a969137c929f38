"""The wheel, the archive of conf/, and environments that hold nothing else."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

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
    told = "PYTHON|VIRTUAL_ENV|KEDRO|SOUNDX|MLFLOW|DO_NOT_TRACK|STREAMLIT|COV_|PYTEST|CI|GIT"
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


@contextmanager
def environment(folder: Path, *installs: Sequence[str | Path]) -> Iterator[Path]:
    """Make an environment, install into it; yield its Python; remove it: it is of 3 GB.

    Args:
        folder: Where it is made.
        installs: Arguments of ``pip install``, for one call after the other.
    """
    python = folder / "bin/python"
    uv = Path(sys.executable).with_name("uv")
    try:
        try:
            run(uv, "venv", "--quiet", "--python", sys.executable, folder, cwd=folder.parent)
            for arguments in installs:
                run(uv, "pip", "install", "--python", python, *arguments, cwd=folder.parent)
        except AssertionError:
            # uv does not read pip's configuration: where only pip knows the index, pip goes on
            run(sys.executable, "-m", "venv", "--clear", folder, cwd=folder.parent)
            for arguments in installs:
                run(python, "-m", "pip", "install", *arguments, cwd=folder.parent)
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


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Dist:
    """``kedro package`` of a copy of this project, whose owner has local settings."""
    project = tmp_path_factory.mktemp("copy")
    for name in ("src", "conf"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "local")
        shutil.copytree(ROOT / name, project / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    (project / "conf/local").mkdir()
    (project / "conf/local/credentials.yml").write_text(SECRET)
    # what an older build left behind
    old = project / "build/lib/soundx/pipelines/gone/__init__.py"
    old.parent.mkdir(parents=True)
    old.touch()
    run(sys.executable, "-m", "kedro", "package", cwd=project, DO_NOT_TRACK="1")
    (wheel,) = (project / "dist").glob("*.whl")
    return Dist(project, wheel, project / "dist/conf-soundx.tar.gz")
