"""Export: the joint model to TFLite, from waveform to probabilities; if asked, each head too.

The graph is the embedder's own, then pooling and the model over labels (or, of ``seed``, each
head on every frame and the mean of the frames' logits), and softmax. Importing this imports
TensorFlow.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from soundx.audio import SAMPLE_RATE_HZ
from soundx.classifier import bundle
from soundx.classifier.bundle import Classifier
from soundx.classifier.options import ExportOptions
from soundx.embedders.base import Embedder, check_embedder, exportable
from soundx.embedders.tf_front_end import normalise_level
from soundx.labels import GENERAL
from soundx.modelling.joint import LABELS, TrainedHeads
from soundx.progress import track


class ServedModel(tf.Module):
    """Waveform to probabilities, over a head's classes or over all labels.

    Args:
        embedder: The embedder the heads were trained on.
        heads: The trained heads.
        head: Which head to serve; None for the joint model.
    """

    def __init__(self, embedder: Embedder, heads: TrainedHeads, head: str | None = None) -> None:
        super().__init__()
        self._embed = exportable(embedder).graph()
        self._level_dbfs = embedder.level_dbfs
        self._heads = heads
        self._head = head
        self._models = dict(heads.models)
        # the converter freezes what the module owns, and does not look into Keras models
        self._owned = [v.value for model in heads.models.values() for v in model.variables]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="waveform")])
    def __call__(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classify a waveform float32[n_samples] at 16 kHz."""
        if self._level_dbfs is not None:
            waveform = normalise_level(waveform, self._level_dbfs)
        frames = self._embed(waveform)
        if self._head is not None:
            return {"probabilities": self._of_head(self._head, frames)}
        return {"probabilities": self._joint(frames)}

    def _of_labels(self, frames: tf.Tensor) -> tf.Tensor:
        logits = self._models[LABELS](tf.expand_dims(frames, 0), training=False)[0]
        return tf.nn.softmax(logits)[: len(self._heads.tree.labels)]

    def _of_head(self, head: str, frames: tf.Tensor) -> tf.Tensor:
        tree = self._heads.tree
        if not self._heads.is_joint:
            plain = frames[:, : self._heads.embedder.plain_width]
            logits = self._models[head](plain, training=False)
            return tf.nn.softmax(tf.reduce_mean(logits, axis=0))
        probabilities = self._of_labels(frames)
        if head == GENERAL:
            return probabilities if tree.is_flat else self._by_category(probabilities)
        first, last = (tree.labels.index(tree.heads[head][place]) for place in (0, -1))
        own = probabilities[first : last + 1]  # labels are in order of category
        return own / tf.maximum(tf.reduce_sum(own), 1e-12)

    def _by_category(self, probabilities: tf.Tensor) -> tf.Tensor:
        tree = self._heads.tree
        sums = tree.category_index()[:, None] == np.arange(len(tree.categories))
        return tf.linalg.matvec(tf.constant(sums.T.astype(np.float32)), probabilities)

    def _joint(self, frames: tf.Tensor) -> tf.Tensor:
        tree = self._heads.tree
        if self._heads.is_joint:
            return self._of_labels(frames)
        general = self._of_head(GENERAL, frames)
        if tree.is_flat:
            return general
        # labels are in order of category: specific probabilities line up one after the other
        specific = [
            self._of_head(category, frames) if category in tree.heads else tf.ones([1], tf.float32)
            for category in tree.categories
        ]
        return tf.gather(general, tree.category_index()) * tf.concat(specific, axis=0)


def export_classifier(
    embedder: Embedder, heads: TrainedHeads, options: ExportOptions | None = None
) -> Classifier:
    """Convert the joint model, and gather it with its labels.

    Args:
        embedder: The embedder the heads were trained on.
        heads: The trained heads.
        options: What is exported beside it; nothing unless given.

    Raises:
        SoundxError: The embedder is not the one the heads were trained on.
    """
    options = options or ExportOptions()
    check_embedder(embedder, heads.embedder)
    files = {
        bundle.LABELS: bundle.labels_file(
            heads.tree,
            version=heads.version,
            embedder=heads.embedder.to_dict(),
            training=heads.training,
            thresholds=heads.thresholds,
            background=heads.background,
            manifest_digest=heads.manifest_digest,
            sample_rate_hz=SAMPLE_RATE_HZ,
            with_head_files=options.heads,
        ),
        bundle.HEADER: bundle.cpp_header(heads.tree),
    }
    head_files = bundle.head_files(heads.tree.heads)
    todo: list[str | None] = [None]
    if options.heads and not heads.tree.is_flat:  # of a flat tree one head is the whole model
        todo += heads.tree.heads
    for head in track(todo, description="Exporting to TFLite"):
        name = bundle.JOINT_MODEL if head is None else head_files[head]
        files[name] = _convert(ServedModel(embedder, heads, head))
    if options.heads and heads.tree.is_flat:
        files[head_files[GENERAL]] = files[bundle.JOINT_MODEL]
    return Classifier(files).with_checksums()


def _convert(model: ServedModel) -> bytes:
    function = model.__call__.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    return bytes(converter.convert())
