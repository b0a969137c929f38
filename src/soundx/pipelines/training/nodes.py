"""From embeddings to trained heads, and from heads to the classifier that is shipped."""

from __future__ import annotations

import dataclasses
import logging
from functools import partial
from typing import Any

import pandas as pd

from soundx.audio import Float32
from soundx.classifier.bundle import JOINT_MODEL, Classifier
from soundx.classifier.card import clip_facts, model_card
from soundx.classifier.options import ExportOptions, window_frames
from soundx.classifier.parity import ParityClip, check_parity
from soundx.clips.waveforms import ClipFile, ClipWaveforms
from soundx.embedders import Embedder
from soundx.embedders.base import check_embedder, exportable, with_layers_of
from soundx.embeddings.store import EmbeddingSet, EmbeddingStore
from soundx.errors import AudioError, Remedy, SoundxError
from soundx.figures.curves import draw_training_curves
from soundx.labels import BACKGROUND, GENERAL, LabelTree
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.joint import TrainedHeads
from soundx.modelling.noise import NoiseFrames, noise_of
from soundx.modelling.provenance import input_clips, manifest_digest, short_hashes
from soundx.modelling.rejection import RejectionOptions, choose_thresholds
from soundx.modelling.training import (
    clips_to_learn_from,
    predict_validation,
    train_by_head,
    train_labels,
)
from soundx.progress import counted

logger = logging.getLogger(__name__)


def choose_parity_clips(
    waveforms: ClipWaveforms,
    clip_manifest: pd.DataFrame,
    splits: pd.DataFrame,
    embedder: Embedder,
    embeddings: EmbeddingStore,
    model_input_state: dict[str, str],
    export: ExportOptions,
) -> tuple[list[ParityClip], list[ParityClip]]:
    """Choose the clips that the export is held against, and those it is calibrated on.

    What the export needs is asked for here, before hours of training: that these clips are still
    there, under the labels that are learnt, and the embedder that the embeddings were made with.

    Returns:
        All test clips; and of the training clips as many as an int8 network is calibrated on,
        none for other precisions.

    Raises:
        SoundxError: A clip is no longer there, or under another label; or the embedder is another
            one or cannot be had.
    """
    current = embeddings.current
    embedder = with_layers_of(embedder, current.info)
    exportable(embedder)
    check_embedder(embedder, current.info)
    window_frames(current.info, export)
    used = input_clips(clip_manifest, splits, current.rejected)
    if manifest_digest(used) != model_input_state["digest"]:
        raise SoundxError(
            "The clips were looked at again since they were split, and are others or under other "
            "labels.",
            remedy=Remedy.PREPROCESS_AND_TRAIN,
        )
    clips = clip_manifest.set_index("clip_id")

    def of(split: str, at_most: int | None = None) -> list[ParityClip]:
        ids = used.loc[used["split"] == split, "clip_id"]
        step = 1 if at_most is None else max(1, -(-len(ids) // at_most))
        rows = clips.loc[ids.iloc[::step], ["path", "label"]]
        return [
            ParityClip(path, partial(_decoded, waveforms, path), label)
            for path, label in zip(rows["path"], rows["label"], strict=True)
        ]

    calibration = of("train", export.calibration_clips) if export.precision == "int8" else []
    test = of("test")
    for clip in [*test[:1], *calibration[:1]]:
        clip.load()
    for clip in [*test, *calibration]:
        file = waveforms[clip.name]
        if isinstance(file, ClipFile) and not file.path.exists():
            raise _gone(clip.name, "it is not there any more")
    return test, calibration


def _decoded(waveforms: ClipWaveforms, path: str) -> Float32:
    try:
        return waveforms[path]()
    except AudioError as error:
        raise _gone(path, str(error)) from error


def _gone(path: str, why: str) -> SoundxError:
    return SoundxError(
        f"{path}: {why}; the clips have changed since they were looked at.", remedy=Remedy.RUN
    )


def train_heads(
    model_input: dict[str, pd.DataFrame],
    embeddings: EmbeddingStore,
    training: TrainingOptions,
    rejection: RejectionOptions,
    noise_frames: NoiseFrames | None = None,
    parity_clips: list[ParityClip] | None = None,
) -> TrainedHeads:
    """Train what ``training.head`` names, and choose below which probability it is ``unknown``.

    Thresholds are chosen on clips whose recordings were not learnt from: of ``ridge`` each
    left out in turn, of the others those of validation.

    Raises:
        SoundxError: Embeddings are of another embedder than the model input; or noise is to be
            learnt, and there are no frames of it by this embedder.
    """
    del parity_clips  # the gate hears them; here they only have to be there first
    table = model_input[GENERAL]
    embedded = _embeddings_of(table, embeddings)
    labelled = table[table["label"] != BACKGROUND]
    tree = LabelTree.build(zip(labelled["label"], labelled["category"], strict=True))
    learnt = clips_to_learn_from(table, training)
    background = False
    number = {label: index for index, label in enumerate(tree.labels)}
    targets = learnt["label"].map(number).fillna(len(number)).astype(int)
    if training.head == "seed":
        # each head has classes of its own, and background is none of them
        trained = train_by_head({**model_input, GENERAL: labelled}, embedded, tree, training)
    else:
        noise = noise_of(embedded.info, noise_frames) if training.learns_noise else None
        background = noise is not None or bool((learnt["label"] == BACKGROUND).any())
        clips = learnt.assign(target=targets)
        trained = train_labels(clips, embedded, len(number) + background, training, noise)
    heads = TrainedHeads(
        tree=tree,
        models=trained.models,
        embedder=embedded.info,
        histories=trained.histories,
        training={**training.model_dump(mode="json"), **trained.chosen},
        seen_clips=short_hashes(learnt["clip_id"]),
        clips_per_split={str(k): int(v) for k, v in table["split"].value_counts().items()},
        background=background,
        manifest_digest=manifest_digest(table),
    )
    if trained.left_out is None:
        rows, probabilities = predict_validation(heads, learnt, embedded)
        truth = targets[rows.index]
    else:
        chosen, probabilities = trained.left_out
        truth = targets.iloc[chosen]
    thresholds = choose_thresholds(probabilities, truth.to_numpy(), len(number), rejection)
    by_label = dict(zip(tree.labels, map(float, thresholds), strict=True))
    told = dict(heads.training)
    if trained.left_out is not None:
        # of labelled clips, among the labels: what accuracy is of test clips, too
        labelled = truth.to_numpy() < len(number)
        right = probabilities[:, : len(number)].argmax(axis=1) == truth.to_numpy()
        told["left_out_accuracy"] = float(right[labelled].mean())
    return dataclasses.replace(heads, thresholds=by_label, training=told)


def export_heads(
    candidate_heads: TrainedHeads,
    embedder: Embedder,
    calibration_clips: list[ParityClip],
    export: ExportOptions,
) -> Classifier:
    """Export the heads to TFLite; nothing is saved yet."""
    from soundx.classifier.export import export_classifier

    embedder = with_layers_of(embedder, candidate_heads.embedder)
    calibration = [clip.load() for clip in calibration_clips]
    return export_classifier(embedder, candidate_heads, export, calibration=calibration)


def check_export(
    candidate_classifier: Classifier,
    candidate_heads: TrainedHeads,
    embedder: Embedder,
    parity_clips: list[ParityClip],
    clip_manifest: pd.DataFrame,
    export: ExportOptions,
) -> tuple[dict[str, Any], Classifier, TrainedHeads, Classifier]:
    """Hold every exported file against the heads on real clips; only then they are saved.

    Returns:
        What was found; the classifier, to be kept under its version; the heads and the classifier
        again, to be the newest. In this order, so that the newest is always one that is kept.

    Raises:
        SoundxError: A file does not give the heads' answer.
    """
    heads = candidate_heads
    embedder = with_layers_of(embedder, heads.embedder)
    found = check_parity(candidate_classifier, heads, embedder, parity_clips, export)
    difference = found["max_difference"]
    logger.info(
        "TFLite (%s, %.1f MB) and Keras differ by %.1e at most on %s and %d edge clips; %s.",
        export.precision,
        len(candidate_classifier.files[JOINT_MODEL]) / 1e6,
        difference,
        counted(len(parity_clips), "test clip"),
        len(found["edge_clips"]),
        counted(found["changed_top1"], "changed answer"),
    )
    card = model_card(heads, tflite_difference=difference, clips=clip_facts(clip_manifest))
    classifier = candidate_classifier.with_card(card, tflite_difference=difference)
    return found, classifier, heads, classifier


def plot_training_curves(heads: TrainedHeads) -> Any:
    """Draw loss by epoch for every head, the kept epoch marked."""
    return draw_training_curves(heads.histories)


def _embeddings_of(table: pd.DataFrame, embeddings: EmbeddingStore) -> EmbeddingSet:
    """Return the set that the tables were made with.

    Raises:
        SoundxError: The store has been filled by another embedder since.
    """
    current = embeddings.current
    wanted = table["embedder"].iloc[0]
    if current.info.fingerprint != wanted:
        raise SoundxError(
            f"The model input was made with {wanted}, but the newest embeddings are by "
            f"{current.info.fingerprint}.",
            remedy=Remedy.PREPROCESS_AND_TRAIN,
        )
    return current
