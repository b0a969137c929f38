"""Clips to listen to again: labels that may be wrong, and clips that may be one and the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from soundx.audio import Float32
from soundx.labels import BACKGROUND

ALIKE = 0.995
"""Clips whose pooled vectors have this cosine or more are taken for copies of each other."""

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
        Pairs of different groups, the most alike first: ``path``, ``other_path``, ``label``,
        ``other_label``, ``similarity`` (cosine), ``across_labels``, ``across_folds``,
        ``clip_id``, ``other_clip_id``.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(lengths, 1e-12)
    groups = np.unique(clips["group"], return_inverse=True)[1]
    pairs: list[tuple[int, int, float]] = []
    for first in range(0, len(unit), _AT_A_TIME):
        alike = unit[first : first + _AT_A_TIME] @ unit.T
        for here, there in np.argwhere(alike >= ALIKE):
            one, other = first + int(here), int(there)
            if one < other and groups[one] != groups[other]:
                pairs.append((one, other, float(alike[here, there])))
    pairs.sort(key=lambda pair: -pair[2])
    ones = clips.iloc[[pair[0] for pair in pairs]].reset_index(drop=True)
    others = clips.iloc[[pair[1] for pair in pairs]].reset_index(drop=True)
    return pd.DataFrame(
        {
            "path": ones["path"],
            "other_path": others["path"],
            "label": ones["label"],
            "other_label": others["label"],
            "similarity": np.array([pair[2] for pair in pairs], np.float64),
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
