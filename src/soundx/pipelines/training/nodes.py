"""From embeddings to trained heads, and from heads to the classifier that is shipped."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pandas as pd

from soundx.audio import Float32
from soundx.classifier.bundle import Classifier
from soundx.classifier.card import clip_facts, model_card
from soundx.classifier.options import ExportOptions
from soundx.clips.waveforms import ClipWaveforms
from soundx.embedders import Embedder
from soundx.embedders.base import check_embedder, exportable, with_layers_of
from soundx.embeddings.store import EmbeddingSet, EmbeddingStore
from soundx.errors import AudioError, Remedy, SoundxError
from soundx.figures.curves import draw_training_curves
from soundx.labels import BACKGROUND, GENERAL, LabelTree
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.joint import TrainedHeads
from soundx.modelling.provenance import manifest_digest, short_hashes
from soundx.modelling.rejection import RejectionOptions, choose_thresholds
from soundx.modelling.training import (
    clips_to_learn_from,
    predict_validation,
    train_by_head,
    train_labels,
)
from soundx.progress import counted

logger = logging.getLogger(__name__)

PARITY_CLIPS = 8
PARITY_TOLERANCE = 1e-3


def hear_parity_clips(
    waveforms: ClipWaveforms,
    clip_manifest: pd.DataFrame,
    splits: pd.DataFrame,
    embedder: Embedder,
    embeddings: EmbeddingStore,
) -> list[Float32]:
    """Decode some validation clips, that the export will be held against.

    What the export needs is asked for here, before hours of training: these clips, and the
    embedder that the embeddings were made with.

    Raises:
        SoundxError: A clip is no longer there, or the embedder is another one or cannot be had.
    """
    current = embeddings.current.info
    embedder = with_layers_of(embedder, current)
    exportable(embedder)
    check_embedder(embedder, current)
    validation = splits.loc[splits["split"] == "validation", "clip_id"].head(PARITY_CLIPS)
    paths = clip_manifest.set_index("clip_id")["path"]
    if not validation.isin(paths.index).all():
        raise SoundxError(
            "The clips were looked at again since they were split.",
            remedy=Remedy.PREPROCESS_AND_TRAIN,
        )
    heard = []
    for path in paths[validation]:
        try:
            heard.append(waveforms[path]())
        except AudioError as error:
            raise SoundxError(
                f"{path}: {error}; the clips have changed since they were looked at.",
                remedy=Remedy.RUN,
            ) from error
    return heard


def train_heads(
    model_input: dict[str, pd.DataFrame],
    embeddings: EmbeddingStore,
    training: TrainingOptions,
    rejection: RejectionOptions,
    parity_clips: list[Float32] | None = None,
) -> TrainedHeads:
    """Train what ``training.head`` names, and choose below which probability it is ``unknown``.

    Thresholds are chosen on clips whose recordings were not learnt from: of ``ridge`` each
    left out in turn, of the others those of validation.
    """
    del parity_clips  # the export hears them; here they only have to be there first
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
        background = bool((learnt["label"] == BACKGROUND).any())
        clips = learnt.assign(target=targets)
        trained = train_labels(clips, embedded, len(number) + background, training)
    heads = TrainedHeads(
        tree=tree,
        models=trained.models,
        embedder=embedded.info,
        histories=trained.histories,
        training={**training.model_dump(mode="json"), **trained.chosen},
        seen_clips=short_hashes(learnt["clip_id"]),
        clips_per_split={str(k): int(v) for k, v in table["split"].value_counts().items()},
        background=background,
        manifest_digest=manifest_digest(
            zip(table["clip_id"], table["label"], table["split"], strict=True)
        ),
    )
    if trained.left_out is None:
        rows, probabilities = predict_validation(heads, learnt, embedded)
        truth = targets[rows.index]
    else:
        chosen, probabilities = trained.left_out
        truth = targets.iloc[chosen]
    thresholds = choose_thresholds(probabilities, truth.to_numpy(), len(number), rejection)
    by_label = dict(zip(tree.labels, map(float, thresholds), strict=True))
    return dataclasses.replace(heads, thresholds=by_label)


def export_heads(
    candidate_heads: TrainedHeads,
    embedder: Embedder,
    parity_clips: list[Float32],
    clip_manifest: pd.DataFrame,
    export: ExportOptions,
) -> tuple[Classifier, TrainedHeads, Classifier]:
    """Export the heads to TFLite, and hold the result against the heads on real clips.

    Returns:
        The classifier, to be kept under its version; the heads and the classifier again, to be
        the newest. In this order, so that the newest is always one that is kept.

    Raises:
        SoundxError: The exported model does not give the heads' answer.
    """
    from soundx.classifier.export import export_classifier
    from soundx.classifier.parity import largest_difference

    heads = candidate_heads
    embedder = with_layers_of(embedder, heads.embedder)
    classifier = export_classifier(embedder, heads, export)
    frames = exportable(embedder).shipped.embed(parity_clips)
    clips = list(zip(parity_clips, frames, strict=True))
    difference = largest_difference(classifier, heads, clips)
    logger.info(
        "TFLite and Keras differ by %.1e at most on %s.", difference, counted(len(clips), "clip")
    )
    if not difference <= PARITY_TOLERANCE:
        raise SoundxError(
            f"The exported model strays by {difference:.4f} from the heads it was made of "
            f"(allowed: {PARITY_TOLERANCE}). It was not saved: the model before it stays."
        )
    card = model_card(heads, tflite_difference=difference, clips=clip_facts(clip_manifest))
    classifier = classifier.with_card(card, tflite_difference=difference)
    return classifier, heads, classifier


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
