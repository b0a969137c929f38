"""Wrong labels and copies that were planted are found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from soundx.embedders import EmbedderInfo
from soundx.embeddings.store import EmbeddingStore
from soundx.modelling.cross_validation import predict_left_out
from soundx.modelling.folds import CrossValidationOptions, assign_folds
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.suspects import near_duplicates, suspect_labels, without_copies
from soundx.storage.folder import Folder

N_LABELS, DIM = 8, 48


@pytest.fixture
def clips(tmp_path, rng):
    """400 clips of eight sounds, one recording each, that overlap a little; their frames."""
    truth = np.repeat(np.arange(N_LABELS), 50)
    centres = 1.1 * rng.standard_normal((N_LABELS, DIM))
    frames = {
        f"clip{n:03}": (centres[label] + rng.standard_normal((4, DIM))).astype(np.float32)
        for n, label in enumerate(truth)
    }
    kept = EmbeddingStore(Folder(str(tmp_path))).of(EmbedderInfo("test", "t-1", DIM, 0.96, 0.48))
    kept.add_shard(frames)
    names = np.array([f"sound{label}" for label in truth], object)
    table = pd.DataFrame(
        {
            "clip_id": list(frames),
            "path": [f"{name}/{clip}.wav" for name, clip in zip(names, frames, strict=True)],
            "label": names,
            "group": list(frames),
            "fold": None,
            "duration_s": 2.4,
            "evaluation_only": False,
        }
    )
    return table, kept


def test_planted_wrong_labels_are_listed_first(clips, rng):
    table, kept = clips
    planted = np.sort(rng.choice(len(table), 12, replace=False))  # 3 %
    wrong = table["label"].to_numpy(object)
    for clip in planted:
        others = [name for name in np.unique(wrong) if name != wrong[clip]]
        wrong[clip] = rng.choice(others)
    folds = assign_folds(table.assign(label=wrong, category=wrong), CrossValidationOptions())
    probabilities, _ = predict_left_out(folds, kept, TrainingOptions(windows_per_clip=0))
    labels = np.unique(wrong)
    guess = probabilities.argmax(axis=1)
    rows = np.arange(len(folds))
    ranked = suspect_labels(
        folds.assign(
            predicted_label=labels[guess],
            probability=probabilities[rows, guess],
            certainty=probabilities[rows, np.searchsorted(labels, wrong)],
        )
    )
    suspicion = ranked.set_index("clip_id")["suspicion"].reindex(folds["clip_id"], fill_value=-1.0)
    assert average_precision_score(np.isin(rows, planted), suspicion) >= 0.8
    assert ranked["suspicion"].is_monotonic_decreasing


def test_copies_are_found_and_nothing_else_is(rng):
    vectors = rng.standard_normal((60, 256)).astype(np.float32)
    sources = np.arange(10)
    copies = vectors[sources] + 0.02 * rng.standard_normal((10, 256)).astype(np.float32)
    table = pd.DataFrame({"clip_id": [f"c{n}" for n in range(70)]})
    table["path"] = table["clip_id"] + ".wav"
    table["label"] = ["a"] * 60 + ["b"] * 5 + ["a"] * 5
    table["group"] = table["clip_id"]
    table["fold"] = 1 + np.arange(70) % 2
    found = near_duplicates(np.concatenate([vectors, copies]), table)
    pairs = set(zip(found["clip_id"], found["other_clip_id"], strict=True))
    assert pairs == {(f"c{n}", f"c{60 + n}") for n in range(10)}
    assert found["across_labels"].sum() == 5
    assert not found["across_folds"].any()
    assert without_copies(table, found).all()
    torn = near_duplicates(np.concatenate([vectors, copies]), table.assign(fold=table.index))
    assert without_copies(table, torn).sum() == 50


def test_a_copy_that_was_changed_is_told_from_sounds_that_are_merely_alike(rng):
    family = rng.standard_normal(256) + 0.3 * rng.standard_normal((20, 256))
    strangers = rng.standard_normal((20, 256))
    copy = strangers[:1] + 0.45 * rng.standard_normal((1, 256))  # a cosine of about 0.91
    vectors = np.concatenate([family, strangers, copy]).astype(np.float32)
    names = [f"c{n}" for n in range(41)]
    table = pd.DataFrame({"clip_id": names, "path": names, "group": names, "label": "x", "fold": 1})
    found = near_duplicates(vectors, table)
    assert found[["clip_id", "other_clip_id"]].to_numpy().tolist() == [["c20", "c40"]]
    assert found["similarity"].between(0.85, 0.97).all()


def test_clips_of_one_recording_are_not_called_copies(rng):
    vector = rng.standard_normal((1, 64)).astype(np.float32)
    table = pd.DataFrame({"clip_id": ["a", "b"], "path": ["a", "b"], "label": "x", "fold": 1})
    assert near_duplicates(np.repeat(vector, 2, axis=0), table.assign(group="one")).empty
