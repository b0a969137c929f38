"""Intervals of figures: how far the truth may lie from what was counted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

_DRAWS_AT_A_TIME = 50


def share_interval(n_right: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's confidence interval of a share.

    Args:
        n_right: Number of successes.
        n: Number of trials; for none the interval is (0, 1).
        level: Confidence level.
    """
    if n == 0:
        return (0.0, 1.0)
    interval = binomtest(n_right, n).proportion_ci(level, method="wilson")
    return (float(interval.low), float(interval.high))


def grouped_interval(
    right: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 7,
) -> tuple[float, float]:
    """Return the confidence interval of a share by bootstrap over groups.

    Two hundred clips of one speaker are not two hundred witnesses: whole groups are drawn, with
    replacement (Efron & Tibshirani 1993, ch. 13). Where every group agrees, the bootstrap has
    nothing to say, and Wilson's interval over the groups stands in; it also widens a bootstrap
    interval of few groups.

    Args:
        right: Whether each clip is right, or any other share of it [shape=(n_clips,)].
        groups: Group of each clip [shape=(n_clips,)].
        level: Confidence level.
        draws: How often groups are drawn.
        seed: Seed of the draws.
    """
    share = np.asarray(right, np.float64)
    if not len(share):
        return (0.0, 1.0)
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(index).astype(np.float64)
    sums = np.bincount(index, share)
    n_groups = len(sizes)
    rng = np.random.default_rng(seed)
    means = []
    for first in range(0, draws, _DRAWS_AT_A_TIME):
        n = min(_DRAWS_AT_A_TIME, draws - first)
        drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n)
        means.append((drawn @ sums) / (drawn @ sizes))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    mean = float(share.mean())
    spread = float(np.std(sums / sizes))
    if spread < 1e-9:  # noqa: PLR2004  all groups agree
        wilson = share_interval(round(mean * n_groups), n_groups, level=level)
        low, high = min(low, wilson[0]), max(high, wilson[1])
    return (float(low), float(high))
