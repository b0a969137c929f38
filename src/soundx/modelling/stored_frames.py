"""Frames of clips read from the store, block by block, with what training wants to know."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from soundx.embeddings.store import EmbeddingSet
from soundx.modelling.heads import FrameBlocks, Frames


def stored_frames(
    clips: pd.DataFrame,
    embedded: EmbeddingSet,
    *,
    frames_in_memory: int,
    width: int | None = None,
) -> Frames | FrameBlocks:
    """Return the frames of clips: in memory where they fit, else in blocks from their shards.

    Args:
        clips: ``clip_id``, ``target`` and ``weight`` (of each frame) of the clips.
        embedded: Their embeddings.
        frames_in_memory: About how many frames to hold at a time.
        width: Take so many of each frame's first numbers; None for all.
    """
    ids = clips["clip_id"].tolist()
    targets = clips["target"].to_numpy(np.int64)
    weights = clips["weight"].to_numpy(np.float32)
    n_frames = embedded.n_frames(ids)
    if n_frames.sum() > frames_in_memory:
        return _StoredFrames(ids, targets, weights, embedded, frames_in_memory, width)
    return Frames(
        embedded.frames(ids)[:, :width], np.repeat(targets, n_frames), np.repeat(weights, n_frames)
    )


class _StoredFrames:
    def __init__(
        self,
        clip_ids: list[str],
        targets: np.ndarray,
        weights: np.ndarray,
        embedded: EmbeddingSet,
        frames_in_memory: int,
        width: int | None,
    ) -> None:
        self._clip_ids = clip_ids
        self._targets = targets
        self._weights = weights
        self._embedded = embedded
        self._frames_in_memory = frames_in_memory
        self._width = width

    def blocks(self, *, shuffle: np.random.Generator | None = None) -> Iterator[Frames]:
        for owners, embeddings in self._embedded.iter_frames(
            self._clip_ids, max_frames=self._frames_in_memory, shuffle=shuffle
        ):
            yield Frames(embeddings[:, : self._width], self._targets[owners], self._weights[owners])
