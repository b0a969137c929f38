from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash.harness import PIPELINES, Runs, make_project, state_of


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """A process that forks runs of a small project."""
    started = Runs(make_project(tmp_path_factory.mktemp("crash")))
    yield started
    started.close()


@dataclass(frozen=True)
class Undisturbed:
    """What runs that nobody disturbed left: before each pipeline a folder, after it a state."""

    before: dict[str, Path]
    after: dict[str, dict[str, str]]
    seconds: dict[str, float]


class Stages:
    """Undisturbed runs of the pipelines, as far as somebody asked for them."""

    def __init__(self, runs: Runs, folder: Path) -> None:
        self._runs = runs
        self._folder = folder
        self.known = Undisturbed({}, {}, {})

    def up_to(self, pipeline: str) -> Undisturbed:
        """Return what is known once a pipeline has been run."""
        for number, name in enumerate(PIPELINES):
            if name not in self.known.after:
                here = self._folder / f"before-{name}"
                if number == 0:
                    here.mkdir()
                following = [*PIPELINES, "end"][number + 1]
                after = self._folder / f"before-{following}"
                shutil.copytree(here, after)
                ended = self._runs.run(name, after)
                assert ended.status == 0, ended.said
                self.known.before[name] = here
                self.known.after[name] = state_of(after)
                self.known.seconds[name] = ended.seconds
            if name == pipeline:
                break
        return self.known


@pytest.fixture(scope="session")
def stages(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """Undisturbed runs, each made once."""
    return Stages(runs, tmp_path_factory.mktemp("stages"))
