from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from soundx.embedders.base import EmbedderInfo, Part
from soundx.embeddings.store import EmbeddingStore
from soundx.modelling.pooling import pool_frames, pool_frames_layer, pooled_widths
from soundx.modelling.vectors import MAX_WINDOW_FRAMES, all_vectors, vector_blocks
from soundx.storage.folder import Folder

PARTS = (Part("a", 3, ("mean", "max"), root=True), Part("b", 2, ("max",)))


def test_a_clip_is_pooled_part_by_part():
    frames = np.array([[4, 0, 1, -1, 2], [0, 0, 9, 3, -5], [1, 1, 1, 0, 0]], np.float32)
    pooled = pool_frames(frames, np.array([2, 1]), PARTS)
    np.testing.assert_allclose(pooled[0], [1, 0, 2, 2, 0, 3, 3, 2])
    np.testing.assert_allclose(pooled[1], [1, 1, 1, 1, 1, 1, 0, 0])
    assert pooled.shape[1] == sum(pooled_widths(PARTS))
    assert pool_frames(np.empty((0, 5), np.float32), np.empty(0, int), PARTS).shape == (0, 8)


@pytest.mark.parametrize("n_frames", [1, 2, 7])
def test_the_layer_pools_as_numpy_does(rng, n_frames):
    frames = rng.standard_normal((4, n_frames, 5)).astype(np.float32)
    layer = pool_frames_layer()([asdict(part) for part in PARTS])
    expected = pool_frames(frames.reshape(-1, 5), np.full(4, n_frames), PARTS)
    np.testing.assert_allclose(np.asarray(layer(frames)), expected, atol=1e-6)
    again = type(layer).from_config(layer.get_config())
    np.testing.assert_allclose(np.asarray(again(frames)), expected, atol=1e-6)


@pytest.fixture
def stored(tmp_path, rng, monkeypatch):
    """Clips of one to nine frames in three shards, read in small pieces."""
    monkeypatch.setattr("soundx.embeddings.store.ROW_GROUP_NUMBERS", 20)
    info = EmbedderInfo("test", "test-1", 5, 0.96, 0.48, parts=PARTS)
    kept = EmbeddingStore(Folder(str(tmp_path))).of(info)
    clips = {
        f"{number:064x}": rng.integers(0, 9, (number % 9 + 1, 5)).astype(np.float32)
        for number in range(40)
    }
    names = list(clips)
    for first in (0, 15, 30):
        kept.add_shard({name: clips[name] for name in names[first : first + 15]})
    return kept, clips


def test_stored_clips_are_pooled_in_the_order_asked_for(stored):
    kept, clips = stored
    names = list(clips)[::-3]
    found = all_vectors(kept, names)
    for name, vector in zip(names, found.whole, strict=True):
        expected = pool_frames(clips[name], np.array([len(clips[name])]), PARTS)[0]
        np.testing.assert_allclose(vector, expected, atol=1e-6)
    assert len(found.windows) == 0


def test_short_stretches_are_drawn_the_same_whatever_is_beside_them(stored):
    kept, clips = stored
    names = list(clips)
    everything = all_vectors(kept, names, windows_per_clip=3)
    lengths = np.array([len(clips[name]) for name in names])
    assert np.bincount(everything.owners, minlength=40).tolist() == [
        0 if length == 1 else 3 for length in lengths
    ]
    some = all_vectors(kept, names[10:20], windows_per_clip=3)
    for owner in range(10):
        mine = np.sort(some.windows[some.owners == owner], axis=0)
        theirs = np.sort(everything.windows[everything.owners == owner + 10], axis=0)
        np.testing.assert_array_equal(mine, theirs)
    # a stretch's maximum is no more than its clip's, and some are less
    of_clip = everything.whole[everything.owners][:, 3:6]
    assert (everything.windows[:, 3:6] <= of_clip + 1e-6).all()
    assert (everything.windows[:, 3:6] < of_clip - 1e-6).any()
    assert MAX_WINDOW_FRAMES == 5
    other = all_vectors(kept, names, windows_per_clip=3, seed=8)
    assert not np.array_equal(other.windows, everything.windows)


def test_no_more_than_some_frames_are_held(stored):
    kept, clips = stored
    sizes = [len(block.clips) for block in vector_blocks(kept, list(clips), max_frames=10)]
    assert sum(sizes) == 40
    assert max(sizes) < 12
