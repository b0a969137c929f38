from __future__ import annotations

import numpy as np
import pytest

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


SAME = np.random.default_rng(7).standard_normal((1, 2000))


@pytest.mark.parametrize("n_clips", [1, 2, 3, 4, 60, 400])
@pytest.mark.parametrize(
    "vectors_of",
    [
        lambda n: np.zeros((n, 2000)),
        lambda n: np.repeat(SAME, n, axis=0),
        lambda n: SAME * (1 + 1e-7 * np.arange(n))[:, None],
        lambda n: np.full((n, 8), np.nan),
        lambda n: np.where(np.arange(n)[:, None] < n - 1, np.ones((1, 8)), np.inf),
        lambda n: np.repeat(np.eye(5, 9), -(-n // 5), axis=0)[:n],
    ],
    ids=["silence", "one sound", "nearly one", "nan", "inf", "five sounds"],
)
def test_clips_that_sound_the_same_lie_in_one_place(n_clips, vectors_of):
    ids = [f"{number:03d}" for number in range(n_clips)]
    vectors = vectors_of(n_clips).astype(np.float32)
    table = map_clips(ids, vectors, MapOptions())
    places = table[["x", "y"]].to_numpy()
    assert np.isfinite(places).all()
    assert np.isfinite(np.concatenate(table["similarities"].to_list())).all()
    assert all(len(near) == min(8, n_clips - 1) for near in table["neighbours"])
    if n_clips > 1 and np.array_equal(vectors[0], vectors[1]):
        np.testing.assert_array_equal(places[0], places[1])
