"""Intervals of figures: how far the truth may lie from what was counted."""

from __future__ import annotations

from scipy.stats import binomtest


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
