"""What is said where figures are less than they seem."""

from __future__ import annotations

import pytest

from soundx.metrics import doubts

GOOD = {
    "accuracy": 0.9,
    "accuracy_ci95": [0.85, 0.94],
    "majority_class_accuracy": 0.2,
    "logistic_regression_accuracy": 0.8,
    "n_labels": 4,
}
SIDES = {"train": 30, "validation": 9, "test": 12}
LABELS = {"a": 3, "b": 4, "c": 5, "d": 6}


def test_nothing_is_said_of_good_figures():
    assert doubts(GOOD, SIDES, LABELS, expected={"on validation clips": 0.88}) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metrics": {"n_labels": 1}}, ["only one label"]),
        ({"sides": {"test": 1}}, ["All clips for test are of one recording"]),
        ({"labels": {"b": 2}}, ["1 label has been tested on fewer than 3", ": b."]),
        (
            {"labels": {f"x{n}": 0 for n in range(7)}},
            ["7 labels have been", "x0, x1, x2, x3, x4 and 2 more"],
        ),
        ({"metrics": {"majority_class_accuracy": 0.9}}, ["guessing the commonest", "90.0%"]),
        ({"metrics": {"logistic_regression_accuracy": 0.95}}, ["logistic regression", "95.0%"]),
        ({"expected": 0.99}, ["on validation clips is 0.990", "0.850 to 0.940"]),
        ({"expected": 0.5}, ["on validation clips is 0.500"]),
    ],
    ids=["one-label", "one-group", "few", "many-few", "guessing", "simple", "higher", "lower"],
)
def test_each_doubt_is_said_alone_and_in_words(change, said):
    found = doubts(
        GOOD | change.get("metrics", {}),
        SIDES | change.get("sides", {}),
        LABELS | change.get("labels", {}),
        expected={"on validation clips": change.get("expected", 0.9)},
    )
    assert len(found) == 1
    for words in said:
        assert words in found[0]
