"""Pieces of a recording join exactly, however it comes and wherever hearing begins anew."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from soundx.listening.windows import PIECE_ROWS, cut_pieces, hear

HOP, SPAN = 7680, 15_600


def heard(samples, classifier, block, **more):
    blocks = [samples[i : i + block] for i in range(0, len(samples), block)]
    with ThreadPoolExecutor(2) as threads:
        return list(hear(blocks, classifier, threads, **more))


@pytest.mark.parametrize(
    "n_samples",
    [
        1,
        SPAN,
        SPAN + 1,
        (PIECE_ROWS - 1) * HOP + SPAN,
        PIECE_ROWS * HOP + SPAN,
        (PIECE_ROWS + 1) * HOP + SPAN,
        (PIECE_ROWS + 1) * HOP + SPAN + 1,
        2 * PIECE_ROWS * HOP + 12_345,
    ],
)
@pytest.mark.parametrize("block", [4_999, 262_144])
def test_rows_are_those_of_one_piece(rng, classifier, n_samples, block):
    samples = (0.1 * rng.standard_normal(n_samples)).astype(np.float32)
    expected = classifier.hear(samples)
    pieces = heard(samples, classifier, block)
    rows = np.concatenate([piece.rows for piece in pieces])
    assert rows.shape == expected.windows.shape
    np.testing.assert_allclose(rows, expected.windows, atol=1e-5)
    assert pieces[-1].n_samples == n_samples
    if len(pieces) == 1:
        np.testing.assert_array_equal(pieces[0].whole, expected.labels)
    else:
        assert all(piece.whole is None for piece in pieces)


def test_hearing_goes_on_from_any_piece(rng, classifier):
    samples = (0.1 * rng.standard_normal(3 * PIECE_ROWS * HOP + 5)).astype(np.float32)
    expected = classifier.hear(samples).windows
    for first in (PIECE_ROWS, 2 * PIECE_ROWS):
        rows = np.concatenate(
            [piece.rows for piece in heard(samples, classifier, 50_000, first_row=first)]
        )
        np.testing.assert_allclose(rows, expected[first:], atol=1e-5)


def test_only_a_few_pieces_are_held(classifier):
    """A recording without end is cut as it comes."""
    endless = (np.zeros(100_000, np.float32) for _ in iter(int, 1))
    pieces = cut_pieces(endless, classifier.windowing)
    longest = max(len(next(pieces).samples) for _ in range(20))
    assert longest <= (PIECE_ROWS + 2) * HOP + SPAN
