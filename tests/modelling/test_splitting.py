from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from soundx.errors import SoundxError
from soundx.modelling.splitting import (
    FIELD,
    SPLITS,
    SplitOptions,
    assign_splits,
    check_splits,
    class_weights,
)

OPTIONS = SplitOptions()


def make_clips(n_labels=4, groups=60, clips_per_group=2):
    rows = [
        {"clip_id": f"{label}-{g}-{c}", "label": f"L{label}", "group": f"g{label}-{g}", "fold": f}
        for label in range(n_labels)
        for g in range(groups)
        for c in range(clips_per_group)
        for f in [g % 5 + 1]
    ]
    return pd.DataFrame(rows).assign(evaluation_only=False)


def sides(clips, options=OPTIONS):
    return assign_splits(clips, options).set_index("clip_id")["split"]


def test_groups_stay_together_and_shares_are_near_the_wanted_ones():
    clips = make_clips()
    splits = assign_splits(clips, OPTIONS)
    assert (splits.groupby("group")["split"].nunique() == 1).all()
    shares = splits["split"].value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.2, abs=0.07)
    assert shares["validation"] == pytest.approx(0.15, abs=0.07)
    by_label = pd.crosstab(clips["label"], splits["split"].to_numpy())
    assert (by_label[list(SPLITS)] >= 8).all().all()


def test_added_removed_and_shuffled_clips_do_not_move_others():
    clips = make_clips(groups=100)
    before = sides(clips)
    more = pd.concat([clips, make_clips(n_labels=6, groups=130)]).drop_duplicates("clip_id")
    after = sides(more.sample(frac=1, random_state=1))
    assert (after[before.index] == before).all()
    fewer = clips.iloc[::2]
    assert (sides(fewer) == before[fewer["clip_id"]]).all()


@pytest.mark.parametrize("groups", [3, 4, 5, 8])
def test_small_labels_stand_on_all_sides(groups):
    clips = make_clips(n_labels=30, groups=groups, clips_per_group=1)
    table = pd.crosstab(clips["label"], sides(clips).to_numpy())
    assert (table[list(SPLITS)] > 0).all().all()


def test_labels_with_too_few_recordings_are_named(caplog):
    clips = pd.concat([make_clips(), make_clips(1, groups=1).assign(label="lonely", group="x")])
    clips["clip_id"] = [f"c{i}" for i in range(len(clips))]
    lonely = assign_splits(clips, OPTIONS)["split"][clips["label"].to_numpy() == "lonely"]
    assert set(lonely) == {"train"}
    assert "'lonely'" in caplog.text


def test_another_seed_is_another_draw():
    clips = make_clips()
    assert (sides(clips) != sides(clips, SplitOptions(seed=8))).any()


def test_folds_are_respected_where_asked():
    clips = make_clips()
    options = SplitOptions(by="fold", test_folds=(1,), validation_folds=(2,))
    splits = sides(clips, options)
    by_clip = clips.set_index("clip_id")["fold"]
    assert set(splits[by_clip == 1]) == {"test"}
    assert set(splits[by_clip == 2]) == {"validation"}
    assert set(splits[by_clip > 2]) == {"train"}
    with pytest.raises(SoundxError, match="have no fold"):
        sides(clips.assign(fold=pd.NA), options)


def test_background_goes_by_its_recording_where_official_folds_leave_it_out():
    clips = make_clips(n_labels=1)
    background = make_clips(n_labels=1).assign(label="", fold=np.nan)
    background[["clip_id", "group"]] = "b" + background[["clip_id", "group"]]
    background.loc[0, "group"] = "g0-0"  # cut from a labelled recording, of fold 1
    both = pd.concat([clips, background])
    options = SplitOptions(by="fold", test_folds=(1,), validation_folds=(2,))
    found = sides(both, options)
    pd.testing.assert_series_equal(found[clips["clip_id"]], sides(clips, options))
    own = found[background["clip_id"]]
    assert own.iloc[0] == "test"
    assert set(own) == set(SPLITS)


def test_official_folds_may_tear_a_recording_and_it_is_said(caplog):
    clips = make_clips()
    clips.loc[[0, 1], "fold"] = [5, 1]  # as two recordings of ESC-50 do
    splits = assign_splits(clips, SplitOptions(by="fold"))
    assert splits["split"].tolist()[:2] == ["test", "train"]
    assert "1 recording stand on two sides" in caplog.text
    assert "g0-0 (test, train)" in caplog.text
    check_splits(splits)
    # the split by hash does not look at folds, and keeps it together
    assert assign_splits(clips, OPTIONS)["split"][:2].nunique() == 1
    clips.loc[1, "evaluation_only"] = True
    with pytest.raises(SoundxError, match=r"g0-0 \(field, test\)"):
        assign_splits(clips, SplitOptions(by="fold"))


def test_folds_that_are_not_looked_at_are_said(caplog):
    caplog.set_level("INFO")
    clips = make_clips()
    sides(clips, SplitOptions(by="fold"))
    sides(clips.assign(fold=pd.NA))
    assert "fold" not in caplog.text
    clips.loc[0, "fold"] = pd.NA
    sides(clips)
    assert "479 of 480 clips one of 5 folds" in caplog.text
    assert "set splits.by to fold" in caplog.text


def test_a_group_on_two_sides_fails():
    clips = make_clips()
    clips.loc[0, "fold"] = 5
    clips.loc[1, "fold"] = 1
    by_fold = assign_splits(clips.iloc[2:], SplitOptions(by="fold"))
    by_fold.loc[0, "split"] = "validation"  # edited by hand, against its fold
    with pytest.raises(SoundxError, match="1 recording stand on two sides"):
        check_splits(by_fold)
    torn = pd.DataFrame({"group": ["g", "g"], "split": ["train", "test"]})
    with pytest.raises(SoundxError, match=r"g \(test, train\)"):
        check_splits(torn)


def test_too_few_clips_are_said():
    with pytest.raises(SoundxError, match="No clip is left"):
        sides(make_clips(n_labels=1, groups=2))


def test_evaluation_only_clips_are_their_own_side():
    clips = make_clips()
    clips.loc[clips["group"] == "g0-0", "evaluation_only"] = True
    assert set(sides(clips)[["0-0-0", "0-0-1"]]) == {FIELD}


@pytest.mark.parametrize(
    "values",
    [
        {"test_fraction": 0.9},
        {"test_fraction": "many"},
        {"by": "luck"},
        {"unknown": 1},
        {"test_folds": (4,)},
    ],
)
def test_options_are_checked(values):
    with pytest.raises(ValidationError):
        SplitOptions(**values)


def test_every_class_weighs_the_same():
    targets, n_frames = np.array([0, 0, 0, 1]), np.array([1, 2, 3, 4])
    weights = class_weights(targets, n_frames, 3)
    totals = np.bincount(targets, weights * n_frames)
    assert totals[0] == pytest.approx(totals[1])
    assert totals.sum() == pytest.approx(n_frames.sum())
