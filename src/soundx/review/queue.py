"""Which window to ask about next.

An order makes a list of candidates, best first, from what the model thinks of every window; from
it windows are taken that nobody has answered or is answering, and that are not too much like those
answered last. The usual order takes turns: what the model is least sure of, what it holds most
probable of the labels with the fewest answers, and what is like nothing that was answered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from soundx.audio import Float32
from soundx.errors import SoundxError
from soundx.labels import BACKGROUND
from soundx.search.index import WindowIndex, unit_vectors
from soundx.search.query import best_apart, likeness_to, near

Order = Literal["usual", "uncertain", "best", "spread", "like", "oldest", "random"]
"""Ways to ask; ``best`` and ``spread`` are of one label, ``like`` of chosen sounds."""

ORDERS: tuple[Order, ...] = get_args(Order)

CANDIDATES = 600
"""So many are listed at a time."""

_TOO_LIKE = 0.9  # cosine to one of the windows answered last
_LAST = 12
_POOL = 20_000  # windows drawn, among which those like nothing else are looked for
_SAMPLED = 2000
_NO_CLOCK_S = 1e11  # three thousand years: after all that have one, in their order


@dataclass(frozen=True)
class Known:
    """What is known when candidates are listed.

    Attributes:
        index: The windows.
        classes: Names of the columns of ``probabilities``.
        probabilities: Of every window, by the model; None where there is none yet
            [shape=(n_windows, n_classes)].
        answered: Windows that were answered, the last one last.
        labels: Their labels.
    """

    index: WindowIndex
    classes: Sequence[str] = ()
    probabilities: Float32 | None = None
    answered: Sequence[int] = ()
    labels: Sequence[str] = ()


def candidates(
    known: Known,
    order: Order,
    *,
    label: str = "",
    like: Float32 | None = None,
    drawn: Sequence[int] = (),
    n: int = CANDIDATES,
    seed: int = 7,
) -> list[int]:
    """Return windows to ask about, the next one first; answered ones are left out.

    Args:
        known: What is known.
        order: The way to ask.
        label: Of ``best``: the label.
        like: Of ``like``: vectors of the sounds [shape=(n, n_dims)].
        drawn: Of ``spread``: windows in the order in which they were drawn.
        n: How many at most.
        seed: Of what is drawn.

    Raises:
        SoundxError: The order needs a model, a label or a sound that is not there.
    """
    index = known.index
    if not len(index):
        return []
    gone = near(index, known.answered)
    rng = np.random.default_rng([seed, len(known.answered)])
    if order == "spread":
        answered = set(known.answered)
        return list(islice((i for i in drawn if i not in answered), n))
    if order == "oldest":
        left = np.setdiff1d(index.apart(), gone)
        return [int(i) for i in left[np.argsort(_ages(index, left), kind="stable")][:n]]
    if order == "random":
        left = np.setdiff1d(index.apart(), gone)
        return [int(i) for i in rng.permutation(left)[:n]]
    if order == "like":
        if like is None or not len(like):
            raise SoundxError("Choose a sound first: what windows are to be like.")
        return best_apart(index, _without(likeness_to(index, like), gone), n)
    if order == "best":
        if not label:
            raise SoundxError("Name the label whose best windows come first.")
        if known.probabilities is None or label not in known.classes:
            raise SoundxError(f"No model knows '{label}' yet: answer with it a few times first.")
        column = known.probabilities[:, list(known.classes).index(label)]
        return best_apart(index, _without(column, gone), n)
    if known.probabilities is None:
        return _unlike(known, gone, n, rng)
    if order == "uncertain":
        return best_apart(index, _without(-_margins(known.probabilities), gone), n)
    return list(islice(_usual(known, gone, n, rng), n))


def _usual(
    known: Known, gone: npt.NDArray[np.int64], n: int, rng: np.random.Generator
) -> Iterator[int]:
    """Yield windows by turns, each once."""
    assert known.probabilities is not None
    each = max(n // 3, 1)
    names = [name for name in known.classes if name != BACKGROUND]
    counts = {name: sum(label == name for label in known.labels) for name in names}
    columns = [
        best_apart(
            known.index,
            _without(known.probabilities[:, list(known.classes).index(name)], gone),
            max(each // max(len(names), 1), 2) + 1,
        )
        for name in sorted(names, key=lambda name: (counts[name], rng.random()))
    ]
    best = [window for row in _by_turns(columns) for window in row]
    uncertain = best_apart(known.index, _without(-_margins(known.probabilities), gone), each)
    unlike = _unlike(known, gone, each, rng)
    taken: set[int] = set()
    for row in _by_turns([uncertain[::2], best, uncertain[1::2], unlike]):
        for window in row:
            if window not in taken:
                taken.add(window)
                yield window


def _by_turns(lists: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    for place in range(max(map(len, lists), default=0)):
        yield [one[place] for one in lists if place < len(one)]


def _margins(probabilities: Float32) -> Float32:
    """Return how much more probable the first class is than the second [shape=(n,)]."""
    if probabilities.shape[1] < 2:  # noqa: PLR2004
        return np.zeros(len(probabilities), np.float32)
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])


def _without(scores: npt.NDArray[np.floating], gone: npt.NDArray[np.int64]) -> Float32:
    found = np.array(scores, np.float32)
    found[gone] = -np.inf
    return found


def _ages(index: WindowIndex, windows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return a number that is the lower the older a window is; without a clock it comes last."""
    begins = np.array(
        [
            one.clock.replace(tzinfo=None).timestamp() if one.clock else _NO_CLOCK_S * (1 + place)
            for place, one in enumerate(index.recordings)
        ]
    )
    return np.asarray(begins[index.recording_of(windows)] + index.onsets_s()[windows])


def _unlike(
    known: Known, gone: npt.NDArray[np.int64], n: int, rng: np.random.Generator
) -> list[int]:
    """Return windows that are like nothing answered and not like each other, farthest first."""
    index = known.index
    left = np.setdiff1d(index.apart(), gone)
    if not len(left):
        return []
    pool = rng.permutation(left)[:_POOL]
    vectors = index.vectors(pool)
    # what most windows sound like is what is always there; rare sounds lie away from it
    usual = np.median(vectors[:_SAMPLED], axis=0)
    unit, lengths = unit_vectors(vectors - usual)
    nearest = np.full(len(pool), -1.0, np.float32)
    if len(known.answered):
        others, _ = unit_vectors(index.vectors(known.answered) - usual)
        nearest = (unit @ others.T).max(axis=1)
    weight = np.minimum(lengths / np.quantile(lengths, 0.9), 1.0)
    chosen: list[int] = []
    for _ in range(min(n, len(pool))):
        # rounded, a cosine may pass 1: what was chosen is then not the farthest
        place = int(np.argmax(np.where(weight < 0, -1.0, weight * (1.0 - nearest))))
        chosen.append(int(pool[place]))
        nearest = np.maximum(nearest, unit @ unit[place])
        weight[place] = -1.0
    return list(dict.fromkeys(chosen))


@dataclass
class Queue:
    """Candidates, and what must not be asked just now.

    Attributes:
        index: The windows.
        waiting: Candidates, the next one first.
    """

    index: WindowIndex
    waiting: list[int] = field(default_factory=list)

    def next(self, answered: Sequence[int], taken: Collection[int] = ()) -> int | None:
        """Return the next window, which stays in the queue; None where there is none.

        Args:
            answered: Windows that were answered or skipped, the last one last.
            taken: Windows that others are answering.
        """
        closed = set(near(self.index, [*answered, *taken]).tolist())
        left = [window for window in self.waiting if window not in closed]
        if not left:
            return None
        last = list(answered)[-_LAST:]
        if not last:
            return left[0]
        first = left[:_LAST]
        alike = _cosines(self.index, first, last)
        for window, likeness in zip(first, alike, strict=True):
            if likeness < _TOO_LIKE:
                return window
        return first[int(np.argmin(alike))]


def _cosines(index: WindowIndex, windows: Iterable[int], others: Iterable[int]) -> Float32:
    """Return the highest cosine of each window to some others [shape=(n_windows,)]."""
    one, _ = unit_vectors(index.vectors(list(windows)))
    two, _ = unit_vectors(index.vectors(list(others)))
    return np.asarray((one @ two.T).max(axis=1), np.float32)
