"""Folds: every labelled clip is left out once, together with its whole recording.

Official folds are taken where every clip has one; else groups are dealt out such that labels
are spread evenly. Folds are data: a table with checked columns.
"""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from soundx.errors import SoundxError
from soundx.labels import BACKGROUND
from soundx.modelling.provenance import manifest_digest
from soundx.options import Options, Seed

logger = logging.getLogger(__name__)

FOLD_COLUMNS = {
    "clip_id": "str",
    "path": "str",
    "label": "str",
    "category": "str",
    "group": "str",
    "fold": "int64",
    "duration_s": "float64",
}
"""Columns of the table of folds, and their types."""

_FEWEST = 2


class CrossValidationOptions(Options):
    """How clips are left out in turn.

    Attributes:
        k: Folds, where there are no official ones; fewer where there are fewer recordings, or
            where no label has as many clips.
        folds: ``official`` (as in metadata.csv), ``grouped`` (dealt out by recording), or
            ``auto``: official ones where every clip has one.
        max_clips: With more clips than this, recordings are drawn at random.
        seed: Another seed deals out other folds.
    """

    k: int = Field(5, ge=2, le=100)
    folds: Literal["auto", "official", "grouped"] = "auto"
    max_clips: int = Field(20_000, ge=10)
    seed: Seed = 7


def assign_folds(clips: pd.DataFrame, options: CrossValidationOptions) -> pd.DataFrame:
    """Put every clip into the fold in which it is left out.

    Args:
        clips: One row a clip: the columns of ``FOLD_COLUMNS``, where ``fold`` may be missing,
            and ``evaluation_only``.
        options: How.

    Returns:
        The columns of ``FOLD_COLUMNS``, in the order of ``clips``.

    Raises:
        SoundxError: There are too few recordings, or official folds are asked for and missing.
    """
    ours = clips[~clips["evaluation_only"].astype(bool)].reset_index(drop=True)
    ours = _some(ours, options)
    if ours["group"].nunique() < _FEWEST:
        raise SoundxError(
            f"Cross-validation needs clips of two recordings or more, and there are "
            f"{ours['group'].nunique()}."
        )
    known = pd.to_numeric(ours["fold"], errors="coerce")
    labelled = ours["label"] != BACKGROUND
    if "answered" in ours and not ours["answered"].all():
        labelled &= ~ours["answered"].astype(bool)  # these have no official fold
    has_official = bool(known[labelled].notna().all()) and known[labelled].nunique() >= _FEWEST
    if options.folds == "official" and not has_official:
        raise SoundxError(
            f"{int(known[labelled].isna().sum())} of {int(labelled.sum())} clips have no official "
            "fold in metadata.csv: set cross_validation.folds to grouped."
        )
    if has_official and options.folds != "grouped":
        folds = known.to_numpy(np.float64)
        _warn_of_torn(ours[labelled], known[labelled])
        without = np.isnan(folds)
        if without.any():  # background and answers have none: dealt out by recording
            names = np.unique(folds[~without])
            few = ours[without]
            dealt = _deal(few, min(len(names), few["group"].nunique()), options.seed)
            folds[without] = names[dealt % len(names)]
    else:
        folds = _deal(ours, min(options.k, ours["group"].nunique()), options.seed) + 1.0
    table = ours.assign(fold=folds.astype(np.int64))[list(FOLD_COLUMNS)].astype(FOLD_COLUMNS)
    return check_folds(table)


def folds_digest(clip_manifest: pd.DataFrame) -> str:
    """Return a hash of the clips that can be left out, with their labels and recordings."""
    return manifest_digest(clip_manifest[~clip_manifest["evaluation_only"].astype(bool)], "group")


def check_folds(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of folds as it is, if its columns are right and its folds are two or more.

    Raises:
        SoundxError: They are not.
    """
    missing = set(FOLD_COLUMNS) - set(table.columns)
    if missing:
        raise SoundxError(f"The table of folds lacks the columns {', '.join(sorted(missing))}.")
    if table["fold"].nunique() < _FEWEST:
        raise SoundxError("All clips stand in one fold: nothing could be left out.")
    return table


def _some(clips: pd.DataFrame, options: CrossValidationOptions) -> pd.DataFrame:
    if len(clips) <= options.max_clips:
        return clips
    groups = clips.groupby("group", sort=True).size()
    order = np.random.default_rng(options.seed).permutation(len(groups))
    taken = groups.iloc[order][groups.iloc[order].cumsum() <= options.max_clips].index
    logger.info(
        "Cross-validation takes clips of %d of %d recordings, drawn at random.",
        len(taken),
        len(groups),
    )
    return clips[clips["group"].isin(taken)].reset_index(drop=True)


def _warn_of_torn(clips: pd.DataFrame, folds: pd.Series) -> None:
    torn = folds.groupby(clips["group"]).nunique()
    names = torn[torn > 1].index.tolist()
    if names:
        logger.warning(
            "%d recordings stand in two official folds (%s): folds are kept as they are.",
            len(names),
            ", ".join(map(str, names[:5])),
        )


def _deal(clips: pd.DataFrame, k: int, seed: int) -> np.ndarray:
    """Return a fold, from 0, for each clip: groups stay together, labels are spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    _, labels = np.unique(clips["label"], return_inverse=True)
    _, groups = np.unique(clips["group"], return_inverse=True)
    # labels are spread over no more folds than the largest of them has clips
    most = int(np.bincount(labels).max())
    if most < k:
        logger.info("%d folds, not %d: no label has more clips than that.", most, k)
        k = most
    if k < _FEWEST:
        return np.zeros(len(clips), np.int64)
    folds = np.zeros(len(clips), np.int64)
    split = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    import warnings

    with warnings.catch_warnings():
        # a label of fewer recordings than folds is left out of some, as it must be
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, held_out) in enumerate(split.split(labels, labels, groups)):
            folds[held_out] = number
    return folds
