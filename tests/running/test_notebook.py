"""The notebooks, run from top to bottom as a person does, in a project of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.conftest import ROOT

NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
PATIENCE_S = 300


@pytest.fixture(autouse=True)
def jupyter_of_its_own(monkeypatch, tmp_path):
    """No kernel, setting or history of the person at the keyboard."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("MPLBACKEND", "KEDRO_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))  # the kernel starts elsewhere


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=PATIENCE_S, kernel_name="python3", resources=place)
    client.execute(env=dict(os.environ))


def execute(project: Path, name: str) -> nbformat.NotebookNode:
    notebook = nbformat.read(project / "notebooks" / name, as_version=4)
    run(notebook, project / "notebooks")
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def printed(notebook: nbformat.NotebookNode) -> str:
    return "".join(output.text for output in outputs(notebook) if output.get("name") == "stdout")


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


def pages(notebook: nbformat.NotebookNode) -> list[str]:
    return [output.get("data", {}).get("text/html", "") for output in outputs(notebook)]


def sounds(notebook: nbformat.NotebookNode) -> int:
    return sum("<audio" in page for page in pages(notebook))


def warnings(notebook: nbformat.NotebookNode) -> list[str]:
    return [page for page in pages(notebook) if "Warning" in page]


def test_clips_are_counted_heard_and_seen(demo_project):
    notebook = execute(demo_project, "01_explore_clips.ipynb")
    assert printed(notebook).startswith("360 clips of 12 labels in 4 categories\n")
    assert (pictures(notebook), sounds(notebook)) == (3, 6)
    assert not warnings(notebook)


def test_embeddings_are_mapped_and_neighbours_heard(demo_project):
    notebook = execute(demo_project, "02_embeddings.ipynb")
    assert "Embedder logmel: 1594 numbers a frame" in printed(notebook)
    assert "No classes to show: the embedder here is logmel" in printed(notebook)
    assert (pictures(notebook), sounds(notebook)) == (2, 4)
    assert not warnings(notebook)


@pytest.mark.yamnet
def test_yamnet_names_what_it_hears(demo_project, monkeypatch):
    monkeypatch.setenv("KEDRO_ENV", "yamnet")
    notebook = execute(demo_project, "02_embeddings.ipynb")
    assert "No classes to show" not in printed(notebook)
    assert pictures(notebook) == 3


def test_the_worst_errors_are_heard_and_seen(demo_project, demo):
    notebook = execute(demo_project, "03_errors.ipynb")
    metrics = json.loads((demo / "08_reporting/metrics.json").read_text())
    n_wrong = round((1 - metrics["accuracy"]) * metrics["n_test_clips"])
    said = f"{n_wrong} of {metrics['n_test_clips']} test clips are wrong"
    assert printed(notebook).startswith(said)
    assert sounds(notebook) >= 1
    assert pictures(notebook) == 2 + sounds(notebook)
    assert not warnings(notebook)


@pytest.mark.slow
def test_a_head_of_ones_own_is_compared_with_the_shipped_one(demo_project, demo):
    notebook = execute(demo_project, "04_your_own_head.ipynb")
    metrics = json.loads((demo / "08_reporting/metrics.json").read_text())
    assert "Of your heads '" in printed(notebook)
    assert f"\n{metrics['n_test_clips']} test clips: " in printed(notebook)
    compared = [page for page in pages(notebook) if "shipped" in page][-1]
    assert f"{metrics['accuracy']:.1%}" in compared  # as the project's own evaluation found
    assert pictures(notebook) == 1
    assert not warnings(notebook)


@pytest.mark.parametrize(
    "name", [NOTEBOOKS[0], *(pytest.param(n, marks=pytest.mark.slow) for n in NOTEBOOKS[1:])]
)
def test_what_to_run_first_is_said_and_nothing_else(demo_project, name, monkeypatch):
    monkeypatch.setenv("KEDRO_ENV", "local")
    notebook = nbformat.read(demo_project / "notebooks" / name, as_version=4)
    with pytest.raises(CellExecutionError):
        run(notebook, demo_project / "notebooks")
    (said,) = outputs(notebook)
    assert said.text.endswith("Run first: kedro run --env=local\n")
    assert said.text.count("\n") == 1


def test_a_wrong_environment_is_named(demo_project, monkeypatch):
    monkeypatch.setenv("KEDRO_ENV", "nope")
    notebook = nbformat.read(demo_project / "notebooks" / NOTEBOOKS[0], as_version=4)
    with pytest.raises(CellExecutionError):
        run(notebook, demo_project / "notebooks")
    (said,) = outputs(notebook)
    assert "conf/nope. Environments are the folders of conf/.\n" in said.text


def test_a_defect_keeps_its_traceback(tmp_path):
    cells = [
        nbformat.v4.new_code_cell(code) for code in ("%load_ext soundx.running.notebook", "1 / 0")
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.raises(CellExecutionError):
        run(notebook, tmp_path)
    assert "ZeroDivisionError" in str(outputs(notebook))
    assert "Traceback" in str(outputs(notebook))


def test_they_are_committed_without_outputs():
    assert len(NOTEBOOKS) == 4
    paths = [str(ROOT / "notebooks" / name) for name in NOTEBOOKS]
    done = subprocess.run(
        [sys.executable, "-m", "nbstripout", "--verify", *paths], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode()
    for path in paths:
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None
