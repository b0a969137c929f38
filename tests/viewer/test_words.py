from __future__ import annotations

import pytest

from soundx.viewer.words import duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "0 s"),
        (45.4, "45 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3605, "1 h"),
        (2 * 3600 + 300, "2 h 5 min"),
        (3 * 86_400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_a_length_of_time_in_its_two_largest_units(seconds, said):
    assert duration(seconds) == said
