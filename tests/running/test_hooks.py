"""What a run says at its end."""

from __future__ import annotations

import re
import types

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from soundx.datasets.clips import ClipSourceDataset, SynthesisedClipsDataset
from soundx.datasets.models import ClassifierDataset
from soundx.datasets.tables import CSVDataset, JSONDataset, OptionalStateDataset
from soundx.datasets.where import where
from soundx.running.hooks import SummaryHooks

METRICS = {
    "embedder": "logmel",
    "accuracy": 0.5,
    "accuracy_ci95": [0.25, 0.75],
    "category_accuracy": 0.875,
    "majority_class_accuracy": 0.125,
    "n_test_clips": 1,
}


class KnownClassifier(ClassifierDataset):
    """One that need not be trained."""

    def load(self):
        return types.SimpleNamespace(version="v1")


@pytest.fixture
def summary(tmp_path, monkeypatch, capsys):
    """Run a pipeline's end on clips of ours, and return what is printed."""
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "pyproject.toml").write_text('[tool.kedro]\npackage_name = "soundx"\n')
    monkeypatch.chdir(tmp_path)

    def print_it(
        *,
        labels,
        categories,
        rejected=(),
        clips=None,
        env=None,
        metrics=METRICS,
        curve=None,
        broken=None,
    ):
        manifest = pd.DataFrame({"label": labels, "category": categories})
        catalog = DataCatalog(
            {
                "bucket_clips": clips or ClipSourceDataset(path="clips"),
                "clip_manifest": MemoryDataset(manifest),
                "rejected_clips": CSVDataset(
                    filepath=str(tmp_path / "reports/rejected_clips.csv"),
                    save_args={"index": False},
                ),
                "learning_curve": OptionalStateDataset(
                    filepath=str(tmp_path / "reports/curve.json")
                ),
                "metrics": JSONDataset(filepath=str(tmp_path / "reports/metrics.json")),
                "classifier": KnownClassifier(path=str(tmp_path / "model")),
                "last_run": MemoryDataset(),
            }
        )
        catalog.save("metrics", metrics)
        if curve:
            points = [{"share": share, "accuracy": accuracy} for share, accuracy in curve.items()]
            catalog.save("learning_curve", {"points": points})
        catalog.save("rejected_clips", pd.DataFrame(rejected, columns=["path", "reason"]))
        for name, content in (broken or {}).items():
            (tmp_path / "reports" / name).write_bytes(content)
        evaluation = Pipeline([Node(lambda: METRICS, None, "metrics", name="score")])
        SummaryHooks().after_pipeline_run({"env": env}, evaluation, catalog)
        return capsys.readouterr().out

    return print_it


def test_where_labels_are_flat_no_figure_is_said_twice(summary):
    assert "category" not in summary(labels=["a", "b"], categories=["a", "b"])
    assert "0.875" in summary(labels=["a_x", "a_y"], categories=["a", "a"])


def test_counts_agree_with_their_nouns(summary):
    said = summary(labels=["a"], categories=["a"])
    assert re.search(r"1 of 1 label\s", said)
    assert re.search(r"on 1 test clip\s", said)
    many = summary(labels=["a", "b"] * 1000, categories=["a", "b"] * 1000)
    assert "2,000 of 2 labels" in many


def test_a_rejected_file_is_named_with_its_reason_and_where_all_are_listed(summary):
    odd = ("a/[bold]notes[/bold].txt", "a text file")
    said = summary(labels=["a", "b"], categories=["a", "b"], rejected=[odd])
    assert "1 file, a/[bold]notes[/bold].txt: a text file (reports/rejected_clips.csv)" in said
    more = summary(labels=["a", "b"], categories=["a", "b"], rejected=[odd, ("b/x.wav", "empty")])
    assert "2 files, for example a/[bold]notes[/bold].txt: a text file" in more
    assert "all in reports/rejected_clips.csv" in more
    none = summary(labels=["a", "b"], categories=["a", "b"])
    assert "nothing" in none


@pytest.mark.parametrize("content", [b"", b"path,reason\n\xff,x\n", b"other\n1\n"])
def test_what_cannot_be_read_is_left_out_of_it(summary, content):
    """All is done and saved by then: the run has not failed."""
    names = {"labels": ["a", "b"], "categories": ["a", "b"], "metrics": CROSS_VALIDATED}
    broken = {"rejected_clips.csv": content, "curve.json": content}
    said = summary(**names, curve={0.5: 0.6, 1.0: 0.625}, broken=broken)
    assert "on 1 test clip" in said
    assert "rejected" not in said
    assert "refit" not in said


CROSS_VALIDATED = METRICS | {
    "cross_validated_accuracy": 0.625,
    "cross_validated_accuracy_ci95": [0.5, 0.75],
    "cross_validation_folds": 5,
}


def test_cross_validation_is_told_beside_the_test(summary):
    names = {"labels": ["a", "b"], "categories": ["a", "b"]}
    said = summary(**names, metrics=CROSS_VALIDATED)
    assert "0.625 (95 % interval 0.500 to 0.750) in 5 folds" in said
    assert "on 1 test clip" in said
    assert "cross-validated" not in summary(**names)


def test_a_refit_is_spoken_of_where_recordings_still_help(summary):
    names = {"labels": ["a", "b"], "categories": ["a", "b"], "metrics": CROSS_VALIDATED}
    worth = summary(**names, curve={0.5: 0.6, 1.0: 0.625})
    assert "--params=training.refit=all ships a model that learned from every clip" in worth
    assert "2.5 points" in worth
    assert "refit" not in summary(**names, curve={0.5: 0.62, 1.0: 0.625})
    assert "refit" not in summary(**names)


def test_of_a_refit_no_test_is_told(summary):
    names = {"labels": ["a", "b"], "categories": ["a", "b"]}
    said = summary(**names, metrics=CROSS_VALIDATED | {"refit": True})
    assert "test clip " not in said
    assert "learned from every clip" in said
    assert "0.625" in said


def test_your_own_clips_are_advised_to_those_alone_who_ran_on_others(summary):
    names = {"labels": ["a", "b"], "categories": ["a", "b"]}
    demo = summary(**names, clips=SynthesisedClipsDataset(clips_per_label=1), env="demo")
    assert "kedro viz run --env=demo, or your own clips: kedro run --params=source=DIR" in demo
    own = summary(**names, env="local")
    assert "kedro viz run --env=local, or its mistakes by ear: make app ENV=local" in own
    assert "your own clips" not in own


def test_outside_of_a_project_no_command_of_a_project_is_advised(summary, tmp_path):
    (tmp_path / "pyproject.toml").unlink()
    names = {"labels": ["a", "b"], "categories": ["a", "b"]}
    own = summary(**names, env="s3")
    assert "its mistakes by ear: KEDRO_ENV=s3 python -m soundx.viewer" in own
    demo = summary(**names, clips=SynthesisedClipsDataset(clips_per_label=1))
    assert "your own clips: python -m soundx --params=source=DIR" in demo
    assert "kedro" not in demo


@pytest.mark.parametrize(
    ("dataset", "place"),
    [
        (JSONDataset(filepath="/data/metrics.json"), "/data/metrics.json"),
        (JSONDataset(filepath="s3://bucket/metrics.json"), "s3://bucket/metrics.json"),
        (ClassifierDataset(path="/data/model"), "/data/model"),
        (MemoryDataset(), None),
    ],
    ids=["file", "object", "folder", "memory"],
)
def test_where_a_dataset_lies_is_told(dataset, place):
    assert where(dataset) == place
