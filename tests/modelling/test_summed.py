"""Fits that share sums over some rows are those without."""

from __future__ import annotations

import numpy as np
import pytest

from soundx.modelling import ridge
from soundx.modelling.ridge import Choice, Summed, fit_ridge

WIDTHS = (12, 20)


def drawn(rng: np.random.Generator, n: int, n_classes: int, shift: float = 0.0):
    targets = rng.integers(0, n_classes, n)
    centres = np.random.default_rng(1).standard_normal((n_classes, sum(WIDTHS)))
    whole = centres[targets] + rng.standard_normal((n, sum(WIDTHS))) + shift
    owners = np.repeat(np.arange(n), 2)
    windows = whole[owners] + 0.3 * rng.standard_normal((2 * n, sum(WIDTHS)))
    return whole.astype(np.float32), windows.astype(np.float32), owners, targets


@pytest.mark.parametrize("n_more", [0, 90])
def test_sums_over_the_first_rows_change_nothing(rng, monkeypatch, n_more):
    """Other rows have other means, another class, and classes in another order."""
    monkeypatch.setattr(ridge, "DUAL_ROWS", 10)
    whole, windows, owners, targets = drawn(rng, 200, 3)
    odd = np.arange(400) % 7 == 0  # some stretches are of another class than their clip
    renumber = np.array([2, 0, 3, 1])
    groups = np.concatenate([targets, np.where(odd, 3, targets[owners])])
    summed = Summed.of(whole, windows, groups, WIDTHS, window_weight=0.25)
    more, more_windows, more_owners, more_targets = drawn(rng, max(n_more, 1), 4, shift=0.7)
    all_targets = np.concatenate([renumber[targets], more_targets])
    first_of_other = 200 + int(np.flatnonzero(more_targets == 1)[0]) if n_more else None
    if not n_more:
        all_targets[-1], first_of_other = 1, 200
    all_owners = np.concatenate([np.where(odd, first_of_other, owners), more_owners + 200])
    vectors = np.concatenate([whole, more])
    stretches = np.concatenate([windows, more_windows])
    arguments = (vectors, all_targets, np.arange(len(vectors)), 4, WIDTHS)
    options = {"windows": (stretches, all_owners), "choice": Choice(0.1, 5.0, 0.0, 0.0)}
    plain = fit_ridge(*arguments, **options)
    shared = fit_ridge(*arguments, **options, summed=summed)
    np.testing.assert_allclose(shared.weights, plain.weights, atol=2e-4)
    np.testing.assert_allclose(shared.bias, plain.bias, atol=2e-4)
    twice = fit_ridge(*arguments, **options, summed=summed)
    np.testing.assert_array_equal(twice.weights, shared.weights)


def test_few_rows_are_fitted_as_they_are(rng):
    whole, windows, owners, targets = drawn(rng, 8, 2)
    summed = Summed.of(
        whole, windows, np.concatenate([targets, targets[owners]]), WIDTHS, window_weight=0.25
    )
    arguments = (whole, targets, np.arange(8), 2, WIDTHS)
    options = {"windows": (windows, owners), "choice": Choice(0.1, 5.0, 0.0, 0.0)}
    plain, shared = (
        fit_ridge(*arguments, **options),
        fit_ridge(*arguments, **options, summed=summed),
    )
    np.testing.assert_array_equal(shared.weights, plain.weights)
