"""Noise that no data set holds and every recording does: synthesised, learnt as background.

A model that learnt from clips of sounds alone takes the hiss of a microphone for the nearest of
them, and is sure of it. Silence and noise of four colours (power falling as 1/f to the power of
0, 1, 2, and rising), from barely there to loud, are learnt beside the clips as what is none of
the labels. They are the same everywhere, so nothing of them is a file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.embedders.base import EmbedderInfo, Part
from soundx.errors import Remedy, SoundxError
from soundx.modelling.pooling import pool_frames
from soundx.modelling.vectors import MAX_WINDOW_FRAMES

COLOURS = {"blue": -1.0, "white": 0.0, "pink": 1.0, "brown": 2.0}
"""Names, and how fast power falls with frequency."""
LEVELS_DBFS = (-80, -65, -55, -45, -37, -30, -23, -16, -10)
SECONDS = 5.0
STRETCHES = 8
"""Drawn from each noise clip: a listener hears noise in short windows, hour after hour."""

_LOWEST_HZ = 20.0
_ALIKE = 0.02  # stored frames are rounded to 16 bits
_SEED = 20_240_501


@dataclass(frozen=True)
class NoiseFrames:
    """Frames of the noise clips by some embedder.

    Attributes:
        fingerprint: The embedder.
        frames: [shape=(n_clips, n_frames, dim), dtype=float32].
    """

    fingerprint: str
    frames: Float32

    def vectors(
        self, parts: tuple[Part, ...], *, seed: int
    ) -> tuple[Float32, Float32, npt.NDArray[np.int64]]:
        """Return pooled vectors of whole clips, of drawn stretches, and whose those are.

        Args:
            parts: What a frame is made of.
            seed: Draws the stretches.
        """
        n_clips, n_frames, dim = self.frames.shape
        whole = pool_frames(self.frames.reshape(-1, dim), np.full(n_clips, n_frames), parts)
        rng = np.random.default_rng(seed)
        rows, lengths, owners = [np.empty(0, np.int64)], [], []
        for clip in range(n_clips):
            for _ in range(STRETCHES):
                length = int(rng.integers(1, min(MAX_WINDOW_FRAMES, n_frames) + 1))
                first = clip * n_frames + int(rng.integers(0, n_frames - length + 1))
                rows.append(np.arange(first, first + length))
                lengths.append(length)
                owners.append(clip)
        stretches = self.frames.reshape(-1, dim)[np.concatenate(rows)]
        counts = np.array(lengths, np.int64)
        return whole, pool_frames(stretches, counts, parts), np.array(owners, np.int64)


def are_silent(vectors: Float32, silence: Float32) -> npt.NDArray[np.bool_]:
    """Tell which pooled vectors are those of digital silence [shape=(n,)].

    Clips are often cut to one length, and the rest of it is filled with zeros: stretches of those
    hold nothing of the clip's label.

    Args:
        vectors: [shape=(n, dim)].
        silence: The pooled vector of silence [shape=(dim,)].
    """
    return np.asarray(np.abs(vectors - silence).max(axis=1, initial=0.0) < _ALIKE)


def noise_of(info: EmbedderInfo, noise: NoiseFrames | None) -> NoiseFrames:
    """Return noise frames once they are known to be of this embedder.

    Raises:
        SoundxError: There are none, or they are of another embedder.
    """
    if noise is None or noise.fingerprint != info.fingerprint:
        raise SoundxError(
            "Noise is to be learnt (training.learn_noise), and there are no frames of it by "
            f"{info.fingerprint}.",
            remedy=Remedy.PREPROCESS,
        )
    return noise


def noise_clips() -> list[Float32]:
    """Return the noise clips [shape=(n_samples,)] at 16 kHz, the same on every machine."""
    rng = np.random.default_rng(_SEED)
    n_samples = int(SECONDS * SAMPLE_RATE_HZ)
    clips = [np.zeros(n_samples, np.float32)]
    for slope in COLOURS.values():
        for level_dbfs in LEVELS_DBFS:
            noise = coloured_noise(n_samples, slope, rng)
            clips.append(np.clip(noise * np.float32(10 ** (level_dbfs / 20)), -1, 1))
    return clips


def coloured_noise(n_samples: int, slope: float, rng: np.random.Generator) -> Float32:
    """Return noise of RMS 1 whose power falls as 1/f to the power of ``slope``.

    Args:
        n_samples: Its length, at 16 kHz.
        slope: 0 for white, 1 for pink, 2 for brown noise.
        rng: Draws it.
    """
    frequencies = np.fft.rfftfreq(n_samples, 1 / SAMPLE_RATE_HZ)
    spectrum = rng.standard_normal(len(frequencies)) + 1j * rng.standard_normal(len(frequencies))
    heard = frequencies >= _LOWEST_HZ
    spectrum[~heard] = 0
    spectrum[heard] *= frequencies[heard] ** (-slope / 2)
    noise = np.fft.irfft(spectrum, n_samples)
    return np.asarray(noise / np.sqrt(np.mean(np.square(noise))), np.float32)
