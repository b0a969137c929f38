"""Put clips into train, validation and test: by recording and hash, or by official folds.

A group (all clips of one recording; a clip without one is its own) goes to a side by the
hash of its name and the seed, compared with the wanted fractions. So a clip's side
depends on nothing but its own group:

    **Guarantee.** Adding, removing, renaming or relabelling clips never moves another clip
    across, except within a label whose draw was unlucky: where a side holds less than half
    of its fair share of a label's groups (or none), the groups nearest to that side are
    moved there. So every label with three groups or more stands on all three sides. A label
    of 20 groups needs this one time in ten, one of 100 groups hardly ever; it is logged, and
    it ends when the label has grown enough to fill its sides by itself.

Background is put on sides like a label of its own; by hash where official folds leave it out.
Recordings that are known by people's answers alone are learnt from, and never tested on.

The price is that a label's shares are only near the wanted ones, as a fair draw's are: a
rule that kept shares exact would have to move old clips.

Official folds are a data set's own protocol and are kept to, even where one recording stands
in two of them; that is said, since the guarantee is then the data set's and not ours.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from soundx.errors import Setting, SoundxError
from soundx.labels import BACKGROUND, shown_label
from soundx.options import Options, Seed
from soundx.progress import counted

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
FIELD = "field"
LEFT_OUT = "left_out"
"""No side, but what stands for one where each clip was left out in turn instead of a test."""
"""Side of evaluation-only clips: scored apart, never trained on, never tuned on."""


class SplitOptions(Options):
    """How clips are put on sides.

    Attributes:
        validation_fraction: Share of groups that early stopping watches.
        test_fraction: Share of groups that only the evaluation sees.
        seed: Another seed is another draw.
        by: ``hash``, or ``fold`` for a data set with official folds in metadata.csv.
        validation_folds: Folds that validate, for ``by: fold``.
        test_folds: Folds that test, for ``by: fold``.
    """

    validation_fraction: float = Field(0.15, gt=0, lt=1)
    test_fraction: float = Field(0.2, gt=0, lt=1)
    seed: Seed = 7
    by: Literal["hash", "fold"] = "hash"
    validation_folds: tuple[int, ...] = (4,)
    test_folds: tuple[int, ...] = (5,)

    @model_validator(mode="after")
    def _leave_clips_to_train_on(self) -> SplitOptions:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        if set(self.validation_folds) & set(self.test_folds):
            raise ValueError("a fold cannot be both for validation and for test")
        return self


def check_labels(clips: pd.DataFrame) -> None:
    """Fail where there is but one label, and no background: nothing could be told apart.

    Args:
        clips: One row a clip: ``path``, ``label`` and ``evaluation_only``.

    Raises:
        SoundxError: Names the label, and the folders in it if all its clips lie in folders.
    """
    ours = clips[~clips["evaluation_only"].astype(bool)]
    labels = ours["label"].unique().tolist()
    if len(labels) != 1:
        return
    parts = ours["path"].str.split("/")
    inside = sorted(set(parts.str[1])) if (parts.str.len() > 2).all() else []  # noqa: PLR2004
    meant = (
        f" If {', '.join(inside[:3])} are the labels, give the folder they are in."
        if inside
        else ""
    )
    raise SoundxError(
        f"All clips are of one label, '{shown_label(labels[0])}': there is nothing to tell it "
        f"from.{meant} Add clips of another label, or of none in a folder :BACKGROUND."
    )


def assign_splits(clips: pd.DataFrame, options: SplitOptions) -> pd.DataFrame:
    """Put every clip on a side.

    Args:
        clips: One row a clip: ``clip_id``, ``label``, ``group``, ``fold`` and
            ``evaluation_only``.
        options: How.

    Returns:
        ``clip_id``, ``split`` (train, validation, test or field), ``group``, and ``fold``
        where it decided; in the order of ``clips``.

    Raises:
        SoundxError: Folds are asked for and missing, a group stands on two sides for another
            reason than its folds, or a side that training needs is empty.
    """
    clips = clips.reset_index(drop=True)
    splits = clips[["clip_id"]].assign(split=FIELD, group=clips["group"])
    splits["fold"] = pd.array([pd.NA] * len(clips), dtype="Int64")
    ours = clips[~clips["evaluation_only"].astype(bool)]
    reviewed = _only_reviewed(ours)
    splits.loc[ours.index[reviewed], "split"] = _by_hash_alone(ours[reviewed], options)
    ours = ours[~reviewed]
    if options.by == "fold":
        splits.loc[ours.index, "split"] = _by_fold(ours, options)
        splits.loc[ours.index, "fold"] = ours["fold"].astype("Int64")
    else:
        splits.loc[ours.index, "split"] = _by_hash(ours, options)
        _tell_of_folds(ours)
    check_splits(splits)
    torn = _torn(splits)
    if torn:
        logger.warning(
            "Clips of %s stand on two sides of the split, as the official folds have it: %s. What "
            "the test says of new recordings is a little too good.",
            counted(len(torn), "recording"),
            _listed(torn),
        )
    return splits


def _only_reviewed(clips: pd.DataFrame) -> np.ndarray:
    """Tell which clips are of recordings that all of answers are of, beside other clips.

    People were asked about what a model was unsure of: that is no fair test of a model. Where
    there is nothing else, it is what there is.
    """
    if "answered" not in clips:
        return np.zeros(len(clips), bool)
    only = clips.groupby("group")["answered"].transform("all").to_numpy(bool)
    labelled = (clips["label"] != BACKGROUND).to_numpy()
    return only if (~only & labelled).any() else np.zeros(len(clips), bool)


def _by_hash_alone(clips: pd.DataFrame, options: SplitOptions) -> pd.Series:
    """Return a side to learn from for each clip: validation where it would be, else training."""
    low = options.test_fraction
    position = {g: _position(g, options.seed) for g in clips["group"].unique()}
    validates = {g: low <= p < low + options.validation_fraction for g, p in position.items()}
    return clips["group"].map(lambda group: "validation" if validates[group] else "train")


def check_splits(splits: pd.DataFrame) -> None:
    """Fail where a group stands on two sides, or where a side is empty.

    A group may stand on two sides where official folds, column ``fold``, put it there: each
    clip has one, and each fold of the group is on one side.

    Raises:
        SoundxError: Names the groups and their sides.
    """
    torn = {
        group: sides
        for group, sides in _torn(splits).items()
        if not _folds_tore(splits[splits["group"] == group])
    }
    if torn:
        raise SoundxError(
            f"Clips of {counted(len(torn), 'recording')} stand on two sides of the split: "
            f"{_listed(torn)}. They must stay together: mend 'group' in metadata.csv, and split "
            "anew.",
            remedy=Setting("splits.by", "hash"),
        )
    empty = [side for side in SPLITS if not (splits["split"] == side).any()]
    if empty:
        raise SoundxError(
            f"No clip is left for {' and '.join(empty)}: {counted(len(splits), 'clip')} in "
            f"{counted(splits['group'].nunique(), 'recording')} are too few. Every label needs "
            "clips from three recordings or more."
        )


def _torn(splits: pd.DataFrame) -> dict[str, list[str]]:
    sides = splits.groupby("group")["split"].unique()
    return {str(group): sorted(found) for group, found in sides[sides.str.len() > 1].items()}


def _folds_tore(clips: pd.DataFrame) -> bool:
    """Tell whether official folds alone put the clips of one group on two sides."""
    if "fold" not in clips or clips["fold"].isna().any():
        return False
    return bool((clips.groupby("fold")["split"].nunique() == 1).all())


def _listed(torn: Mapping[str, list[str]]) -> str:
    listed = "; ".join(f"{g} ({', '.join(s)})" for g, s in itertools.islice(torn.items(), 3))
    return listed + ("; ..." if len(torn) > 3 else "")  # noqa: PLR2004


def _tell_of_folds(clips: pd.DataFrame) -> None:
    n_folds = clips["fold"].nunique() if "fold" in clips else 0
    if n_folds:
        logger.info(
            "metadata.csv gives %s of %s one of %s, which a split by hash does not look at: set "
            "splits.by to fold to test on the official ones.",
            f"{clips['fold'].notna().sum():,}",
            counted(len(clips), "clip"),
            counted(n_folds, "fold"),
        )


def _by_fold(clips: pd.DataFrame, options: SplitOptions) -> pd.Series:
    folds = pd.to_numeric(clips["fold"], errors="coerce")
    without = folds.isna()
    background = clips["label"] == BACKGROUND
    if (without & ~background).any():
        n_without = (without & ~background).sum()
        raise SoundxError(
            f"splits.by is 'fold', but {n_without:,} of {counted(len(clips), 'clip')} have no "
            "fold. Give every clip one in metadata.csv, or split by hash.",
            remedy=Setting("splits.by", "hash"),
        )
    there = sorted(int(fold) for fold in folds[~background].unique())
    for side, wanted in (
        ("test", options.test_folds), ("validation", options.validation_folds)
    ):  # fmt: skip
        if not set(wanted) & set(there):
            raise SoundxError(
                f"splits.{side}_folds is {list(wanted)}, and clips are in the folds "
                f"{', '.join(map(str, there))}. Name some of these, or split by hash.",
                remedy=(
                    Setting("splits.test_folds", "[N]"),
                    Setting("splits.validation_folds", "[N]"),
                    Setting("splits.by", "hash"),
                ),
            )
    sides = pd.Series("train", index=clips.index, dtype="str")
    sides[folds.isin(options.validation_folds)] = "validation"
    sides[folds.isin(options.test_folds)] = "test"
    if without.any():
        of_group = sides[~without].groupby(clips["group"][~without]).first()
        known = clips["group"][without].map(of_group)
        sides[without] = known.fillna(_by_hash(clips[without], options))
    return sides


def _by_hash(clips: pd.DataFrame, options: SplitOptions) -> pd.Series:
    position = {g: _position(g, options.seed) for g in clips["group"].unique()}
    test_below = options.test_fraction
    validation_below = test_below + options.validation_fraction

    def side(place: float) -> str:
        if place < test_below:
            return "test"
        return "validation" if place < validation_below else "train"

    side_of = {group: side(place) for group, place in position.items()}
    ranges = {
        "test": (0.0, test_below),
        "validation": (test_below, validation_below),
        "train": (validation_below, 1.0),
    }
    for label, groups in clips.groupby("label")["group"].unique().items():
        _level_out(str(label), list(groups), side_of, position, ranges)
    return clips["group"].map(side_of)


def _level_out(
    label: str,
    groups: list[str],
    side_of: dict[str, str],
    position: dict[str, float],
    ranges: dict[str, tuple[float, float]],
) -> None:
    """Move groups of one label until every side has half its share, or say it cannot be."""
    label = shown_label(label)
    wanted = ["train", "test", "validation"][: len(groups)]
    if len(wanted) < len(SPLITS):
        logger.warning(
            "Label '%s' has clips from %s only: none for %s.",
            label,
            counted(len(groups), "recording"),
            " and ".join(s for s in ("test", "validation") if s not in wanted),
        )
    least = {s: max(1, int((ranges[s][1] - ranges[s][0]) * len(groups) / 2)) for s in wanted}
    held = {s: [g for g in groups if side_of[g] == s] for s in SPLITS}
    moved = 0
    for side in wanted:
        low, high = ranges[side]
        while len(held[side]) < least[side]:
            donor = max(held, key=lambda s: len(held[s]) - least.get(s, 0))
            # ties fall to the name, so that the order of the clips does not matter
            nearest = min(
                held[donor], key=lambda g: (max(low - position[g], position[g] - high), g)
            )
            held[donor].remove(nearest)
            held[side].append(nearest)
            side_of[nearest] = side
            moved += 1
    if moved:
        logger.info(
            "Label '%s': %s moved to even out its split.", label, counted(moved, "recording")
        )


def _position(group: str, seed: int) -> float:
    """Return a group's place in [0, 1), the same on every machine."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def class_weights(targets: np.ndarray, n_frames: np.ndarray, n_classes: int) -> np.ndarray:
    """Return a weight a clip such that every class counts the same in the loss.

    Args:
        targets: Class index of each clip [shape=(n_clips,)].
        n_frames: Frames of each clip, each of which will carry the clip's weight.
        n_classes: Number of classes.

    Returns:
        Weights whose mean over frames is one [shape=(n_clips,), dtype=float32].
    """
    frames_of_class = np.bincount(targets, weights=n_frames, minlength=n_classes)
    present = np.count_nonzero(frames_of_class)
    weight_of_class = np.divide(
        frames_of_class.sum() / max(present, 1),
        frames_of_class,
        out=np.zeros(n_classes),
        where=frames_of_class > 0,
    )
    return weight_of_class[targets].astype(np.float32)
