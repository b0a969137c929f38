"""The NumPy front end of ``soundx.audio.framing`` as TensorFlow operations, for serving.

The Fourier transform is a matrix product: it runs on every TFLite runtime, where the
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
    """Cut a waveform float32[n_samples] into log-mel patches float32[n_patches, 96, 64]."""
    n_samples = tf.size(waveform)
    missing = tf.maximum(n_samples - framing.MIN_SAMPLES, 0)
    hops = (missing + framing.HOP_SAMPLES - 1) // framing.HOP_SAMPLES
    length = framing.MIN_SAMPLES + hops * framing.HOP_SAMPLES
    padded = tf.pad(waveform, [[0, length - n_samples]])
    frames = tf.signal.frame(padded, framing.STFT_WINDOW, framing.STFT_HOP)
    basis = np.fft.rfft(np.eye(framing.FFT_LENGTH))[: framing.STFT_WINDOW]
    windowed = frames * tf.constant(framing.hann_window())
    real = tf.matmul(windowed, tf.constant(basis.real.astype(np.float32)))
    imaginary = tf.matmul(windowed, tf.constant(basis.imag.astype(np.float32)))
    magnitude = tf.sqrt(tf.square(real) + tf.square(imaginary))
    mel = tf.matmul(magnitude, tf.constant(framing.mel_matrix()))
    spectrogram = tf.math.log(mel + framing.LOG_OFFSET)
    cut = tf.signal.frame(spectrogram, framing.PATCH_FRAMES, framing.PATCH_HOP_FRAMES, axis=0)
    return tf.reshape(cut, [-1, framing.PATCH_FRAMES, framing.MEL_BANDS])  # its shape is lost
