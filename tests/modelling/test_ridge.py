from __future__ import annotations

import numpy as np
import pytest

from soundx.modelling.ridge import (
    NormalEquations,
    Standardiser,
    choose,
    fit_ridge,
    fit_temperature,
    left_out_scores,
    signs,
    softmax,
)


def blobs(rng, n=120, dim=12, n_classes=3, spread=1.0, per_group=4):
    targets = np.arange(n) % n_classes
    vectors = 2 * np.eye(n_classes, dim)[targets] + spread * rng.standard_normal((n, dim))
    groups = np.arange(n) // n_classes // per_group * n_classes + targets
    return vectors.astype(np.float32), targets, groups


def test_parts_count_the_same_however_wide_and_still_numbers_are_not_blown_up(rng):
    vectors = rng.standard_normal((500, 12)).astype(np.float32) * np.r_[np.full(2, 50.0), [1] * 10]
    vectors[:, 11] = 3.0
    blocks = np.array_split(vectors.astype(np.float32), 7)
    standardise = Standardiser.of(iter(blocks), [2, 10])
    found = standardise(vectors)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    lengths = [np.square(found[:, part]).sum(axis=1).mean() for part in (slice(0, 2), slice(2, 12))]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.15)
    strange = vectors[:1].copy()
    strange[0, 11] = 4.0
    assert np.abs(standardise(strange) - standardise(vectors[:1])).max() < 1


def test_scores_of_left_out_groups_are_those_of_models_without_them(rng):
    """The closed form against fitting again without each group."""
    vectors, targets, groups = blobs(rng, n=45)
    groups[:3] = [100, 101, 102]  # some alone
    kernel = (vectors @ vectors.T).astype(np.float64)
    ((penalty, scores),) = left_out_scores(kernel, signs(targets, 3), groups, [0.1])
    length = np.trace(kernel) / len(kernel)
    with_one = kernel + 100 * length
    for group in np.unique(groups):
        out = groups == group
        system = with_one[np.ix_(~out, ~out)] + penalty * length * np.eye((~out).sum())
        again = with_one[np.ix_(out, ~out)] @ np.linalg.solve(system, signs(targets, 3)[~out])
        np.testing.assert_allclose(scores[out], again, atol=1e-6)


def test_temperature_finds_what_the_scores_are_worth(rng):
    targets = rng.integers(0, 4, 20_000)
    scores = rng.standard_normal((20_000, 4)) * 0.3
    # labels drawn as often as softmax(5 x scores) says
    noise = rng.gumbel(size=scores.shape)
    targets = (5 * scores + noise).argmax(axis=1)
    temperature, loss = fit_temperature(scores, targets)
    assert temperature == pytest.approx(5, rel=0.05)
    assert loss < -np.log(0.25)


def test_a_label_is_found_and_its_probability_can_be_believed(rng):
    vectors, targets, groups = blobs(rng, n=600, spread=0.8)
    ridge = fit_ridge(vectors, targets, groups, 3, [6, 6])
    new, truth, _ = blobs(rng, n=3000, spread=0.8)
    probabilities = softmax(ridge.logits(new))
    right = probabilities.argmax(axis=1) == truth
    assert right.mean() > 0.8
    assert abs(probabilities.max(axis=1).mean() - right.mean()) < 0.06


def test_few_rows_and_many_rows_give_the_same_model(rng):
    """In the dual and by normal equations, added up in two blocks."""
    vectors, targets, groups = blobs(rng, n=60, dim=90)
    small = fit_ridge(vectors, targets, groups, 3, [90])
    rows = small.standardise(vectors)
    equations = NormalEquations(90, 3)
    ones = np.ones(30, np.float32)
    for half in (slice(0, 30), slice(30, 60)):
        equations.add(rows[half], signs(targets, 3)[half], ones)
    length = float(np.square(rows).sum() / len(rows))
    weights, bias = equations.solve(small.choice.penalty, length)
    np.testing.assert_allclose(weights, small.weights, atol=5e-3 * np.abs(weights).max())
    np.testing.assert_allclose(bias, small.bias, atol=2e-2)


def test_stretches_are_learnt_beside_their_clips(rng):
    vectors, targets, groups = blobs(rng, n=90, spread=0.5)
    shifted = vectors[:, ::-1].copy()  # they sound quite otherwise
    owners = np.arange(90)
    plain = fit_ridge(vectors, targets, groups, 3, [12])
    both = fit_ridge(
        vectors, targets, groups, 3, [12], windows=(shifted, owners), window_weight=1.0
    )
    accuracy = [(r.logits(shifted).argmax(axis=1) == targets).mean() for r in (plain, both)]
    assert accuracy[0] < 0.7
    assert accuracy[1] > 0.9
    assert (both.logits(vectors).argmax(axis=1) == targets).mean() > 0.9


def test_one_group_alone_is_left_out_clip_by_clip(rng):
    vectors, targets, _ = blobs(rng, n=30)
    choice = choose(vectors, targets, np.zeros(30), 3).choice
    assert np.isfinite(choice.log_loss)
    assert choice.log_loss < np.log(3)
