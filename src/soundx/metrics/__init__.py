"""Scores of a classifier on clips, with intervals; nothing that plots.

Conventions: labels are indices into one label order; probabilities are rows that sum to
one, or to less where the rest is background's; a clip is one trial. Metrics are
scikit-learn's; the interval of a share is Wilson's (Wilson 1927, JASA 22), which stays inside
[0, 1] and is honest for few clips; calibration error follows Guo et al. 2017 (ICML), 15 bins of
equal width.

Metrics: ``share_interval``, ``classification_scores``, ``per_class_scores``,
``confusion_table``, ``expected_calibration_error``.
"""

from soundx.metrics.calibration import expected_calibration_error, reliability_table
from soundx.metrics.intervals import share_interval
from soundx.metrics.scores import classification_scores, confusion_table, per_class_scores

__all__ = [
    "classification_scores",
    "confusion_table",
    "expected_calibration_error",
    "per_class_scores",
    "reliability_table",
    "share_interval",
]
