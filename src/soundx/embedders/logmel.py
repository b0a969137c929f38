"""``logmel``: YAMNet's front end pooled per window, for where there are no weights.

Each 96 x 64 log-mel patch becomes one vector: of every band over time the mean, the
standard deviation, how far maximum and tenth smallest value stand off the mean, and the
mean size of its steps; and the slow, smooth part of the patch's two-dimensional DCT. It
knows far less than YAMNet, and needs nothing but NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from soundx.audio import framing
from soundx.audio.framing import MEL_BANDS, PATCH_FRAMES
from soundx.embedders.base import Embedder, Float32

if TYPE_CHECKING:
    import tensorflow as tf

DCT_TIMES = 12
DCT_BANDS = 24
LOW_RANK = 10  # the tenth smallest of 96: about the 10th percentile, the background


@cache
def _dct(size: int, keep: int) -> Float32:
    """Return the first rows of the orthonormal DCT-II [shape=(keep, size)]."""
    return scipy.fft.dct(np.eye(size), axis=0, norm="ortho")[:keep].astype(np.float32)


class LogMelEmbedder(Embedder):
    """Pooled log-mel statistics, 608 numbers a window."""

    name = "logmel"
    dim = 5 * MEL_BANDS + DCT_TIMES * DCT_BANDS
    window_s = framing.WINDOW_S
    hop_s = framing.HOP_S

    def _identity(self) -> str:
        return f"pooled-3:{DCT_TIMES}x{DCT_BANDS}:{LOW_RANK}"

    def _embed(self, waveforms: Sequence[Float32]) -> list[Float32]:
        return [self._pool(framing.patches(waveform)) for waveform in waveforms]

    def _pool(self, patches: Float32) -> Float32:
        smooth = _dct(PATCH_FRAMES, DCT_TIMES) @ patches @ _dct(MEL_BANDS, DCT_BANDS).T
        mean = patches.mean(axis=1)
        pooled = [
            mean,
            patches.std(axis=1),
            patches.max(axis=1) - mean,
            np.partition(patches, LOW_RANK - 1, axis=1)[:, LOW_RANK - 1] - mean,
            np.abs(np.diff(patches, axis=1)).mean(axis=1),
            smooth.reshape(len(patches), -1),
        ]
        return np.concatenate(pooled, axis=1, dtype=np.float32)

    def graph(self) -> Callable[[tf.Tensor], tf.Tensor]:
        import tensorflow as tf

        from soundx.embedders.tf_front_end import patches

        def embed(waveform: tf.Tensor) -> tf.Tensor:
            patch = patches(waveform)
            mean = tf.reduce_mean(patch, axis=1)
            spread = tf.sqrt(tf.reduce_mean(tf.square(patch - mean[:, None]), axis=1))
            by_band = tf.transpose(patch, [0, 2, 1])
            low = -tf.math.top_k(-by_band, k=LOW_RANK).values[..., LOW_RANK - 1]
            steps = tf.reduce_mean(tf.abs(patch[:, 1:] - patch[:, :-1]), axis=1)
            over_bands = tf.matmul(patch, tf.constant(_dct(MEL_BANDS, DCT_BANDS).T))
            smooth = tf.matmul(
                tf.transpose(over_bands, [0, 2, 1]), tf.constant(_dct(PATCH_FRAMES, DCT_TIMES).T)
            )
            smooth = tf.reshape(tf.transpose(smooth, [0, 2, 1]), [-1, DCT_TIMES * DCT_BANDS])
            pooled = [mean, spread, tf.reduce_max(patch, axis=1) - mean, low - mean, steps, smooth]
            return tf.concat(pooled, axis=1)

        return embed
