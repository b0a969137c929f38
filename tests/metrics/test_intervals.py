"""Intervals that know how many witnesses there are."""

from __future__ import annotations

import numpy as np
import pytest

from soundx.metrics import grouped_interval, share_interval


def width(interval):
    low, high = interval
    return high - low


def test_few_recordings_make_a_wider_interval_than_their_clips_would(rng):
    # six speakers of fifty clips each, from 60 to 98 % right
    groups = np.repeat(np.arange(6), 50)
    right = rng.random(300) < np.linspace(0.6, 0.98, 6)[groups]
    by_group = grouped_interval(right, groups)
    by_clip = grouped_interval(right, np.arange(300))
    assert by_group[0] < right.mean() < by_group[1]
    assert width(by_group) > 1.5 * width(by_clip)
    assert by_clip == pytest.approx(share_interval(int(right.sum()), 300), abs=0.02)


def test_all_right_is_not_certain():
    low, high = grouped_interval(np.ones(40, bool), np.repeat(np.arange(8), 5))
    assert high == 1.0
    assert low == pytest.approx(share_interval(8, 8)[0])


def test_one_recording_says_next_to_nothing():
    assert width(grouped_interval(np.ones(100, bool), np.zeros(100))) > 0.7
    assert width(grouped_interval(np.arange(100) < 80, np.zeros(100))) > 0.7


def test_of_nothing_nothing_is_known():
    assert grouped_interval([], []) == (0.0, 1.0)


def test_the_same_clips_give_the_same_interval(rng):
    right, groups = rng.random(60) < 0.8, rng.integers(0, 12, 60)
    assert grouped_interval(right, groups) == grouped_interval(right, groups)
