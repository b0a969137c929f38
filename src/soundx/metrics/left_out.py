"""Scores of predictions of clips that were left out: cross-validation as figures.

The table has a row a clip; ``OUT_OF_FOLD_COLUMNS`` are its columns. Means are over folds, since
folds are what was drawn; intervals are by bootstrap over groups.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from soundx.errors import SoundxError
from soundx.labels import BACKGROUND, LabelTree
from soundx.metrics.calibration import expected_calibration_error
from soundx.metrics.intervals import grouped_interval

OUT_OF_FOLD_COLUMNS = {
    "clip_id": "str",
    "path": "str",
    "label": "str",
    "category": "str",
    "group": "str",
    "fold": "int64",
    "duration_s": "float64",
    "predicted_label": "str",
    "probability": "float64",
    "certainty": "float64",
    "background_probability": "float64",
    "uncalibrated": "float64",
}
"""Columns of predictions of clips that were left out, and their types; beside them
``probabilities`` over all labels, in the tree's order."""


def check_left_out(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of left-out predictions as it is, if its columns are right.

    Raises:
        SoundxError: A column is missing, or a probability lies outside 0 to 1.
    """
    missing = ({*OUT_OF_FOLD_COLUMNS} | {"probabilities"}) - set(table.columns)
    if missing:
        raise SoundxError(f"The table of left-out predictions lacks {', '.join(sorted(missing))}.")
    if len(table) and not table["probability"].between(0, 1).all():
        raise SoundxError("A probability of a left-out prediction lies outside 0 to 1.")
    return table


def probabilities_of(table: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return probabilities of labels, and of background last [shape=(n_clips, n_labels + 1)]."""
    labels = np.stack(table["probabilities"].to_list()).astype(np.float64)
    return np.column_stack([labels, table["background_probability"].to_numpy(np.float64)])


def left_out_scores(table: pd.DataFrame, tree: LabelTree) -> dict[str, Any]:
    """Return the figures of cross-validation.

    Args:
        table: Left-out predictions.
        tree: Labels and categories.

    Returns:
        ``accuracy_mean``, ``accuracy_std`` and ``accuracy_by_fold``; ``accuracy_ci95`` by
        bootstrap over groups; ``balanced_accuracy_mean``, ``category_accuracy_mean``,
        ``hard_routed_accuracy_mean`` (best label inside the best category); ``log_loss`` in
        nats; ``calibration_error`` and ``calibration_error_before`` (without temperature);
        ``majority_class_accuracy``; ``k``, ``grouped``, ``n_clips``, ``n_groups``.
    """
    check_left_out(table)
    table = table[table["label"] != BACKGROUND].reset_index(drop=True)
    truth = table["label"].map(tree.labels.index).to_numpy(np.int64)
    probabilities = np.stack(table["probabilities"].to_list()).astype(np.float64)
    category = tree.category_index()
    guess = probabilities.argmax(axis=1)
    by_category = tree.category_probabilities(probabilities)
    right = guess == truth
    clips = pd.DataFrame(
        {
            "fold": table["fold"],
            "truth": truth,
            "right": right,
            "category": by_category.argmax(axis=1) == category[truth],
            "routed": tree.hard_routed(probabilities) == truth,
        }
    )
    by_fold = clips.groupby("fold")["right"].mean()
    balanced = clips.groupby(["fold", "truth"])["right"].mean().groupby("fold").mean()
    counts = np.bincount(truth)
    return {
        "accuracy_mean": float(by_fold.mean()),
        "accuracy_std": float(by_fold.std(ddof=0)),
        "accuracy_by_fold": {str(fold): float(share) for fold, share in by_fold.items()},
        "accuracy_ci95": list(grouped_interval(right, table["group"])),
        "balanced_accuracy_mean": float(balanced.mean()),
        "category_accuracy_mean": float(clips.groupby("fold")["category"].mean().mean()),
        "hard_routed_accuracy_mean": float(clips.groupby("fold")["routed"].mean().mean()),
        "log_loss": float(-np.log(np.clip(table["certainty"], 1e-12, 1)).mean()),
        "calibration_error": expected_calibration_error(table["probability"], right),
        "calibration_error_before": expected_calibration_error(table["uncalibrated"], right),
        "majority_class_accuracy": float(counts.max() / counts.sum()),
        "k": int(by_fold.size),
        "grouped": bool((table.groupby("group")["fold"].nunique() == 1).all()),
        "n_clips": len(table),
        "n_groups": int(table["group"].nunique()),
    }


def left_out_per_class(table: pd.DataFrame, tree: LabelTree) -> pd.DataFrame:
    """Return one row a label: clips, recordings, precision, recall with its interval, F1.

    Args:
        table: Left-out predictions.
        tree: Labels and categories.
    """
    table = table[table["label"] != BACKGROUND]
    rows = []
    for label, category in tree.category_by_label.items():
        mine = (table["label"] == label).to_numpy()
        said = (table["predicted_label"] == label).to_numpy()
        both = int((mine & said).sum())
        recall = both / mine.sum() if mine.any() else np.nan
        precision = both / said.sum() if said.any() else 0.0
        groups = table["group"].to_numpy()[mine]
        low, high = grouped_interval(said[mine], groups)
        total = precision + recall
        rows.append(
            {
                "label": label,
                "category": category,
                "n_clips": int(mine.sum()),
                "n_groups": len(np.unique(groups)),
                "precision": precision,
                "recall": recall,
                "recall_ci95_low": low,
                "recall_ci95_high": high,
                "f1": 2 * precision * recall / total if total > 0 else 0.0,
                "mean_certainty": float(table["certainty"][mine].mean()),
            }
        )
    return pd.DataFrame(rows)
