from __future__ import annotations

import numpy as np

from soundx.modelling.stretches import lay_stretches


def test_stretches_cover_a_clip_from_end_to_end():
    rows, lengths, owners = lay_stretches(np.array([10]), 4, per_clip=3)
    assert lengths.tolist() == [4, 4, 4]
    assert owners.tolist() == [0, 0, 0]
    assert rows.reshape(3, 4)[:, 0].tolist() == [0, 3, 6]


def test_a_short_clip_is_one_stretch_as_long_as_it_is():
    rows, lengths, owners = lay_stretches(np.array([2, 1, 5]), 4)
    assert lengths.tolist() == [2, 1, 4, 4]
    assert owners.tolist() == [0, 1, 2, 2]
    assert rows.tolist() == [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 7]


def test_no_stretch_is_counted_twice():
    rows, _, owners = lay_stretches(np.array([2]), 1)
    assert rows.tolist() == [0, 1]
    assert owners.tolist() == [0, 0]
