"""What a model was made of, in short hashes: its clips, their labels and sides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    pass


def short_hashes(clip_ids: Iterable[str]) -> npt.NDArray[np.uint64]:
    """Return eight bytes of each clip id, enough to tell clips apart [dtype=uint64]."""
    ids = (hashlib.sha256(clip_id.encode()).digest()[:8] for clip_id in clip_ids)
    return np.array([int.from_bytes(part, "big") for part in ids], np.uint64)


def manifest_digest(clips: Iterable[tuple[str, str, str]]) -> str:
    """Return a hash of (clip id, label, split) of all clips, whatever their order."""
    digest = hashlib.sha256()
    for row in sorted(clips):
        digest.update("\t".join(row).encode() + b"\n")
    return digest.hexdigest()
