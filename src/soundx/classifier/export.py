"""Export: the joint model to one TFLite file, from waveform to probabilities; if asked, heads too.

The graph is the embedder's own, run once, then pooling and the model over labels (or, of
``seed``, each head on every frame and the mean of the frames' logits), and softmax: over the whole
clip, and over a short window around each frame. Importing this imports TensorFlow.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from soundx.audio import SAMPLE_RATE_HZ, Float32, framing
from soundx.classifier import bundle, tflite_file
from soundx.classifier.bundle import Classifier
from soundx.classifier.options import ExportOptions, window_frames
from soundx.embedders.base import Embedder, EmbedderInfo, check_embedder, exportable
from soundx.embedders.tf_front_end import normalise_level
from soundx.errors import SoundxError
from soundx.labels import GENERAL
from soundx.modelling.joint import LABELS, TrainedHeads
from soundx.progress import track

_IN_8_BITS = ("CONV_2D", "DEPTHWISE_CONV_2D")


class ServedModel(tf.Module):
    """Waveform to probabilities, over a head's classes or over all labels.

    Args:
        embedder: The embedder the heads were trained on.
        heads: The trained heads.
        window_frames: Frames of a window.
        head: Which head to serve; None for the joint model.
    """

    def __init__(
        self,
        embedder: Embedder,
        heads: TrainedHeads,
        *,
        window_frames: int = 1,
        head: str | None = None,
    ) -> None:
        super().__init__()
        self._embed = exportable(embedder).graph()
        self._level_dbfs = embedder.level_dbfs
        self._heads = heads
        self._head = head
        self._window_frames = window_frames
        self._models = dict(heads.models)
        # the converter freezes what the module owns, and does not look into Keras models
        self._owned = [v.value for model in heads.models.values() for v in model.variables]

    @tf.function(input_signature=[tf.TensorSpec([1, None], tf.float32, name="waveform")])
    def __call__(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classify a waveform float32[1, n_samples] at 16 kHz."""
        samples = tf.reshape(waveform, [-1])
        if self._level_dbfs is not None:
            samples = normalise_level(samples, self._level_dbfs)
        frames = self._embed(samples)
        scored = frames if self._heads.is_joint else self._all_logits(frames)
        whole = tf.expand_dims(scored, 0)
        if self._head is not None:
            return {"probabilities": self._of_head(self._head, whole)[0]}
        labels = self._joint(whole)
        return {
            "label_probabilities": labels,
            "category_probabilities": self._by_category(labels),
            "window_probabilities": self._joint(self._windows(scored)),
            "embedding": frames,
        }

    def _windows(self, values: tf.Tensor) -> tf.Tensor:
        """Return what lies around each frame [n, window_frames, width]; ends are repeated."""
        n = self._window_frames
        before, after = bundle.frames_around(n)
        padded = tf.concat([values[:1]] * before + [values] + [values[-1:]] * after, axis=0)
        return tf.stack([padded[first : (first - n + 1) or None] for first in range(n)], axis=1)

    def _all_logits(self, frames: tf.Tensor) -> tf.Tensor:
        """Return the logits of all heads side by side, of each frame."""
        plain = frames[:, : self._heads.embedder.plain_width]
        heads = self._heads.tree.heads
        return tf.concat([self._models[head](plain, training=False) for head in heads], axis=1)

    def _of_labels(self, frames: tf.Tensor) -> tf.Tensor:
        logits = self._models[LABELS](frames, training=False)
        return tf.nn.softmax(logits)[:, : len(self._heads.tree.labels)]

    def _of_head(self, head: str, scored: tf.Tensor) -> tf.Tensor:
        tree = self._heads.tree
        if not self._heads.is_joint:
            first = sum(
                len(tree.heads[h]) for h in list(tree.heads)[: list(tree.heads).index(head)]
            )
            logits = scored[:, :, first : first + len(tree.heads[head])]
            return tf.nn.softmax(tf.reduce_mean(logits, axis=1))
        probabilities = self._of_labels(scored)
        if head == GENERAL:
            return probabilities if tree.is_flat else self._by_category(probabilities)
        first, last = (tree.labels.index(tree.heads[head][place]) for place in (0, -1))
        own = probabilities[:, first : last + 1]  # labels are in order of category
        return own / tf.maximum(tf.reduce_sum(own, axis=1, keepdims=True), 1e-12)

    def _by_category(self, probabilities: tf.Tensor) -> tf.Tensor:
        tree = self._heads.tree
        sums = tree.category_index()[:, None] == np.arange(len(tree.categories))
        return tf.matmul(probabilities, tf.constant(sums.astype(np.float32)))

    def _joint(self, scored: tf.Tensor) -> tf.Tensor:
        tree = self._heads.tree
        if self._heads.is_joint:
            return self._of_labels(scored)
        general = self._of_head(GENERAL, scored)
        if tree.is_flat:
            return general
        # labels are in order of category: specific probabilities line up one after the other
        specific = [
            self._of_head(category, scored)
            if category in tree.heads
            else tf.ones_like(general[:, :1])
            for category in tree.categories
        ]
        return tf.gather(general, tree.category_index(), axis=1) * tf.concat(specific, axis=1)


def _windowing(embedder: EmbedderInfo, n_frames: int) -> bundle.Windowing:
    return bundle.Windowing(
        frames=n_frames,
        window_s=round(embedder.window_s + (n_frames - 1) * embedder.hop_s, 6),
        hop_s=embedder.hop_s,
        frame_samples=framing.MIN_SAMPLES,
        hop_samples=round(embedder.hop_s * SAMPLE_RATE_HZ),
    )


def export_classifier(
    embedder: Embedder,
    heads: TrainedHeads,
    options: ExportOptions | None = None,
    *,
    calibration: Sequence[Float32] = (),
) -> Classifier:
    """Convert the joint model, and gather it with its labels.

    Args:
        embedder: The embedder the heads were trained on.
        heads: The trained heads.
        options: What is exported; by default the joint model in float32.
        calibration: Waveforms of training clips, for ``int8`` [shape=(n_samples,)] each.

    Raises:
        SoundxError: The embedder is not the one the heads were trained on.
    """
    options = options or ExportOptions()
    check_embedder(embedder, heads.embedder)
    n_frames = window_frames(heads.embedder, options)
    tree = heads.tree
    files = {
        bundle.LABELS: bundle.labels_file(
            tree,
            version=heads.version,
            embedder=heads.embedder.to_dict(),
            training=heads.training,
            thresholds=heads.thresholds,
            background=heads.background,
            manifest_digest=heads.manifest_digest,
            sample_rate_hz=SAMPLE_RATE_HZ,
            windowing=_windowing(heads.embedder, n_frames),
            precision=options.precision,
            with_head_files=options.heads,
        ),
        bundle.HEADER: bundle.cpp_header(tree),
        bundle.RUNNER: bundle.runner(),
    }
    head_files = bundle.head_files(tree.heads)
    todo: list[str | None] = [None, *(tree.heads if options.heads else ())]
    for head in track(todo, description="Exporting to TFLite"):
        model = ServedModel(embedder, heads, window_frames=n_frames, head=head)
        content = _convert(model, options.precision, calibration)
        if head is None:
            files[bundle.JOINT_MODEL] = tflite_file.finished(content, tree)
        else:
            files[head_files[head]] = content
            classes = json.dumps({"classes": list(tree.heads[head])}, ensure_ascii=False)
            files[bundle.head_classes_file(head_files[head])] = classes.encode()
    return Classifier(files).with_checksums()


def _convert(model: ServedModel, precision: str, calibration: Sequence[Float32]) -> bytes:
    function = model.__call__.get_concrete_function()

    def converter() -> Any:
        return tf.lite.TFLiteConverter.from_concrete_functions([function], model)

    plain = converter()
    if precision == "float32":
        return bytes(plain.convert())
    smaller = converter()
    smaller.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        smaller.target_spec.supported_types = [tf.float16]
        return bytes(smaller.convert())
    if precision == "dynamic":
        return tflite_file.only_network_quantised(bytes(smaller.convert()), bytes(plain.convert()))
    if not calibration:
        raise SoundxError("An int8 network needs clips to choose its scales on.")
    return _with_int8_network(smaller, bytes(plain.convert()), calibration)


def _with_int8_network(converter: Any, plain: bytes, calibration: Sequence[Float32]) -> bytes:
    """Return the model with its network's convolutions in int8, and all else in float."""
    from tensorflow.lite.python.convert import mlir_quantize

    converter.representative_dataset = lambda: ([clip[None]] for clip in calibration)
    converter._experimental_calibrate_only = True
    calibrated = converter.convert()
    kinds = tflite_file.operators(plain)
    spectrum = tflite_file.front_end_outputs(plain)
    quantised = mlir_quantize(
        calibrated,
        denylisted_ops=sorted({kind for kind in kinds if kind not in _IN_8_BITS}),
        denylisted_nodes=spectrum,
    )
    return bytes(quantised)
