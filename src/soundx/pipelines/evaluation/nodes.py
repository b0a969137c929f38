"""From heads and test clips to scores, tables and pictures."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from soundx.classifier.bundle import Classifier
from soundx.classifier.card import clip_facts, model_card
from soundx.classifier.versions import Evaluation, ModelVersions
from soundx.embeddings.store import EmbeddingSet, EmbeddingStore
from soundx.errors import Remedy, SoundxError
from soundx.figures.confusion import confusion_picture, draw_confusion
from soundx.figures.reliability import draw_reliability
from soundx.labels import BACKGROUND, BACKGROUND_NAME, UNKNOWN, LabelTree
from soundx.metrics import (
    classification_scores,
    confusion_table,
    doubts,
    per_class_scores,
    reliability_table,
    share_interval,
)
from soundx.modelling.baseline import baseline_answers
from soundx.modelling.folds import folds_digest
from soundx.modelling.joint import LABELS, TrainedHeads
from soundx.modelling.provenance import input_clips, manifest_digest, short_hashes
from soundx.modelling.rejection import answers, with_background
from soundx.modelling.splitting import FIELD, LEFT_OUT
from soundx.modelling.stretches import STRETCHES, lay_stretches

logger = logging.getLogger(__name__)

_CLIPS_AT_A_TIME = 2048
_TOP = 3


def predict_test_clips(
    heads: TrainedHeads,
    clip_manifest: pd.DataFrame,
    splits: pd.DataFrame,
    embeddings: EmbeddingStore,
    out_of_fold_predictions: pd.DataFrame,
    classifier: Classifier,
) -> pd.DataFrame:
    """Classify the test clips, and the evaluation-only ones, with the joint model.

    Where the model has learned from the test clips too (``training.refit``), what cross-validation
    said of each clip stands in.

    Returns:
        One row a clip: ``clip_id``, ``path``, ``group``, ``split`` (test, left_out or field; of
        background of either side ``background``), ``label``, ``category``, ``duration_s``,
        ``predicted_label``, ``probability``, ``answer`` (the predicted label, or unknown),
        ``predicted_category``,
        ``category_probability``, ``top1`` to ``top3`` with ``top1_probability`` ...,
        ``certainty`` (the probability of the true label), ``accuracy_0_96_s`` and
        ``accuracy_2_4_s`` (share of the clip's stretches of that length that are right),
        ``baseline_label`` (of a logistic regression), and ``probabilities`` over all labels in
        the model's order.

    Raises:
        SoundxError: Heads and classifier are of different training runs; a test clip was seen in
            training, or there is none; or all were, and there is no cross-validation of them.
    """
    _check_one_model(heads, classifier)
    tree = heads.tree
    columns = ["clip_id", "path", "label", "category", "group", "duration_s"]
    refit = heads.training.get("refit") == "all"
    clips = clip_manifest[columns].merge(
        splits[["clip_id", "split"]], on="clip_id", validate="one_to_one"
    )
    embedded = embeddings.of(heads.embedder)
    usable = clips[~clips["clip_id"].isin(list(embedded.rejected))]
    clips = usable[usable["split"].isin([FIELD] if refit else ["test", FIELD])]
    clips = clips.reset_index(drop=True)
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
    if not refit and not (clips["split"] == "test").any():
        raise SoundxError("There is no test clip.", remedy=Remedy.PREPROCESS_AND_TRAIN)
    tables = []
    order = embedded.stored_order(clips["clip_id"].tolist())
    for start in range(0, len(clips), _CLIPS_AT_A_TIME):
        some = clips.iloc[order[start : start + _CLIPS_AT_A_TIME]]
        ids = some["clip_id"].tolist()
        frames, counts = embedded.frames(ids), embedded.n_frames(ids)
        table = _predictions(some, heads.predict(frames, counts), heads)
        truth = some["label"].map({name: n for n, name in enumerate(tree.labels)}).fillna(-1)
        for name, n_frames in STRETCHES.items():
            rows, lengths, owners = lay_stretches(counts, n_frames)
            guess = heads.predict(frames[rows], lengths).argmax(axis=1)
            right = np.bincount(
                owners, guess == truth.to_numpy()[owners], minlength=len(some)
            ) / np.bincount(owners, minlength=len(some))
            table[f"accuracy_{name}"] = np.where(truth < 0, np.nan, right)
        tables.append(table)
    if tables:
        tables = [pd.concat(tables).sort_index()]  # in the manifest's order again
    if refit:
        left_out = _left_out(out_of_fold_predictions, heads, clip_manifest)
        tables.append(left_out.assign(baseline_label=_baseline_by_fold(left_out, embedded)))
        return pd.concat(tables, ignore_index=True).drop(columns="fold")
    learnt = usable[usable["split"].isin(["train", "validation"])]
    learnt = learnt[learnt["label"] != BACKGROUND].reset_index(drop=True)
    table = pd.concat(tables, ignore_index=True)
    return table.assign(baseline_label=baseline_answers(learnt, table["clip_id"], embedded))


def score_predictions(
    test_predictions: pd.DataFrame,
    heads: TrainedHeads,
    clip_manifest: pd.DataFrame,
    splits: pd.DataFrame,
    embeddings: EmbeddingStore,
    cross_validation: dict[str, Any],
) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return metrics, per-class metrics, confusion matrix and reliability of the test clips.

    Cross-validation is quoted where it is of such a model, and of these clips and labels.

    Raises:
        SoundxError: The model has learned from the test clips too, and there is no
            cross-validation of its kind.
    """
    tree = heads.tree
    refit = heads.training.get("refit") == "all"
    scored = test_predictions[~test_predictions["split"].isin([FIELD, BACKGROUND_NAME])]
    truth, probabilities = _truth(scored, tree)
    groups = scored["group"].to_numpy()
    metrics = {
        "embedder": heads.embedder.name,
        "embedder_fingerprint": heads.embedder.fingerprint,
        "refit": refit,
        **classification_scores(truth, probabilities, tree, groups),
    }
    if cross_validation or refit:
        clips = input_clips(clip_manifest, splits, embeddings.of(heads.embedder).rejected)
        remedy = _mends_stale(cross_validation, heads, clips, folds_digest(clip_manifest))
        if refit and remedy is not None:
            raise _no_cross_validation(remedy)
        if remedy is None:
            metrics["cross_validated_accuracy"] = cross_validation["accuracy_mean"]
            metrics["cross_validated_accuracy_ci95"] = cross_validation["accuracy_ci95"]
            metrics["cross_validation_folds"] = cross_validation["k"]
        else:
            logger.warning(
                "Cross-validation is not quoted: it and the model are not of the same clips, "
                "labels, head and embedder, as they are now. To have it, %s.",
                remedy.value,
            )
    if refit:  # as it is quoted everywhere: the mean over folds
        metrics["accuracy"] = cross_validation["accuracy_mean"]
        metrics["accuracy_ci95"] = cross_validation["accuracy_ci95"]
    simple = (scored["baseline_label"] == scored["label"]).mean()
    metrics["logistic_regression_accuracy"] = float(simple)
    for name in STRETCHES:
        if not refit:  # cross-validation left out whole clips
            metrics[f"accuracy_{name}"] = float(scored[f"accuracy_{name}"].mean())
    if (test_predictions["split"] == FIELD).any():
        field = test_predictions[test_predictions["split"] == FIELD]
        field_truth, field_probabilities = _truth(field, tree)
        right = field_probabilities.argmax(axis=1) == field_truth
        metrics["field_accuracy"] = float(right.mean())
        metrics["field_accuracy_ci95"] = list(share_interval(int(right.sum()), len(right)))
        metrics["n_field_clips"] = len(right)
    metrics |= _false_alarms(test_predictions)
    sides = splits[splits["split"] != FIELD].groupby("split")["group"].nunique()
    by_label = scored.groupby("label")["group"].nunique().reindex(tree.labels, fill_value=0)
    metrics["warnings"] = doubts(
        metrics,
        {} if refit else sides.to_dict(),
        by_label.to_dict(),
        expected={} if refit else _expected(heads, metrics),
    )
    confusion = confusion_table(truth, probabilities.argmax(axis=1), tree.labels)
    low, high = metrics["accuracy_ci95"]
    logger.info(
        "Accuracy %.3f (95 %% interval %.3f to %.3f) on %d %s, %d labels, embedder %s; guessing "
        "the commonest label would give %.3f, a logistic regression %.3f.",
        metrics["accuracy"],
        low,
        high,
        metrics["n_test_clips"],
        "clips left out in turn (the model learned from the test clips)" if refit else "test clips",
        metrics["n_labels"],
        metrics["embedder"],
        metrics["majority_class_accuracy"],
        metrics["logistic_regression_accuracy"],
    )
    for doubt in metrics["warnings"]:
        logger.warning("%s", doubt)
    guess = probabilities.argmax(axis=1)
    reliability = reliability_table(probabilities.max(axis=1), guess == truth)
    per_class = per_class_scores(truth, probabilities, tree, groups)
    return metrics, per_class, confusion, reliability


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
    clip_manifest: pd.DataFrame,
    cross_validation: dict[str, Any],
) -> tuple[Evaluation, str]:
    """Gather what is kept with the model, and write its card anew with the figures in it.

    Raises:
        SoundxError: Heads and classifier are of different training runs, or not kept.
    """
    _check_one_model(heads, classifier)
    if heads.version not in trained_versions:
        raise SoundxError(
            f"The model {heads.version} is not among those that are kept: the last training did "
            "not end.",
            remedy=Remedy.TRAIN_AND_EVALUATE,
        )
    difference = classifier.info.get("tflite_difference")
    card = model_card(
        heads,
        tflite_difference=difference,
        clips=clip_facts(clip_manifest),
        metrics=metrics,
        per_class=per_class_metrics,
        cross_validation=cross_validation if "cross_validated_accuracy" in metrics else {},
        review=classifier.info.get("review"),
    )
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


def _check_one_model(heads: TrainedHeads, classifier: Classifier) -> None:
    if classifier.version != heads.version:
        raise SoundxError(
            f"The heads are of {heads.version}, the classifier of {classifier.version}: the last "
            "training did not end.",
            remedy=Remedy.TRAIN_AND_EVALUATE,
        )


def _mends_stale(
    cross_validation: dict[str, Any], heads: TrainedHeads, clips: pd.DataFrame, digest: str
) -> Remedy | None:
    """Return what has to be done before cross-validation tells of this model; None if it does."""
    if heads.manifest_digest != manifest_digest(clips):
        return Remedy.TRAIN_AND_EVALUATE
    same = (
        cross_validation.get("head") == heads.training.get("head")
        and cross_validation.get("embedder_fingerprint") == heads.embedder.fingerprint
        and cross_validation.get("clips_digest") == digest
    )
    return None if same else Remedy.CROSS_VALIDATE


def _no_cross_validation(remedy: Remedy = Remedy.CROSS_VALIDATE) -> SoundxError:
    return SoundxError(
        "This model has learned from the test clips too (training.refit), so that only "
        "cross-validation can tell how good it is, and there is none of just these clips, this "
        "head and this embedder.",
        remedy=remedy,
    )


def _left_out(
    out_of_fold_predictions: pd.DataFrame, heads: TrainedHeads, clip_manifest: pd.DataFrame
) -> pd.DataFrame:
    """Return left-out predictions of the clips a model learned from, in the form of tests.

    Raises:
        SoundxError: There are none, or they are of other clips or labels.
    """
    table = out_of_fold_predictions
    if not len(table):
        raise _no_cross_validation()
    clips = table[table["label"] != BACKGROUND].reset_index(drop=True)
    same_clips = np.isin(short_hashes(clips["clip_id"]), heads.seen_clips).all()
    now = clip_manifest.set_index("clip_id")["label"].reindex(clips["clip_id"])
    same_labels = (now.to_numpy() == clips["label"].to_numpy()).all()
    if not (same_clips and same_labels) or set(now) != set(heads.tree.labels):
        raise _no_cross_validation()
    probabilities = np.stack(clips["probabilities"].to_list()).astype(np.float64)
    found = _predictions(clips.assign(split=LEFT_OUT), probabilities, heads)
    return found.assign(fold=clips["fold"])


def _baseline_by_fold(clips: pd.DataFrame, embedded: EmbeddingSet) -> np.ndarray:
    """Return what a logistic regression says of clips whose fold it did not learn from."""
    said = np.empty(len(clips), object)
    for fold in np.unique(clips["fold"]):
        held_out = (clips["fold"] == fold).to_numpy()
        asked = clips.loc[held_out, "clip_id"].tolist()
        said[held_out] = baseline_answers(clips[~held_out], asked, embedded)
    return said


def _expected(heads: TrainedHeads, metrics: dict[str, Any]) -> dict[str, float]:
    """Return what else the accuracy was found to be, by the words for it."""
    found = {}
    if "left_out_accuracy" in heads.training:
        found["of recordings left out in training"] = float(heads.training["left_out_accuracy"])
    if heads.is_joint and LABELS in heads.histories:
        history = heads.histories[LABELS]
        found["on validation clips"] = history.val_accuracy[history.best_epoch - 1]
    if "cross_validated_accuracy" in metrics:
        found["in cross-validation"] = metrics["cross_validated_accuracy"]
    return found


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
    columns = ["clip_id", "path", "group", "split", "label", "category", "duration_s"]
    table = clips[columns].copy()
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


def _truth(clips: pd.DataFrame, tree: LabelTree) -> tuple[np.ndarray, np.ndarray]:
    truth = clips["label"].map(tree.labels.index).to_numpy(np.int64)
    return truth, np.stack(clips["probabilities"].to_list()).astype(np.float64)
