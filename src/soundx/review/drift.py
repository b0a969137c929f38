"""How far recordings lie from what was learnt, so that a new microphone or place is noticed.

A window's distance is that to the nearest of the clips that were learnt, as one less the cosine.
What is usual are the distances of clips to the nearest clip of another recording: what a clip of a
recording that was left out would have. Recordings are compared with that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from soundx.audio import Float32
from soundx.review.learning import Examples
from soundx.search.index import Projection, WindowIndex, unit_vectors

_MOST_CLIPS = 3000
_MOST_WINDOWS = 400  # of each recording
_FAR = 0.95


@dataclass(frozen=True)
class Learnt:
    """What was learnt, to measure distances from.

    Attributes:
        units: Vectors of learnt clips and stretches of them, of length 1 [shape=(n, n_dims)].
        usual: Distances of clips to the nearest one of another recording, ascending.
    """

    units: Float32
    usual: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """How far a recording lies from what was learnt.

    Attributes:
        file: The recording.
        drift: Median distance of its windows, as a multiple of the usual one; 1 is as near as
            clips of recordings that were left out.
        novel: Share of its windows that are farther than 95 of 100 such clips.
    """

    file: str
    drift: float
    novel: float


def learnt_of(projection: Projection, examples: Examples, *, seed: int = 7) -> Learnt | None:
    """Return what was learnt; None with fewer than two recordings.

    Args:
        projection: Pooled vectors to vectors of the index.
        examples: Clips that were learnt.
        seed: Draws some where there are very many.
    """
    vectors, owners = examples.vectors.windows, examples.vectors.owners
    if not len(vectors):  # stretches are as long as windows; without them clips have to do
        vectors, owners = examples.vectors.whole, np.arange(len(examples))
    groups = np.unique(examples.groups, return_inverse=True)[1] if len(examples) else owners
    if len(np.unique(groups)) < 2:  # noqa: PLR2004
        return None
    some = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:_MOST_CLIPS])
    units = unit_vectors(projection(vectors[some]))[0]
    mine = groups[owners[some]]
    cosines = units @ units.T
    cosines[mine[:, None] == mine] = -1.0
    nearest = cosines.max(axis=1)
    return Learnt(units, np.sort(1.0 - nearest[nearest > -1.0].astype(np.float64)))


def drift_in(index: WindowIndex, learnt: Learnt) -> list[Drift]:
    """Return how far each recording lies from what was learnt, the farthest first."""
    usual = max(float(np.median(learnt.usual)), 1e-6)
    far = float(np.quantile(learnt.usual, _FAR))
    rng = np.random.default_rng(7)
    found = []
    first = 0
    for recording in index.recordings:
        numbers = np.arange(first, first + recording.n_windows)
        first += recording.n_windows
        if not len(numbers):
            continue
        some = np.sort(rng.permutation(numbers)[:_MOST_WINDOWS])
        nearest = (unit_vectors(index.vectors(some))[0] @ learnt.units.T).max(axis=1)
        distances = 1.0 - nearest.astype(np.float64)
        drift = float(np.median(distances)) / usual
        found.append(Drift(recording.file, drift, float((distances > far).mean())))
    return sorted(found, key=lambda one: (-one.drift, one.file))
