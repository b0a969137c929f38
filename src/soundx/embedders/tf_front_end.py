"""The NumPy front end of ``soundx.audio.framing`` as TensorFlow operations, for serving.

The Fourier transform is a convolution: it runs on every TFLite runtime, where the
RFFT operator does not (tensorflow/models#9098). Importing this imports TensorFlow.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from soundx.audio import framing
from soundx.audio.level import SILENCE_RMS


def normalise_level(waveform: tf.Tensor, level_dbfs: float) -> tf.Tensor:
    """Bring a waveform to an RMS level; see ``soundx.audio.level``."""
    # an empty waveform has no mean and no maximum: one zero more changes neither
    peak = tf.reduce_max(tf.abs(tf.concat([waveform, [0.0]], axis=0)))
    count = tf.maximum(tf.cast(tf.size(waveform), tf.float32), 1.0)
    rms = tf.sqrt(tf.reduce_sum(tf.square(waveform)) / count)
    gain = tf.minimum(
        10.0 ** (level_dbfs / 20.0) / tf.maximum(rms, SILENCE_RMS),
        1.0 / tf.maximum(peak, SILENCE_RMS),
    )
    return waveform * tf.where(rms < SILENCE_RMS, 1.0, gain)


def patches(waveform: tf.Tensor) -> tf.Tensor:
    """Cut a waveform float32[n_samples] into log-mel patches float32[n_patches, 96, 64].

    No shape depends on a value, only on shapes: an interpreter plans its memory once for a
    length, and hands all of it to its fast kernels.
    """
    at_least_one = tf.concat([waveform[: framing.MIN_SAMPLES], tf.zeros(framing.MIN_SAMPLES)], 0)
    # zeros up to a whole hop, and beyond it what the convolution below leaves out again
    beyond = tf.concat([waveform, tf.zeros(framing.HOP_SAMPLES - 1)], 0)[framing.MIN_SAMPLES :]
    padded = tf.concat([at_least_one[: framing.MIN_SAMPLES], beyond], 0)
    magnitude = _magnitude(tf.reshape(padded, [1, -1, 1, 1]))
    mel = tf.matmul(magnitude, tf.constant(framing.mel_matrix()[: framing.HEARD_BINS]))
    spectrogram = tf.math.log(mel + framing.LOG_OFFSET)
    hop = framing.PATCH_HOP_FRAMES
    # every 48th row from each of the first 48 on, as many of each: rows by whole hops
    rows = [spectrogram[first : (first - hop + 1) or None : hop] for first in range(hop)]
    hops = tf.concat(rows, axis=1)
    cut = tf.concat([hops[:-1], hops[1:]], axis=1)
    return tf.reshape(cut, [-1, framing.PATCH_FRAMES, framing.MEL_BANDS])


def _magnitude(samples: tf.Tensor) -> tf.Tensor:
    """Return the STFT's magnitudes float32[n_frames, 240] of samples float32[1, n, 1, 1]."""
    basis = np.fft.rfft(np.eye(framing.FFT_LENGTH))[: framing.STFT_WINDOW, : framing.HEARD_BINS]
    windowed = basis * framing.hann_window()[:, None]
    kernel = np.concatenate([windowed.real, windowed.imag], axis=1).astype(np.float32)
    spectrum = tf.nn.conv2d(
        samples, tf.constant(kernel[:, None, None, :]), [1, framing.STFT_HOP, 1, 1], "VALID"
    )
    square = tf.square(tf.reshape(spectrum, [-1, 2 * framing.HEARD_BINS]))
    return tf.sqrt(square[:, : framing.HEARD_BINS] + square[:, framing.HEARD_BINS :])
