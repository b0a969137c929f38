"""Disks that are full, cannot be written or vanish, and a clock that goes back."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import load
from tests.crash.harness import PIPELINES, state_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of a few megabytes; only the system's owner may."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        how = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        if shutil.which("mount") is None or os.geteuid() != 0:
            pytest.skip("only root may mount a disk")
        if subprocess.run(how, capture_output=True, check=False).returncode:
            pytest.skip("no disk can be mounted here")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("largest_file", [0, 1_000, 30_000])
def test_where_no_file_can_be_written_whole_none_is_broken(
    runs, stages, tmp_path, pipeline, largest_file
):
    known = stages.up_to(pipeline)
    root = tmp_path / "data"
    shutil.copytree(known.before[pipeline], root)
    ended = runs.run(pipeline, root, largest_file=largest_file)
    assert "Traceback" not in ended.said, ended.said
    again = runs.run(pipeline, root)
    assert again.status == 0, again.said
    assert "is broken" not in again.said
    assert state_of(root) == known.after[pipeline]


def test_a_full_disk_is_said_and_what_was_there_stays(runs, stages, tmp_path, small_disk):
    known = stages.up_to("evaluation")
    size = sum(path.stat().st_blocks * 512 for path in known.before["training"].rglob("*"))
    root = small_disk(f"size={size + 64 * 1024}") / "data"
    shutil.copytree(known.before["training"], root)
    before = state_of(root)
    ended = runs.run("training", root)
    assert ended.status == 1
    assert "disk is full" in ended.said
    assert "Traceback" not in ended.said
    left = state_of(root)
    assert {name: left.get(name) for name in before} == before
    subprocess.run(["mount", "-o", "remount,size=1g", str(root.parent)], check=True)
    for pipeline in ("training", "evaluation"):
        again = runs.run(pipeline, root)
        assert again.status == 0, again.said
    assert state_of(root) == known.after["evaluation"]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_disk_that_cannot_be_written_is_said(runs, stages, pipeline, small_disk):
    known = stages.up_to(pipeline)
    root = small_disk("size=64m") / "data"
    shutil.copytree(known.before[pipeline], root)
    subprocess.run(["mount", "-o", "remount,ro", str(root.parent)], check=True)
    ended = runs.run(pipeline, root)
    assert ended.status == 1
    assert "Read-only file system" in ended.said
    assert "Traceback" not in ended.said


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_folder_that_vanishes_ends_the_run_and_the_next_makes_it_again(
    runs, stages, tmp_path, share
):
    known = stages.up_to("preprocessing")
    root = tmp_path / "data"
    shutil.copytree(known.before["preprocessing"], root)
    after_s = share * known.seconds["preprocessing"]
    for folder in ("04_feature", "05_model_input"):
        ended = runs.run(
            "preprocessing",
            root,
            at=(after_s, lambda gone=root / folder: shutil.rmtree(gone, ignore_errors=True)),
        )
        assert "Traceback" not in ended.said, ended.said
    again = runs.run("preprocessing", root)
    assert again.status == 0, again.said
    assert state_of(root) == known.after["preprocessing"]


def test_a_clock_that_went_back_makes_no_version_older_than_the_last(runs, stages, tmp_path):
    known = stages.up_to("evaluation")
    root = tmp_path / "data"
    shutil.copytree(known.before["evaluation"], root)
    versions = root / "06_models/versions"
    (trained,) = versions.iterdir()
    trained.rename(versions / "2999-12-31T23.59.59.999Z")  # the clock was a millennium ahead
    for pipeline in ("training", "training", "evaluation"):
        ended = runs.run(pipeline, root)
        assert ended.status == 0, ended.said
    newest = load("heads", data_root=str(root)).version
    assert sorted(path.name for path in versions.iterdir()) == [
        "2999-12-31T23.59.59.999Z",
        "3000-01-01T00.00.00.000Z",
        "3000-01-01T00.00.00.001Z",
    ]
    assert newest == load("classifier", data_root=str(root)).version == "3000-01-01T00.00.00.001Z"
    assert load("model_versions", data_root=str(root))[newest].is_evaluated
