"""Heads that are trained by descent: small Keras networks to class logits.

``dense`` learns from pooled vectors, one a clip and some of short stretches. ``seed``, the
baseline, learns from frames, and a clip's score is the mean of its frames' logits. Both come in
blocks, read from their shards anew in every epoch where they do not fit into one, so that
memory does not grow with their number. TensorFlow is imported when a head is built.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from soundx.audio import Float32
from soundx.options import Options, Seed

if TYPE_CHECKING:
    import keras

Batch = tuple[Float32, npt.NDArray[np.int64], Float32]
"""Embeddings, targets and weights of some frames."""


class TrainingOptions(Options):
    """How heads are built and trained.

    Attributes:
        head: ``ridge`` (closed form, on pooled frames, learns from train and validation),
            ``dense`` (a network on pooled frames), or ``seed`` (a network on single frames, one
            for categories and one inside each: the way soundx replaces).
        windows_per_clip: Stretches of one to five frames drawn from each clip and learnt beside
            it, so that short sounds are known too; not of ``seed``.
        window_weight: Weight of such a stretch, where a clip's is 1.
        learn_noise: Whether silence and synthesised noise are learnt as background, so that what
            is none of the labels is not taken for one; not of ``seed``.
        refit: ``all``: what is shipped learns from test clips too, and is judged by
            cross-validation alone; ``off``: it does not.
        hidden_units: Of ``dense`` and ``seed``, as all that follow: width of each hidden layer.
        dropout: Share of hidden units silenced in training.
        learning_rate: Adam's step size.
        batch_size: Frames a step.
        max_epochs: Passes over the training frames at most.
        patience_epochs: Passes without a better validation loss before stopping.
        frames_in_memory: Frames held at a time, and shuffled among themselves.
        seed: Seed of weights, shuffling and dropout.
    """

    head: Literal["ridge", "dense", "seed"] = "ridge"
    windows_per_clip: int = Field(2, ge=0, le=100)
    window_weight: float = Field(0.25, gt=0, le=1)
    learn_noise: bool = True
    refit: Literal["off", "all"] = "off"
    hidden_units: tuple[Annotated[int, Field(gt=0, le=65_536)], ...] = (512,)
    dropout: float = Field(0.3, ge=0, lt=1)
    learning_rate: float = Field(2e-4, gt=0, le=100)
    batch_size: int = Field(64, gt=0)
    max_epochs: int = Field(100, gt=0)
    patience_epochs: int = Field(10, gt=0)
    frames_in_memory: int = Field(65_536, gt=0)
    seed: Seed = 7

    @property
    def learns_noise(self) -> bool:
        """Whether noise is learnt: where it is wanted, by a head that can."""
        return self.learn_noise and self.head != "seed"

    @property
    def learnt_sides(self) -> tuple[str, ...]:
        """Sides of the split that what is shipped has learnt from, by whatever head."""
        return ("train", "validation", *(("test",) if self.refit == "all" else ()))


@dataclass(frozen=True)
class Frames:
    """Frames of clips, ready for training.

    Attributes:
        embeddings: [shape=(n_frames, dim), dtype=float32].
        targets: Class index of each frame [shape=(n_frames,), dtype=int64].
        weights: Weight of each frame in the loss [shape=(n_frames,), dtype=float32].
    """

    embeddings: Float32
    targets: npt.NDArray[np.int64]
    weights: Float32


class FrameBlocks(Protocol):
    """More frames than are held at a time."""

    def blocks(self, *, shuffle: np.random.Generator | None = None) -> Iterator[Frames]:
        """Yield all frames once, some at a time, in an order that is drawn or in theirs."""


@dataclass(frozen=True)
class History:
    """Training curves of one head: one number an epoch.

    Attributes:
        loss: Weighted cross-entropy on training frames, in nats.
        val_loss: The same on validation frames.
        accuracy: Weighted share of training frames that are right.
        val_accuracy: The same on validation frames.
        best_epoch: Epoch whose weights were kept, counted from 1.
    """

    loss: list[float]
    val_loss: list[float]
    accuracy: list[float]
    val_accuracy: list[float]
    best_epoch: int


def build_head(
    dim: int, n_classes: int, options: TrainingOptions, *, mean: Float32, variance: Float32
) -> keras.Sequential:
    """Build an untrained head.

    Args:
        dim: Length of an embedding.
        n_classes: Number of classes.
        options: Sizes and rates.
        mean: Mean of the training embeddings, which the head subtracts [shape=(dim,)].
        variance: Their variance, by whose root it divides [shape=(dim,)].

    Returns:
        A compiled model, embeddings float32[batch, dim] to logits float32[batch, n_classes].
    """
    import keras

    layers: list[Any] = [
        keras.Input((dim,), name="embedding"),
        keras.layers.Normalization(mean=mean, variance=variance, name="standardise"),
    ]
    for number, units in enumerate(options.hidden_units, start=1):
        layers.append(keras.layers.Dense(units, activation="relu", name=f"hidden_{number}"))
        if options.dropout:
            layers.append(keras.layers.Dropout(options.dropout, name=f"dropout_{number}"))
    layers.append(keras.layers.Dense(n_classes, name="logits"))
    head = keras.Sequential(layers)
    head.compile(
        optimizer=keras.optimizers.Adam(options.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
    )
    return head


def train_head(
    train: Frames | FrameBlocks,
    validation: Frames | FrameBlocks,
    n_classes: int,
    options: TrainingOptions,
    *,
    callbacks: Sequence[Any] = (),
) -> tuple[keras.Sequential, History]:
    """Train a head, stopping when the validation loss no longer falls.

    The weights of the best epoch are kept. The same frames, options and machine give the
    same head.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(options.seed)
    tf.config.experimental.enable_op_determinism()
    mean, variance = _moments(train)
    dim = len(mean)
    head = build_head(dim, n_classes, options, mean=mean, variance=variance)
    batches = _dataset(train, dim, options, shuffled=True)
    held_out = _dataset(validation, dim, options, shuffled=False)
    stopping = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=options.patience_epochs, restore_best_weights=True
    )
    with warnings.catch_warnings():
        # the number of batches is only known at the end of the first epoch
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        fitted = head.fit(
            batches,
            validation_data=held_out,
            epochs=options.max_epochs,
            shuffle=False,  # drawn above
            verbose=0,
            callbacks=[stopping, *callbacks],
        )
    curves = {name: [float(v) for v in values] for name, values in fitted.history.items()}
    best = int(np.argmin(curves["val_loss"])) + 1
    names = ("loss", "val_loss", "accuracy", "val_accuracy")
    return head, History(**{name: curves[name] for name in names}, best_epoch=best)


def clip_probabilities(
    head: keras.Model, embeddings: Float32, frames_per_clip: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Score clips: the softmax of the mean of their frames' logits.

    Args:
        head: A trained head.
        embeddings: Frames of all clips, one clip after the other [shape=(n_frames, dim)].
        frames_per_clip: Number of frames of each clip, one or more [shape=(n_clips,)].

    Returns:
        Class probabilities [shape=(n_clips, n_classes)].
    """
    # called directly: predict() would build a graph for every head and every size
    logits = np.asarray(head(embeddings, training=False), np.float64)
    starts = np.concatenate([[0], np.cumsum(frames_per_clip)[:-1]])
    means = np.add.reduceat(logits, starts, axis=0) / frames_per_clip[:, None]
    exponentials = np.exp(means - means.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def _dataset(
    frames: Frames | FrameBlocks, dim: int, options: TrainingOptions, *, shuffled: bool
) -> Any:
    """Return the frames as a tf.data data set of batches, shuffled anew in every epoch."""
    import tensorflow as tf

    if isinstance(frames, Frames):
        # twice as fast as a generator, where all frames are in memory
        columns = (frames.embeddings, frames.targets, frames.weights)
        rows = tf.data.Dataset.from_tensor_slices(columns).cache()
        if shuffled:
            rows = rows.shuffle(len(frames.targets), seed=options.seed)
        return rows.batch(options.batch_size).prefetch(tf.data.AUTOTUNE)
    epochs = itertools.count()

    def batches() -> Iterator[Batch]:
        rng = np.random.default_rng([options.seed, next(epochs)]) if shuffled else None
        for block in frames.blocks(shuffle=rng):
            n_frames = len(block.targets)
            order = np.arange(n_frames) if rng is None else rng.permutation(n_frames)
            for start in range(0, n_frames, options.batch_size):
                chosen = order[start : start + options.batch_size]
                yield block.embeddings[chosen], block.targets[chosen], block.weights[chosen]

    signature = (
        tf.TensorSpec([None, dim], tf.float32),
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec([None], tf.float32),
    )
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)


def _moments(frames: Frames | FrameBlocks) -> tuple[Float32, Float32]:
    """Return mean and variance by dimension, the variance kept off zero.

    A dimension that never moves in training must not be blown up when it moves in use.
    Blocks are joined by the rule of Chan, Golub & LeVeque (1983).
    """
    n_frames = 0
    mean: Any = 0.0
    squares: Any = 0.0
    for block in [frames] if isinstance(frames, Frames) else frames.blocks():
        n = len(block.embeddings)
        block_mean = block.embeddings.mean(axis=0, dtype=np.float64)
        away = block_mean - mean
        squares = squares + n * block.embeddings.var(axis=0, dtype=np.float64)
        squares = squares + away**2 * (n_frames * n / (n_frames + n))
        n_frames += n
        mean = mean + away * (n / n_frames)
    variance = squares / n_frames
    floor = max(0.1 * float(variance.mean()), 1e-6)
    return mean.astype(np.float32), (variance + floor).astype(np.float32)
