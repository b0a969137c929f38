"""From stored frames to what can be believed: every clip predicted without its recording."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from soundx.embedders.base import EmbedderInfo, Part
from soundx.embeddings.store import EmbeddingStore
from soundx.errors import SoundxError
from soundx.metrics.left_out import OUT_OF_FOLD_COLUMNS
from soundx.modelling.folds import FOLD_COLUMNS, CrossValidationOptions
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.noise import NoiseFrames
from soundx.modelling.rejection import RejectionOptions
from soundx.pipelines.cross_validation import create_pipeline
from soundx.storage.folder import Folder
from tests.pipelines.runs import run, steps

INFO = EmbedderInfo("test", "test-1", 8, 0.96, 0.48, parts=(Part("a", 8, ("mean", "max")),))
LABELS = ["A_1", "A_2", "B_1", "B_2", "C"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Recordings of three clips each, every one with a colour of its own; and background."""
    rng = np.random.default_rng(7)
    rows, frames = [], {}
    for number, label in enumerate([*LABELS, ""]):
        for recording in range(12):
            own = rng.standard_normal(8)
            for cut in range(3):
                clip_id = f"{label or 'none'}-{recording}-{cut}".ljust(64, "0")
                centre = 3 * np.eye(6, 8)[number] + own
                frames[clip_id] = (centre + 0.1 * rng.standard_normal((4, 8))).astype(np.float32)
                rows.append((clip_id, f"{clip_id}.wav", label, label[:1], f"{label}{recording}"))
    # one clip under a wrong label, and a copy of one in another recording
    copied = frames[rows[0][0]]
    frames[rows[40][0]] = copied
    store = EmbeddingStore(Folder(str(tmp_path_factory.mktemp("embeddings"))))
    store.of(INFO).add_shard(frames)
    store.set_current(INFO)
    manifest = pd.DataFrame(rows, columns=["clip_id", "path", "label", "category", "group"])
    manifest["fold"] = pd.array([pd.NA] * len(manifest), "Int64")
    manifest["duration_s"], manifest["evaluation_only"] = 3600 / 36, False
    return {
        "clip_manifest": manifest,
        "embeddings": store,
        "params:cross_validation": CrossValidationOptions(),
        "params:training": TrainingOptions(learn_noise=False),
        "params:rejection": RejectionOptions(),
        "noise_frames": None,
    }


@pytest.fixture(scope="module")
def made(inputs):
    return run(create_pipeline(), inputs)


def test_every_clip_is_predicted_without_its_recording(made):
    folds, table = made["folds"], made["out_of_fold_predictions"]
    assert list(folds.columns) == list(FOLD_COLUMNS)
    assert (folds.groupby("group")["fold"].nunique() == 1).all()
    assert list(table.columns) == [*OUT_OF_FOLD_COLUMNS, "probabilities"]
    assert len(table) == 6 * 36
    total = np.stack(table["probabilities"]).sum(axis=1) + table["background_probability"]
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_the_figures_are_those_of_the_table(made):
    report, table = made["cross_validation"], made["out_of_fold_predictions"]
    labelled = table[table["label"] != ""]
    right = labelled["label"] == labelled["predicted_label"]
    by_fold = right.groupby(labelled["fold"]).mean()
    assert report["accuracy_mean"] == pytest.approx(by_fold.mean())
    assert report["accuracy_std"] == pytest.approx(by_fold.std(ddof=0))
    low, high = report["accuracy_ci95"]
    assert low < right.mean() < high
    assert (report["k"], report["grouped"], report["head"]) == (5, True, "ridge")
    assert report["n_clips"], report["n_groups"] == (180, 60)
    assert report["accuracy_mean"] <= report["category_accuracy_mean"]
    # cuts of one recording on both sides flatter
    assert report["leaky_accuracy_mean"] > report["accuracy_mean"]
    assert report["calibration_error"] < report["calibration_error_before"]
    assert 0.5 < report["rejection"]["auroc_of_labels_left_out"] <= 1
    assert report["rejection"]["n_background_clips"] == 36
    assert report["rejection"]["false_alarms_per_hour"] <= 36
    per_class = made["cross_validation_per_class"]
    assert per_class["label"].tolist() == LABELS
    assert per_class["n_groups"].tolist() == [12] * 5


def test_clips_that_all_sound_alike_are_no_reason_to_stop(inputs, tmp_path):
    store = EmbeddingStore(Folder(str(tmp_path)))
    manifest = inputs["clip_manifest"].query("label.isin(['A_1', 'B_1'])")
    store.of(INFO).add_shard(dict.fromkeys(manifest["clip_id"], np.ones((2, 8), np.float32)))
    store.set_current(INFO)
    said = run(create_pipeline(), {**inputs, "clip_manifest": manifest, "embeddings": store})
    assert said["cross_validation"]["accuracy_mean"] <= 0.75


def test_a_wrong_label_and_a_copy_are_found(made):
    suspects, copies = made["suspect_labels"], made["near_duplicates"]
    wrong = "A_2-1-1".ljust(64, "0")
    assert wrong in suspects["clip_id"].head(8).tolist()
    assert suspects["suspicion"].is_monotonic_decreasing
    assert len(copies) < 36
    assert copies["similarity"][0] == pytest.approx(1, abs=1e-3)
    assert copies["across_labels"][0]


def test_more_recordings_are_forecast_to_help_or_not_to_harm(made):
    curve = made["learning_curve"]
    assert [point["share"] for point in curve["points"]] == [0.1, 0.25, 0.5, 1.0]
    assert curve["points"][0]["accuracy"] < curve["points"][-1]["accuracy"]
    for label in LABELS:
        forecast = curve["by_label"][label]
        assert forecast["recall"] <= forecast["recall_with_ten_more"] <= 1
    assert len(made["learning_curve_plot"].data) == 1


def test_the_same_clips_give_the_same_figures(made, inputs):
    again = run(create_pipeline(), inputs)
    assert again["cross_validation"] == made["cross_validation"]


def test_noise_is_learnt_in_every_fold_and_scored_in_none(made, inputs):
    """Noise where no clip is: what it says of the clips is what it said without."""
    far = 50 * np.random.default_rng(9).standard_normal((6, 10, 8)).astype(np.float32)
    noise = NoiseFrames(INFO.fingerprint, far)
    labelled = inputs["clip_manifest"].query("label != ''")
    known = {**inputs, "clip_manifest": labelled}
    plain = run(create_pipeline(), known)["out_of_fold_predictions"]
    assert (plain["background_probability"] == 0).all()
    same = run(create_pipeline(), {**known, "noise_frames": noise})["out_of_fold_predictions"]
    pd.testing.assert_frame_equal(same, plain)
    known["params:training"] = TrainingOptions()
    learnt = run(create_pipeline(), {**known, "noise_frames": noise})["out_of_fold_predictions"]
    assert learnt["clip_id"].tolist() == plain["clip_id"].tolist()
    assert (learnt["background_probability"] > 0).all()
    total = np.stack(learnt["probabilities"]).sum(axis=1) + learnt["background_probability"]
    np.testing.assert_allclose(total, 1, atol=1e-5)
    for found in (None, NoiseFrames("test-2", far)):
        with pytest.raises(SoundxError, match="Noise is to be learnt"):
            run(create_pipeline(), {**known, "noise_frames": found})


def test_one_recording_alone_cannot_be_left_out(inputs):
    manifest = inputs["clip_manifest"].assign(group="all")
    with pytest.raises(SoundxError, match="two recordings or more"):
        run(create_pipeline(), {**inputs, "clip_manifest": manifest})


def test_its_steps_are_these():
    names = steps(create_pipeline())
    assert names[:3] == [
        "cross_validation.deal_folds",
        "cross_validation.predict_out_of_fold",
        "cross_validation.score_cross_validation",
    ]
