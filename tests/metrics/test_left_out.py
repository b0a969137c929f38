"""Cross-validation as figures, on a table small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from soundx.errors import SoundxError
from soundx.labels import BACKGROUND, LabelTree
from soundx.metrics.left_out import check_left_out, left_out_per_class, left_out_scores

TREE = LabelTree.build([("A_x", "A"), ("A_y", "A"), ("B", "B")])
# label, group, fold, probabilities of A_x, A_y, B
ROWS = [
    ("A_x", "r1", 1, (0.8, 0.1, 0.1)),
    ("A_x", "r2", 2, (0.3, 0.6, 0.1)),  # another label of its category
    ("A_y", "r3", 1, (0.1, 0.7, 0.2)),
    ("A_y", "r4", 2, (0.3, 0.3, 0.4)),  # right by category first
    ("B", "r5", 1, (0.1, 0.1, 0.8)),
    ("B", "r6", 2, (0.0, 0.1, 0.9)),
    (BACKGROUND, "r7", 2, (0.1, 0.1, 0.1)),
]


@pytest.fixture
def table():
    rows = []
    for number, (label, group, fold, probabilities) in enumerate(ROWS):
        best = int(np.argmax(probabilities))
        truth = TREE.labels.index(label) if label else None
        rows.append(
            {
                "clip_id": f"clip{number}",
                "path": f"{label}/{number}.wav",
                "label": label,
                "category": label[:1],
                "group": group,
                "fold": fold,
                "duration_s": 1.0,
                "predicted_label": TREE.labels[best],
                "probability": probabilities[best],
                "certainty": probabilities[truth] if label else 0.7,
                "background_probability": 1 - sum(probabilities),
                "uncalibrated": 0.5,
                "probabilities": np.array(probabilities, np.float32),
            }
        )
    return pd.DataFrame(rows)


def test_figures_are_those_counted_by_hand(table):
    found = left_out_scores(table, TREE)
    assert found["accuracy_by_fold"] == {"1": 1.0, "2": pytest.approx(1 / 3)}
    assert found["accuracy_mean"] == pytest.approx(2 / 3, abs=1e-12)
    assert found["accuracy_std"] == pytest.approx(1 / 3, abs=1e-12)
    assert found["balanced_accuracy_mean"] == pytest.approx(2 / 3, abs=1e-12)
    assert found["category_accuracy_mean"] == 1.0
    assert found["hard_routed_accuracy_mean"] == pytest.approx((1 + 1 / 3) / 2, abs=1e-12)
    certainties = [0.8, 0.3, 0.7, 0.3, 0.8, 0.9]
    assert found["log_loss"] == pytest.approx(-np.log(certainties).mean(), abs=1e-12)
    assert found["majority_class_accuracy"] == pytest.approx(1 / 3)
    assert (found["k"], found["n_clips"], found["n_groups"]) == (2, 6, 6)
    assert found["grouped"] is True


def test_a_recording_in_two_folds_is_not_called_grouped(table):
    torn = table.assign(group=["r1", "r1", *table["group"][2:]])
    assert left_out_scores(torn, TREE)["grouped"] is False


def test_labels_are_scored_one_by_one(table):
    found = left_out_per_class(table, TREE).set_index("label")
    assert found.loc["A_x", "recall"] == 0.5
    assert found.loc["A_x", "precision"] == 1.0
    assert found.loc["A_y", "precision"] == 0.5
    assert found.loc["B", "recall"] == 1.0
    assert found.loc["B", "recall_ci95_low"] < 0.5  # of two recordings
    assert found["n_groups"].tolist() == [2, 2, 2]


def test_a_table_that_is_not_whole_is_refused(table):
    with pytest.raises(SoundxError, match="lacks certainty, probabilities"):
        check_left_out(table.drop(columns=["certainty", "probabilities"]))
    with pytest.raises(SoundxError, match="outside 0 to 1"):
        check_left_out(table.assign(probability=1.5))
