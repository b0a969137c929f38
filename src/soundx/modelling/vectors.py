"""Pooled vectors of stored clips: whole ones, and short stretches drawn from them.

Frames are read from their shards once, in the order in which they lie there; a clip is pooled
when all of its frames have been read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from soundx.audio import Float32
from soundx.embeddings.store import EmbeddingSet, starts_of_runs
from soundx.modelling.pooling import pool_frames, pooled_widths

Indices = npt.NDArray[np.int64]

MAX_WINDOW_FRAMES = 5
"""Stretches drawn are of one to so many frames: 0.96 to 2.9 s of YAMNet's."""


@dataclass(frozen=True)
class Vectors:
    """Pooled vectors of some clips.

    Attributes:
        clips: Position of each clip in the list that was asked for [shape=(n_clips,)].
        whole: One vector a clip [shape=(n_clips, dim), dtype=float32].
        owners: Position, in the list asked for, of the clip each stretch is of
            [shape=(n_windows,)].
        windows: One vector a stretch [shape=(n_windows, dim), dtype=float32].
    """

    clips: Indices
    whole: Float32
    owners: Indices
    windows: Float32


def vector_blocks(
    embedded: EmbeddingSet,
    clip_ids: Sequence[str],
    *,
    windows_per_clip: int = 0,
    seed: int = 7,
    max_frames: int = 2048,
) -> Iterator[Vectors]:
    """Yield pooled vectors of clips, some clips at a time, as they lie in the store.

    Args:
        embedded: Their frames.
        clip_ids: The clips, each once.
        windows_per_clip: Stretches drawn from each clip of more than one frame.
        seed: Draws the stretches; the same clip has the same ones, whatever is beside it.
        max_frames: About how many frames to hold at a time.
    """
    parts = embedded.info.parts
    wanted = embedded.n_frames(clip_ids)
    held: list[Float32] = []
    held_owners: list[Indices] = []
    for owners, frames in embedded.iter_frames(clip_ids, max_frames=max_frames):
        held.append(frames)
        held_owners.append(owners)
        all_owners = np.concatenate(held_owners)
        all_frames = held[0] if len(held) == 1 else np.concatenate(held)
        # clips follow each other; only the last may have frames yet to come
        starts = starts_of_runs(all_owners)
        counts = np.diff(np.r_[starts, len(all_owners)])
        clips = all_owners[starts]
        whole = counts == wanted[clips]
        n_done = len(clips) if whole.all() else int(np.argmin(whole))
        end = int(starts[n_done]) if n_done < len(clips) else len(all_owners)
        held, held_owners = [all_frames[end:]], [all_owners[end:]]
        if not n_done:
            continue
        done, done_counts = clips[:n_done], counts[:n_done]
        rows, lengths, window_owners = draw_stretches(
            done, done_counts, starts[:n_done], clip_ids, windows_per_clip, seed
        )
        yield Vectors(
            done,
            pool_frames(all_frames[:end], done_counts, parts),
            window_owners,
            pool_frames(all_frames[rows], lengths, parts),
        )


def draw_stretches(
    clips: Indices,
    counts: Indices,
    starts: Indices,
    clip_ids: Sequence[str],
    per_clip: int,
    seed: int,
) -> tuple[Indices, Indices, Indices]:
    """Return rows of the frames of drawn stretches, their lengths, and whose they are.

    Args:
        clips: Positions of the clips in ``clip_ids`` [shape=(n_clips,)].
        counts: Frames of each [shape=(n_clips,)].
        starts: First row of each among the frames [shape=(n_clips,)].
        clip_ids: What draws the stretches of each clip, with the seed.
        per_clip: Stretches of each clip of more than one frame.
        seed: The seed.
    """
    rows, lengths, owners = [], [], []
    if per_clip:
        for clip, count, start in zip(clips, counts, starts, strict=True):
            if count == 1:
                continue
            # ids are hashes: their own digits are as good as a draw
            rng = np.random.default_rng([seed, *clip_ids[clip][:32].encode()])
            for _ in range(per_clip):
                length = int(min(rng.integers(1, MAX_WINDOW_FRAMES + 1), count))
                first = int(start + rng.integers(0, count - length + 1))
                rows.append(np.arange(first, first + length))
                lengths.append(length)
                owners.append(clip)
    empty = np.empty(0, np.int64)
    return (
        np.concatenate(rows) if rows else empty,
        np.array(lengths, np.int64),
        np.array(owners, np.int64),
    )


def all_vectors(
    embedded: EmbeddingSet,
    clip_ids: Sequence[str],
    *,
    windows_per_clip: int = 0,
    seed: int = 7,
) -> Vectors:
    """Return pooled vectors of clips in the order asked for, all in memory."""
    dim = sum(pooled_widths(embedded.info.parts))
    whole = np.empty((len(clip_ids), dim), np.float32)
    owners, windows = [np.empty(0, np.int64)], [np.empty((0, dim), np.float32)]
    for some in vector_blocks(embedded, clip_ids, windows_per_clip=windows_per_clip, seed=seed):
        whole[some.clips] = some.whole
        owners.append(some.owners)
        windows.append(some.windows)
    return Vectors(np.arange(len(clip_ids)), whole, np.concatenate(owners), np.concatenate(windows))
