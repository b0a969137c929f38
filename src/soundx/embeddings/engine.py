"""Clips in, frames out, in order, as fast as the machine allows.

Work is cut into units of about ``UNIT_FRAMES`` frames: several short clips together, or a
piece of a long one. A thread takes a unit through decoding, front end and network; with as
many threads as processors, one clip is decoded while another is in the network. Only a few
units are in memory at a time, however many or long the clips are.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.audio.level import level_gain, normalise_level
from soundx.embedders.base import Embedder
from soundx.errors import AudioError, ClipChangedError, DecoderLostError, Remedy, SoundxError
from soundx.parallel import map_in_threads, n_workers

UNIT_FRAMES = 80
LONG_CLIP_S = 60.0
"""Longer clips are never whole in memory, where the embedder allows it."""

Decoded = TypeVar("Decoded")

Piece = tuple[str, Float32]
"""A clip's id and some of its frames, [shape=(n_frames, dim)], in order."""


class LazyWaveform(Protocol):
    """A clip's samples at 16 kHz, decoded when they are asked for."""

    def __call__(self) -> Float32:
        """Return all of them [shape=(n_samples,)]."""

    def blocks(self) -> Iterator[Float32]:
        """Yield them piece by piece."""


@dataclass(frozen=True)
class Clip:
    """A clip to embed.

    Attributes:
        clip_id: Hash of its content.
        path: What to call it in messages.
        duration_s: Its length, in seconds.
        waveform: Its samples.
    """

    clip_id: str
    path: str
    duration_s: float
    waveform: LazyWaveform


Unit = list[tuple[Clip, Callable[[], Float32]]]


def embed_clips(
    clips: Iterable[Clip],
    embedder: Embedder,
    *,
    rejected: MutableMapping[str, str],
    workers: int | None = None,
) -> Iterator[Piece]:
    """Embed clips.

    Args:
        clips: The clips.
        embedder: The embedder.
        rejected: Takes the ids of clips that took their decoder down, with reasons.
        workers: Threads; by default one for each processor.

    Yields:
        Frames of the clips, clip after clip in the order given; those of a long clip in
        several pieces. The last piece of one that was rejected has no frames.

    Raises:
        SoundxError: A clip cannot be decoded.
    """
    lock = threading.Lock()
    model = embedder.model

    def embed(unit: Unit) -> list[Piece]:
        waveforms = []
        for clip, load in unit:
            try:
                waveforms.append(_decode(clip, load))
            except DecoderLostError as error:
                rejected[clip.clip_id] = str(error)
        with nullcontext() if model.parallel else lock:
            embedded = iter(model.embed(waveforms) if waveforms else ())
        nothing = np.zeros((0, embedder.dim), np.float32)
        return [
            (clip.clip_id, nothing if clip.clip_id in rejected else next(embedded))
            for clip, _ in unit
        ]

    workers = workers or n_workers()
    units = _units(clips, embedder)
    # a matrix product that spreads over all processors only gets into the others' way
    with threadpool_limits(1, user_api="blas"):
        if workers == 1:
            done: Iterator[list[Piece]] = map(embed, units)
        else:
            done = map_in_threads(embed, units, workers=workers, in_flight_per_worker=2)
        for pieces in done:
            yield from pieces


def n_frames_about(duration_s: float, embedder: Embedder) -> int:
    """Return how many frames a clip will have, give or take one."""
    return 1 + max(0, math.ceil((duration_s - embedder.window_s) / embedder.hop_s))


def _decode(clip: Clip, load: Callable[[], Decoded]) -> Decoded:
    try:
        return load()
    except DecoderLostError:
        raise
    except ClipChangedError as error:
        raise SoundxError(
            f"{clip.path} is not what was ingested: {error}.", remedy=Remedy.INGEST_AND_PREPROCESS
        ) from error
    except AudioError as error:
        raise SoundxError(
            f"{clip.path} could be decoded before and cannot now ({error}).",
            remedy=Remedy.INGEST_AND_PREPROCESS,
        ) from error


def _units(clips: Iterable[Clip], embedder: Embedder) -> Iterator[Unit]:
    unit: Unit = []
    n_frames = 0
    for clip in clips:
        span_samples = embedder.model.span_samples
        if clip.duration_s > LONG_CLIP_S and span_samples is not None:
            if unit:
                yield unit
                unit, n_frames = [], 0
            try:
                for segment in _segments(clip, embedder, span_samples):
                    yield [(clip, partial(_same, segment))]
            except DecoderLostError as error:
                yield [(clip, partial(_lost, error))]
            continue
        unit.append((clip, partial(_whole, clip, embedder)))
        n_frames += n_frames_about(clip.duration_s, embedder)
        if n_frames >= UNIT_FRAMES:
            yield unit
            unit, n_frames = [], 0
    if unit:
        yield unit


def _same(segment: Float32) -> Float32:
    return segment


def _lost(error: DecoderLostError) -> Float32:
    raise error


def _whole(clip: Clip, embedder: Embedder) -> Float32:
    return normalise_level(clip.waveform(), level_dbfs=embedder.level_dbfs)


def _segments(clip: Clip, embedder: Embedder, span_samples: int) -> Iterator[Float32]:
    """Cut a clip so that its segments' frames, joined, are its own.

    Each overlaps the next by what a frame spans beyond a hop.
    """
    gain = np.float32(_decode(clip, partial(_gain, clip, embedder.level_dbfs)))
    hop = round(embedder.hop_s * SAMPLE_RATE_HZ)
    length = span_samples + (UNIT_FRAMES - 1) * hop
    held = np.zeros(0, np.float32)
    blocks = clip.waveform.blocks()
    while (block := _decode(clip, partial(next, blocks, None))) is not None:
        held = np.concatenate([held, block * gain])
        while len(held) > length:
            yield held[:length]
            held = held[UNIT_FRAMES * hop :]
    yield held


def _gain(clip: Clip, level_dbfs: float | None) -> float:
    """Return what brings a whole clip to its level, found without holding it."""
    if level_dbfs is None:
        return 1.0
    n_samples, squares, peak = 0, 0.0, 0.0
    for block in clip.waveform.blocks():
        n_samples += len(block)
        squares += float(np.square(block, dtype=np.float64).sum())
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
    return level_gain(float(np.sqrt(squares / n_samples)), peak, level_dbfs=level_dbfs)
