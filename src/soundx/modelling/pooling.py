"""Pooling: the frames of a clip or window to one vector, whatever their number.

Of each part of a frame the square root is taken where the part says so, then mean or maximum
over the frames. ``pool_frames`` does it to many clips in memory; ``PoolFrames`` is the same as a
Keras layer, for the shipped model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from soundx.audio import Float32
from soundx.embedders.base import Part


def pooled_widths(parts: Sequence[Part]) -> list[int]:
    """Return the widths of what pooling gives, one a part and statistic, in order."""
    return [part.width for part in parts for _ in part.statistics]


def pool_frames(
    frames: Float32, frames_per_clip: npt.NDArray[np.int64], parts: Sequence[Part]
) -> Float32:
    """Pool the frames of clips.

    Args:
        frames: Frames of all clips, one clip after the other [shape=(n_frames, dim)].
        frames_per_clip: Number of frames of each clip, one or more [shape=(n_clips,)].
        parts: What a frame is made of.

    Returns:
        One vector a clip [shape=(n_clips, sum(pooled_widths(parts))), dtype=float32].
    """
    counts = np.asarray(frames_per_clip, np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    out = np.empty((len(counts), sum(pooled_widths(parts))), np.float32)
    first = place = 0
    for part in parts:
        values = frames[:, first : first + part.width]
        first += part.width
        if part.root:
            values = np.sqrt(np.maximum(values, 0.0), dtype=np.float32)
        for statistic in part.statistics:
            into = out[:, place : place + part.width]
            place += part.width
            if not len(counts):
                continue
            if statistic == "mean":
                np.add.reduceat(values, starts, axis=0, out=into)
                into /= counts[:, None].astype(np.float32)
            else:
                np.maximum.reduceat(values, starts, axis=0, out=into)
    return out


def pool_windows(
    frames: Float32, begins: npt.NDArray[np.int64], length: int, parts: Sequence[Part]
) -> Float32:
    """Pool windows of one length, which may overlap.

    Args:
        frames: Frames of one clip or recording [shape=(n_frames, dim)].
        begins: First frame of each window [shape=(n_windows,)].
        length: Frames of a window.
        parts: What a frame is made of.

    Returns:
        One vector a window [shape=(n_windows, sum(pooled_widths(parts))), dtype=float32].
    """
    rows = (begins[:, None] + np.arange(length)).ravel()
    return pool_frames(frames[rows], np.full(len(begins), length, np.int64), parts)


@cache
def pool_frames_layer() -> Any:
    """Return the class ``PoolFrames``; Keras is imported here."""
    import keras

    @keras.saving.register_keras_serializable(package="soundx")
    class PoolFrames(keras.layers.Layer):
        """Frames float32[batch, n_frames, dim] to vectors float32[batch, pooled_dim].

        Args:
            parts: What a frame is made of, as ``dataclasses.asdict`` gives it.
        """

        def __init__(self, parts: Sequence[dict[str, Any]], **options: Any) -> None:
            super().__init__(**options)
            self.parts = [
                Part(**{**part, "statistics": tuple(part["statistics"])}) for part in parts
            ]

        def call(self, frames: Any) -> Any:
            pooled = []
            first = 0
            for part in self.parts:
                values = frames[:, :, first : first + part.width]
                first += part.width
                if part.root:
                    values = keras.ops.sqrt(keras.ops.maximum(values, 0.0))
                for statistic in part.statistics:
                    take = keras.ops.mean if statistic == "mean" else keras.ops.max
                    pooled.append(take(values, axis=1))
            return keras.ops.concatenate(pooled, axis=-1)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return (input_shape[0], sum(pooled_widths(self.parts)))

        def get_config(self) -> dict[str, Any]:
            from dataclasses import asdict

            return {**super().get_config(), "parts": [asdict(part) for part in self.parts]}

    return PoolFrames
