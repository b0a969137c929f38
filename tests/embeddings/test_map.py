from __future__ import annotations

import numpy as np

from soundx.embeddings.map import MapOptions, clips_on_map, map_clips


def filled(rng, n_clips):
    """Clips of two kinds, far from each other."""
    vectors = 9.0 * np.eye(2, 8)[np.arange(n_clips) % 2] + rng.standard_normal((n_clips, 8))
    return [f"{number:03d}" for number in range(n_clips)], vectors.astype(np.float32)


def test_alike_clips_are_neighbours_and_lie_together(rng):
    ids, vectors = filled(rng, 60)
    table = map_clips(ids, vectors, MapOptions(neighbours=5))
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
    again = map_clips(ids, vectors, MapOptions(neighbours=5))
    np.testing.assert_array_equal(again[["x", "y"]], table[["x", "y"]])


def test_few_and_many_clips(rng):
    ids, vectors = filled(rng, 30)
    assert clips_on_map(ids[::-1], MapOptions(max_clips=10)) == ids[:10]
    for count in (1, 2, 3, 4, 6):
        table = map_clips(ids[:count], vectors[:count], MapOptions())
        assert len(table) == count
        assert np.isfinite(table[["x", "y"]].to_numpy()).all()
        assert all(len(near) == count - 1 for near in table["neighbours"])


def test_more_clips_than_are_laid_out_go_between_those_like_them(rng):
    ids, vectors = filled(rng, 400)
    table = map_clips(ids, vectors, MapOptions())
    places = table[["x", "y"]].to_numpy()
    kinds = np.arange(400) % 2
    centres = np.array([places[:300][kinds[:300] == kind].mean(axis=0) for kind in (0, 1)])
    late = places[300:]
    nearest = np.linalg.norm(late[:, None] - centres[None], axis=2).argmin(axis=1)
    assert (nearest == kinds[300:]).mean() > 0.95
