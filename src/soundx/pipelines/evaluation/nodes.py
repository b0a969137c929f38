"""From heads and test clips to scores, tables and pictures."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from soundx.classifier.bundle import Classifier
from soundx.classifier.card import model_card
from soundx.classifier.versions import Evaluation, ModelVersions
from soundx.embeddings.store import EmbeddingStore
from soundx.errors import Remedy, SoundxError
from soundx.figures.confusion import confusion_picture, draw_confusion
from soundx.figures.reliability import draw_reliability
from soundx.labels import BACKGROUND, BACKGROUND_NAME, UNKNOWN, LabelTree
from soundx.metrics import (
    classification_scores,
    confusion_table,
    per_class_scores,
    reliability_table,
    share_interval,
)
from soundx.modelling.joint import TrainedHeads
from soundx.modelling.provenance import short_hashes
from soundx.modelling.rejection import answers, with_background
from soundx.modelling.splitting import FIELD

logger = logging.getLogger(__name__)

_CLIPS_AT_A_TIME = 2048
_TOP = 3


def predict_test_clips(
    heads: TrainedHeads,
    clip_manifest: pd.DataFrame,
    splits: pd.DataFrame,
    embeddings: EmbeddingStore,
) -> pd.DataFrame:
    """Classify the test clips, and the evaluation-only ones, with the joint model.

    Returns:
        One row a clip: ``clip_id``, ``path``, ``split`` (test or field; of background of either
        side ``background``), ``label``, ``category``, ``duration_s``, ``predicted_label``,
        ``probability``, ``answer`` (the predicted label, or unknown), ``predicted_category``,
        ``category_probability``, ``top1`` to ``top3`` with ``top1_probability`` ...,
        ``certainty`` (the probability of the true label), and ``probabilities`` over all
        labels in the model's order.

    Raises:
        SoundxError: A test clip was seen in training, or there is none.
    """
    tree = heads.tree
    clips = clip_manifest[["clip_id", "path", "label", "category", "duration_s"]].merge(
        splits[["clip_id", "split"]], on="clip_id", validate="one_to_one"
    )
    clips = clips[clips["split"].isin(["test", FIELD])].reset_index(drop=True)
    embedded = embeddings.of(heads.embedder)
    clips = clips[~clips["clip_id"].isin(list(embedded.rejected))].reset_index(drop=True)
    _check_unseen(clips, heads)
    background = clips["label"] == BACKGROUND
    clips.loc[background, "split"] = BACKGROUND_NAME
    known = clips["label"].isin(tree.labels) | background
    if (~known).any():
        logger.warning(
            "%d clips are of labels this model does not know, for example '%s': not scored.",
            int((~known).sum()),
            clips.loc[~known, "label"].iloc[0],
        )
    clips = clips[known].reset_index(drop=True)
    if not (clips["split"] == "test").any():
        raise SoundxError("There is no test clip.", remedy=Remedy.PREPROCESS_AND_TRAIN)
    parts = []
    for start in range(0, len(clips), _CLIPS_AT_A_TIME):
        ids = clips["clip_id"].iloc[start : start + _CLIPS_AT_A_TIME].tolist()
        parts.append(heads.predict(embedded.frames(ids), embedded.n_frames(ids)))
    return _predictions(clips, np.concatenate(parts), heads)


def score_predictions(
    test_predictions: pd.DataFrame, heads: TrainedHeads
) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return metrics, per-class metrics, confusion matrix and reliability of the test clips."""
    tree = heads.tree
    truth, probabilities = _truth(test_predictions, "test", tree)
    metrics = {
        "embedder": heads.embedder.name,
        "embedder_fingerprint": heads.embedder.fingerprint,
        **classification_scores(truth, probabilities, tree),
    }
    if (test_predictions["split"] == FIELD).any():
        field_truth, field_probabilities = _truth(test_predictions, FIELD, tree)
        right = field_probabilities.argmax(axis=1) == field_truth
        metrics["field_accuracy"] = float(right.mean())
        metrics["field_accuracy_ci95"] = list(share_interval(int(right.sum()), len(right)))
        metrics["n_field_clips"] = len(right)
    metrics |= _false_alarms(test_predictions)
    confusion = confusion_table(truth, probabilities.argmax(axis=1), tree.labels)
    low, high = metrics["accuracy_ci95"]
    logger.info(
        "Accuracy %.3f (95 %% interval %.3f to %.3f) on %d test clips, %d labels, embedder %s; "
        "guessing the commonest label would give %.3f.",
        metrics["accuracy"],
        low,
        high,
        metrics["n_test_clips"],
        metrics["n_labels"],
        metrics["embedder"],
        metrics["majority_class_accuracy"],
    )
    guess = probabilities.argmax(axis=1)
    reliability = reliability_table(probabilities.max(axis=1), guess == truth)
    return metrics, per_class_scores(truth, probabilities, tree), confusion, reliability


def _false_alarms(predictions: pd.DataFrame) -> dict[str, Any]:
    """Return how often background that was never heard is answered; nothing where none is."""
    background = predictions[predictions["split"] == BACKGROUND_NAME]
    if background.empty:
        return {}
    n_alarms = int((background["answer"] != UNKNOWN).sum())
    return {
        "n_test_background_clips": len(background),
        "false_alarms_per_hour": n_alarms / (float(background["duration_s"].sum()) / 3600),
    }


def plot_confusion(confusion_matrix: pd.DataFrame) -> tuple[Any, Any, Any]:
    """Draw the confusion matrix: a Matplotlib picture, and a Plotly figure for two uses."""
    interactive = draw_confusion(confusion_matrix)
    interactive.update_layout(title="Confusion matrix of the test clips", margin={"t": 50})
    return confusion_picture(confusion_matrix), interactive, interactive


def plot_reliability(reliability: pd.DataFrame) -> Any:
    """Draw how often the model was right against how sure it was, as a Plotly figure."""
    figure = draw_reliability(reliability)
    figure.update_layout(title="Is it right as often as it is sure?", margin={"t": 50})
    return figure


def keep_evaluation(
    trained_versions: ModelVersions,
    classifier: Classifier,
    heads: TrainedHeads,
    metrics: dict[str, Any],
    per_class_metrics: pd.DataFrame,
    test_predictions: pd.DataFrame,
    confusion_matrix: pd.DataFrame,
    reliability: pd.DataFrame,
) -> tuple[Evaluation, str]:
    """Gather what is kept with the model, and write its card anew with the figures in it.

    Raises:
        SoundxError: Heads and classifier are of different training runs, or not kept.
    """
    if classifier.version != heads.version or heads.version not in trained_versions:
        raise SoundxError(
            f"The heads are of {heads.version}, the classifier of {classifier.version}: the last "
            "training did not end.",
            remedy=Remedy.TRAIN_AND_EVALUATE,
        )
    difference = classifier.info.get("tflite_difference")
    card = model_card(heads, tflite_difference=difference, metrics=metrics)
    evaluation = Evaluation(
        version=heads.version,
        metrics=metrics,
        per_class=per_class_metrics,
        predictions=test_predictions,
        confusion=confusion_matrix,
        reliability=reliability,
        model_card=card,
    )
    return evaluation, card


def _check_unseen(clips: pd.DataFrame, heads: TrainedHeads) -> None:
    seen = np.isin(short_hashes(clips["clip_id"]), heads.seen_clips)
    if seen.any():
        raise SoundxError(
            f"{int(seen.sum())} test clips were seen by this model in training, for example "
            f"{clips['path'][seen].iloc[0]}: the splits have changed since.",
            remedy=Remedy.TRAIN_AND_EVALUATE,
        )


def _predictions(
    clips: pd.DataFrame, probabilities: np.ndarray, heads: TrainedHeads
) -> pd.DataFrame:
    tree = heads.tree
    labels = np.array(tree.labels, dtype=object)
    categories = np.array(tree.categories, dtype=object)
    rows = np.arange(len(clips))
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    by_category = tree.category_probabilities(probabilities)
    best_category = by_category.argmax(axis=1)
    number = {label: index for index, label in enumerate(tree.labels)}
    truth = clips["label"].map(number).fillna(len(number)).to_numpy(np.int64)
    all_classes = with_background(probabilities)
    thresholds = [heads.thresholds.get(label, 0.0) for label in tree.labels]
    given = answers(all_classes, thresholds)
    table = clips[["clip_id", "path", "split", "label", "category", "duration_s"]].copy()
    table["predicted_label"] = labels[ranked[:, 0]]
    table["probability"] = probabilities[rows, ranked[:, 0]]
    table["answer"] = np.where(given < 0, UNKNOWN, labels[given])
    table["predicted_category"] = categories[best_category]
    table["category_probability"] = by_category[rows, best_category]
    for place in range(_TOP):
        has_place = place < len(labels)
        column = ranked[:, min(place, len(labels) - 1)]
        table[f"top{place + 1}"] = labels[column] if has_place else None
        table[f"top{place + 1}_probability"] = probabilities[rows, column] if has_place else np.nan
    table["certainty"] = all_classes[rows, truth]
    table["probabilities"] = list(probabilities.astype(np.float32))
    return table


def _truth(predictions: pd.DataFrame, split: str, tree: LabelTree) -> tuple[np.ndarray, np.ndarray]:
    side = predictions[predictions["split"] == split]
    truth = side["label"].map(tree.labels.index).to_numpy(np.int64)
    return truth, np.stack(side["probabilities"].to_list()).astype(np.float64)
