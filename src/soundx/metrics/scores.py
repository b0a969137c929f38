"""Scores from true labels and probabilities; see the package for conventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import metrics as sk

from soundx.errors import SoundxError
from soundx.labels import LabelTree
from soundx.metrics.calibration import expected_calibration_error
from soundx.metrics.intervals import grouped_interval

Indices = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]


def classification_scores(
    truth: Indices,
    probabilities: Probabilities,
    tree: LabelTree,
    groups: npt.ArrayLike | None = None,
) -> dict[str, Any]:
    """Return the scores of a whole test set.

    Args:
        truth: True label of each clip, as an index into ``tree.labels``
            [shape=(n_clips,)].
        probabilities: Label probabilities [shape=(n_clips, n_labels)].
        tree: Labels and categories.
        groups: Recording of each clip [shape=(n_clips,)]; each its own unless given.

    Returns:
        ``accuracy`` and its 95 % interval ``accuracy_ci95``, by bootstrap over groups;
        ``balanced_accuracy`` and ``macro_f1`` over the labels that are present;
        ``category_accuracy`` of the most probable category; ``hard_routed_accuracy`` of the
        best label inside it; ``top3_accuracy``; ``majority_class_accuracy``, what guessing
        the commonest label gives; ``log_loss`` in nats; ``calibration_error``;
        ``mean_certainty``, the mean probability of the true label; ``n_test_clips``;
        ``n_test_groups``; ``n_labels``, labels in the model.

    Raises:
        SoundxError: Shapes do not fit, or there is no clip.
    """
    _check(truth, probabilities, len(tree.labels))
    groups = np.arange(len(truth)) if groups is None else np.asarray(groups)
    guess = probabilities.argmax(axis=1)
    right = guess == truth
    category = tree.category_index()
    category_guess = tree.category_probabilities(probabilities).argmax(axis=1)
    ranks = (probabilities > probabilities[np.arange(len(truth)), truth][:, None]).sum(axis=1)
    of_truth = np.clip(probabilities[np.arange(len(truth)), truth], 1e-12, 1.0)
    present = np.unique(truth)
    return {
        "accuracy": float(right.mean()),
        "accuracy_ci95": list(grouped_interval(right, groups)),
        "balanced_accuracy": float(
            sk.recall_score(truth, guess, labels=present, average="macro", zero_division=0)
        ),
        "macro_f1": float(
            sk.f1_score(truth, guess, labels=present, average="macro", zero_division=0)
        ),
        "category_accuracy": float((category_guess == category[truth]).mean()),
        "hard_routed_accuracy": float((tree.hard_routed(probabilities) == truth).mean()),
        "top3_accuracy": float((ranks < 3).mean()),  # noqa: PLR2004
        "majority_class_accuracy": float(np.bincount(truth).max() / len(truth)),
        "log_loss": float(-np.log(of_truth).mean()),
        "calibration_error": expected_calibration_error(probabilities.max(axis=1), right),
        "mean_certainty": float(of_truth.mean()),
        "n_test_clips": len(truth),
        "n_test_groups": len(np.unique(groups)),
        "n_labels": len(tree.labels),
    }


def per_class_scores(
    truth: Indices,
    probabilities: Probabilities,
    tree: LabelTree,
    groups: npt.ArrayLike | None = None,
) -> pd.DataFrame:
    """Return one row a label: precision, recall with its interval, F1, certainty.

    Labels without a test clip have NaN scores: nothing is known about them.

    Args:
        truth: True label indices [shape=(n_clips,)].
        probabilities: Label probabilities [shape=(n_clips, n_labels)].
        tree: Labels and categories.
        groups: Recording of each clip, over which the interval is [shape=(n_clips,)]; each
            its own unless given.
    """
    _check(truth, probabilities, len(tree.labels))
    groups = np.arange(len(truth)) if groups is None else np.asarray(groups)
    guess = probabilities.argmax(axis=1)
    rows = []
    for index, (label, category) in enumerate(tree.category_by_label.items()):
        mine, said = truth == index, guess == index
        n_clips, n_right = int(mine.sum()), int((mine & said).sum())
        recall = n_right / n_clips if n_clips else np.nan
        precision = n_right / said.sum() if said.any() else (0.0 if n_clips else np.nan)
        low, high = grouped_interval(said[mine], groups[mine]) if n_clips else (np.nan, np.nan)
        total = precision + recall
        certainty = float(probabilities[mine, index].mean()) if n_clips else np.nan
        rows.append(
            {
                "label": label,
                "category": category,
                "n_test_clips": n_clips,
                "n_test_groups": len(np.unique(groups[mine])),
                "precision": precision,
                "recall": recall,
                "recall_ci95_low": low,
                "recall_ci95_high": high,
                "f1": 0.0 if total == 0 else 2 * precision * recall / total,
                "mean_certainty": certainty,
            }
        )
    return pd.DataFrame(rows)


def confusion_table(truth: Indices, guess: Indices, labels: Sequence[str]) -> pd.DataFrame:
    """Return counts of clips: a row for each true label, a column for each predicted one."""
    counts = sk.confusion_matrix(truth, guess, labels=np.arange(len(labels)))
    table = pd.DataFrame(counts, index=list(labels), columns=list(labels))
    table.index.name = "true label"
    return table


def _check(truth: Indices, probabilities: Probabilities, n_labels: int) -> None:
    if len(truth) == 0:
        raise SoundxError("There is no test clip to score.")
    if probabilities.shape != (len(truth), n_labels):
        raise SoundxError(
            f"Probabilities of shape {probabilities.shape} do not fit {len(truth)} clips and "
            f"{n_labels} labels."
        )
    if truth.min() < 0 or truth.max() >= n_labels:
        raise SoundxError(f"A true label lies outside 0 to {n_labels - 1}.")
