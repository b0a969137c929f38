"""Short stretches of clips, evenly laid: how a model does on what it hears in one second."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

STRETCHES = {"0_96_s": 1, "2_4_s": 4}
"""Lengths that accuracy is told for: their name, and their frames of 0.96 s every 0.48 s."""

PER_CLIP = 4


def lay_stretches(
    frames_per_clip: Indices, n_frames: int, *, per_clip: int = PER_CLIP
) -> tuple[Indices, Indices, Indices]:
    """Lay stretches of one length evenly over clips.

    Args:
        frames_per_clip: Number of frames of each clip, which follow each other
            [shape=(n_clips,)].
        n_frames: Frames of a stretch; a clip of no more is one stretch, as long as it is.
        per_clip: Stretches of a clip at most.

    Returns:
        Rows of the stretches' frames, one stretch after the other; the number of frames of
        each stretch; and which clip each is of.

    >>> lay_stretches(np.array([2, 5]), 4, per_clip=2)[2]
    array([0, 1, 1])
    """
    counts = np.asarray(frames_per_clip, np.int64)
    firsts = np.cumsum(counts) - counts
    rows, lengths, owners = [], [], []
    for clip, (first, count) in enumerate(zip(firsts, counts, strict=True)):
        length = min(n_frames, int(count))
        places = np.linspace(0, count - length, min(per_clip, int(count) - length + 1))
        for place in places.round().astype(np.int64):
            rows.append(np.arange(first + place, first + place + length))
            lengths.append(length)
            owners.append(clip)
    empty = np.empty(0, np.int64)
    return (
        np.concatenate(rows) if rows else empty,
        np.array(lengths, np.int64),
        np.array(owners, np.int64),
    )
