"""Shared by all tests: real sound files, a real run of the demo, YAMNet where it is at hand."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest
import soundfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["DO_NOT_TRACK"] = "1"

ROOT = Path(__file__).parents[1]
YAMNET = os.environ.get("SOUNDX_YAMNET", "")

KILLS = [pytest.param(20, marks=pytest.mark.slow)]
"""How often a test kills what must bear it."""

DEMO: dict[str, Any] = {"embedder": "logmel"}
"""Parameters of the run that tests share: the project's own, and no weights to fetch."""


_WITH_DEMO = {"viewer", "listening", "search", "review", "audio", "embedders"}


def pytest_addoption(parser: pytest.Parser) -> None:
    rooms = ", ".join(sorted(_WITH_DEMO))
    halves = f"of the tests: {rooms} and the one run of the demo, or all others"
    parser.addoption("--half", choices=("demo", "others"), help=halves)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if half := config.getoption("--half"):
        chosen, left = [], []
        for item in items:
            by_demo = "demo" in getattr(item, "fixturenames", ())
            # and some rooms more, so that the halves are alike in length
            by_demo = by_demo or not _WITH_DEMO.isdisjoint(item.path.parts)
            by_demo = by_demo or item.path.name == "test_runs.py"
            (chosen if by_demo == (half == "demo") else left).append(item)
        config.hook.pytest_deselected(items=left)
        items[:] = chosen
    if not YAMNET:
        skip = pytest.mark.skip(reason="needs YAMNet's weights: set SOUNDX_YAMNET to a SavedModel")
        for item in items:
            if "yamnet" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def yamnet_folder() -> str:
    return YAMNET


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def write_clip(tmp_path: Path) -> Callable[..., Path]:
    """Write a short tone, each call another one, to a path below tmp_path."""
    count = iter(range(10_000))

    def write(
        name: str, *, seconds: float = 0.5, rate_hz: int = 16_000, channels: int = 1, **options: Any
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pitch = 300 + 7 * next(count)
        tone = 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate_hz)) / rate_hz)
        samples = np.repeat(tone[:, None], channels, axis=1)
        soundfile.write(path, samples, rate_hz, **options)
        return path

    return write


def run_kedro(*, env: str | None = None, pipelines: list[str] | None = None, **params: Any) -> None:
    """Run pipelines in this process, as ``kedro run`` does."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(ROOT)
    with KedroSession.create(project_path=ROOT, env=env, runtime_params=params) as session:
        session.run(pipeline_names=pipelines or ["__default__"])


FORGED = "x\x1b[31m\x9b1m\u202e\nError: forged\r\u2028Error: forged"
"""A name of somebody else's that would colour, turn round and write lines of its own."""


def command(*arguments: str, project: Path = ROOT, **variables: str) -> click.testing.Result:
    """Carry out ``kedro ...`` in this process: what it answers, without the seconds of a start.

    An empty variable is taken away.
    """
    from kedro.framework.startup import bootstrap_project

    before = dict(os.environ)
    try:
        os.environ.update(variables | {"COLUMNS": "200"})
        for name in (name for name, value in variables.items() if not value):
            del os.environ[name]
        with contextlib.chdir(project):
            bootstrap_project(project)
            from soundx.cli import cli

            return click.testing.CliRunner().invoke(cli, arguments)
    finally:
        os.environ.clear()
        os.environ.update(before)


def load(name: str, *, env: str | None = None, **params: Any) -> Any:
    """Load a dataset of the catalog."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(ROOT)
    with KedroSession.create(project_path=ROOT, env=env, runtime_params=params) as session:
        return session.load_context().catalog.load(name)


def every_byte(folder: Path) -> dict[Path, tuple[int, bytes | None]]:
    """Return all that lies in a folder, empty folders too, and when it was changed."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in (folder, *folder.rglob("*"))
        if path.exists()
    }


@pytest.fixture(scope="session", autouse=True)
def short_edge_clips() -> None:
    """Of the parity gate's ten minutes, which every training hears, one: ten in its own tests."""
    from soundx.classifier import parity

    parity._TEN_MINUTES_S = 60


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data root of one whole run of the demo, without weights; nobody writes to it."""
    root = tmp_path_factory.mktemp("demo") / "data"
    run_kedro(env="demo", data_root=str(root), **DEMO)
    before = every_byte(root)
    yield root
    after = every_byte(root)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    names = ", ".join(sorted(str(path.relative_to(root)) for path in changed))
    assert not changed, f"a test wrote to the run that all tests share: {names}"


@pytest.fixture
def own_demo(demo: Path, tmp_path: Path) -> Path:
    """A copy of that run, to go on from."""
    return Path(shutil.copytree(demo, tmp_path / "demo"))


@pytest.fixture(scope="session")
def demo_project(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of its own, notebooks and all, whose demo is the run above; no run in local."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("src", "conf/local", "conf/demo", "conf/yamnet"):
        (root / folder).mkdir(parents=True)
    for name in ("pyproject.toml", "conf/base", "conf/logging.yml", "conf/demo/catalog.yml"):
        (root / name).symlink_to(ROOT / name)
    for env, embedder in (("demo", "logmel"), ("yamnet", "yamnet")):
        settings = f"data_root: {demo}\nembedder: {embedder}\n"
        (root / "conf" / env / "globals.yml").write_text(settings)
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    return root
