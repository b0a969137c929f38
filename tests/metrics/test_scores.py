from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from soundx.errors import SoundxError
from soundx.labels import LabelTree
from soundx.metrics import (
    classification_scores,
    confusion_table,
    expected_calibration_error,
    per_class_scores,
    reliability_table,
    share_interval,
)

TREE = LabelTree.build([("A_1", "A"), ("A_2", "A"), ("B_1", "B"), ("B_2", "B"), ("C", "C")])


def random_case(rng, n=200):
    truth = rng.integers(0, 4, n)  # the fifth label has no test clip
    probabilities = rng.dirichlet(np.ones(5), n)
    probabilities[np.arange(n), truth] += rng.random(n)
    return truth, probabilities / probabilities.sum(axis=1, keepdims=True)


def test_against_scikit_learn(rng):
    truth, probabilities = random_case(rng)
    guess = probabilities.argmax(axis=1)
    found = classification_scores(truth, probabilities, TREE)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess), abs=1e-12)
    recalls = sk.recall_score(truth, guess, labels=range(4), average=None)
    assert found["balanced_accuracy"] == pytest.approx(recalls.mean(), abs=1e-12)
    top3 = sk.top_k_accuracy_score(truth, probabilities, k=3, labels=range(5))
    assert found["top3_accuracy"] == pytest.approx(top3, abs=1e-12)
    assert found["n_test_clips"] == 200
    assert found["n_labels"] == 5
    table = per_class_scores(truth, probabilities, TREE).set_index("label")
    np.testing.assert_allclose(table["recall"][:4], recalls, atol=1e-12)
    f1 = sk.f1_score(truth, guess, labels=range(4), average=None)
    np.testing.assert_allclose(table["f1"][:4], f1, atol=1e-12)
    assert table.loc["C", "recall":].isna().all()


def test_the_perfect_and_the_worst():
    truth = np.arange(5)
    perfect = classification_scores(truth, np.eye(5), TREE)
    assert perfect["accuracy"] == perfect["macro_f1"] == perfect["top3_accuracy"] == 1.0
    assert perfect["calibration_error"] == 0.0
    assert perfect["accuracy_ci95"][1] == 1.0
    wrong = classification_scores(truth, np.roll(np.eye(5), 1, axis=1), TREE)
    assert wrong["accuracy"] == 0.0
    assert wrong["accuracy_ci95"][0] == 0.0
    assert wrong["category_accuracy"] == 2 / 5


def test_the_interval_is_wilsons():
    low, high = share_interval(8, 10)
    assert (low, high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert share_interval(0, 0) == (0.0, 1.0)


def test_calibration_error_by_hand():
    # one bin at 0.9 with half right: a gap of 0.4; one at 0.1, right as often as said
    confidence = [0.9] * 10 + [0.1] * 10
    right = [1] * 5 + [0] * 5 + [1] + [0] * 9
    assert expected_calibration_error(confidence, right) == pytest.approx(0.2)
    assert expected_calibration_error([], []) == 0.0
    assert expected_calibration_error([1.0], [1]) == 0.0


def test_confusion_counts_rows_by_truth():
    table = confusion_table(np.array([0, 0, 1]), np.array([0, 1, 1]), ["a", "b", "c"])
    assert table.to_numpy().tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("truth", "shape"), [([], (0, 5)), ([0], (1, 4)), ([0, 1], (1, 5)), ([7], (1, 5))]
)
def test_malformed_input_is_refused(truth, shape):
    with pytest.raises(SoundxError):
        classification_scores(np.array(truth, np.int64), np.ones(shape) / 5, TREE)


def test_reliability_tells_how_often_it_was_right_in_each_bin():
    table = reliability_table([0.05, 0.95, 0.91, 1.0, 0.55], [False, True, False, True, True])
    assert table["n_clips"].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    last = table.iloc[-1]
    assert last["accuracy"] == pytest.approx(2 / 3)
    assert last["confidence"] == pytest.approx((0.95 + 0.91 + 1.0) / 3)
    assert last["accuracy_ci95_low"] < 2 / 3 < last["accuracy_ci95_high"]
    assert np.isnan(table["accuracy"][1])
    assert reliability_table([], [])["n_clips"].sum() == 0
