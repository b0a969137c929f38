"""When the answer is unknown: thresholds, and background that is nearer."""

from __future__ import annotations

import numpy as np
import pytest

from soundx.modelling.rejection import (
    NEVER,
    RejectionOptions,
    answers,
    choose_thresholds,
    with_background,
)

OPTIONS = RejectionOptions(precision=0.9, at_least=0.0)


def two_labels(sure, *, background=0.0):
    """Probabilities of clips called the first of two labels."""
    sure = np.asarray(sure, np.float64)
    return np.column_stack([sure, 1 - sure - background, np.full(len(sure), background)])


def precision_of(given, targets, label):
    return (targets[given == label] == label).mean()


@pytest.mark.parametrize("precision", [0.85, 0.9, 0.99])
def test_answers_are_right_as_often_as_wanted_and_no_more_is_withheld(rng, precision):
    targets = rng.integers(0, 4, 3000)  # three labels and background
    scores = rng.standard_normal((3000, 4))
    scores[np.arange(3000), targets] += 1.5
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    options = RejectionOptions(precision=precision, at_least=0.0)
    thresholds = choose_thresholds(probabilities, targets, 3, options)
    given = answers(probabilities, thresholds)
    guess = probabilities.argmax(axis=1)
    for label in range(3):
        assert precision_of(given, targets, label) >= precision
        # the lowest: with any answer that is less sure let in, too many are wrong
        withheld = np.unique(probabilities[(guess == label) & (given < 0), label])
        assert len(withheld)
        for lower in withheld:
            more = (guess == label) & (probabilities[:, label] >= lower)
            assert (targets[more] == label).mean() < precision


def test_where_all_are_right_nothing_is_withheld_but_the_unsure():
    probabilities = two_labels([0.99, 0.8, 0.6])
    targets = np.zeros(3, np.int64)
    np.testing.assert_array_equal(choose_thresholds(probabilities, targets, 2, OPTIONS), [0, 0])
    unsure = RejectionOptions(at_least=0.7)
    thresholds = choose_thresholds(probabilities, targets, 2, unsure)
    np.testing.assert_array_equal(thresholds, [0.7, 0.7])
    np.testing.assert_array_equal(answers(probabilities, thresholds), [0, 0, -1])


def test_below_the_lowest_threshold_nothing_makes_up_for_a_wrong_answer():
    # the many that are right are too unsure to be given; the one that is given is wrong
    probabilities = two_labels([0.9] + [0.55] * 30)
    targets = np.array([1] + [0] * 30)
    thresholds = choose_thresholds(probabilities, targets, 2, RejectionOptions(at_least=0.6))
    assert (answers(probabilities, thresholds) == -1).all()


def test_what_is_never_right_is_never_answered_however_sure():
    probabilities = two_labels([1.0, 1.0, 0.9])
    targets = np.array([1, 1, 0])
    thresholds = choose_thresholds(probabilities, targets, 2, OPTIONS)
    assert thresholds[0] == NEVER
    assert (answers(probabilities, thresholds) == -1).all()


def test_answers_that_are_equally_sure_are_given_together():
    # one right and one wrong answer, both certain: there is no threshold between them
    probabilities = two_labels([1.0, 1.0])
    for targets in ([0, 1], [1, 0]):
        thresholds = choose_thresholds(probabilities, np.array(targets), 2, OPTIONS)
        assert (answers(probabilities, thresholds) == -1).all()


def test_no_clips_and_one_clip():
    none = choose_thresholds(np.empty((0, 3)), np.empty(0, np.int64), 2, RejectionOptions())
    np.testing.assert_array_equal(none, [0.5, 0.5])
    assert len(answers(np.empty((0, 3)), none)) == 0
    right, wrong = np.array([0]), np.array([2])
    one = two_labels([0.8], background=0.1)
    np.testing.assert_array_equal(choose_thresholds(one, right, 2, RejectionOptions()), [0.5, 0.5])
    assert choose_thresholds(one, wrong, 2, RejectionOptions())[0] == NEVER


def test_it_is_unknown_where_background_is_nearer():
    labels = np.array([[0.4, 0.35], [0.4, 0.1], [0.3, 0.7]])
    probabilities = with_background(labels)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(answers(probabilities, [0.0, 0.0]), [0, -1, 1])
    np.testing.assert_array_equal(answers(labels, [0.0, 0.8]), [0, 0, -1])
