from __future__ import annotations

import numpy as np
import pytest

from soundx.embedders import EmbedderInfo
from soundx.embedders.store import EmbeddingStore
from soundx.errors import SoundxError
from soundx.storage import Folder

INFO = EmbedderInfo("test", "test-1", 4, 0.96, 0.48)


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    if request.param == "local":
        return Folder(str(tmp_path / "store"))
    return Folder(f"memory://store-{tmp_path.name}")


def clips(rng, **counts):
    return {name: rng.standard_normal((n, 4)).astype(np.float32) for name, n in counts.items()}


def test_frames_come_back_in_the_order_asked_for(folder, rng):
    kept = EmbeddingStore(folder).of(INFO)
    first, second = clips(rng, a=3, b=1), clips(rng, c=2)
    kept.add_shard(first)
    kept.add_shard(second)
    again = EmbeddingStore(folder).of(INFO)
    assert len(again) == 3
    assert "a" in again
    assert "d" not in again
    assert again.n_frames(["c", "a"]).tolist() == [2, 3]
    expected = np.concatenate([second["c"], first["a"], first["b"], first["a"]])
    np.testing.assert_array_equal(again.frames(["c", "a", "b", "a"]), expected)
    assert again.frames([]).shape == (0, 4)


def test_a_missing_clip_says_what_to_run(folder):
    with pytest.raises(SoundxError, match="kedro run --pipelines=preprocessing"):
        EmbeddingStore(folder).of(INFO).frames(["nope"])
    with pytest.raises(SoundxError, match="no embeddings"):
        _ = EmbeddingStore(folder).current


def test_sets_of_other_embedders_are_kept_apart(folder, rng):
    store = EmbeddingStore(folder)
    store.of(INFO).add_shard(clips(rng, a=1))
    other = EmbedderInfo("test", "test-2", 4, 0.96, 0.48)
    assert "a" not in store.of(other)
    store.set_current(other)
    assert store.current.info == other
    with pytest.raises(SoundxError, match="was made by"):
        store.of(EmbedderInfo("imposter", "test-1", 8, 0.96, 0.48))
    with pytest.raises(SoundxError, match="do not belong"):
        store.of(INFO).add_shard({"b": np.zeros((1, 5), np.float32)})
