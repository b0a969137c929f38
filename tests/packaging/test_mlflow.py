"""Runs in a real MLflow: the wheel in an environment made from requirements-mlflow.lock."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from soundx import __version__
from tests.conftest import ROOT
from tests.packaging.conftest import Dist, environment, nobody_calls_home, run, variables
from tests.packaging.locks import EXTRAS, installed, pinned, project_requirements, reached

LOCK = ROOT / "requirements-mlflow.lock"
READ = """
import json, sys
from mlflow import MlflowClient

client = MlflowClient(tracking_uri=sys.argv[1])
(experiment,) = (e for e in client.search_experiments() if e.name == "soundx")
runs = []
for found in client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]):
    facts, name = found.data, found.info.run_id
    files = [file for folder in client.list_artifacts(name) for file in
             client.list_artifacts(name, folder.path)]
    runs.append({"status": found.info.status, "params": facts.params, "metrics": facts.metrics,
                 "tags": facts.tags, "files": {file.path: file.file_size for file in files},
                 "uri": found.info.artifact_uri})
print(json.dumps(runs))
"""

Soundx = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def python(dist: Dist, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Python of an environment with the wheel and the extra mlflow."""
    folder = tmp_path_factory.mktemp("tracking")
    with environment(folder / "env", LOCK, dist.wheel) as python:
        yield python


@pytest.fixture(scope="module")
def soundx(dist: Dist, python: Path) -> Soundx:
    """Run soundx in a folder, on the demo."""

    def start(folder: Path, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        command = (python, "-m", "soundx", f"--conf-source={dist.conf}", "--env=demo", *arguments)
        with nobody_calls_home() as proxy:
            return run(*command, cwd=folder, **proxy, **more)

    return start


@pytest.fixture(scope="module")
def runs(python: Path) -> Callable[[Path], list[dict[str, Any]]]:
    """Return what MLflow's own client finds in a database, the oldest run first."""

    def read(database: Path) -> list[dict[str, Any]]:
        uri = f"sqlite:///{database}"
        done = run(python, "-c", READ, uri, cwd=database.parent, MLFLOW_DISABLE_TELEMETRY="true")
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    return read


@pytest.fixture(scope="module")
def tracked(soundx: Soundx, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo ran with the switch on."""
    folder = tmp_path_factory.mktemp("tracked")
    soundx(folder, "--params=training.max_epochs=8,embedder=logmel", SOUNDX_MLFLOW="1")
    return folder


def test_what_is_installed_is_the_lock_which_is_whole(python):
    pins, found = pinned(LOCK), installed(python.parents[1])
    assert {name: one.version for name, one in found.items()} == {**pins, "soundx": __version__}
    asked = project_requirements(*EXTRAS[LOCK.name])
    assert reached(asked, pins, found.values()) == (pins.keys(), [])


def test_a_run_is_logged_with_all_that_describes_it(tracked, runs):
    assert [path.name for path in tracked.iterdir()] == ["data"]
    root = tracked / "data/demo"
    (found,) = runs(root / "mlflow/mlflow.db")
    assert found["status"] == "FINISHED"
    assert found["params"]["training.max_epochs"] == "8"
    assert found["params"]["splits.seed"] == "7"
    assert found["params"]["training.hidden_units"] == "[512]"

    metrics = json.loads((root / "08_reporting/metrics.json").read_text())
    for name, value in metrics.items():
        if name.endswith("_ci95"):
            assert [found["metrics"][f"{name}_{end}"] for end in ("low", "high")] == value
        elif not isinstance(value, str | list):
            assert found["metrics"][name] == value
    with (root / "08_reporting/per_class_metrics.csv").open(newline="") as file:
        classes = list(csv.DictReader(file))
    assert len(classes) == 12
    for row in classes:
        assert found["metrics"][f"f1/{row['label']}"] == float(row["f1"])

    model = root / "06_models/classifier"
    for path in model.iterdir():
        assert found["files"][f"classifier/{path.name}"] == path.stat().st_size
    logged = Path(found["uri"].removeprefix("file://")) / "classifier"
    assert logged.is_relative_to(root / "mlflow/artifacts")
    assert (logged / "soundx.tflite").read_bytes() == (model / "soundx.tflite").read_bytes()
    assert f"{metrics['accuracy']:.3f}" in (logged / "model_card.md").read_text()
    assert (
        found["tags"]["model_version"] == json.loads((model / "labels.json").read_text())["version"]
    )
    reports = {"metrics.json", "per_class_metrics.csv", "confusion_matrix.png", "model_card.md"}
    assert {f"reports/{name}" for name in reports} <= found["files"].keys()


def test_part_of_a_run_is_logged_and_one_that_fails_is_marked(soundx, runs, tmp_path):
    database = tmp_path / "elsewhere/runs.db"
    options = {"SOUNDX_MLFLOW": "1", "MLFLOW_TRACKING_URI": "sqlite:///elsewhere/runs.db"}
    soundx(tmp_path, "--pipelines=ingestion", **options)
    failed = soundx(tmp_path, "--pipelines=evaluation", check=False, **options)
    assert failed.returncode == 1
    assert "--pipelines=training" in failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
    part, failure = runs(database)
    assert part["status"] == "FINISHED"
    assert part["params"]["ingestion.category_separator"] == "_"
    assert part["metrics"] == {}
    assert part["files"].keys() == {"reports/rejected_clips.csv"}
    assert failure["status"] == "FAILED"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A process that ignores SIGINT, as a shell's background jobs do, has children that do."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_run_that_is_interrupted_is_not_called_finished(dist, python, runs, tmp_path):
    command = [python, "-m", "soundx", f"--conf-source={dist.conf}", "--env=demo"]
    with subprocess.Popen(
        [*command, "--params=embedder=logmel"],
        cwd=tmp_path,
        env=variables(SOUNDX_MLFLOW="1", PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert any("Embedder logmel" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode != 0
    (killed,) = runs(tmp_path / "data/demo/mlflow/mlflow.db")
    assert killed["status"] == "KILLED"


@pytest.mark.parametrize(
    ("arguments", "uri", "said"),
    [
        (["--params=data_root=s3://bucket/data"], None, "cannot be kept in s3://bucket"),
        ([], "http://127.0.0.1:1", "MLflow at http://127.0.0.1:1 cannot be used"),
        (
            [],
            "sqlite:////proc/runs/runs.db",
            "MLflow at sqlite:////proc/runs/runs.db cannot be used",
        ),
    ],
)
def test_a_place_that_cannot_be_is_refused_in_words(dist, python, tmp_path, arguments, uri, said):
    command = (python, "-m", "soundx", f"--conf-source={dist.conf}", "--env=demo", *arguments)
    options = {"SOUNDX_MLFLOW": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    options |= {} if uri is None else {"MLFLOW_TRACKING_URI": uri}
    refused = run(*command, cwd=tmp_path, check=False, **options)
    assert refused.returncode == 1
    assert said in refused.stderr
    assert "MLFLOW_TRACKING_URI" in refused.stderr
    assert not re.search("Traceback|INFO|WARNING", refused.stdout + refused.stderr)


@pytest.mark.parametrize("value", [None, "0"])
def test_nothing_of_mlflow_is_written_while_it_is_off(soundx, tmp_path, value):
    switch = {} if value is None else {"SOUNDX_MLFLOW": value}
    soundx(tmp_path, "--pipelines=ingestion", **switch)
    assert (tmp_path / "data/demo/02_intermediate/clip_manifest.parquet").exists()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith("ml")]
