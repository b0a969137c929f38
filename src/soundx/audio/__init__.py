"""Bytes to waveforms: decoding, resampling and level; front end and pictures.

Nothing here knows labels, models or Kedro.
"""

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 16_000
"""The rate of every waveform in soundx: YAMNet's own."""

Float32 = npt.NDArray[np.float32]
"""Samples, patches, embeddings, probabilities: what is computed with, everywhere."""
