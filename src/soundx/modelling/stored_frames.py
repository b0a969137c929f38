"""Frames of clips read from the store, block by block, with what training wants to know."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from soundx.embedders.store import EmbeddingSet
from soundx.modelling.heads import Frames


class StoredFrames:
    """The frames of clips that a head learns from, as they lie in their shards.

    Args:
        clips: ``clip_id``, ``target`` and ``weight`` (of each frame) of the clips.
        embedded: Their embeddings.
        frames_in_memory: About how many frames to hold at a time. Fewer in all are read
            once and kept.
    """

    def __init__(
        self, clips: pd.DataFrame, embedded: EmbeddingSet, *, frames_in_memory: int
    ) -> None:
        self._clips = clips
        self._embedded = embedded
        self._frames_in_memory = frames_in_memory
        self._all: Frames | None = None

    def blocks(self, *, shuffle: np.random.Generator | None = None) -> Iterator[Frames]:
        """Yield all frames once; shuffled, shards are read in another order each time."""
        if self._all is not None:
            yield self._all
            return
        ids = self._clips["clip_id"].tolist()
        targets = self._clips["target"].to_numpy(np.int64)
        weights = self._clips["weight"].to_numpy(np.float32)
        read = 0
        for owners, embeddings in self._embedded.iter_frames(
            ids, max_frames=self._frames_in_memory, shuffle=shuffle
        ):
            read += 1
            block = Frames(embeddings, targets[owners], weights[owners])
            yield block
        if read == 1:
            self._all = block
