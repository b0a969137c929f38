"""``logmel``: YAMNet's front end pooled per window, for where there are no weights.

Each 96 x 64 log-mel patch becomes one vector. Of every band over time: the mean, the
standard deviation, how far maximum and tenth smallest value stand off the mean, and the
mean size of its steps. Of every four bands together: the modulation spectrum, how strongly
their level swings at nine rates from 1 to 50 Hz, which tells a clock's tick from a
helicopter's beat and does not depend on where in the window a beat falls. It knows far less
than YAMNet, and needs nothing but NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from soundx.audio import Float32, framing
from soundx.audio.framing import MEL_BANDS, PATCH_FRAMES
from soundx.embedders.base import Embedder, Exportable, FrameModel

if TYPE_CHECKING:
    import tensorflow as tf

LOW_RANK = 10  # the tenth smallest of 96: about the 10th percentile, the background
BANDS_TOGETHER = 4
RATE_EDGES = (1, 2, 3, 4, 6, 9, 13, 19, 28, 49)
"""Borders of the modulation rates, in bins of the transform over a patch (1.04 Hz each)."""
MODULATION_OFFSET = 0.3  # in the logarithm: swings below it are noise

_N_GROUPS = MEL_BANDS // BANDS_TOGETHER
_N_RATES = len(RATE_EDGES) - 1


@cache
def _modulation_basis() -> tuple[Float32, Float32]:
    """Return the windowed real and imaginary Fourier basis over time [shape=(49, 96)]."""
    basis = np.fft.rfft(np.diag(np.hanning(PATCH_FRAMES))).T
    return basis.real.astype(np.float32), basis.imag.astype(np.float32)


@cache
def _rate_means() -> Float32:
    """Return the matrix from transform bins to means over rates [shape=(9, 49)]."""
    means = np.zeros((_N_RATES, PATCH_FRAMES // 2 + 1), np.float32)
    for row, (low, high) in enumerate(pairwise(RATE_EDGES)):
        means[row, low:high] = 1 / (high - low)
    return means


class LogMelEmbedder(Embedder, Exportable):
    """Pooled log-mel statistics, 464 numbers a window."""

    name = "logmel"
    dim = 5 * MEL_BANDS + _N_RATES * _N_GROUPS
    window_s = framing.WINDOW_S
    hop_s = framing.HOP_S
    caveat = "Made without YAMNet, on `logmel`: expect less of it on real sound."

    def _identity(self) -> str:
        return f"pooled-4:{LOW_RANK}:{BANDS_TOGETHER}:{RATE_EDGES}:{MODULATION_OFFSET}"

    def _model(self) -> FrameModel:
        def embed(waveforms: Sequence[Float32]) -> list[Float32]:
            return [self._pool(framing.patches(waveform)) for waveform in waveforms]

        return FrameModel(embed, parallel=True, span_samples=framing.MIN_SAMPLES)

    def _pool(self, patches: Float32) -> Float32:
        mean = patches.mean(axis=1)
        groups = patches.reshape(-1, PATCH_FRAMES, _N_GROUPS, BANDS_TOGETHER).mean(axis=3)
        swing = groups - groups.mean(axis=1, keepdims=True)
        real, imaginary = _modulation_basis()
        strength = _rate_means() @ np.hypot(real @ swing, imaginary @ swing)
        modulation = np.log(strength + np.float32(MODULATION_OFFSET))
        pooled = [
            mean,
            patches.std(axis=1),
            patches.max(axis=1) - mean,
            np.partition(patches, LOW_RANK - 1, axis=1)[:, LOW_RANK - 1] - mean,
            np.abs(np.diff(patches, axis=1)).mean(axis=1),
            modulation.reshape(len(patches), -1),
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
            groups = tf.reduce_mean(
                tf.reshape(patch, [-1, PATCH_FRAMES, _N_GROUPS, BANDS_TOGETHER]), axis=3
            )
            swing = groups - tf.reduce_mean(groups, axis=1, keepdims=True)
            # transposed, so that every product has its constant on the right
            swing = tf.transpose(swing, [0, 2, 1])
            real, imaginary = (tf.constant(part.T) for part in _modulation_basis())
            size = tf.sqrt(
                tf.square(tf.matmul(swing, real)) + tf.square(tf.matmul(swing, imaginary))
            )
            strength = tf.transpose(tf.matmul(size, tf.constant(_rate_means().T)), [0, 2, 1])
            modulation = tf.math.log(strength + MODULATION_OFFSET)
            modulation = tf.reshape(modulation, [-1, _N_RATES * _N_GROUPS])
            pooled = [
                mean,
                spread,
                tf.reduce_max(patch, axis=1) - mean,
                low - mean,
                steps,
                modulation,
            ]
            return tf.concat(pooled, axis=1)

        return embed
