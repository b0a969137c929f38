"""Searching: the windows most like some sounds, and least like others.

Likeness is the cosine of two windows' vectors; to several sounds it is the mean of those, so that
any question is one vector, and an answer one product with every window: nothing is approximated,
and nothing has to be built for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, time

import numpy as np
import numpy.typing as npt

from soundx.audio import Float32
from soundx.errors import SoundxError
from soundx.search.index import Bools, Window, WindowIndex, unit_vectors

_CANDIDATES = 8  # so many times more than asked for: neighbours of a hit are left out


@dataclass(frozen=True)
class Filter:
    """Which windows are looked at; all, unless something is said.

    Attributes:
        files: Recordings, by path or URL; None for all.
        hours: First and last time of day of the recorder's clock; over midnight where the first
            is later. Windows without a clock are left out.
        scores: A number a window [shape=(n_windows,)], with ``score_range``.
        score_range: Lowest and highest of those.
        leave_out: Numbers of windows, with those that overlap them.
    """

    files: Collection[str] | None = None
    hours: tuple[time, time] | None = None
    scores: npt.NDArray[np.floating] | None = None
    score_range: tuple[float, float] = (0.0, 1.0)
    leave_out: Collection[int] = field(default_factory=tuple)

    def mask(self, index: WindowIndex) -> Bools:
        """Tell which windows are looked at [shape=(n_windows,)]."""
        chosen = np.ones(len(index), bool)
        if self.files is not None or self.hours is not None:
            chosen &= self._by_recording(index)
        if self.scores is not None:
            low, high = self.score_range
            chosen &= (self.scores >= low) & (self.scores <= high)
        chosen[near(index, self.leave_out)] = False
        return chosen

    def _by_recording(self, index: WindowIndex) -> Bools:
        owners = index.recording_of(np.arange(len(index)))
        use = np.ones(len(index.recordings), bool)
        if self.files is not None:
            wanted = set(self.files)
            use = np.array([one.file in wanted for one in index.recordings], bool)
        if self.hours is None:
            return np.asarray(use[owners])
        begins = np.array([_second_of_day(one.clock) for one in index.recordings], np.float64)
        second = (begins[owners] + index.onsets_s()) % 86_400
        first, last = (3600 * t.hour + 60 * t.minute + t.second for t in self.hours)
        inside = (second >= first) & (second <= last)
        if first > last:
            inside = (second >= first) | (second <= last)
        return np.asarray(use[owners] & inside)


def _second_of_day(clock: datetime | None) -> float:
    if clock is None:
        return np.nan  # compares as false with everything
    return 3600.0 * clock.hour + 60.0 * clock.minute + clock.second


def near(index: WindowIndex, numbers: Iterable[int]) -> npt.NDArray[np.int64]:
    """Return windows with all that overlap them, each once."""
    wanted = np.fromiter(numbers, np.int64)
    if not len(wanted):
        return wanted
    reach = index.step - 1
    around = wanted[:, None] + np.arange(-reach, reach + 1)
    around = np.clip(around, 0, len(index) - 1)
    same = (
        index.recording_of(around.ravel()).reshape(around.shape)
        == index.recording_of(wanted)[:, None]
    )
    return np.unique(around[same])


@dataclass(frozen=True)
class Hit:
    """A window that was found.

    Attributes:
        window: The window.
        likeness: Mean cosine to what was asked for, less that to what was not wanted.
    """

    window: Window
    likeness: float


def likeness_to(index: WindowIndex, like: Float32, unlike: Float32 | None = None) -> Float32:
    """Return how like each window is to some sounds [shape=(n_windows,), dtype=float32].

    Args:
        index: The windows.
        like: Vectors of sounds that are wanted, as ``index.projection`` gives them
            [shape=(n, n_dims)].
        unlike: Vectors of sounds that are not.

    Raises:
        SoundxError: No sound is given.
    """
    given = [part for part in (like, unlike) if part is not None and len(part)]
    if not given:
        raise SoundxError("Nothing was given to search for: name a clip, or a window.")
    question = np.zeros(index.n_dims, np.float32)
    for vectors, sign in ((like, 1.0), (unlike, -1.0)):
        if vectors is not None and len(vectors):
            question += np.float32(sign) * unit_vectors(vectors)[0].mean(axis=0)
    return np.asarray(index.scores(question[:, None])[:, 0] / index.lengths, np.float32)


def search(
    index: WindowIndex,
    like: Float32,
    *,
    unlike: Float32 | None = None,
    n: int = 50,
    where: Filter | None = None,
) -> list[Hit]:
    """Return the windows most like some sounds, best first, of those that overlap the best one.

    Args:
        index: The windows.
        like: Vectors of sounds that are wanted [shape=(n, n_dims)]: of clips, an upload, windows.
        unlike: Vectors of sounds that are not.
        n: How many at most.
        where: Which windows are looked at.

    Raises:
        SoundxError: No sound is given.
    """
    found = likeness_to(index, like, unlike)
    if where is not None:
        found[~where.mask(index)] = -np.inf
    return [Hit(index.window(i), float(found[i])) for i in best_apart(index, found, n)]


def best_apart(index: WindowIndex, scores: npt.NDArray[np.floating], n: int) -> list[int]:
    """Return the windows of the highest scores, of those that overlap the best one.

    Args:
        index: The windows.
        scores: One a window; ``-inf`` of those that are not wanted [shape=(n_windows,)].
        n: How many at most.
    """
    if n < 1:
        return []
    wanted = min(n * _CANDIDATES, len(scores))
    while True:
        some = np.argpartition(-scores, wanted - 1)[:wanted] if wanted < len(scores) else None
        some = np.arange(len(scores)) if some is None else some
        some = some[np.isfinite(scores[some])]
        some = some[np.lexsort((some, -scores[some]))]
        taken: list[int] = []
        gone: set[int] = set()
        for number in some:
            if int(number) in gone:
                continue
            taken.append(int(number))
            gone.update(near(index, [int(number)]).tolist())
            if len(taken) == n:
                return taken
        if wanted >= len(scores) or not len(scores):
            return taken
        wanted = min(wanted * _CANDIDATES, len(scores))
