"""From recordings to frames that are kept, and to windows that can be searched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from soundx.classifier.options import ExportOptions, window_frames
from soundx.embedders import Embedder, EmbedderInfo
from soundx.embedders.base import with_layers
from soundx.embeddings.missing import EmbeddingOptions, compact, embed_missing
from soundx.embeddings.on_dask import DaskOptions
from soundx.embeddings.store import EmbeddingStore, Shard
from soundx.listening.recordings import Source
from soundx.search import recordings as parts
from soundx.search.index import WindowIndex, build_index
from soundx.storage.folder import Folder


def scan_recordings(recordings: list[Source], recording_scans: pd.DataFrame) -> pd.DataFrame:
    """Look at recordings: what each is, how long, and when it began."""
    return parts.scan_recordings(recordings, recording_scans)


def embed_recordings(
    recordings: list[Source],
    recording_manifest: pd.DataFrame,
    embedder: Embedder,
    embedder_networks: Folder,
    recording_cache: EmbeddingStore,
    embedding: EmbeddingOptions,
    dask: DaskOptions,
) -> Iterator[tuple[Shard, dict[str, Any]]]:
    """Embed what was not embedded before, ten minutes by ten minutes; tell what was done."""
    del embedder_networks  # the embedder reads them; here they only have to be there first
    embedder = with_layers(embedder, embedding.layers)
    table = parts.parts_of(recording_manifest, embedder.info)
    waveforms = parts.RecordingParts(table, recordings, embedder)
    yield from embed_missing(recording_cache, table, waveforms, embedder, embedding, dask)


def compact_recordings(
    recording_shards: EmbeddingStore,
    recording_report: dict[str, Any],
    recording_manifest: pd.DataFrame,
    embedding: EmbeddingOptions,
) -> EmbedderInfo:
    """Merge small shards where there are many; what is returned becomes the current set."""
    info = recording_shards.named(recording_report["fingerprint"]).info
    ids = parts.parts_of(recording_manifest, info)["clip_id"]
    return compact(recording_shards, info.fingerprint, ids, embedding).info


def index_windows(
    recording_embeddings: EmbeddingStore,
    recording_manifest: pd.DataFrame,
    embedding_cache: EmbeddingStore,
    window_folder: Path,
    export: ExportOptions,
) -> WindowIndex:
    """Make the windows of all recordings searchable; only those of new ones are made."""
    stored = recording_embeddings.current
    of_clips = next(
        (one for one in embedding_cache.sets() if one.info.fingerprint == stored.info.fingerprint),
        None,
    )
    length = window_frames(stored.info, export)
    return build_index(window_folder, recording_manifest, stored, length, clips=of_clips)
