"""Whether a model is right as often as it is sure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from soundx.metrics.intervals import share_interval


def expected_calibration_error(
    confidence: npt.ArrayLike, right: npt.ArrayLike, *, n_bins: int = 15
) -> float:
    """Return the mean gap between confidence and accuracy, weighted by clips per bin.

    Args:
        confidence: Probability of the predicted label [shape=(n_clips,)].
        right: Whether the prediction is right [shape=(n_clips,)].
        n_bins: Bins of equal width over [0, 1].
    """
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    if len(confidence) == 0:
        return 0.0
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    counts = np.bincount(bins, minlength=n_bins)
    gaps = np.bincount(bins, confidence - right, minlength=n_bins)
    return float(np.abs(gaps).sum() / counts.sum())


def reliability_table(
    confidence: npt.ArrayLike, right: npt.ArrayLike, *, n_bins: int = 10
) -> pd.DataFrame:
    """Return one row a bin of confidence: how sure the model was, how often it was right.

    Args:
        confidence: Probability of the predicted label [shape=(n_clips,)].
        right: Whether the prediction is right [shape=(n_clips,)].
        n_bins: Bins of equal width over [0, 1].

    Returns:
        ``low``, ``high``, ``n_clips``, ``confidence`` and ``accuracy`` (means, NaN in empty
        bins), ``accuracy_ci95_low``, ``accuracy_ci95_high``.
    """
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right, np.bool_)
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    rows = []
    for number in range(n_bins):
        mine = bins == number
        n_clips, n_right = int(mine.sum()), int(right[mine].sum())
        low, high = share_interval(n_right, n_clips)
        rows.append(
            {
                "low": number / n_bins,
                "high": (number + 1) / n_bins,
                "n_clips": n_clips,
                "confidence": float(confidence[mine].mean()) if n_clips else np.nan,
                "accuracy": n_right / n_clips if n_clips else np.nan,
                "accuracy_ci95_low": low,
                "accuracy_ci95_high": high,
            }
        )
    return pd.DataFrame(rows)
