"""What a model was made of, in short hashes: its clips, their labels and sides."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from soundx.modelling.splitting import FIELD


def short_hashes(clip_ids: Iterable[str]) -> npt.NDArray[np.uint64]:
    """Return eight bytes of each clip id, enough to tell clips apart [dtype=uint64]."""
    ids = (hashlib.sha256(clip_id.encode()).digest()[:8] for clip_id in clip_ids)
    return np.array([int.from_bytes(part, "big") for part in ids], np.uint64)


def input_clips(
    clip_manifest: pd.DataFrame, splits: pd.DataFrame, rejected: Collection[str]
) -> pd.DataFrame:
    """Return the clips that models are made of: split, embedded, and not of the field.

    Args:
        clip_manifest: One row a clip.
        splits: Side and recording of each.
        rejected: Ids of those that could not be embedded.

    Returns:
        ``clip_id``, ``label`` and ``category`` of the manifest, ``split`` and ``group``.
    """
    clips = clip_manifest[["clip_id", "label", "category"]].merge(
        splits[["clip_id", "split", "group"]], on="clip_id", validate="one_to_one"
    )
    return clips[(clips["split"] != FIELD) & ~clips["clip_id"].isin(list(rejected))]


def manifest_digest(clips: pd.DataFrame, apart: str = "split") -> str:
    """Return a hash of which clips, under which labels, and what keeps them apart.

    Args:
        clips: One row a clip, in any order: ``clip_id``, ``label``, and the column ``apart``.
        apart: ``split``, or ``group`` where there are no sides.
    """
    digest = hashlib.sha256()
    for row in sorted(zip(clips["clip_id"], clips["label"], clips[apart], strict=True)):
        digest.update("\t".join(row).encode() + b"\n")
    return digest.hexdigest()
