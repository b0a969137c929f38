"""Two runs on one ``data_root``: the second is told who is at work, and changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from soundx.errors import SoundxError
from soundx.storage.folder import Folder
from soundx.storage.lock import take_lock
from tests.conftest import ROOT, command, every_byte, load, run_kedro


@pytest.fixture
def clips(write_clip, tmp_path):
    for label in ("a", "b"):
        for number in range(2):
            write_clip(f"clips/{label}/{number}.wav")
    return str(tmp_path / "clips")


def test_a_second_run_is_told_who_is_at_work_and_writes_nothing(tmp_path, clips):
    root = tmp_path / "data"
    ingest = ("run", "--pipelines=ingestion", f"--params=data_root={root},source={clips}")
    give_back = take_lock(Folder(str(root)), "kedro run --pipelines=training")
    before = every_byte(root)
    refused = command(*ingest)
    assert refused.exit_code == 1
    assert f"Another run is at work on {root} (kedro run --pipelines=training, " in refused.output
    assert "Traceback" not in refused.output
    assert every_byte(root) == before
    give_back()
    assert command(*ingest).exit_code == 0
    assert command(*ingest).exit_code == 0, "the first gave it back"


def test_a_run_that_failed_or_was_interrupted_gives_it_back(tmp_path, clips, monkeypatch):
    root = tmp_path / "data"
    params = {"data_root": str(root), "source": clips}
    for error in (SoundxError("a mistake"), KeyboardInterrupt()):
        with monkeypatch.context() as patched:

            def fail(*_, error=error):
                raise error

            patched.setattr("soundx.datasets.clips.mirror", fail)
            with pytest.raises(type(error) if isinstance(error, KeyboardInterrupt) else Exception):
                run_kedro(pipelines=["ingestion"], **params)
    run_kedro(pipelines=["ingestion"], **params)


def test_reading_and_a_dry_run_ask_nobody_and_leave_no_lock(tmp_path, clips):
    root = tmp_path / "data"
    run_kedro(pipelines=["ingestion"], data_root=str(root), source=clips)
    give_back = take_lock(Folder(str(root)), "kedro run")
    before = every_byte(root)
    assert len(load("clip_manifest", data_root=str(root))) == 4
    dry = f"--params=data_root={root},source={clips},dry_run=true"
    assert command("run", "--pipelines=ingestion", dry).exit_code == 0
    assert every_byte(root) == before
    give_back()


class Waiting:
    """Clips that are not listed before they are told to be."""

    name, parallel_fetches = "clips", 1

    def __init__(self):
        self.asked, self.go_on = threading.Event(), threading.Event()

    def list_objects(self):
        self.asked.set()
        self.go_on.wait()
        return iter(())


def test_of_two_runs_in_threads_one_is_told(tmp_path, clips, monkeypatch):
    params = {"data_root": str(tmp_path / "data"), "source": clips}
    source = Waiting()
    monkeypatch.setattr("soundx.datasets.clips.ClipSourceDataset.load", lambda _: source)

    def ends_without_clips():
        with pytest.raises(Exception, match="nothing to mirror"):
            run_kedro(pipelines=["ingestion"], **params)

    first = threading.Thread(target=ends_without_clips)
    first.start()
    assert source.asked.wait(60)
    with pytest.raises(SoundxError, match="Another run is at work"):
        run_kedro(pipelines=["ingestion"], **params)
    source.go_on.set()
    first.join()
    ends_without_clips()  # as it would alone


@pytest.mark.slow
def test_of_two_trainings_at_once_one_ends_well_and_its_model_is_there(own_demo):
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}
    run = [sys.executable, "-m", "kedro", "run", "--env=demo", "--pipelines=training"]
    both = [
        subprocess.Popen(
            [*run, f"--params=data_root={own_demo},embedder=logmel"],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], said
    (refused,) = [s for s, process in zip(said, both, strict=True) if process.returncode]
    winner = next(process.pid for process in both if not process.returncode)
    assert f"process {winner} of " in refused
    assert "Traceback" not in refused
    params = {"data_root": str(own_demo)}
    version = load("classifier", **params).version
    assert load("heads", **params).version == version
    assert version in load("model_versions", **params)
