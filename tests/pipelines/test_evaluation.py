"""From heads and test clips to scores, with heads whose every answer is known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from soundx.classifier.bundle import Classifier
from soundx.embedders import EmbedderInfo
from soundx.embeddings.store import EmbeddingStore
from soundx.errors import Remedy, SoundxError
from soundx.labels import LabelTree
from soundx.modelling.provenance import short_hashes
from soundx.pipelines.evaluation import create_pipeline, nodes
from soundx.storage.folder import Folder
from tests.pipelines.runs import heads_that_repeat, run, steps

INFO = EmbedderInfo("test", "test-1", 2, 0.96, 0.48)
TREE = LabelTree.build([("cat", "cat"), ("dog", "dog")])
# clip, side, label, and what the heads hear in its frames: logits of cat and of dog
CLIPS = [
    ("a", "train", "cat", [[9, 0]]),
    ("b", "test", "cat", [[4, 0], [2, 0]]),
    ("c", "test", "cat", [[0, 3]]),
    ("d", "test", "dog", [[0, 5]]),
    ("e", "test", "dog", [[1, 2], [0, 1], [0, 3]]),
    ("f", "field", "dog", [[0, 1]]),
    ("g", "test", "horse", [[1, 1]]),
    ("h", "test", "dog", None),  # could not be embedded
]


def classifier_of(version):
    labels = {"version": version, "categories": {"cat": "cat"}, "tflite_difference": 1e-6}
    return Classifier({"soundx.tflite": b"", "labels.json": json.dumps(labels).encode()})


@pytest.fixture
def inputs(tmp_path):
    store = EmbeddingStore(Folder(str(tmp_path)))
    embedded = store.of(INFO)
    embedded.add_shard({c: np.array(f, np.float32) for c, _, _, f in CLIPS if f is not None})
    embedded.reject({"h": "its decoder died"})
    rows = pd.DataFrame([clip[:3] for clip in CLIPS], columns=["clip_id", "split", "label"])
    rows["path"] = rows["label"] + "/" + rows["clip_id"] + ".wav"
    return {
        "heads": heads_that_repeat(INFO, TREE, seen_clips=short_hashes(["a"])),
        "clip_manifest": rows[["clip_id", "path", "label"]].assign(
            category=rows["label"],
            group=rows["clip_id"],
            duration_s=1.0,
            licence="",
            evaluation_only=False,
        ),
        "out_of_fold_predictions": pd.DataFrame(),
        "cross_validation": {},
        "splits": rows[["clip_id", "split"]].assign(group=rows["clip_id"]),
        "embeddings": store,
        "classifier": classifier_of("v1"),
        "trained_versions": {"v1": classifier_of("v1")},
    }


@pytest.fixture
def made(inputs):
    return run(create_pipeline(), inputs)


def test_test_and_field_clips_are_predicted_and_no_others(made):
    predictions = made["test_predictions"].set_index("clip_id")
    assert predictions.columns.tolist() == [
        "path", "group", "split", "label", "category", "duration_s",
        "predicted_label", "probability", "answer", "predicted_category",
        "category_probability", "top1", "top1_probability", "top2", "top2_probability", "top3",
        "top3_probability", "certainty", "probabilities", "accuracy_0_96_s", "accuracy_2_4_s",
        "baseline_label",
    ]  # fmt: skip
    assert predictions["predicted_label"].to_dict() == {
        "b": "cat", "c": "dog", "d": "dog", "e": "dog", "f": "dog",
    }  # fmt: skip
    # a clip is the softmax of the mean of its frames
    sure = 1 / (1 + np.exp(-3))
    assert predictions.loc["b", "probability"] == pytest.approx(sure)
    assert predictions.loc["c", "certainty"] == pytest.approx(1 - sure)
    assert predictions.loc["b", "top2"] == "dog"
    assert predictions["top3"].isna().all()


def test_a_clip_at_a_time_and_as_they_lie_gives_the_same_table(inputs, made, monkeypatch):
    expected = made["test_predictions"]
    embedded = inputs["embeddings"].of(INFO)
    other = EmbeddingStore(Folder(f"memory://{id(inputs)}"))
    for clip_id in ["a", *expected["clip_id"]]:
        other.of(INFO).add_shard({clip_id: embedded.frames([clip_id])})
    other.of(INFO).reject({"h": "its decoder died"})
    order = other.of(INFO).stored_order(expected["clip_id"].tolist())
    assert order.tolist() != sorted(order)
    monkeypatch.setattr(nodes, "_CLIPS_AT_A_TIME", 1)
    inputs["embeddings"] = other
    pd.testing.assert_frame_equal(run(create_pipeline(), inputs)["test_predictions"], expected)


def test_scores_are_of_the_test_clips_and_the_field_stands_apart(made):
    metrics = made["metrics"]
    assert (metrics["n_test_clips"], metrics["accuracy"]) == (4, 0.75)
    assert (metrics["n_field_clips"], metrics["field_accuracy"]) == (1, 1.0)
    assert metrics["embedder_fingerprint"] == "test-1"
    assert made["confusion_matrix"].to_numpy().tolist() == [[1, 1], [0, 2]]
    assert list(made["confusion_matrix"].columns) == ["cat", "dog"]
    recall = made["per_class_metrics"].set_index("label")["recall"]
    assert recall.to_dict() == {"cat": 0.5, "dog": 1.0}
    assert made["reliability"]["n_clips"].sum() == 4


def test_pictures_show_what_the_tables_say(made):
    (squares,) = made["confusion_matrix_plot"].data
    counts = zip(squares.y, squares.x, squares.text, strict=True)
    assert list(counts) == [("cat", "cat", "1"), ("cat", "dog", "1"), ("dog", "dog", "2")]
    assert made["confusion_matrix_page"].data == (squares,)
    written = {text.get_text() for text in made["confusion_matrix_picture"].axes[0].texts}
    assert {"1", "2"} <= written
    bins = made["reliability"].dropna(subset="confidence")
    drawn = [list(trace.x) for trace in made["reliability_plot"].data if trace.x is not None]
    assert bins["confidence"].tolist() in drawn


def test_the_evaluation_is_kept_with_its_model_and_its_card_tells_the_score(made):
    kept = made["model_versions"]
    assert kept.version == "v1"
    assert kept.metrics == made["metrics"]
    assert kept.model_card == made["model_card"]
    assert "| accuracy | 0.750" in made["model_card"]
    assert "max_epochs: 3" in made["model_card"]


def test_a_clip_seen_in_training_stops_it(inputs):
    inputs["heads"] = heads_that_repeat(INFO, TREE, seen_clips=short_hashes(["a", "d"]))
    with pytest.raises(SoundxError, match=r"1 test clips were seen .* dog/d\.wav"):
        run(create_pipeline(), inputs)


def test_a_classifier_of_another_training_or_one_that_is_not_kept_stops_it(inputs):
    old = {**inputs, "classifier": classifier_of("v0")}
    with pytest.raises(SoundxError, match="heads are of v1, the classifier of v0"):
        run(create_pipeline(), old)
    with pytest.raises(SoundxError, match="training did not end"):
        run(create_pipeline(), {**inputs, "trained_versions": {}})


def test_without_test_clips_it_says_what_to_run(inputs):
    inputs["splits"]["split"] = "train"
    with pytest.raises(SoundxError, match="no test clip") as caught:
        run(create_pipeline(), inputs)
    assert caught.value.remedy is Remedy.PREPROCESS_AND_TRAIN


def test_its_steps_are_these():
    assert sorted(steps(create_pipeline())) == [
        "evaluation.keep_evaluation",
        "evaluation.plot_confusion",
        "evaluation.plot_reliability",
        "evaluation.predict_test_clips",
        "evaluation.score_predictions",
    ]
