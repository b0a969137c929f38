"""The joint model: trained heads, the label tree they share, and how they are combined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from soundx.audio import Float32
from soundx.embedders.base import EmbedderInfo
from soundx.labels import LabelTree
from soundx.modelling.heads import History, clip_probabilities

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class TrainedHeads:
    """All heads of one training run.

    Attributes:
        tree: Labels and categories; its ``heads`` are the keys of ``models``.
        models: Keras models, embeddings to logits, by head.
        embedder: The embedder whose embeddings they were trained on.
        histories: Training curves by head.
        training: The options they were trained with.
        seen_clips: Short hashes of the clip ids of train and validation, which a test
            clip must not be among [shape=(n_clips,), dtype=uint64].
        clips_per_split: Number of clips by split.
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
    manifest_digest: str = ""
    version: str = ""

    def predict(
        self, embeddings: Float32, frames_per_clip: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Return ``P(label) = P(category) x P(label | category)`` for clips.

        Args:
            embeddings: Frames of all clips, one clip after the other
                [shape=(n_frames, dim)].
            frames_per_clip: Number of frames of each clip [shape=(n_clips,)].

        Returns:
            Probabilities over ``tree.labels`` [shape=(n_clips, n_labels)].
        """
        by_head = {
            head: clip_probabilities(model, embeddings, frames_per_clip)
            for head, model in self.models.items()
        }
        return self.tree.joint_probabilities(by_head)
