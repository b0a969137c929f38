"""The joint model: what was trained, the label tree, and what it answers to clips.

``P(label) = P(category) x P(label | category)``. Of ``ridge`` and ``dense`` one model over all
labels is trained, and categories are the sums of their labels: so the two levels cost nothing.
Of ``seed`` one head over categories and one inside each are multiplied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from soundx.audio import Float32
from soundx.embedders.base import EmbedderInfo
from soundx.labels import GENERAL, LabelTree
from soundx.modelling.heads import History, clip_probabilities
from soundx.modelling.ridge import softmax

if TYPE_CHECKING:
    import keras

LABELS = "labels"
"""Name of the one model over all labels."""

Probabilities = npt.NDArray[np.float64]
_AT_A_TIME = 256


@dataclass(frozen=True)
class TrainedHeads:
    """All that one training run made.

    Attributes:
        tree: Labels and categories.
        models: Keras models by name. ``labels``: frames of clips float32[n, n_frames, dim] to
            logits over the labels, and over background where that was learnt; or, of ``seed``,
            one a head of the tree: single frames to logits over its classes.
        embedder: The embedder whose embeddings they were trained on.
        histories: Training curves by model; none of what is closed form.
        training: The options they were trained with, and what was chosen.
        seen_clips: Short hashes of the clip ids that were learnt from, which a test clip must
            not be among [shape=(n_clips,), dtype=uint64].
        clips_per_split: Number of clips by split.
        background: Whether background was learnt, as one class more after the labels.
        thresholds: Probability by label below which the answer is ``unknown``.
        manifest_digest: Hash of which clips were used, under which label, on which side.
        version: Time of training, the name under which the model is kept; empty until
            the heads are saved.
    """

    tree: LabelTree
    models: Mapping[str, keras.Model]
    embedder: EmbedderInfo
    histories: Mapping[str, History]
    training: Mapping[str, Any]
    seen_clips: npt.NDArray[np.uint64]
    clips_per_split: Mapping[str, int]
    background: bool = False
    thresholds: Mapping[str, float] = field(default_factory=dict)
    manifest_digest: str = ""
    version: str = ""

    @property
    def is_joint(self) -> bool:
        """Whether one model over all labels was trained; else a head may be called ``labels``."""
        return GENERAL not in self.models

    def predict(self, frames: Float32, frames_per_clip: npt.NDArray[np.int64]) -> Probabilities:
        """Return the probabilities of labels for clips.

        Args:
            frames: Frames of all clips, one clip after the other [shape=(n_frames, dim)].
            frames_per_clip: Number of frames of each clip [shape=(n_clips,)].

        Returns:
            Probabilities over ``tree.labels`` [shape=(n_clips, n_labels)]; where background was
            learnt, what is missing to one is its probability.
        """
        if not self.is_joint:
            return self.tree.joint_probabilities(self._by_own_head(frames, frames_per_clip))
        logits = clip_logits(self.models[LABELS], frames, frames_per_clip)
        return softmax(logits)[:, : len(self.tree.labels)]

    def predict_heads(
        self, frames: Float32, frames_per_clip: npt.NDArray[np.int64]
    ) -> dict[str, Probabilities]:
        """Return the class probabilities of each head of the tree [shape=(n_clips, n_classes)]."""
        if not self.is_joint:
            return self._by_own_head(frames, frames_per_clip)
        return self.tree.by_head(self.predict(frames, frames_per_clip))

    def _by_own_head(
        self, frames: Float32, frames_per_clip: npt.NDArray[np.int64]
    ) -> dict[str, Probabilities]:
        plain = frames[:, : self.embedder.plain_width]
        return {
            head: clip_probabilities(model, plain, frames_per_clip)
            for head, model in self.models.items()
        }


def clip_logits(
    model: keras.Model, frames: Float32, frames_per_clip: npt.NDArray[np.int64]
) -> Probabilities:
    """Return a model's logits for clips of any numbers of frames.

    Args:
        model: float32[n_clips, n_frames, dim] to logits.
        frames: Frames of all clips, one clip after the other [shape=(n_frames, dim)].
        frames_per_clip: Number of frames of each clip [shape=(n_clips,)].

    Returns:
        Logits [shape=(n_clips, n_classes)].
    """
    counts = np.asarray(frames_per_clip, np.int64)
    starts = np.cumsum(counts) - counts
    logits = np.empty((len(counts), model.output_shape[-1]), np.float64)
    for count in np.unique(counts):
        alike = np.flatnonzero(counts == count)
        step = max(1, _AT_A_TIME * 10 // int(count))
        for first in range(0, len(alike), step):
            clips = alike[first : first + step]
            rows = starts[clips][:, None] + np.arange(count)
            # called directly: predict() would build a graph for every number of frames
            logits[clips] = np.asarray(model(frames[rows], training=False))
    return logits
