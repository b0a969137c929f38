"""What git refuses to commit, with the hooks that ``make hooks`` installs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tests.conftest import ROOT

Git = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """Run git in a small repository with this project's hooks."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    names = {
        f"GIT_{who}_{what}": "test@localhost"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    environment = {**kept, **names, "PRE_COMMIT_HOME": str(tmp_path / "cache")}
    repository = tmp_path / "repository"
    (repository / "scripts").mkdir(parents=True)
    for name in (".pre-commit-config.yaml", "pyproject.toml", "scripts/large_files.sh"):
        shutil.copy(ROOT / name, repository / name)
    (repository / ".venv").symlink_to(sys.prefix)
    (repository / ".gitignore").write_text(".venv\n")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments,
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("git", "init", "--quiet").returncode == 0
    assert run(sys.executable, "-m", "pre_commit", "install").returncode == 0
    return lambda *arguments: run("git", *arguments)


@pytest.fixture
def repository(git: Git) -> Path:
    return Path(git("rev-parse", "--show-toplevel").stdout.strip())


def commit(git: Git) -> subprocess.CompletedProcess[str]:
    git("add", "--all")
    return git("commit", "--message=test")


def test_a_clean_tree_is_committed(git, repository):
    (repository / "one.py").write_text('"""One."""\n\nONE = 1\n')
    done = commit(git)
    assert done.returncode == 0, done.stderr
    assert git("log", "--oneline").stdout.count("\n") == 1


@pytest.mark.slow
def test_outputs_of_a_notebook_are_stripped_before_it_is_committed(git, repository):
    path = repository / "notebooks/look.ipynb"
    path.parent.mkdir()
    output = nbformat.v4.new_output("stream", text="a clip of somebody's voice")
    cell = nbformat.v4.new_code_cell("print(clip)", outputs=[output], execution_count=3)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    refused = commit(git)
    assert refused.returncode != 0
    assert "notebooks without outputs" in refused.stderr
    assert "somebody" not in path.read_text()
    assert nbformat.read(path, as_version=4).cells[0].id == cell.id
    assert commit(git).returncode == 0


def test_a_large_file_is_refused(git, repository):
    (repository / "model.tflite").write_bytes(bytes(1 << 20))
    assert commit(git).returncode == 0
    (repository / "larger model.tflite").write_bytes(bytes((1 << 20) + 1))
    refused = commit(git)
    assert refused.returncode != 0
    assert "More than 1 MiB" in refused.stderr
    assert "larger model.tflite" in refused.stderr


def test_python_is_checked_and_put_into_format(git, repository):
    path = repository / "two.py"
    path.write_text('"""Two."""\nimport os\nTWO = undefined\nX=  1\n')
    refused = commit(git)
    assert refused.returncode != 0
    assert "F821" in refused.stderr
    assert "X = 1" in path.read_text()
