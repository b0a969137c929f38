"""Train what ``training.head`` names on stored frames, whatever their number."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from soundx.audio import Float32
from soundx.embedders.base import Part
from soundx.embeddings.store import EmbeddingSet
from soundx.errors import SoundxError
from soundx.labels import LabelTree
from soundx.modelling.heads import Frames, History, TrainingOptions, train_head
from soundx.modelling.joint import LABELS, TrainedHeads
from soundx.modelling.noise import NoiseFrames, are_silent
from soundx.modelling.pooling import pool_frames_layer, pooled_widths
from soundx.modelling.rejection import with_background
from soundx.modelling.ridge import (
    CHOOSE_CLIPS,
    LeftOut,
    Ridge,
    Standardiser,
    Summed,
    choose,
    fit_ridge,
    fit_ridge_in_blocks,
)
from soundx.modelling.stored_frames import stored_frames
from soundx.modelling.vectors import Vectors, all_vectors, vector_blocks
from soundx.progress import counted, progress_bar, track

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

Indices = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]

VECTORS_IN_MEMORY = 20_000
"""Clips whose pooled vectors are held at once: some 500 MB of YAMNet's."""

_CLIPS_AT_A_TIME = 256


@dataclass(frozen=True)
class Trained:
    """What training gave.

    Attributes:
        models: Keras models by name; see ``TrainedHeads``.
        histories: Training curves by model.
        chosen: What was chosen on the way, for the model card.
        left_out: Predictions of clips by models without their recordings, where they came with
            the fit: their places in the table learnt from, and probabilities.
    """

    models: Mapping[str, keras.Model]
    histories: Mapping[str, History]
    chosen: Mapping[str, Any]
    left_out: tuple[Indices, Probabilities] | None = None


def train_labels(
    clips: pd.DataFrame,
    embedded: EmbeddingSet,
    n_classes: int,
    options: TrainingOptions,
    noise: NoiseFrames | None = None,
) -> Trained:
    """Train one model over all labels on pooled frames: ``ridge`` or ``dense``.

    Args:
        clips: ``clip_id``, ``target``, ``group`` and ``split`` of the clips to learn from.
        embedded: Their frames.
        n_classes: Number of classes.
        options: How.
        noise: Frames of noise, learnt as the last class.
    """
    if options.head == "dense":
        return _train_dense(clips, embedded, n_classes, options, noise)
    ridge = _fit(clips, embedded, n_classes, options, noise)
    logger.info(
        "Ridge: penalty %.2g, temperature %.1f; log loss of recordings left out %.3f.",
        ridge.choice.penalty,
        ridge.choice.temperature,
        ridge.choice.log_loss,
    )
    model = ridge_model(ridge, embedded.info.parts)
    assert ridge.left_out is not None
    ours = ridge.left_out.clips < len(clips)  # what follows is noise
    left_out = (ridge.left_out.clips[ours], ridge.left_out.probabilities()[ours])
    return Trained({LABELS: model}, {}, asdict(ridge.choice), left_out)


def with_noise(
    vectors: Vectors,
    targets: Indices,
    groups: npt.NDArray[Any],
    noise: NoiseFrames | None,
    parts: Sequence[Part],
    options: TrainingOptions,
    n_classes: int,
) -> tuple[Vectors, Indices, npt.NDArray[Any]]:
    """Return vectors, classes and groups of clips with those of noise after them."""
    if noise is None:
        return vectors, targets, groups
    whole, windows, owners = noise.vectors(tuple(parts), seed=options.seed)
    n = len(vectors.whole)
    silent = are_silent(vectors.windows, whole[0])
    # no two noise clips are of one recording, and none is of a recording of the clips
    own = np.arange(len(whole)) + (groups.max(initial=0) + 1)
    return (
        Vectors(
            np.arange(n + len(whole)),
            np.concatenate([vectors.whole, whole]),
            np.concatenate([np.where(silent, n, vectors.owners), owners + n]),
            np.concatenate([vectors.windows, windows]),
        ),
        np.concatenate([targets, np.full(len(whole), n_classes - 1)]),
        np.concatenate([groups, own]),
    )


def fit_vectors(
    vectors: Vectors,
    targets: Indices,
    groups: npt.NDArray[Any],
    n_classes: int,
    parts: Sequence[Part],
    options: TrainingOptions,
    noise: NoiseFrames | None = None,
    summed: Summed | None = None,
) -> Ridge:
    """Fit pooled vectors that are in memory, as training does.

    Args:
        vectors: Of all clips, in order, and of stretches drawn from them.
        targets: Class of each clip [shape=(n_clips,)].
        groups: Recording of each clip, as whole numbers [shape=(n_clips,)].
        n_classes: Number of classes.
        parts: What a frame is made of.
        options: How.
        noise: Frames of noise, learnt as the last class.
        summed: Sums over the first of them, which many fits share.
    """
    vectors, targets, groups = with_noise(
        vectors, targets, groups, noise, parts, options, n_classes
    )
    return fit_ridge(
        vectors.whole,
        targets,
        groups,
        n_classes,
        pooled_widths(parts),
        windows=(vectors.windows, vectors.owners),
        window_weight=options.window_weight,
        summed=summed,
    )


def _fit(
    clips: pd.DataFrame,
    embedded: EmbeddingSet,
    n_classes: int,
    options: TrainingOptions,
    noise: NoiseFrames | None = None,
) -> Ridge:
    ids = clips["clip_id"].tolist()
    targets = clips["target"].to_numpy(np.int64)
    groups = np.unique(clips["group"], return_inverse=True)[1]
    widths = pooled_widths(embedded.info.parts)
    settings = {"windows_per_clip": options.windows_per_clip, "seed": options.seed}
    if len(clips) <= VECTORS_IN_MEMORY:
        vectors = all_vectors(embedded, ids, **settings)
        parts = embedded.info.parts
        return fit_vectors(vectors, targets, groups, n_classes, parts, options, noise)
    some = np.sort(np.random.default_rng(options.seed).permutation(len(ids))[:CHOOSE_CLIPS])
    chosen = all_vectors(embedded, [ids[i] for i in some]).whole
    standardise = Standardiser.of(iter([chosen]), widths)
    standardised = standardise(chosen)
    left_out = choose(standardised, targets[some], groups[some], n_classes)
    left_out = LeftOut(left_out.choice, some[left_out.clips], left_out.scores)
    length = float(np.einsum("ij,ij->", standardised, standardised) / len(standardised))

    def blocks() -> Iterator[tuple[Float32, Indices, Float32]]:
        if noise is not None:
            whole, windows, _ = noise.vectors(embedded.info.parts, seed=options.seed)
            yield (
                np.concatenate([whole, windows]),
                np.full(len(whole) + len(windows), n_classes - 1),
                np.repeat(
                    np.array([1.0, options.window_weight], np.float32), [len(whole), len(windows)]
                ),
            )
        read = vector_blocks(embedded, ids, **settings)
        for block in track(read, description="Training labels"):
            of_windows = targets[block.owners]
            if noise is not None:
                silent = are_silent(block.windows, whole[0])
                of_windows = np.where(silent, n_classes - 1, of_windows)
            yield (
                np.concatenate([block.whole, block.windows]),
                np.concatenate([targets[block.clips], of_windows]),
                np.repeat(
                    np.array([1.0, options.window_weight], np.float32),
                    [len(block.clips), len(block.owners)],
                ),
            )

    return fit_ridge_in_blocks(blocks, n_classes, widths, left_out, length, standardise)


def ridge_model(ridge: Ridge, parts: Sequence[Part]) -> keras.Sequential:
    """Return a fitted ridge as a Keras model, frames of clips to calibrated logits."""
    import keras

    dim, n_classes = ridge.weights.shape
    model = keras.Sequential(
        [
            keras.Input((None, sum(part.width for part in parts)), name="frames"),
            pool_frames_layer()([asdict(part) for part in parts], name="pool"),
            keras.layers.Normalization(
                mean=ridge.standardise.mean,
                variance=1.0 / np.square(ridge.standardise.scale, dtype=np.float64),
                name="standardise",
            ),
            keras.layers.Dense(n_classes, name="logits"),
        ]
    )
    temperature = np.float32(ridge.choice.temperature)
    model.layers[-1].set_weights([ridge.weights * temperature, ridge.bias * temperature])
    assert model.layers[-1].kernel.shape == (dim, n_classes)
    return model


def _train_dense(
    clips: pd.DataFrame,
    embedded: EmbeddingSet,
    n_classes: int,
    options: TrainingOptions,
    noise: NoiseFrames | None = None,
) -> Trained:
    """Train two dense layers on pooled vectors, stopped by validation."""
    import keras

    parts = embedded.info.parts
    standardise = None
    sides = {}
    for side in ("train", "validation"):
        mine = clips[clips["split"] == side]
        per_clip = options.windows_per_clip if side == "train" else 0
        found = all_vectors(
            embedded, mine["clip_id"].tolist(), windows_per_clip=per_clip, seed=options.seed
        )
        if standardise is None:
            standardise = Standardiser.of(iter([found.whole]), pooled_widths(parts))
        targets = mine["target"].to_numpy(np.int64)
        weights = mine["weight"].to_numpy(np.float32)
        if side == "train" and noise is not None:
            found, targets, _ = with_noise(
                found, targets, np.zeros(len(mine), np.int64), noise, parts, options, n_classes
            )
            typical = weights.mean(dtype=np.float64) if len(weights) else 1.0
            weights = np.append(weights, np.full(len(targets) - len(weights), typical, np.float32))
        vectors = standardise(np.concatenate([found.whole, found.windows]))
        sides[side] = Frames(
            # of unit size each: what descent is used to
            vectors * np.float32(np.sqrt(vectors.shape[1] / len(pooled_widths(parts)))),
            np.concatenate([targets, targets[found.owners]]),
            np.concatenate([weights, options.window_weight * weights[found.owners]]),
        )
    with progress_bar() as bar:
        head, history = _with_bar(bar, "labels", sides, n_classes, options)
    assert standardise is not None
    size = float(np.sqrt(sum(pooled_widths(parts)) / len(pooled_widths(parts))))
    model = keras.Sequential(
        [
            keras.Input((None, sum(part.width for part in parts)), name="frames"),
            pool_frames_layer()([asdict(part) for part in parts], name="pool"),
            keras.layers.Normalization(
                mean=standardise.mean,
                variance=1.0 / np.square(standardise.scale * size, dtype=np.float64),
                name="scale",
            ),
            *head.layers,
        ]
    )
    return Trained({LABELS: model}, {LABELS: history}, {})


def train_by_head(
    tables: Mapping[str, pd.DataFrame],
    embedded: EmbeddingSet,
    tree: LabelTree,
    options: TrainingOptions,
) -> Trained:
    """Train ``general`` and every category's head on single frames, as the seed did.

    Args:
        tables: The clips of each head: ``clip_id``, ``split``, ``target``, ``weight``.
        embedded: Their frames; inner layers are left out.
        tree: Labels and categories.
        options: How.
    """
    width = embedded.info.plain_width
    models: dict[str, keras.Model] = {}
    histories: dict[str, History] = {}
    with progress_bar() as bar:
        for head, classes in tree.heads.items():
            table = tables[head]
            sides = {
                side: stored_frames(
                    table[table["split"] == side],
                    embedded,
                    frames_in_memory=options.frames_in_memory,
                    width=width,
                )
                for side in ("train", "validation")
            }
            models[head], histories[head] = _with_bar(bar, head, sides, len(classes), options)
    return Trained(models, histories, {})


def _with_bar(
    bar: Any, name: str, sides: Mapping[str, Any], n_classes: int, options: TrainingOptions
) -> tuple[keras.Sequential, History]:
    import keras

    task = bar.add_task(f"Training {name}", total=options.max_epochs)
    tick = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: bar.advance(task))
    head, history = train_head(
        sides["train"], sides["validation"], n_classes, options, callbacks=[tick]
    )
    epochs = len(history.loss)
    bar.update(task, total=epochs, completed=epochs)
    best = history.best_epoch - 1
    logger.info(
        "Head %s: %d classes, best epoch %d of %d, validation loss %.3f, accuracy %.3f.",
        name,
        n_classes,
        best + 1,
        epochs,
        history.val_loss[best],
        history.val_accuracy[best],
    )
    return head, history


def predict_validation(
    heads: TrainedHeads, table: pd.DataFrame, embedded: EmbeddingSet
) -> tuple[pd.DataFrame, Probabilities]:
    """Predict validation clips, for what no head gives with its fit; at most so many.

    Args:
        heads: Heads that did not learn from validation clips.
        table: ``clip_id`` and ``split`` of clips.
        embedded: Their frames.

    Returns:
        The rows that were predicted, and their probabilities, background's last
        [shape=(n_rows, n_labels + 1)].
    """
    rows = table[table["split"] == "validation"]
    if len(rows) > CHOOSE_CLIPS:
        rows = rows.sample(CHOOSE_CLIPS, random_state=7)
    found = [np.empty((0, len(heads.tree.labels)))]
    for first in range(0, len(rows), _CLIPS_AT_A_TIME):
        ids = rows["clip_id"].iloc[first : first + _CLIPS_AT_A_TIME].tolist()
        found.append(heads.predict(embedded.frames(ids), embedded.n_frames(ids)))
    return rows, with_background(np.concatenate(found))


def clips_to_learn_from(table: pd.DataFrame, options: TrainingOptions) -> pd.DataFrame:
    """Return the rows that a head learns from: what validation is for depends on the head.

    Raises:
        SoundxError: There are none.
    """
    learnt = table[table["split"].isin(options.learnt_sides)]
    if not len(learnt):
        raise SoundxError("There is no clip to learn from.")
    logger.info("Training (%s) on %s ...", options.head, counted(len(learnt), "clip"))
    return learnt
