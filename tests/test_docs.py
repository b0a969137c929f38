"""The documentation's examples run, and its tables say what is so."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from soundx.audio.decoding import decode_clip
from soundx.embedders import load_embedder
from soundx.modelling import heads
from tests.conftest import ROOT, load, run_kedro

DOCS = ROOT / "docs"


def example(page: str, name: str) -> str:
    """Return the Python block of a page that follows ``<!-- tested: name -->``."""
    text = (DOCS / page).read_text()
    return re.search(rf"<!-- tested: {name} -->\n```python\n(.+?)^```$", text, re.S | re.M)[1]


@pytest.fixture
def demo_project(demo, tmp_path, monkeypatch) -> Path:
    """A project's folder after ``make run``, and we are in it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/demo").symlink_to(demo)
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def three_labels(demo, tmp_path) -> dict[str, str]:
    """Parameters of a run on some of the demo's clips."""
    source = tmp_path / "clips"
    source.mkdir()
    for label in ("ALARM_BELL", "ALARM_SIREN", "NATURE_RAIN"):
        shutil.copytree(demo / "01_raw" / label, source / label)
    return {"source": str(source), "data_root": str(tmp_path / "data")}


def test_the_tflite_file_is_used_without_tensorflow(demo, tmp_path):
    script = tmp_path / "classify.py"
    ours = "assert not {'tensorflow', 'soundx', 'kedro'} & sys.modules.keys()\n"
    script.write_text(example("tflite.md", "tflite") + ours)
    folder = demo / "06_models/classifier"
    predictions = pd.read_parquet(demo / "07_model_output/test_predictions.parquet")
    row = predictions.iloc[0]
    done = subprocess.run(
        [sys.executable, script, folder, demo / "01_raw" / row["path"]],
        capture_output=True,
        text=True,
        check=True,
    )
    said = [line.split() for line in done.stdout.splitlines()]
    assert [label for _, label in said] == [row["top1"], row["top2"], row["top3"]]
    assert float(said[0][0]) == pytest.approx(row["probability"], abs=2e-3)


@pytest.mark.parametrize(
    ("page", "name", "says"),
    [
        ("tflite.md", "classifier", r"^ALARM_SIREN \S+Z$"),
        ("commands.md", "script", r"^0\.\d+ \[0\.\d+, [01]\.\d+\]$"),
        ("api/index.md", "api", r"^\(\d+,\) \(\d+, 1594\)$"),
    ],
)
def test_an_example_on_the_demo_runs(demo_project, capsys, page, name, says):
    exec(example(page, name), {})
    assert re.match(says, capsys.readouterr().out)


def test_clips_and_predictions_come_as_a_hugging_face_dataset(demo_project, capsys):
    metrics = json.loads(Path("data/demo/08_reporting/metrics.json").read_text())
    exec(example("hugging-face.md", "hugging_face"), {})
    first, *wrong = capsys.readouterr().out.splitlines()
    assert first.startswith(f"396 clips, {metrics['n_test_clips']} scored")
    assert len(wrong) == round((1 - metrics["accuracy"]) * metrics["n_test_clips"])


def test_the_embedder_of_the_docs_is_trained_on_and_shipped(
    three_labels, tmp_path, monkeypatch, rng
):
    (tmp_path / "mine.py").write_text(example("embedder.md", "embedder"))
    monkeypatch.syspath_prepend(tmp_path)
    waveform = (0.1 * rng.standard_normal(40_000)).astype(np.float32)
    embedder = load_embedder("mine.MeanMel")
    np.testing.assert_allclose(embedder.graph()(waveform), embedder.embed([waveform])[0], atol=2e-3)
    run_kedro(**three_labels, embedder="mine.MeanMel", training={"max_epochs": 3})
    assert load("metrics", **three_labels)["embedder"] == "mean-mel"
    classifier, trained = load("classifier", **three_labels), load("heads", **three_labels)
    frames = embedder.embed([waveform])[0]
    (expected,) = trained.predict(frames, np.array([len(frames)]))
    answer = classifier.predict(waveform)
    np.testing.assert_allclose(answer, expected, atol=1e-3)
    assert 0 < answer.sum() <= 1 + 1e-4  # the rest is background's


@pytest.mark.parametrize(
    ("head", "name"),
    [
        pytest.param("dense", "labels", marks=pytest.mark.slow),
        pytest.param("seed", "general", marks=pytest.mark.slow),
    ],
)
def test_the_head_of_the_docs_is_trained_and_shipped(three_labels, monkeypatch, head, name):
    namespace = {}
    exec(example("head.md", "head"), namespace)
    monkeypatch.setattr(heads, "build_head", namespace["build_head"])
    run_kedro(**three_labels, embedder="logmel", training={"head": head, "max_epochs": 3})
    layers = [type(layer).__name__ for layer in load("heads", **three_labels).models[name].layers]
    assert "LayerNormalization" in layers
    predictions = load("test_predictions", **three_labels)
    answer = load("classifier", **three_labels).predict(
        decode_clip(Path(three_labels["data_root"]) / "01_raw" / predictions["path"][0])
    )
    np.testing.assert_allclose(answer, predictions["probabilities"][0], atol=1e-3)


def rows_of(page: str) -> list[list[str]]:
    lines = (DOCS / page).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]


def test_every_dataset_is_told_of_where_it_lies():
    files = (ROOT / "conf/base/catalog").glob("*.yml")
    entries = {name: e for file in files for name, e in yaml.safe_load(file.read_text()).items()}
    told = {row[0].strip("`"): row[1].strip("`") for row in rows_of("catalog.md") if len(row) == 3}
    for name, entry in entries.items():
        if name.startswith("_"):
            continue
        place = entry.get("filepath", entry.get("path", ""))
        if place.startswith("${_root}"):
            assert told[name] == place.removeprefix("${_root}/")
        else:
            assert name in told


def test_every_column_is_told_of(demo):
    text = (DOCS / "catalog.md").read_text()
    tables = ["clip_manifest", "test_predictions", "per_class_metrics", "reliability"]
    tables += ["rejected_clips", "splits", "embedding_map", "folds", "out_of_fold_predictions"]
    tables += ["cross_validation_per_class", "cross_validation_reliability"]
    tables += ["suspect_labels", "near_duplicates"]
    names = {name for table in tables for name in load(table, env="demo", data_root=str(demo))}
    names |= set(load("metrics", env="demo", data_root=str(demo)))
    left_out = load("cross_validation", env="demo", data_root=str(demo))
    names |= set(left_out) | set(left_out["rejection"])
    curve = load("learning_curve", env="demo", data_root=str(demo))
    names |= set(curve) | set(curve["points"][0]) | set(curve["by_label"]["ALARM_BELL"])
    names |= set(load("model_input", env="demo", data_root=str(demo))["general"])
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_tables_made_from_the_source_are_whole(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    tables = importlib.import_module("docs_tables")
    parameters = tables.parameters_table()
    for file in (ROOT / "conf/base/parameters").glob("*.yml"):
        for name, value in yaml.safe_load(file.read_text()).items():
            for key in value if isinstance(value, dict) else [None]:
                assert f"| `{name}.{key}` |" in parameters or f"| `{name}` |" in parameters
    assert "| `splits.test_fraction` | `0.2` | Share of groups that only the" in parameters
    assert "| `make eval` |" in tables.make_table()
    assert "`kedro run --pipelines=evaluation` |" in tables.make_table()
    for name in yaml.safe_load((ROOT / "conf/base/globals.yml").read_text()):
        assert f"`{name}" in tables.globals_table()


def test_what_the_readme_names_is_there():
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#:]+)[^):]*\)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
