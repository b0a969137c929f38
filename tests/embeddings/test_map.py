from __future__ import annotations

import numpy as np

from soundx.embedders import EmbedderInfo
from soundx.embeddings.map import MapOptions, map_clips
from soundx.embeddings.store import EmbeddingStore
from soundx.storage.folder import Folder

INFO = EmbedderInfo("test", "test-1", 8, 0.96, 0.48)


def filled(tmp_path, rng, n_clips):
    """Clips of two kinds, far from each other."""
    kept = EmbeddingStore(Folder(str(tmp_path))).of(INFO)
    kept.add_shard(
        {
            f"{number:03d}": (
                9.0 * np.eye(2, 8)[number % 2] + rng.standard_normal((number % 4 + 1, 8))
            ).astype(np.float32)
            for number in range(n_clips)
        }
    )
    return kept, [f"{number:03d}" for number in range(n_clips)]


def test_alike_clips_are_neighbours_and_lie_together(tmp_path, rng):
    kept, ids = filled(tmp_path, rng, 60)
    table = map_clips(ids[::-1], kept, MapOptions(neighbours=5))
    assert table["clip_id"].tolist() == ids
    for row in table.itertuples():
        assert len(row.neighbours) == 5
        assert row.clip_id not in row.neighbours
        assert {int(near) % 2 for near in row.neighbours} == {int(row.clip_id) % 2}
        assert (np.diff(row.similarities) <= 1e-6).all()
    places = table[["x", "y"]].to_numpy()
    kinds = [places[np.arange(60) % 2 == kind] for kind in (0, 1)]
    within = max(kind.std(axis=0).max() for kind in kinds)
    assert np.linalg.norm(kinds[0].mean(axis=0) - kinds[1].mean(axis=0)) > within
    again = map_clips(ids, kept, MapOptions(neighbours=5))
    np.testing.assert_array_equal(again[["x", "y"]], table[["x", "y"]])


def test_few_and_many_clips(tmp_path, rng):
    kept, ids = filled(tmp_path, rng, 30)
    assert len(map_clips(ids, kept, MapOptions(max_clips=10))) == 10
    for count in (1, 2, 3, 4, 6):
        table = map_clips(ids[:count], kept, MapOptions())
        assert len(table) == count
        assert np.isfinite(table[["x", "y"]].to_numpy()).all()
        assert all(len(near) == count - 1 for near in table["neighbours"])
