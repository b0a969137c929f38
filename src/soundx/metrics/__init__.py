"""Scores of a classifier on clips, with intervals; nothing that plots.

Conventions: labels are indices into one label order; probabilities are rows that sum to
one; a recording (group) is one trial, its clips are not. Metrics are scikit-learn's; the
interval of a share is by bootstrap over groups (Efron & Tibshirani 1993, ch. 13) or, where all
groups agree, Wilson's (Wilson 1927, JASA 22), which stays inside [0, 1]; calibration error
follows Guo et al. 2017 (ICML), 15 bins of equal width.

Metrics: ``share_interval``, ``grouped_interval``, ``classification_scores``,
``per_class_scores``, ``confusion_table``, ``expected_calibration_error``; what they leave in
doubt is said by ``doubts``.
"""

from soundx.metrics.calibration import expected_calibration_error, reliability_table
from soundx.metrics.doubts import doubts
from soundx.metrics.intervals import grouped_interval, share_interval
from soundx.metrics.scores import classification_scores, confusion_table, per_class_scores

__all__ = [
    "classification_scores",
    "confusion_table",
    "doubts",
    "expected_calibration_error",
    "grouped_interval",
    "per_class_scores",
    "reliability_table",
    "share_interval",
]
