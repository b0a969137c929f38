"""Projects whose runs are real and short, or wait until they are told."""

from __future__ import annotations

import fcntl
import os
import select
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from soundx.running.runs import Runs
from tests.conftest import ROOT

PATIENCE_S = 60

# what a run of the environment "waiting" ingests: nothing, until it is told to go on
WAITING_CLIPS = """
import signal
from pathlib import Path

from kedro.io import AbstractDataset

HERE = Path(__file__).parent


class WaitingClips(AbstractDataset):
    def __init__(self, stubborn=False):
        self._stubborn = stubborn

    def load(self):
        if self._stubborn:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        (HERE / "here").write_text("here")
        (HERE / "go").read_text()
        raise RuntimeError("<b>told</b> to go on")

    def save(self, data):
        pass

    def _describe(self):
        return {}
"""


class Project:
    """A project of its own, whose runs are real and short, or wait until they are told."""

    def __init__(self, folder: Path, data_root: Path) -> None:
        self.folder = folder
        (folder / "src").mkdir(parents=True)
        (folder / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
        (folder / "src/waiting.py").write_text(WAITING_CLIPS)
        os.mkfifo(folder / "src/here")
        os.mkfifo(folder / "src/go")
        (folder / "conf").mkdir()
        for shared in ("base", "logging.yml"):
            (folder / "conf" / shared).symlink_to(ROOT / "conf" / shared)
        clips = {
            "local": "soundx.datasets.clips.SynthesisedClipsDataset, clips_per_label: 2, seed: 7",
            "waiting": "waiting.WaitingClips",
            "stubborn": "waiting.WaitingClips, stubborn: true",
        }
        for env, kind in clips.items():
            conf = folder / "conf" / env
            conf.mkdir()
            (conf / "globals.yml").write_text(f"data_root: {data_root}\nembedder: logmel\n")
            (conf / "catalog.yml").write_text(f"bucket_clips: {{ type: {kind} }}\n")

    def runs(self, env: str | None = None) -> Runs:
        """Open the runs as a server that has just started does."""
        return Runs.of(self.folder, env)

    def wait_until_it_waits(self) -> None:
        here = os.open(self.folder / "src/here", os.O_RDONLY | os.O_NONBLOCK)
        ready, _, _ = select.select([here], [], [], PATIENCE_S)
        os.close(here)
        assert ready, "the run never came to its clips"

    def let_it_go_on(self) -> None:
        (self.folder / "src/go").write_text("")

    def wait_until_it_is_over(self, env: str | None = None) -> None:
        with (self.runs(env).folder / "lock").open() as lock:
            waiting = threading.Thread(target=fcntl.flock, args=(lock, fcntl.LOCK_SH), daemon=True)
            waiting.start()
            waiting.join(PATIENCE_S)
            assert not waiting.is_alive(), "the run does not end"


@pytest.fixture
def project_on(tmp_path: Path) -> Callable[[Path], Project]:
    projects = []

    def make(data_root: Path) -> Project:
        projects.append(Project(tmp_path / "project", data_root))
        return projects[-1]

    yield make
    for project in projects:
        for env in (None, "waiting", "stubborn"):
            project.runs(env).stop(grace_s=1)


@pytest.fixture
def project(project_on: Callable[[Path], Project], tmp_path: Path) -> Project:
    return project_on(tmp_path / "data")
