"""YAMNet's front end in NumPy: log-mel spectrogram and the patches cut from it.

Frames of 25 ms every 10 ms, 64 mel bands from 125 to 7500 Hz, ``log(mel + 0.001)``,
patches of 96 frames every 48: one embedding per 0.96 s, every 0.48 s. Constants and
padding are those of YAMNet's published model (Plakal & Ellis, TensorFlow Model Garden).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import scipy.fft

from soundx.audio import SAMPLE_RATE_HZ, Float32

STFT_WINDOW = 400
STFT_HOP = 160
FFT_LENGTH = 512
MEL_BANDS = 64
MEL_LOW_HZ = 125.0
MEL_HIGH_HZ = 7500.0
LOG_OFFSET = 0.001
PATCH_FRAMES = 96
PATCH_HOP_FRAMES = 48

WINDOW_S = PATCH_FRAMES * STFT_HOP / SAMPLE_RATE_HZ
HOP_S = PATCH_HOP_FRAMES * STFT_HOP / SAMPLE_RATE_HZ

MIN_SAMPLES = PATCH_FRAMES * STFT_HOP + STFT_WINDOW - STFT_HOP
"""Samples that one patch spans: 0.975 s."""
HOP_SAMPLES = PATCH_HOP_FRAMES * STFT_HOP

_STFT_BLOCK = 128
HEARD_BINS = 240
"""Bins of the Fourier transform that are heard: the next is at 7500 Hz, where the bands end."""


def n_patches(n_samples: int) -> int:
    """Return how many patches a waveform of that length gives; at least one."""
    return 1 + max(0, -(-(n_samples - MIN_SAMPLES) // HOP_SAMPLES))


def pad_to_patches(waveform: Float32) -> Float32:
    """Append silence up to a whole number of patches, as YAMNet's own model does.

    Args:
        waveform: Samples at 16 kHz [shape=(n_samples,)]; may be empty.
    """
    length = MIN_SAMPLES + (n_patches(len(waveform)) - 1) * HOP_SAMPLES
    return np.pad(waveform, (0, length - len(waveform)))


@cache
def hann_window() -> Float32:
    """Return the periodic Hann window of the STFT [shape=(400,)]."""
    phase = 2 * np.pi * np.arange(STFT_WINDOW) / STFT_WINDOW
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


@cache
def mel_matrix() -> Float32:
    """Return the weights from STFT magnitudes to mel bands [shape=(257, 64)].

    Triangles are linear in mel (HTK's scale), as in ``tf.signal``; librosa's are linear
    in hertz and differ.
    """

    def mel(hertz: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return 1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0)

    n_bins = FFT_LENGTH // 2 + 1
    bins = mel(np.linspace(0.0, SAMPLE_RATE_HZ / 2, n_bins))[:, None]
    edges = np.linspace(mel(MEL_LOW_HZ), mel(MEL_HIGH_HZ), MEL_BANDS + 2)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0  # the constant part says nothing
    return weights.astype(np.float32)


def log_mel(waveform: Float32) -> Float32:
    """Return the log-mel spectrogram of a waveform.

    Args:
        waveform: Samples at 16 kHz in [-1, 1], at least 25 ms [shape=(n_samples,)].

    Returns:
        ``log(mel + 0.001)`` [shape=(n_frames, 64), dtype=float32].
    """
    frames = np.lib.stride_tricks.sliding_window_view(waveform, STFT_WINDOW)[::STFT_HOP]
    mel = np.empty((len(frames), MEL_BANDS), np.float32)
    # some frames at a time, in memory that is used again: 2.5 times as fast as all at once
    padded = np.zeros((min(_STFT_BLOCK, len(frames)), FFT_LENGTH), np.float32)
    for start in range(0, len(frames), _STFT_BLOCK):
        block = padded[: len(frames) - start]
        np.multiply(frames[start : start + len(block)], hann_window(), out=block[:, :STFT_WINDOW])
        magnitude = np.abs(scipy.fft.rfft(block, axis=-1)[:, :HEARD_BINS])
        np.matmul(magnitude, mel_matrix()[:HEARD_BINS], out=mel[start : start + len(block)])
    mel += np.float32(LOG_OFFSET)
    return np.log(mel, out=mel)


def patches(waveform: Float32) -> Float32:
    """Cut a waveform into YAMNet's patches, the end padded with silence.

    Args:
        waveform: Samples at 16 kHz in [-1, 1], [shape=(n_samples,)]; may be empty.

    Returns:
        Log-mel patches, one every 0.48 s, at least one, as they overlap in memory: to be read
        [shape=(n_patches, 96, 64), dtype=float32].
    """
    spectrogram = log_mel(pad_to_patches(waveform))
    windows = np.lib.stride_tricks.sliding_window_view(spectrogram, PATCH_FRAMES, axis=0)
    return windows[::PATCH_HOP_FRAMES].transpose(0, 2, 1)
