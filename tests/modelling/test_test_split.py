"""The test split is read by evaluation alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from soundx.embedders import EmbedderInfo
from soundx.embeddings.store import EmbeddingStore
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.provenance import short_hashes
from soundx.modelling.rejection import RejectionOptions
from soundx.pipelines.preprocessing.nodes import build_model_input
from soundx.pipelines.training.nodes import train_heads
from soundx.storage.folder import Folder

DIM = 8
LABELS = ["A_x", "A_y", "B_x", "B_y"]


@pytest.fixture
def project(tmp_path, rng):
    """Return what makes a project, with test labels and test sounds as they are or spoilt."""

    def make(*, spoilt: bool):
        rows, frames = [], {}
        draw = np.random.default_rng(5)
        for number in range(60):
            target = number % 4
            split = ["train", "train", "train", "validation", "test"][number // 4 % 5]
            clip = 3 * np.eye(4, DIM)[target] + draw.standard_normal((3, DIM))
            if spoilt and split == "test":
                target = (target + 1) % 4
                clip = rng.standard_normal((3, DIM)) * 100
            frames[f"clip{number}"] = clip.astype(np.float32)
            rows.append((f"clip{number}", LABELS[target], split))
        store = EmbeddingStore(Folder(str(tmp_path / str(spoilt))))
        info = EmbedderInfo("test", "t-1", DIM, 0.96, 0.48)
        store.of(info).add_shard(frames)
        store.set_current(info)
        table = pd.DataFrame(rows, columns=["clip_id", "label", "split"])
        manifest = table[["clip_id", "label"]].assign(category=table["label"].str[0])
        splits = table[["clip_id", "split"]].assign(group=table["clip_id"])
        return build_model_input(manifest, splits, store)[0], store

    return make


def weights(heads):
    return [w for name in sorted(heads.models) for w in heads.models[name].get_weights()]


@pytest.mark.parametrize("head", ["ridge", "dense", pytest.param("seed", marks=pytest.mark.slow)])
def test_spoilt_test_clips_change_nothing_that_is_learnt(project, head):
    options = TrainingOptions(head=head, max_epochs=2, hidden_units=(8,), learn_noise=False)
    honest = train_heads(*project(spoilt=False), options, RejectionOptions())
    spoilt = train_heads(*project(spoilt=True), options, RejectionOptions())
    for one, other in zip(weights(honest), weights(spoilt), strict=True):
        np.testing.assert_array_equal(one, other)
    assert honest.manifest_digest != spoilt.manifest_digest
    test = [f"clip{n}" for n in range(60) if n // 4 % 5 == 4]
    assert not np.isin(short_hashes(test), honest.seen_clips).any()


def test_a_refit_learns_from_them_and_remembers(project):
    options = TrainingOptions(refit="all", learn_noise=False)
    honest = train_heads(*project(spoilt=False), options, RejectionOptions())
    spoilt = train_heads(*project(spoilt=True), options, RejectionOptions())
    assert not np.allclose(weights(honest)[-1], weights(spoilt)[-1])
    assert len(honest.seen_clips) == 60
    assert honest.training["refit"] == "all"
