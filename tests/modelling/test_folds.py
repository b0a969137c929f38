from __future__ import annotations

import pandas as pd
import pytest

from soundx.errors import SoundxError
from soundx.modelling.folds import CrossValidationOptions, assign_folds


def clips(n_groups=20, per_group=3, **columns):
    table = pd.DataFrame(
        {
            "clip_id": [f"c{n}" for n in range(n_groups * per_group)],
            "group": [f"g{n // per_group}" for n in range(n_groups * per_group)],
            "fold": pd.array([pd.NA] * (n_groups * per_group), "Int64"),
            "duration_s": 1.0,
            "evaluation_only": False,
        }
    )
    table["label"] = [f"L{int(g[1:]) % 2}" for g in table["group"]]
    table["category"], table["path"] = table["label"], table["clip_id"] + ".wav"
    return table.assign(**columns)


def test_recordings_stay_together_and_labels_are_spread():
    folds = assign_folds(clips(), CrossValidationOptions())
    assert (folds.groupby("group")["fold"].nunique() == 1).all()
    assert sorted(folds["fold"].unique()) == [1, 2, 3, 4, 5]
    assert (folds.groupby(["fold", "label"]).size() == 6).all()
    again = assign_folds(clips(), CrossValidationOptions())
    pd.testing.assert_frame_equal(folds, again)
    other = assign_folds(clips(), CrossValidationOptions(seed=8))
    assert not folds["fold"].equals(other["fold"])


def test_official_folds_are_taken_as_they_are_and_torn_recordings_named(caplog):
    official = pd.array([n % 4 + 1 for n in range(60)], "Int64")
    folds = assign_folds(clips(fold=official), CrossValidationOptions())
    assert folds["fold"].tolist() == official.tolist()
    assert "20 recordings stand in two official folds (g0, g1" in caplog.text
    grouped = assign_folds(clips(fold=official), CrossValidationOptions(folds="grouped"))
    assert (grouped.groupby("group")["fold"].nunique() == 1).all()
    with pytest.raises(SoundxError, match="60 of 60 clips have no official fold"):
        assign_folds(clips(), CrossValidationOptions(folds="official"))


def test_few_recordings_make_few_folds():
    folds = assign_folds(clips(n_groups=3), CrossValidationOptions())
    assert folds["fold"].nunique() == 3
    with pytest.raises(SoundxError, match="two recordings or more"):
        assign_folds(clips(n_groups=1), CrossValidationOptions())


def test_labels_of_few_clips_make_few_folds(caplog):
    caplog.set_level("INFO")
    folds = assign_folds(clips(n_groups=8, per_group=1), CrossValidationOptions())
    assert (folds.groupby(["fold", "label"]).size() == 1).all()
    assert folds["fold"].nunique() == 4
    assert "4 folds, not 5" in caplog.text
    official = pd.array([1, 2, 3, 4, 5, 6, pd.NA, pd.NA], "Int64")
    labels = [*"ABABAB", "C", "D"]
    table = clips(n_groups=8, per_group=1, fold=official, label=labels)
    answered = assign_folds(
        table.assign(answered=[False] * 6 + [True] * 2), CrossValidationOptions()
    )
    assert answered["fold"].tolist()[:6] == [1, 2, 3, 4, 5, 6]


def test_clips_that_are_never_trained_on_are_left_alone_and_many_are_drawn_from():
    table = clips(evaluation_only=[n < 30 for n in range(60)])
    assert len(assign_folds(table, CrossValidationOptions())) == 30
    few = assign_folds(clips(), CrossValidationOptions(max_clips=30))
    assert 20 <= len(few) <= 30
    assert (few.groupby("group").size() == 3).all(), "whole recordings are drawn"
