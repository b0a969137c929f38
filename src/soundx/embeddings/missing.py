"""Embed what the store does not hold yet, shard by shard, and tell what was done.

A shard is what is written whole, what a killed run repeats, and what a cluster's worker is
given to do. Here shards are made; ``EmbeddingStore.save`` writes them.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from soundx.audio import Float32
from soundx.embedders.base import Embedder
from soundx.embeddings.engine import Clip, LazyWaveform, embed_clips, n_frames_about
from soundx.embeddings.on_dask import DaskOptions, embed_on_dask
from soundx.embeddings.store import ClipFrames, EmbeddingSet, EmbeddingStore, Shard
from soundx.options import Options
from soundx.progress import progress_bar

logger = logging.getLogger(__name__)

SHARD_NUMBERS = 16 * 2**20
"""Numbers of a new shard at most, unless one clip has more: 64 MiB while they are in memory."""


class EmbeddingOptions(Options):
    """How embeddings are computed.

    Attributes:
        layers: Inner layers of YAMNet whose statistics are part of a frame; empty for plain
            embeddings. Sounds far from what YAMNet was trained on need them most.
        clips_per_shard: Clips embedded and written at a time; what a killed run repeats.
        calibration_clips: Training clips that ``yamnet-int8`` is calibrated on, once.
        collect_garbage: Remove the embeddings, by any embedder, of clips that are no longer
            in the manifest.
    """

    layers: tuple[int, ...] = (24, 14, 9)
    clips_per_shard: int = Field(128, gt=0)
    calibration_clips: int = Field(64, gt=0)
    collect_garbage: bool = False


def embed_missing(
    store: EmbeddingStore,
    clips: pd.DataFrame,
    waveforms: Mapping[str, LazyWaveform],
    embedder: Embedder,
    options: EmbeddingOptions,
    dask: DaskOptions,
) -> Iterator[tuple[Shard, dict[str, Any]]]:
    """Embed what a store does not hold.

    Args:
        store: What is there; clips that it holds are not embedded again.
        clips: All clips wanted: ``clip_id``, ``path``, ``duration_s``.
        waveforms: Their samples, by path.
        embedder: Which embedder; its weights are only read if a clip is missing.
        options: How.
        dask: Whether and how to spread the work over a Dask cluster.

    Yields:
        A shard to be saved, and what was done so far: ``clips`` asked for, ``embedded`` now,
        ``cache_hits``, ``rejected``; ``hours`` of sound in all clips, ``embedded_hours`` of it
        now; ``seconds`` it took, ``clips_per_s`` and ``times_real_time`` of what was embedded
        now (None where that is nothing); ``embedder``, ``fingerprint``, ``engine``. The last
        shard is empty.

    Raises:
        SoundxError: A clip cannot be decoded, or the cluster is lost; whole shards stay.
    """
    stored = store.mend(embedder.info)
    wanted = clips[["clip_id", "path", "duration_s"]].drop_duplicates("clip_id")
    cached = stored.holds(wanted["clip_id"])
    missing = wanted[~cached & ~wanted["clip_id"].isin(list(stored.rejected))]
    logger.info(
        "Embedder %s: %d clips, %d already embedded.", embedder.name, len(wanted), cached.sum()
    )
    engine = "none: nothing was left to embed"
    if len(missing):
        engine = embedder.model.engine  # built here, where that has to be done once
    begin = time.perf_counter()
    hours = float(wanted["duration_s"].sum()) / 3600
    # added up as shards come: a report is made for each of them, and must not look at every clip
    durations_s = dict(zip(missing["clip_id"], missing["duration_s"], strict=True))
    n_embedded, embedded_s = 0, 0.0

    def report() -> dict[str, Any]:
        rejected = stored.rejected
        lost = wanted[wanted["clip_id"].isin(list(rejected))] if rejected else wanted.head(0)
        seconds = time.perf_counter() - begin
        return {
            "clips": len(wanted),
            "embedded": n_embedded,
            "cache_hits": int(cached.sum()),
            "rejected": {
                path: rejected[clip_id]
                for clip_id, path in zip(lost["clip_id"], lost["path"], strict=True)
            },
            "hours": hours,
            "embedded_hours": embedded_s / 3600,
            "seconds": seconds,
            "clips_per_s": n_embedded / seconds if n_embedded else None,
            "times_real_time": embedded_s / seconds if n_embedded else None,
            "embedder": embedder.name,
            "fingerprint": embedder.fingerprint,
            "engine": engine,
        }

    if len(missing):
        plan = _plan(missing["duration_s"].to_numpy(), embedder, options.clips_per_shard)
        shards = (_clips(missing.iloc[low:high], waveforms) for low, high in plan)
        with progress_bar() as bar:
            task = bar.add_task("Embedding clips", total=len(missing))

            def tick(n_clips: int) -> None:
                bar.advance(task, n_clips)

            if dask.enabled:
                made = embed_on_dask(stored, embedder, shards, dask, tick)
            else:
                made = _embed_here(embedder, shards, tick)
            for shard in made:
                n_embedded += len(shard.clips)
                embedded_s += sum(durations_s[clip_id] for clip_id, _ in shard.clips)
                engine = shard.engine
                yield shard, report()
    last = report()
    _tell(last)
    yield Shard(embedder.info, [], engine), last


def _embed_here(
    embedder: Embedder, shards: Iterator[list[Clip]], tick: Callable[[int], None]
) -> Iterator[Shard]:
    # work flows on across the borders of shards: no processor waits for one to be written
    planned, flowing = itertools.tee(shards)
    rejected: dict[str, str] = {}
    pieces = embed_clips(itertools.chain.from_iterable(flowing), embedder, rejected=rejected)
    by_clip = itertools.groupby(pieces, key=itemgetter(0))
    for clips in planned:
        with _Spool(embedder.dim) as spool:
            for clip_id, own in itertools.islice(by_clip, len(clips)):
                for _, frames in own:
                    spool.add(clip_id, frames)
                if clip_id in rejected:
                    spool.drop(clip_id)
                tick(1)
            lost = {
                clip.clip_id: rejected.pop(clip.clip_id)
                for clip in clips
                if clip.clip_id in rejected
            }
            engine = embedder.model.engine
            yield Shard(embedder.info, spool.clips, engine, spool.pieces, lost)


class _Spool:
    """Frames of a shard: in memory, or in a temporary file where one clip alone is too long."""

    def __init__(self, dim: int) -> None:
        self.clips: ClipFrames = []
        self._dim = dim
        self._held: list[tuple[str, Float32]] = []
        self._spilt: ClipFrames = []
        self._dropped: set[str] = set()
        self._n_frames = 0
        self._file: Any = None

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, clip_id: str, frames: Float32) -> None:
        before = self.clips.pop()[1] if self.clips and self.clips[-1][0] == clip_id else 0
        self.clips.append((clip_id, before + len(frames)))
        self._n_frames += len(frames)
        if self._n_frames * self._dim <= SHARD_NUMBERS:
            self._held.append((clip_id, frames))
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="soundx-")  # noqa: SIM115  closed above
        self._file.write(frames.tobytes())
        self._spilt.append((clip_id, len(frames)))

    def drop(self, clip_id: str) -> None:
        """Forget what came of a clip."""
        self.clips = [entry for entry in self.clips if entry[0] != clip_id]
        self._held = [entry for entry in self._held if entry[0] != clip_id]
        self._dropped.add(clip_id)

    def pieces(self) -> Iterator[tuple[str, Float32]]:
        """Yield clip ids and frames in order; those of a clip may come in several pieces."""
        yield from self._held
        if self._file is None:
            return
        self._file.seek(0)
        for clip_id, n_frames in self._spilt:
            content = self._file.read(n_frames * self._dim * 4)
            if clip_id in self._dropped:
                continue
            yield clip_id, np.frombuffer(content, np.float32).reshape(n_frames, self._dim)


def compact(
    store: EmbeddingStore, fingerprint: str, clip_ids: pd.Series, options: EmbeddingOptions
) -> EmbeddingSet:
    """Merge small shards of a set where there are many, and remove what nobody wants if asked.

    Args:
        store: The store.
        fingerprint: Of the embedder whose set it is.
        clip_ids: Clips whose embeddings are wanted.
        options: Whether to remove those of others.

    Returns:
        The set.
    """
    stored = store.named(fingerprint)
    stored.compact()
    if options.collect_garbage:
        ids = set(clip_ids)
        removed = sum(each.keep_only(ids) for each in store.sets())
        logger.info("Garbage: the embeddings of %d clips that are gone were removed.", removed)
    return stored


def _plan(
    durations_s: npt.NDArray[np.float64], embedder: Embedder, clips_per_shard: int
) -> list[tuple[int, int]]:
    """Cut a list of clips into shards: first and last + 1 of each."""
    bounds = []
    low = n_frames = 0
    for position, duration_s in enumerate(durations_s):
        count = n_frames_about(float(duration_s), embedder)
        full = (
            position - low >= clips_per_shard or (n_frames + count) * embedder.dim > SHARD_NUMBERS
        )
        if full and position > low:
            bounds.append((low, position))
            low, n_frames = position, 0
        n_frames += count
    bounds.append((low, len(durations_s)))
    return bounds


def _clips(rows: pd.DataFrame, waveforms: Mapping[str, LazyWaveform]) -> list[Clip]:
    return [
        Clip(clip_id, path, duration_s, waveforms[path])
        for clip_id, path, duration_s in zip(
            rows["clip_id"], rows["path"], rows["duration_s"], strict=True
        )
    ]


def _tell(report: Mapping[str, Any]) -> None:
    if not report["embedded"]:
        logger.info(
            "Embeddings: %d clips, %.2f hours, all embedded before.",
            report["clips"],
            report["hours"],
        )
    else:
        logger.info(
            "Embeddings: %d clips, %.2f hours; %d embedded now in %.1f s, %.0f clips/s, %.0f "
            "times real time (%s); %d embedded before.",
            report["clips"],
            report["hours"],
            report["embedded"],
            report["seconds"],
            report["clips_per_s"],
            report["times_real_time"],
            report["engine"],
            report["cache_hits"],
        )
    for path, reason in report["rejected"].items():
        logger.warning("%s was left out: %s", path, reason)
