"""Clips to listen to again: labels that may be wrong, and clips that may be one and the same.

How alike copies are depends on the sounds: notes of one instrument are as alike as a clip and its
copy at half the level are elsewhere. So a pair is held against what else is near (Lowe 2004, 7.1).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from soundx.audio import Float32
from soundx.labels import BACKGROUND

SURE = 0.97
"""Clips whose standardised vectors have this cosine or more are taken for copies of each other."""
LIKELY = 0.8
"""So are those of this cosine or more, where nothing else comes near:"""
NEARER = 0.4
"""at most this share of the distance (one less the cosine) to the nearest third recording."""

_AT_A_TIME = 2048


def suspect_labels(table: pd.DataFrame) -> pd.DataFrame:
    """Rank clips by how much left-out predictions speak against their label.

    Args:
        table: Left-out predictions.

    Returns:
        Clips whose label is not the most probable one, the most suspect first: ``clip_id``,
        ``path``, ``label``, ``predicted_label``, ``certainty`` (probability of the label),
        ``probability`` (of the predicted one), ``suspicion`` (the second less the first).
    """
    clips = table[(table["label"] != BACKGROUND) & (table["predicted_label"] != table["label"])]
    clips = clips.assign(suspicion=clips["probability"] - clips["certainty"])
    columns = ["clip_id", "path", "label", "predicted_label", "certainty", "probability"]
    ranked = clips.sort_values("suspicion", ascending=False, kind="stable")
    return ranked[[*columns, "suspicion"]].reset_index(drop=True)


def near_duplicates(vectors: Float32, clips: pd.DataFrame) -> pd.DataFrame:
    """Find pairs of clips that sound the same, across recordings, labels or folds.

    Args:
        vectors: Standardised vectors of the clips [shape=(n_clips, dim)].
        clips: ``clip_id``, ``path``, ``label``, ``group``, ``fold`` of each.

    Returns:
        Pairs of different groups that are copies by all appearance, the most alike first:
        ``path``, ``other_path``, ``label``, ``other_label``, ``similarity`` (cosine),
        ``across_labels``, ``across_folds``, ``clip_id``, ``other_clip_id``.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(lengths, 1e-12)
    groups = np.unique(clips["group"], return_inverse=True)[1]
    found: dict[tuple[int, int], float] = {}
    for first in range(0, len(unit), _AT_A_TIME):
        alike = unit[first : first + _AT_A_TIME] @ unit.T
        mine = groups[first : first + _AT_A_TIME]
        alike[mine[:, None] == groups[None, :]] = -1.0
        rows = np.arange(len(alike))
        nearest = alike.argmax(axis=1)
        best = alike[rows, nearest]
        third = np.where(groups[nearest][:, None] == groups[None, :], -1.0, alike).max(axis=1)
        likely = (best >= LIKELY) & (1 - best <= NEARER * (1 - third))
        sure = np.argwhere(alike >= SURE)
        for here, there in [*sure, *np.column_stack([rows, nearest])[likely]]:
            pair = tuple(sorted((first + int(here), int(there))))
            found[pair[0], pair[1]] = float(alike[here, there])
    pairs = sorted((-likeness, *pair) for pair, likeness in found.items())
    ones = clips.iloc[[pair[1] for pair in pairs]].reset_index(drop=True)
    others = clips.iloc[[pair[2] for pair in pairs]].reset_index(drop=True)
    return pd.DataFrame(
        {
            "path": ones["path"],
            "other_path": others["path"],
            "label": ones["label"],
            "other_label": others["label"],
            "similarity": np.array([-pair[0] for pair in pairs], np.float64),
            "across_labels": ones["label"] != others["label"],
            "across_folds": ones["fold"] != others["fold"],
            "clip_id": ones["clip_id"],
            "other_clip_id": others["clip_id"],
        }
    )


def without_copies(table: pd.DataFrame, copies: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Tell which clips have no copy in another fold [shape=(n_clips,)]."""
    torn = copies[copies["across_folds"]]
    return np.asarray(~table["clip_id"].isin({*torn["clip_id"], *torn["other_clip_id"]}))
