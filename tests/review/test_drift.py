"""How far recordings lie from what was learnt."""

from __future__ import annotations

import numpy as np
import pytest

from soundx.modelling.ridge import Standardiser
from soundx.modelling.vectors import Vectors
from soundx.review.drift import drift_in, learnt_of
from soundx.review.learning import Examples
from soundx.search.index import Projection

DIMS = 6
SAME = Projection(
    Standardiser(np.zeros(DIMS, np.float32), np.ones(DIMS, np.float32)),
    np.eye(DIMS, dtype=np.float32),
)


class Recording:
    def __init__(self, file: str, n_windows: int) -> None:
        self.file, self.n_windows = file, n_windows


class Index:
    """Stands for an index whose windows are in memory."""

    def __init__(self, by_file: dict[str, np.ndarray]) -> None:
        self.recordings = [Recording(file, len(rows)) for file, rows in by_file.items()]
        self._rows = np.concatenate(list(by_file.values())) if by_file else np.zeros((0, DIMS))

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        return self._rows[numbers]


def clips(rng: np.random.Generator, n: int = 200, *, stretches: bool = True) -> Examples:
    """Clips around one direction, four a recording."""
    whole = around(rng, n)
    owners = np.arange(n if stretches else 0)
    vectors = Vectors(np.arange(n), whole, owners, whole[owners])
    return Examples(vectors, ("a",) * n, tuple(f"g{i // 4}" for i in range(n)))


def around(rng: np.random.Generator, n: int, axis: int = 0, spread: float = 0.2) -> np.ndarray:
    rows = spread * rng.standard_normal((n, DIMS))
    rows[:, axis] += 1.0
    return rows.astype(np.float32)


@pytest.mark.parametrize("stretches", [True, False])
def test_what_sounds_as_learnt_lies_near_and_another_place_far(rng, stretches):
    learnt = learnt_of(SAME, clips(rng, stretches=stretches))
    index = Index({"same.wav": around(rng, 500), "other.wav": around(rng, 500, axis=3)})
    far, near = drift_in(index, learnt)
    assert (far.file, near.file) == ("other.wav", "same.wav")
    assert near.drift == pytest.approx(1.0, abs=0.35)
    assert near.novel == pytest.approx(0.05, abs=0.05)
    assert far.drift > 5
    assert far.novel > 0.95


def test_what_is_usual_is_left_out_by_recording(rng):
    """Copies of a clip in its own recording do not make clips look nearer than they are."""
    examples = clips(rng)
    copied = Examples(
        Vectors(
            np.arange(400),
            np.repeat(examples.vectors.whole, 2, axis=0),
            np.arange(400),
            np.repeat(examples.vectors.windows, 2, axis=0),
        ),
        ("a",) * 400,
        tuple(np.repeat(examples.groups, 2)),
    )
    usual = [np.median(learnt_of(SAME, one).usual) for one in (examples, copied)]
    assert usual[1] == pytest.approx(usual[0], rel=1e-3)
    assert usual[0] > 1e-3


def test_one_recording_is_nothing_to_compare_with(rng):
    one = clips(rng, 4)
    assert learnt_of(SAME, one) is None
    nothing = Examples(
        Vectors(np.arange(0), np.zeros((0, DIMS), np.float32), np.arange(0),
                np.zeros((0, DIMS), np.float32)), (), (),
    )  # fmt: skip
    assert learnt_of(SAME, nothing) is None


def test_a_recording_without_windows_is_left_out(rng):
    learnt = learnt_of(SAME, clips(rng))
    found = drift_in(Index({"a.wav": around(rng, 3), "none.wav": around(rng, 0)}), learnt)
    assert [one.file for one in found] == ["a.wav"]
