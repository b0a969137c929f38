"""Fill the store: find what is missing, embed it shard by shard, tell what was done.

A shard is what is written whole, what a killed run repeats, and what a cluster's worker is
given to do.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from soundx.audio import Float32
from soundx.embedders.base import Embedder
from soundx.embeddings.engine import Clip, LazyWaveform, embed_clips, n_frames_about
from soundx.embeddings.on_dask import DaskOptions, embed_on_dask
from soundx.embeddings.store import EmbeddingSet, EmbeddingStore
from soundx.progress import progress_bar
from soundx.storage.folder import Folder

logger = logging.getLogger(__name__)

SHARD_FRAMES = 16_384
"""Frames of a new shard at most, unless one clip has more: 64 MiB of YAMNet's."""


class EmbeddingOptions(BaseModel):
    """How embeddings are computed.

    Attributes:
        clips_per_shard: Clips embedded and written at a time; what a killed run repeats.
        calibration_clips: Training clips that ``yamnet-int8`` is calibrated on, once.
        collect_garbage: Remove the embeddings, by any embedder, of clips that are no longer
            in the manifest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clips_per_shard: int = Field(128, gt=0)
    calibration_clips: int = Field(64, gt=0)
    collect_garbage: bool = False


@dataclass(frozen=True)
class EmbeddingJob:
    """Clips to embed: what a node hands to the catalog instead of all embeddings at once.

    Attributes:
        embedder: Which embedder; its weights are only read if a clip is missing.
        clips: All clips wanted: ``clip_id``, ``path``, ``duration_s``.
        waveforms: Their samples, by path.
        calibration: Paths of clips to calibrate on, where the embedder needs that.
        options: How.
        dask: Whether and how to spread the work over a Dask cluster.
    """

    embedder: Embedder
    clips: pd.DataFrame
    waveforms: Mapping[str, LazyWaveform]
    calibration: Sequence[str]
    options: EmbeddingOptions
    dask: DaskOptions

    def sample(self) -> Iterator[Float32]:
        """Yield waveforms to calibrate on."""
        for path in self.calibration:
            yield self.embedder.level(self.waveforms[path]())


def fill(store: EmbeddingStore, job: EmbeddingJob) -> dict[str, Any]:
    """Embed what the store does not hold yet, and make the embedder the current one.

    Returns:
        What was done: ``clips`` asked for, ``embedded`` now, ``cache_hits``, ``rejected``;
        ``hours`` of sound in all clips, ``embedded_hours`` of it now; ``seconds`` it took,
        ``clips_per_s`` and ``times_real_time`` of what was embedded now (None where that is
        nothing); ``embedder``, ``fingerprint``, ``engine``. It is also kept in the store.

    Raises:
        SoundxError: A clip cannot be decoded, or the cluster is lost; whole shards stay.
    """
    embedder = job.embedder
    embedder.settle(store.networks, job.sample)
    kept = store.of(embedder.info)
    wanted = job.clips[["clip_id", "path", "duration_s"]].drop_duplicates("clip_id")
    cached = kept.holds(wanted["clip_id"])
    missing = wanted[~cached & ~wanted["clip_id"].isin(list(kept.rejected))]
    logger.info(
        "Embedder %s: %d clips, %d already embedded.", embedder.name, len(wanted), cached.sum()
    )
    engine = "none: nothing was left to embed"
    if len(missing):
        engine = embedder.engine  # built here, where that has to be done once
    begin = time.perf_counter()
    if len(missing):
        engine = _embed(kept, job, missing, store.networks)
        kept.compact()
    if job.options.collect_garbage:
        _collect_garbage(store, wanted["clip_id"])
    store.set_current(embedder.info)
    rejected = kept.rejected
    lost = wanted[wanted["clip_id"].isin(list(rejected))]
    now = missing[~missing["clip_id"].isin(list(rejected))]
    seconds = time.perf_counter() - begin
    embedded_s = float(now["duration_s"].sum())
    report = {
        "clips": len(wanted),
        "embedded": len(now),
        "cache_hits": int(cached.sum()),
        "rejected": {
            path: rejected[clip_id]
            for clip_id, path in zip(lost["clip_id"], lost["path"], strict=True)
        },
        "hours": float(wanted["duration_s"].sum()) / 3600,
        "embedded_hours": embedded_s / 3600,
        "seconds": seconds,
        "clips_per_s": len(now) / seconds if len(now) else None,
        "times_real_time": embedded_s / seconds if len(now) else None,
        "embedder": embedder.name,
        "fingerprint": embedder.fingerprint,
        "engine": engine,
    }
    _tell(report)
    store.note_run(report)
    return report


def _embed(kept: EmbeddingSet, job: EmbeddingJob, missing: pd.DataFrame, networks: Folder) -> str:
    """Embed clips here or on a cluster; return what did it."""
    bounds = _plan(missing["duration_s"].to_numpy(), job.embedder, job.options.clips_per_shard)
    shards = (_clips(missing.iloc[low:high], job.waveforms) for low, high in bounds)
    with progress_bar() as bar:
        task = bar.add_task("Embedding clips", total=len(missing))

        def tick(n_clips: int) -> None:
            bar.advance(task, n_clips)

        if job.dask.enabled:
            return embed_on_dask(kept, job.embedder, shards, job.dask, tick, networks)
        return _embed_here(kept, job.embedder, shards, tick)


def _embed_here(
    kept: EmbeddingSet,
    embedder: Embedder,
    shards: Iterator[list[Clip]],
    tick: Callable[[int], None],
) -> str:
    # work flows on across the borders of shards: no processor waits for one to be written
    planned, flowing = itertools.tee(shards)
    pieces = embed_clips(itertools.chain.from_iterable(flowing), embedder)
    by_clip = itertools.groupby(pieces, key=itemgetter(0))
    for clips in planned:
        with kept.new_shard() as shard:
            for clip_id, own in itertools.islice(by_clip, len(clips)):
                for _, frames in own:
                    shard.add(clip_id, frames)
                tick(1)
    return embedder.engine


def _plan(
    durations_s: npt.NDArray[np.float64], embedder: Embedder, clips_per_shard: int
) -> list[tuple[int, int]]:
    """Cut a list of clips into shards: first and last + 1 of each."""
    bounds = []
    low = n_frames = 0
    for position, duration_s in enumerate(durations_s):
        count = n_frames_about(float(duration_s), embedder)
        full = position - low >= clips_per_shard or n_frames + count > SHARD_FRAMES
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


def _collect_garbage(store: EmbeddingStore, wanted: pd.Series) -> None:
    ids = set(wanted)
    removed = sum(kept.keep_only(ids) for kept in store.sets())
    logger.info("Garbage: the embeddings of %d clips that are gone were removed.", removed)


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
