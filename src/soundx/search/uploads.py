"""Sounds that are searched with, as vectors of the index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soundx.audio import Float32
from soundx.embedders.base import Embedder, EmbedderInfo, check_embedder, with_layers_of
from soundx.embeddings.store import EmbeddingSet
from soundx.modelling.pooling import pool_windows
from soundx.search.index import WindowIndex

_LONGEST_FRAMES = 10_000


def clip_vectors(index: WindowIndex, stored: EmbeddingSet, clip_ids: Sequence[str]) -> Float32:
    """Return the vectors of all windows of some clips [shape=(n, n_dims)].

    Likeness to a clip is the mean over its windows: measured, that finds more than one vector of
    the whole clip, of which silence at its end is a part.

    Args:
        index: The windows that are searched.
        stored: Frames of the clips.
        clip_ids: The clips.
    """
    places = [(clip_id, 0, _LONGEST_FRAMES) for clip_id in clip_ids]
    vectors = [_vectors(index, frames, stored.info) for frames in stored.stretches(places)]
    return np.concatenate(vectors) if vectors else np.zeros((0, index.n_dims), np.float32)


def upload_vectors(
    index: WindowIndex, embedder: Embedder, info: EmbedderInfo, samples: Float32
) -> Float32:
    """Return the vectors of all windows of a sound [shape=(n, n_dims)].

    Args:
        index: The windows that are searched.
        embedder: The project's embedder; its weights are read when it is first used.
        info: The embedder that the recordings were embedded by.
        samples: The sound at 16 kHz [shape=(n_samples,)].

    Raises:
        SoundxError: The project's embedder is another one.
    """
    embedder = with_layers_of(embedder, info)
    check_embedder(embedder, info)
    (frames,) = embedder.embed([samples])
    return _vectors(index, frames, info)


def _vectors(index: WindowIndex, frames: Float32, info: EmbedderInfo) -> Float32:
    width = min(index.window_frames, len(frames))
    begins = np.arange(len(frames) - width + 1)
    return index.projection(pool_windows(frames, begins, width, info.parts))
