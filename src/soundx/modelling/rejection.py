"""Not knowing: when the answer is ``unknown`` rather than a label.

A label is only given where its probability reaches the label's threshold and no less than
background's. Thresholds are chosen on predictions of recordings that were left out, such that
of the answers that are given the wanted share is right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from soundx.options import Options

Probabilities = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

NEVER = 2.0
"""Threshold of a label that is never answered: above what any probability can be."""


class RejectionOptions(Options):
    """How sure an answer has to be.

    Attributes:
        precision: Share of a label's answers that are to be right.
        at_least: No threshold lies below this probability.
    """

    precision: float = Field(0.9, gt=0, le=1)
    at_least: float = Field(0.5, ge=0, lt=1)


def choose_thresholds(
    probabilities: Probabilities, targets: Indices, n_labels: int, options: RejectionOptions
) -> npt.NDArray[np.float64]:
    """Choose the lowest threshold of each label that gives the wanted precision.

    Args:
        probabilities: Of labels, and of background after them where that was learnt, for
            clips that were left out [shape=(n_clips, n_labels or n_labels + 1)].
        targets: True label of each; ``n_labels`` for background [shape=(n_clips,)].
        n_labels: Number of labels.
        options: How sure.

    Returns:
        Thresholds [shape=(n_labels,)]; ``NEVER`` where none gives that precision.
    """
    guess = probabilities.argmax(axis=1)
    thresholds = np.full(n_labels, options.at_least)
    for label in range(n_labels):
        said = (guess == label) & (probabilities[:, label] >= options.at_least)
        order = np.flatnonzero(said)
        order = order[np.argsort(-probabilities[order, label], kind="stable")]
        if not len(order):
            continue
        sure = probabilities[order, label]
        right = np.cumsum(targets[order] == label)
        good = right >= options.precision * np.arange(1, len(order) + 1)
        # answers that are equally sure are given together, or none of them
        good[:-1] &= sure[:-1] > sure[1:]
        if good[-1]:
            continue
        thresholds[label] = sure[np.flatnonzero(good).max()] if good.any() else NEVER
    return thresholds


def with_background(probabilities: Probabilities) -> Probabilities:
    """Return probabilities of labels with background's after them: what is missing to one.

    Args:
        probabilities: Of labels [shape=(n_clips, n_labels)].
    """
    rest = np.clip(1 - probabilities.sum(axis=1), 0.0, 1.0)
    return np.column_stack([probabilities, rest])


def answers(
    probabilities: Probabilities, thresholds: Sequence[float] | npt.NDArray[np.float64]
) -> Indices:
    """Return the label of each answer, -1 where it is unknown.

    Args:
        probabilities: Of labels, and of background after them where that was learnt
            [shape=(n_clips, n_labels or n_labels + 1)].
        thresholds: [shape=(n_labels,)].
    """
    guess = probabilities.argmax(axis=1)
    limits = np.append(np.asarray(thresholds, np.float64), np.inf)
    sure = probabilities.max(axis=1) >= limits[np.minimum(guess, len(limits) - 1)]
    return np.where(sure & (guess < len(limits) - 1), guess, -1)
