"""``make run`` on a machine that has nothing yet, some time after the lock was made."""

from __future__ import annotations

import shutil
import sys

import pytest

from soundx import __version__
from tests.conftest import ROOT
from tests.packaging.conftest import copy_project, offer_newer_releases, run
from tests.packaging.locks import installed, pinned


@pytest.mark.timeout(1800)  # pip fetches 3 GB
def test_the_demo_runs_when_all_that_is_locked_has_a_newer_release(tmp_path):
    project = tmp_path / "soundx"
    project.mkdir()
    copy_project(project, "Makefile")
    shutil.copytree(ROOT / "scripts", project / "scripts")
    lock = ROOT / "requirements.lock"
    (project / "requirements.lock").write_text(offer_newer_releases(lock, tmp_path / "index"))
    assert len(list((tmp_path / "index").iterdir())) > 250
    try:
        done = run("make", "run", cwd=project, UV="", PYTHON=sys.executable)
        found = {name: one.version for name, one in installed(project / ".venv").items()}
    finally:
        shutil.rmtree(project / ".venv", ignore_errors=True)  # 3 GB
    assert "of 12 labels" in done.stdout + done.stderr
    assert found == {**pinned(lock), "soundx": __version__}
