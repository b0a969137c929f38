"""``logmel``: YAMNet's front end pooled per window, for where there are no weights.

Each 96 x 64 log-mel patch becomes three parts, which pooling and heads know apart. ``statistics``,
of every band over time: the mean, the standard deviation, how far maximum and tenth smallest value
stand off the mean, and the mean size of its steps. And of every four bands together:
how strongly their level swings at nine rates from 1 to 50 Hz, which tells a clock's tick from a
helicopter's beat and does not depend on where in the window a beat falls. ``ripples``: the same
of ripples across the bands, rising and falling apart, from the two-dimensional Fourier transform
of the patch (the modulation spectrum of Chi, Ru & Shamma 2005). ``shapes``: how strongly 64 fixed
random filters over 80 ms and 16 bands answer, either sign apart, at seven heights: a layer of a
network nobody trained (Coates & Ng 2012), which hears how a sound moves. It knows far less than
YAMNet, and needs nothing but NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from soundx.audio import Float32, framing
from soundx.audio.framing import MEL_BANDS, PATCH_FRAMES
from soundx.embedders.base import Embedder, Exportable, FrameModel, Part

if TYPE_CHECKING:
    import tensorflow as tf

LOW_RANK = 10  # the tenth smallest of 96: about the 10th percentile, the background
BANDS_TOGETHER = 4
RATE_EDGES = (1, 2, 3, 4, 6, 9, 13, 19, 28, 49)
"""Borders of the modulation rates, in bins of the transform over a patch (1.04 Hz each)."""
MODULATION_OFFSET = 0.3  # in the logarithm: swings below it are noise
SCALES = 13
"""Ripples across the 64 bands: from none to twelve."""
RIPPLE_OFFSET = 1.0
N_SHAPES = 64
SHAPE_FRAMES, SHAPE_BANDS = 8, 16
SHAPE_HOP_FRAMES, SHAPE_HOP_BANDS = 4, 8
SHAPE_SMOOTHNESS = (4, 6)  # of its cosine transform: random noise alone would hear only noise
SHAPE_THRESHOLD = 0.5
SHAPE_OFFSET = 0.01  # under the root, which is steep at zero

_N_GROUPS = MEL_BANDS // BANDS_TOGETHER
_N_RATES = len(RATE_EDGES) - 1
_N_HEIGHTS = (MEL_BANDS - SHAPE_BANDS) // SHAPE_HOP_BANDS + 1

PARTS = (
    # as one part: apart, its six would outweigh what tells more
    Part("statistics", 5 * MEL_BANDS + _N_RATES * _N_GROUPS),
    Part("ripples", 2 * _N_RATES * SCALES),
    Part("shapes", 2 * N_SHAPES * _N_HEIGHTS),
)


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


@cache
def _scale_basis() -> tuple[Float32, Float32]:
    """Return the real and imaginary Fourier basis over bands [shape=(64, 13)]."""
    basis = np.fft.rfft(np.eye(MEL_BANDS))[:, :SCALES]
    return basis.real.astype(np.float32), basis.imag.astype(np.float32)


@cache
def _shapes() -> Float32:
    """Return the random filters, each of unit length and without a mean [shape=(64, 8, 16)]."""
    # RandomState's numbers are promised never to change (NEP 19); a Generator's are not
    draw = np.random.RandomState(7).standard_normal
    coefficients = np.zeros((N_SHAPES, SHAPE_FRAMES, SHAPE_BANDS))
    n_times, n_bands = SHAPE_SMOOTHNESS
    coefficients[:, :n_times, :n_bands] = draw((N_SHAPES, n_times, n_bands))
    coefficients[:, 0, 0] = 0.0
    filters = scipy.fft.idctn(coefficients, axes=(1, 2), norm="ortho")
    filters /= np.sqrt(np.square(filters).sum(axis=(1, 2), keepdims=True))
    return np.asarray(filters, np.float32)


class LogMelEmbedder(Embedder, Exportable):
    """Pooled log-mel statistics, 1594 numbers a window."""

    name = "logmel"
    dim = sum(part.width for part in PARTS)
    window_s = framing.WINDOW_S
    hop_s = framing.HOP_S
    caveat = "Made without YAMNet, on `logmel`: expect less of it on real sound."

    def _identity(self) -> str:
        size = (N_SHAPES, SHAPE_FRAMES, SHAPE_BANDS, SHAPE_HOP_FRAMES, SHAPE_HOP_BANDS)
        shapes = f"{size}:{SHAPE_SMOOTHNESS}:{SHAPE_THRESHOLD}:{SHAPE_OFFSET}"
        statistics = f"{LOW_RANK}:{BANDS_TOGETHER}:{RATE_EDGES}:{MODULATION_OFFSET}"
        return f"pooled-5:{statistics}:{SCALES}:{RIPPLE_OFFSET}:{shapes}"

    @property
    def parts(self) -> tuple[Part, ...]:
        return PARTS

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
            self._ripples(patches - mean[:, None]),
            self._hear_shapes(patches),
        ]
        return np.concatenate(pooled, axis=1, dtype=np.float32)

    def _ripples(self, swing: Float32) -> Float32:
        """Return the strength of ripples, rising ones before falling ones."""
        real, imaginary = _modulation_basis()
        across, also = (swing @ part for part in _scale_basis())
        cc, ss, cs, sc = real @ across, imaginary @ also, real @ also, imaginary @ across
        both = [np.hypot(cc - ss, cs + sc), np.hypot(cc + ss, cs - sc)]
        strength = np.concatenate([_rate_means() @ one for one in both], axis=1)
        return np.log(strength + np.float32(RIPPLE_OFFSET)).reshape(len(swing), -1)

    def _hear_shapes(self, patches: Float32) -> Float32:
        """Return how strongly each filter answers at each height, either sign apart."""
        windows = np.lib.stride_tricks.sliding_window_view(
            patches, (SHAPE_FRAMES, SHAPE_BANDS), axis=(1, 2)
        )[:, ::SHAPE_HOP_FRAMES, ::SHAPE_HOP_BANDS]
        flat = windows.reshape(*windows.shape[:3], SHAPE_FRAMES * SHAPE_BANDS)
        answers = flat @ _shapes().reshape(N_SHAPES, -1).T
        threshold = np.float32(SHAPE_THRESHOLD)
        pooled = [np.maximum(side - threshold, 0).mean(axis=1) for side in (answers, -answers)]
        strength = np.concatenate(pooled, axis=2)
        return np.sqrt(strength + np.float32(SHAPE_OFFSET)).reshape(len(patches), -1)

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
                ripples(patch - mean[:, None]),
                hear_shapes(patch),
            ]
            return tf.concat(pooled, axis=1)

        def ripples(swing: tf.Tensor) -> tf.Tensor:
            real, imaginary = (tf.constant(part.T) for part in _modulation_basis())
            across, also = (
                tf.transpose(tf.matmul(swing, tf.constant(part)), [0, 2, 1])
                for part in _scale_basis()
            )
            cc, ss = tf.matmul(across, real), tf.matmul(also, imaginary)
            cs, sc = tf.matmul(also, real), tf.matmul(across, imaginary)
            both = [
                tf.sqrt(tf.square(cc - ss) + tf.square(cs + sc)),
                tf.sqrt(tf.square(cc + ss) + tf.square(cs - sc)),
            ]
            means = tf.constant(_rate_means().T)
            strength = tf.concat([tf.matmul(one, means) for one in both], axis=2)
            logarithm = tf.math.log(tf.transpose(strength, [0, 2, 1]) + RIPPLE_OFFSET)
            return tf.reshape(logarithm, [-1, 2 * _N_RATES * SCALES])

        def hear_shapes(patch: tf.Tensor) -> tf.Tensor:
            filters = tf.constant(_shapes().transpose(1, 2, 0)[:, :, None])
            strides = [SHAPE_HOP_FRAMES, SHAPE_HOP_BANDS]
            answers = tf.nn.conv2d(patch[..., None], filters, strides, "VALID")
            pooled = [
                tf.reduce_mean(tf.nn.relu(side - SHAPE_THRESHOLD), axis=1)
                for side in (answers, -answers)
            ]
            strength = tf.sqrt(tf.concat(pooled, axis=2) + SHAPE_OFFSET)
            return tf.reshape(strength, [-1, 2 * N_SHAPES * _N_HEIGHTS])

        return embed
