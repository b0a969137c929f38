from __future__ import annotations

import numpy as np
import pytest

from soundx.audio.level import normalise_level


def rms_dbfs(waveform):
    return 20 * np.log10(np.sqrt(np.mean(waveform**2)))


def test_a_quiet_clip_is_brought_to_the_level(rng):
    quiet = (0.001 * rng.standard_normal(16_000)).astype(np.float32)
    assert rms_dbfs(normalise_level(quiet, level_dbfs=-23)) == pytest.approx(-23, abs=0.01)


def test_a_peaky_clip_is_not_driven_over_full_scale():
    clip = np.zeros(16_000, np.float32)
    clip[5] = 0.5
    assert np.abs(normalise_level(clip, level_dbfs=-3)).max() == pytest.approx(1.0)


def test_off_silent_and_empty_are_left_alone():
    clip = np.full(10, 0.25, np.float32)
    assert normalise_level(clip, level_dbfs=None) is clip
    assert not normalise_level(np.zeros(10, np.float32), level_dbfs=-23).any()
    assert normalise_level(np.zeros(0, np.float32), level_dbfs=-23).size == 0
