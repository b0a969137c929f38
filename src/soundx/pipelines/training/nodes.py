"""From embeddings to trained heads, and from heads to the classifier that is shipped."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd

from soundx.classifier.bundle import Classifier
from soundx.classifier.card import model_card
from soundx.clips.waveforms import ClipWaveforms
from soundx.embedders import Embedder
from soundx.embedders.base import exportable
from soundx.embeddings.store import EmbeddingSet, EmbeddingStore
from soundx.errors import Remedy, SoundxError
from soundx.figures.curves import draw_training_curves
from soundx.labels import GENERAL, LabelTree
from soundx.modelling.heads import History, TrainingOptions, train_head
from soundx.modelling.joint import TrainedHeads
from soundx.modelling.provenance import manifest_digest, short_hashes
from soundx.modelling.stored_frames import stored_frames
from soundx.progress import counted, progress_bar

logger = logging.getLogger(__name__)

PARITY_CLIPS = 8
PARITY_TOLERANCE = 1e-3


def train_heads(
    model_input: dict[str, pd.DataFrame], embeddings: EmbeddingStore, training: TrainingOptions
) -> TrainedHeads:
    """Train ``general`` and every category's head, each until its validation loss rises."""
    import keras

    general = model_input[GENERAL]
    embedded = _embeddings_of(general, embeddings)
    tree = LabelTree.build(zip(general["label"], general["category"], strict=True))
    logger.info(
        "Training %s on %s, %s ...",
        counted(len(tree.heads), "head"),
        counted((general["split"] == "train").sum(), "clip"),
        counted(general.loc[general["split"] == "train", "n_frames"].sum(), "frame"),
    )
    models: dict[str, keras.Model] = {}
    histories: dict[str, History] = {}
    with progress_bar() as bar:
        for head, classes in tree.heads.items():
            task = bar.add_task(f"Training {head}", total=training.max_epochs)
            tick = keras.callbacks.LambdaCallback(
                on_epoch_end=lambda *_, task=task: bar.advance(task)
            )
            table = model_input[head]
            train, validation = (
                stored_frames(
                    table[table["split"] == split],
                    embedded,
                    frames_in_memory=training.frames_in_memory,
                )
                for split in ("train", "validation")
            )
            models[head], histories[head] = train_head(
                train,
                validation,
                len(classes),
                training,
                callbacks=[tick],
            )
            epochs = len(histories[head].loss)
            bar.update(task, total=epochs, completed=epochs)
    for head, history in histories.items():
        best = history.best_epoch - 1
        logger.info(
            "Head %s: %s, best epoch %d of %d, validation loss %.3f, accuracy on frames %.3f.",
            head,
            counted(len(tree.heads[head]), "class", "classes"),
            best + 1,
            len(history.loss),
            history.val_loss[best],
            history.val_accuracy[best],
        )
    seen = general[general["split"].isin(["train", "validation"])]
    return TrainedHeads(
        tree=tree,
        models=models,
        embedder=embedded.info,
        histories=histories,
        training=training.model_dump(mode="json"),
        seen_clips=short_hashes(seen["clip_id"]),
        clips_per_split={str(k): int(v) for k, v in general["split"].value_counts().items()},
        manifest_digest=manifest_digest(
            zip(general["clip_id"], general["label"], general["split"], strict=True)
        ),
    )


def export_heads(
    heads: TrainedHeads,
    embedder: Embedder,
    waveforms: ClipWaveforms,
    clip_manifest: pd.DataFrame,
    splits: pd.DataFrame,
) -> tuple[Classifier, Classifier]:
    """Export the heads to TFLite, and hold the result against the heads on real clips.

    Returns:
        The classifier twice: to be kept under its version, and to be the newest. In this
        order, so that the newest is always one that is kept.

    Raises:
        SoundxError: The exported model does not give the heads' answer.
    """
    from soundx.classifier.export import export_classifier
    from soundx.classifier.parity import largest_difference

    classifier = export_classifier(embedder, heads)
    validation = splits.loc[splits["split"] == "validation", "clip_id"].head(PARITY_CLIPS)
    paths = clip_manifest.set_index("clip_id")["path"][validation]
    heard = [waveforms[path]() for path in paths]
    clips = list(zip(heard, exportable(embedder).shipped.embed(heard), strict=True))
    difference = largest_difference(classifier, heads, clips)
    logger.info(
        "TFLite and Keras differ by %.1e at most on %s.", difference, counted(len(clips), "clip")
    )
    if not difference <= PARITY_TOLERANCE:
        raise SoundxError(
            f"The exported model strays by {difference:.4f} from the heads it was made of "
            f"(allowed: {PARITY_TOLERANCE}). Nothing was saved."
        )
    card = model_card(heads, tflite_difference=difference)
    classifier = classifier.with_card(card, tflite_difference=difference)
    return classifier, classifier


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
