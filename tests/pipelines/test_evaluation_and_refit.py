"""Evaluation, of a model with a test and of one that learned from every clip."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from soundx.classifier.bundle import Classifier
from soundx.classifier.card import clip_facts, model_card
from soundx.embedders import EmbedderInfo
from soundx.embeddings.store import EmbeddingStore
from soundx.errors import Remedy, SoundxError
from soundx.modelling.folds import CrossValidationOptions
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.rejection import RejectionOptions
from soundx.pipelines.cross_validation.nodes import (
    deal_folds,
    predict_out_of_fold,
    score_cross_validation,
)
from soundx.pipelines.evaluation.nodes import predict_test_clips, score_predictions
from soundx.pipelines.preprocessing.nodes import build_model_input
from soundx.pipelines.training.nodes import train_heads
from soundx.storage.folder import Folder

DIM = 8
LABELS = ["A_x", "A_y", "B_x", "B_y"]
SIDES = ["train", "train", "train", "validation", "test"]


class Project:
    """Sixty clips of thirty recordings, embedded, and what pipelines make of them."""

    def __init__(self, folder):
        rng = np.random.default_rng(5)
        rows, frames = [], {}
        for number in range(60):
            target, group = number // 2 % 4, number // 2
            clip = 2 * np.eye(4, DIM)[target] + rng.standard_normal((5, DIM))
            frames[f"clip{number}"] = clip.astype(np.float32)
            label = LABELS[target]
            rows.append((f"clip{number}", f"{label}/{number}.wav", label, label[0], f"r{group}"))
        self.store = EmbeddingStore(Folder(str(folder)))
        info = EmbedderInfo("test", "t-1", DIM, 0.96, 0.48)
        self.store.of(info).add_shard(frames)
        self.store.set_current(info)
        columns = ["clip_id", "path", "label", "category", "group"]
        self.manifest = pd.DataFrame(rows, columns=columns).assign(
            fold=None, duration_s=2.9, evaluation_only=False, licence=["CC0", "CC-BY"] * 30
        )
        side = [SIDES[number // 8 % 5] for number in range(60)]
        self.splits = self.manifest[["clip_id", "group"]].assign(split=side)

    def train(self, **options):
        tables, _ = build_model_input(self.manifest, self.splits, self.store)
        training = TrainingOptions(learn_noise=False, **options)
        return train_heads(tables, self.store, training, RejectionOptions())

    def cross_validate(self):
        options = TrainingOptions(learn_noise=False)
        folds = deal_folds(self.manifest, self.store, CrossValidationOptions())
        table = predict_out_of_fold(folds, self.store, options)
        found = score_cross_validation(
            table, self.manifest, self.store, options, RejectionOptions()
        )
        return table, found[0]

    def relabel(self):
        """Give every clip the next label, as files do that change folders."""
        after = dict(zip(LABELS, [*LABELS[1:], LABELS[0]], strict=True))
        label = self.manifest["label"].map(after)
        self.manifest = self.manifest.assign(label=label, category=label.str[0])

    def evaluate(self, heads, left_out=None, found=None):
        left_out = pd.DataFrame() if left_out is None else left_out
        labels = json.dumps({"version": heads.version, "categories": {"A_x": "A"}}).encode()
        classifier = Classifier({"soundx.tflite": b"", "labels.json": labels})
        table = predict_test_clips(
            heads, self.manifest, self.splits, self.store, left_out, classifier
        )
        return table, score_predictions(
            table, heads, self.manifest, self.splits, self.store, found or {}
        )


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_a_test_is_told_with_what_it_is_held_against(project):
    table, (metrics, per_class, _, _) = project.evaluate(project.train())
    assert set(table["split"]) == {"test"}
    assert metrics["refit"] is False
    assert metrics["n_test_clips"] == len(table) < 20
    assert metrics["n_test_groups"] == table["group"].nunique() < len(table)
    assert 0.5 < metrics["logistic_regression_accuracy"] <= 1
    # a second tells less than four do
    assert metrics["accuracy_0_96_s"] < metrics["accuracy_2_4_s"] <= 1
    assert any("fewer than 3 recordings" in said for said in metrics["warnings"])
    assert "cross_validated_accuracy" not in metrics
    assert per_class["n_test_groups"].sum() == metrics["n_test_groups"]


def test_cross_validation_is_quoted_where_it_is_of_such_a_model(project):
    heads = project.train()
    left_out, found = project.cross_validate()
    _, (metrics, *_) = project.evaluate(heads, left_out, found)
    assert metrics["cross_validated_accuracy"] == found["accuracy_mean"]
    assert metrics["cross_validation_folds"] == 5
    for other in ({"head": "dense"}, {"embedder_fingerprint": "t-2"}):
        _, (metrics, *_) = project.evaluate(heads, left_out, found | other)
        assert "cross_validated_accuracy" not in metrics


def test_cross_validation_of_other_labels_is_told_and_not_quoted(project, caplog):
    old = project.train()
    left_out, found = project.cross_validate()
    project.relabel()
    new = project.train()
    _, (metrics, *_) = project.evaluate(new, left_out, found)
    assert "cross_validated_accuracy" not in metrics
    assert f"To have it, {Remedy.CROSS_VALIDATE.value}." in caplog.text
    # of the new labels, but the model is of the old ones
    caplog.clear()
    left_out, found = project.cross_validate()
    _, (metrics, *_) = project.evaluate(old, left_out, found)
    assert "cross_validated_accuracy" not in metrics
    assert f"To have it, {Remedy.TRAIN_AND_EVALUATE.value}." in caplog.text
    caplog.clear()
    _, (metrics, *_) = project.evaluate(new, left_out, found)
    assert metrics["cross_validated_accuracy"] == found["accuracy_mean"]
    assert "To have it" not in caplog.text


def test_recordings_that_were_dealt_out_otherwise_are_others(project):
    heads = project.train()
    left_out, found = project.cross_validate()
    project.manifest["group"] = "all" + project.manifest["group"].str[-1]
    _, (metrics, *_) = project.evaluate(heads, left_out, found)
    assert "cross_validated_accuracy" not in metrics


def test_a_model_of_every_clip_is_not_judged_by_other_labels(project):
    old = project.train(refit="all")
    stale = project.cross_validate()
    project.relabel()
    new = project.train(refit="all")
    with pytest.raises(SoundxError, match="only cross-validation can tell") as error:
        project.evaluate(new, *stale)
    assert error.value.remedy is Remedy.CROSS_VALIDATE
    left_out, found = project.cross_validate()
    with pytest.raises(SoundxError, match="only cross-validation can tell"):
        project.evaluate(new, left_out, stale[1])
    with pytest.raises(SoundxError, match="only cross-validation can tell") as error:
        project.evaluate(old, left_out, found)
    assert error.value.remedy is Remedy.TRAIN_AND_EVALUATE
    project.evaluate(new, left_out, found)


def test_a_model_that_learned_from_every_clip_is_judged_by_cross_validation(project):
    heads = project.train(refit="all")
    left_out, found = project.cross_validate()
    table, (metrics, per_class, _, _) = project.evaluate(heads, left_out, found)
    assert set(table["split"]) == {"left_out"}
    assert metrics["refit"] is True
    assert metrics["n_test_clips"] == 60
    assert metrics["accuracy"] == metrics["cross_validated_accuracy"] == found["accuracy_mean"]
    assert metrics["accuracy_ci95"] == found["accuracy_ci95"]
    assert "accuracy_0_96_s" not in metrics
    card = model_card(
        heads,
        clips=clip_facts(project.manifest),
        metrics=metrics,
        per_class=per_class,
        cross_validation=found,
    )
    assert "The test clips were learnt from, so there is no test." in card
    assert "It learned from all of them, test clips too" in card
    assert "60 clips of 4 labels, cut from 30 recordings, 0.05 hours" in card
    assert "CC0: 30" in card
    assert f"| accuracy | {found['accuracy_mean']:.3f} (95 % interval" in card
    assert heads.manifest_digest in card


def test_without_cross_validation_nothing_can_be_said_of_it(project):
    heads = project.train(refit="all")
    left_out, found = project.cross_validate()
    for table, figures in (
        (pd.DataFrame(), {}),
        (left_out, found | {"head": "dense"}),
        (left_out.assign(clip_id=left_out["clip_id"] + "?"), found),
    ):
        with pytest.raises(SoundxError, match="only cross-validation can tell") as error:
            project.evaluate(heads, table, figures)
        assert error.value.remedy is Remedy.CROSS_VALIDATE
