"""Level normalisation: off by default and, where it is on, part of the served model.

The same formula stands here in NumPy and in the exported graph, so that a clip is never
levelled in training and left alone in use.
"""

from __future__ import annotations

import numpy as np

from soundx.audio import Float32

SILENCE_RMS = 1e-5
"""Below this a clip is left as it is: amplifying silence would only amplify noise."""


def level_gain(rms: float, peak: float, *, level_dbfs: float) -> float:
    """Return the gain that brings a clip to a level without exceeding full scale.

    Args:
        rms: Root mean square of the clip, full scale = 1.
        peak: Its largest magnitude, full scale = 1.
        level_dbfs: The RMS level to reach, in dB relative to full scale (below 0).
    """
    if rms < SILENCE_RMS:
        return 1.0
    return float(min(10 ** (level_dbfs / 20) / rms, 1.0 / peak))


def normalise_level(waveform: Float32, *, level_dbfs: float | None) -> Float32:
    """Bring a waveform to an RMS level, or return it untouched for None.

    Args:
        waveform: Samples in [-1, 1], [shape=(n_samples,)].
        level_dbfs: Target RMS level in dB relative to full scale, or None.
    """
    if level_dbfs is None or waveform.size == 0:
        return waveform
    rms = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
    gain = level_gain(rms, float(np.abs(waveform).max()), level_dbfs=level_dbfs)
    return (waveform * np.float32(gain)).astype(np.float32, copy=False)
