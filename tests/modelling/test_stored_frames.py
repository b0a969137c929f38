from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from soundx.embedders import EmbedderInfo
from soundx.embeddings import store
from soundx.embeddings.store import EmbeddingStore
from soundx.modelling.heads import Frames, TrainingOptions, train_head
from soundx.modelling.stored_frames import stored_frames
from soundx.storage.folder import Folder

INFO = EmbedderInfo("test", "test-1", 8, 0.96, 0.48)


@pytest.fixture
def embedded(tmp_path, rng, monkeypatch):
    """Three classes around three centres, 60 clips of 1 to 5 frames in four shards."""
    monkeypatch.setattr(store, "ROW_GROUP_NUMBERS", 16 * INFO.dim)
    kept = EmbeddingStore(Folder(str(tmp_path))).of(INFO)
    rows = []
    for shard in range(4):
        clips = {}
        for number in range(15):
            target = number % 3
            frames = 3 * np.eye(3, 8)[target] + rng.standard_normal((number % 5 + 1, 8))
            clips[f"{shard}-{number}"] = frames.astype(np.float32)
            rows.append((f"{shard}-{number}", target, 1.0 + target))
        kept.add_shard(clips)
    return kept, pd.DataFrame(rows, columns=["clip_id", "target", "weight"])


def test_frames_that_fit_are_in_memory_in_the_order_of_the_clips(embedded):
    kept, clips = embedded
    frames = stored_frames(clips, kept, frames_in_memory=1000)
    assert isinstance(frames, Frames)
    np.testing.assert_array_equal(frames.embeddings, kept.frames(clips["clip_id"].tolist()))
    assert (frames.weights == 1 + frames.targets).all()
    assert frames.targets[:3].tolist() == [0, 1, 1]


@pytest.mark.slow
def test_a_head_learns_as_well_from_blocks(embedded):
    kept, clips = embedded
    options = TrainingOptions(hidden_units=(16,), max_epochs=15, learning_rate=0.01, batch_size=8)
    validation = stored_frames(clips, kept, frames_in_memory=1000)
    blocks = stored_frames(clips, kept, frames_in_memory=30)
    sizes = [len(block.targets) for block in blocks.blocks()]
    assert len(sizes) > 3
    assert sum(sizes) == len(validation.targets)
    heads = {}
    for name, train in (("memory", validation), ("blocks", blocks), ("again", blocks)):
        heads[name], history = train_head(train, validation, 3, options)
        assert history.val_accuracy[-1] > 0.95
    normalisers = [heads[name].get_layer("standardise") for name in ("memory", "blocks")]
    np.testing.assert_allclose(*[np.asarray(layer.mean) for layer in normalisers], atol=1e-5)
    np.testing.assert_allclose(*[np.asarray(layer.variance) for layer in normalisers], rtol=1e-4)
    answers = [np.asarray(heads[name](validation.embeddings)) for name in ("blocks", "again")]
    np.testing.assert_array_equal(*answers)
