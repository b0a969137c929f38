"""Bytes to waveforms: decoding, resampling, level, and the demo's synthesiser.

Nothing here knows labels, models or Kedro.
"""

SAMPLE_RATE_HZ = 16_000
"""The rate of every waveform in soundx: YAMNet's own."""
