"""Waveforms as pictures and as files that a browser plays. Nothing here is analysed further."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import soundfile

from soundx.audio import SAMPLE_RATE_HZ, Float32

_MEL_BANDS = 96
_HOP = 160
_COLUMNS = 900
_BLUE = (42, 111, 151, 255)


def draw_waveform(waveform: Float32) -> bytes:
    """Draw the envelope: lowest and highest sample of each column.

    Args:
        waveform: Samples at 16 kHz [shape=(n_samples,)].

    Returns:
        A PNG file, transparent, 140 pixels high and up to 900 wide.
    """
    columns = min(_COLUMNS, max(len(waveform), 1))
    edges = np.linspace(0, len(waveform), columns + 1).astype(int)[:-1]
    low, high = np.minimum.reduceat(waveform, edges), np.maximum.reduceat(waveform, edges)
    scale = max(float(np.abs(waveform).max(initial=0.0)), 1e-4)
    y = np.linspace(1, -1, 140)[:, None]
    inside = (y >= low / scale - 0.01) & (y <= high / scale + 0.01)
    image = np.zeros((140, columns, 4), np.uint8)
    image[inside] = _BLUE
    return _png(image)


def draw_mel_spectrogram(waveform: Float32) -> bytes:
    """Draw the mel spectrogram, 0 to 8 kHz, low sounds below, 70 dB below its maximum.

    Args:
        waveform: Samples at 16 kHz [shape=(n_samples,)].

    Returns:
        A PNG file, 96 pixels high and up to some 900 wide.
    """
    import librosa
    from matplotlib import colormaps

    mel = librosa.feature.melspectrogram(
        y=np.pad(waveform, (0, max(0, 1024 - len(waveform)))),
        sr=SAMPLE_RATE_HZ,
        n_fft=1024,
        hop_length=max(_HOP, len(waveform) // _COLUMNS),
        n_mels=_MEL_BANDS,
    )
    decibels = librosa.power_to_db(mel, ref=np.max, top_db=70)
    return _png((colormaps["magma"](decibels[::-1] / 70 + 1) * 255).astype(np.uint8))


def wav_file(waveform: Float32) -> bytes:
    """Return a 16-bit WAV file of a waveform at 16 kHz."""
    return _sound_file(waveform, "WAV", "PCM_16")


def mp3_file(waveform: Float32) -> bytes:
    """Return an MP3 file of a waveform at 16 kHz: about a tenth of the WAV file."""
    return _sound_file(waveform, "MP3", "MPEG_LAYER_III")


def _sound_file(waveform: Float32, kind: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, SAMPLE_RATE_HZ, format=kind, subtype=subtype)
    return file.getvalue()


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()
