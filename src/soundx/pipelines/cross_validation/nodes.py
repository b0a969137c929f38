"""From embeddings and labels to what can be believed of a model: every clip left out once."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from soundx.embeddings.store import EmbeddingStore
from soundx.figures.learning_curve import draw_learning_curve
from soundx.figures.reliability import draw_reliability
from soundx.labels import BACKGROUND
from soundx.metrics import reliability_table
from soundx.metrics.left_out import (
    OUT_OF_FOLD_COLUMNS,
    check_left_out,
    left_out_per_class,
    left_out_scores,
    probabilities_of,
)
from soundx.modelling.cross_validation import (
    Kernel,
    Labelled,
    leaky_accuracy,
    learning_curve,
    left_out_labels,
    predict_left_out,
    some_clips,
)
from soundx.modelling.folds import CrossValidationOptions, assign_folds, folds_digest
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.noise import NoiseFrames, noise_of
from soundx.modelling.pooling import pooled_widths
from soundx.modelling.rejection import RejectionOptions, answers, choose_thresholds
from soundx.modelling.ridge import Standardiser
from soundx.modelling.suspects import near_duplicates, suspect_labels, without_copies
from soundx.modelling.vectors import all_vectors

logger = logging.getLogger(__name__)

SHARES = (0.1, 0.25, 0.5, 1.0)
MORE_RECORDINGS = 10


def deal_folds(
    clip_manifest: pd.DataFrame,
    embeddings: EmbeddingStore,
    cross_validation: CrossValidationOptions,
) -> pd.DataFrame:
    """Put every clip that could be embedded into the fold in which it is left out."""
    rejected = list(embeddings.current.rejected)
    return assign_folds(clip_manifest[~clip_manifest["clip_id"].isin(rejected)], cross_validation)


def predict_out_of_fold(
    folds: pd.DataFrame,
    embeddings: EmbeddingStore,
    training: TrainingOptions,
    noise_frames: NoiseFrames | None = None,
) -> pd.DataFrame:
    """Predict every clip by a model that did not learn from its fold.

    Returns:
        One row a clip, the columns of ``OUT_OF_FOLD_COLUMNS`` and ``probabilities``.

    Raises:
        SoundxError: Noise is to be learnt, and there are no frames of it by this embedder.
    """
    embedded = embeddings.current
    noise = noise_of(embedded.info, noise_frames) if training.learns_noise else None
    probabilities, raw = predict_left_out(folds, embedded, training, noise)
    known = Labelled.of(folds)
    n_labels = len(known.tree.labels)
    names = np.array(known.tree.labels, dtype=object)
    rows = np.arange(len(folds))
    labels = probabilities[:, :n_labels]
    guess = labels.argmax(axis=1)
    table = folds.assign(
        predicted_label=names[guess],
        probability=labels[rows, guess],
        certainty=probabilities[rows, np.minimum(known.targets, probabilities.shape[1] - 1)],
        background_probability=(
            probabilities[:, n_labels]
            if probabilities.shape[1] > n_labels
            else np.zeros(len(folds))
        ),
        uncalibrated=raw[:, :n_labels].max(axis=1),
    )
    table = table[list(OUT_OF_FOLD_COLUMNS)].astype(OUT_OF_FOLD_COLUMNS)
    table["probabilities"] = list(labels.astype(np.float32))
    return check_left_out(table)


def score_cross_validation(
    out_of_fold_predictions: pd.DataFrame,
    clip_manifest: pd.DataFrame,
    embeddings: EmbeddingStore,
    training: TrainingOptions,
    rejection: RejectionOptions,
) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Score the left-out predictions, and what else they can tell.

    Returns:
        Figures, figures of each label, bins of reliability, suspect labels, near duplicates,
        and the learning curve.
    """
    table = check_left_out(out_of_fold_predictions)
    embedded = embeddings.current
    known = Labelled.of(table)
    scores = left_out_scores(table, known.tree)
    per_class = left_out_per_class(table, known.tree)
    few = some_clips(table)
    few_known = Labelled.of(few)
    vectors = all_vectors(embedded, few["clip_id"].tolist())
    widths = pooled_widths(embedded.info.parts)
    kernel = Kernel(vectors, widths)
    standardised = Standardiser.of(iter([vectors.whole]), widths)(vectors.whole)
    copies = near_duplicates(standardised, few)
    labelled = (table["label"] != BACKGROUND).to_numpy()
    alone = without_copies(table, copies) & labelled
    right = (table["predicted_label"] == table["label"]).to_numpy()
    n_labels = len(known.tree.labels)
    probabilities = probabilities_of(table)[:, : known.n_classes]
    thresholds = choose_thresholds(probabilities, known.targets, n_labels, rejection)
    given = answers(probabilities, thresholds)
    answered = given >= 0
    correct = given == known.targets
    heard_h = float(table.loc[~labelled, "duration_s"].sum()) / 3600
    alarms = int((answered & ~labelled).sum())
    report = {
        **scores,
        "clips_digest": folds_digest(clip_manifest),
        "head": training.head,
        "embedder": embedded.info.name,
        "embedder_fingerprint": embedded.info.fingerprint,
        "leaky_accuracy_mean": leaky_accuracy(kernel, few_known),
        "n_near_duplicates": len(copies),
        "accuracy_without_near_duplicates": float(right[alone].mean()) if alone.any() else None,
        "rejection": {
            "precision_wanted": rejection.precision,
            "thresholds": dict(zip(known.tree.labels, map(float, thresholds), strict=True)),
            "coverage": float(answered[labelled].mean()),
            "precision": float(correct[answered].mean()) if answered.any() else None,
            "auroc_of_labels_left_out": left_out_labels(kernel, few_known),
            "n_background_clips": int((~labelled).sum()),
            "false_alarms_per_hour": alarms / heard_h if heard_h else None,
        },
    }
    curve = _learning_curve(kernel, few_known)
    reliability = reliability_table(table["probability"][labelled], right[labelled])
    before = reliability_table(table["uncalibrated"][labelled], right[labelled])
    reliability = pd.concat(
        [reliability.assign(calibrated=True), before.assign(calibrated=False)], ignore_index=True
    )
    low, high = report["accuracy_ci95"]
    logger.info(
        "Cross-validation: accuracy %.3f (95 %% interval %.3f to %.3f, %d folds, %d recordings), "
        "calibration error %.3f.",
        report["accuracy_mean"],
        low,
        high,
        report["k"],
        report["n_groups"],
        report["calibration_error"],
    )
    return report, per_class, reliability, suspect_labels(table), copies, curve


def plot_cross_validation(cross_validation_reliability: pd.DataFrame) -> Any:
    """Draw how often left-out clips were right against how sure the model was."""
    bins = cross_validation_reliability
    after = bins["calibrated"].astype(bool)
    figure = draw_reliability(bins[after], before=bins[~after])
    figure.update_layout(title="Left-out clips: right as often as sure?", margin={"t": 50})
    return figure


def plot_learning_curve(learning_curve: dict[str, Any]) -> Any:
    """Draw cross-validated accuracy against the share of recordings learnt from."""
    figure = draw_learning_curve(learning_curve["points"])
    figure.update_layout(title="What more recordings would bring", margin={"t": 50})
    return figure


def _learning_curve(kernel: Kernel, known: Labelled) -> dict[str, Any]:
    """Return accuracy by share of recordings, and by label the forecast of ten more."""
    n_labels = len(known.tree.labels)
    labelled = known.targets < n_labels
    points, recalls, counts = [], [], []
    for share, right, n_groups in learning_curve(kernel, known, SHARES):
        points.append({"share": share, "accuracy": float(right[labelled].mean())})
        recalls.append([float(right[known.targets == label].mean()) for label in range(n_labels)])
        counts.append(n_groups)
    forecasts = {}
    for number, label in enumerate(known.tree.labels):
        mine = known.targets == number
        errors = [
            # never quite nothing: a label of few clips may be all right by luck
            (1 - recall[number]) * (mine.sum() / (mine.sum() + 1)) + 0.5 / (mine.sum() + 1)
            for recall in recalls
        ]
        groups = np.array([max(float(count[number]), 1.0) for count in counts])
        forecasts[label] = {
            "n_groups": len(np.unique(known.groups[mine])),
            "recall": recalls[-1][number],
            "recall_with_ten_more": _forecast(groups, np.array(errors), recalls[-1][number]),
        }
    return {"points": points, "by_label": forecasts}


def _forecast(groups: np.ndarray, errors: np.ndarray, recall: float) -> float:
    """Return the recall with ten recordings more, if errors fall by a power of their number."""
    if len(np.unique(groups)) < 2:  # noqa: PLR2004
        return recall
    slope = float(np.polyfit(np.log(groups), np.log(errors), 1)[0])
    falls = ((groups[-1] + MORE_RECORDINGS) / groups[-1]) ** min(slope, 0.0)
    return float(np.clip(1 - (1 - recall) * falls, 0, 1))
