"""From clips to embeddings, splits, and the table each head is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from soundx.clips.raw import RawClips
from soundx.clips.waveforms import ClipWaveforms
from soundx.embedders import Calibrated, Embedder, EmbedderInfo
from soundx.embedders.base import Network, with_layers
from soundx.embeddings.map import MapOptions, clips_on_map, map_clips
from soundx.embeddings.missing import EmbeddingOptions, compact, embed_missing
from soundx.embeddings.on_dask import DaskOptions
from soundx.embeddings.store import EmbeddingStore, Shard
from soundx.errors import SoundxError
from soundx.labels import BACKGROUND, GENERAL, LabelTree
from soundx.modelling.noise import NoiseFrames, noise_clips
from soundx.modelling.pooling import pooled_widths
from soundx.modelling.provenance import input_clips, manifest_digest
from soundx.modelling.ridge import Standardiser
from soundx.modelling.splitting import (
    FIELD,
    SplitOptions,
    assign_splits,
    check_labels,
    check_splits,
    class_weights,
)
from soundx.modelling.vectors import all_vectors
from soundx.storage.folder import Folder


def decode_clips(raw_clips: RawClips, clip_manifest: pd.DataFrame) -> ClipWaveforms:
    """Name every clip's waveform, 16 kHz mono, decoded when it is called for."""
    return ClipWaveforms(raw_clips, clip_manifest)


def calibrate_embedder(
    waveforms: ClipWaveforms,
    clip_manifest: pd.DataFrame,
    splits: pd.DataFrame,
    embedder: Embedder,
    embedding: EmbeddingOptions,
) -> Iterator[Network]:
    """Make the network that an embedder needs for clips like these, where it has none yet."""
    embedder = with_layers(embedder, embedding.layers)
    if not isinstance(embedder, Calibrated) or embedder.is_calibrated:
        return
    # never on test clips, and the same ones whatever the order of the manifest
    train = splits.loc[splits["split"] == "train", "clip_id"].sort_values()
    chosen = clip_manifest["clip_id"].isin(train.head(embedding.calibration_clips))
    paths = clip_manifest.loc[chosen, "path"]
    yield embedder.calibrate(waveforms[path]() for path in paths)


def embed_clips(
    waveforms: ClipWaveforms,
    clip_manifest: pd.DataFrame,
    embedder: Embedder,
    embedder_networks: Folder,
    embedding_cache: EmbeddingStore,
    embedding: EmbeddingOptions,
    dask: DaskOptions,
) -> Iterator[tuple[Shard, dict[str, Any]]]:
    """Embed the clips that were not embedded before, shard by shard; tell what was done."""
    del embedder_networks  # the embedder reads them; here they only have to be there first
    embedder = with_layers(embedder, embedding.layers)
    yield from embed_missing(embedding_cache, clip_manifest, waveforms, embedder, embedding, dask)


def embed_noise(
    embedder: Embedder,
    embedding_report: dict[str, Any],
    noise_cache: NoiseFrames | None,
    embedding: EmbeddingOptions,
) -> NoiseFrames:
    """Embed the noise that is learnt as background, unless this embedder has done so before."""
    if noise_cache is not None and noise_cache.fingerprint == embedding_report["fingerprint"]:
        return noise_cache
    embedder = with_layers(embedder, embedding.layers)
    frames = np.stack(embedder.embed(noise_clips()))
    # as exact as stored clips are
    return NoiseFrames(embedder.fingerprint, frames.astype(np.float16).astype(np.float32))


def compact_embeddings(
    embedding_shards: EmbeddingStore,
    embedding_report: dict[str, Any],
    clip_manifest: pd.DataFrame,
    embedding: EmbeddingOptions,
) -> EmbedderInfo:
    """Merge small shards where there are many; what is returned becomes the current set."""
    fingerprint = embedding_report["fingerprint"]
    return compact(embedding_shards, fingerprint, clip_manifest["clip_id"], embedding).info


def map_embeddings(
    clip_manifest: pd.DataFrame, embeddings: EmbeddingStore, embedding_map: MapOptions
) -> pd.DataFrame:
    """Lay the clips out in a plane, alike ones together, and list each one's neighbours."""
    embedded = embeddings.current
    clips = clip_manifest[~clip_manifest["clip_id"].isin(list(embedded.rejected))]
    chosen = clips_on_map(clips["clip_id"], embedding_map)
    # what the heads see tells likeness best, labels apart: docs/benchmarks.md
    vectors = all_vectors(embedded, chosen).whole
    standardise = Standardiser.of(iter([vectors]), pooled_widths(embedded.info.parts))
    return map_clips(chosen, standardise(vectors), embedding_map)


def split_clips(clip_manifest: pd.DataFrame, splits: SplitOptions) -> pd.DataFrame:
    """Put every clip into train, validation or test, by recording and by hash.

    Raises:
        SoundxError: The labels cannot be learnt, or a head would have no clips to learn from or
            to stop by: known here, before hours of embedding.
    """
    check_labels(clip_manifest)
    table = assign_splits(clip_manifest, splits)
    clips = clip_manifest[["clip_id", "label", "category"]].merge(
        table[["clip_id", "split"]], on="clip_id", validate="one_to_one"
    )
    clips = clips[(clips["split"] != FIELD) & (clips["label"] != BACKGROUND)]
    tree = LabelTree.build(zip(clips["label"], clips["category"], strict=True))
    for head in tree.heads:
        targets = clips["label"].map({name: tree.target(head, name) for name in tree.labels})
        _check_head(head, clips[targets.notna()], clip_manifest)
    return table


def build_model_input(
    clip_manifest: pd.DataFrame, splits: pd.DataFrame, embeddings: EmbeddingStore
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """List, for each head, the clips it learns from: class, split, weight, frames.

    Embeddings are not copied: training reads them from their shards.

    Returns:
        A table for each head; and what tells whether a model was made of just this: the
        ``digest`` of clips, labels and splits, and the ``fingerprint`` of the embedder.

    Raises:
        SoundxError: A group stands on two sides, or a head would have no clips to learn
            from or to stop by.
    """
    check_splits(splits)
    embedded = embeddings.current
    clips = input_clips(clip_manifest, splits, embedded.rejected)
    labelled = clips[clips["label"] != BACKGROUND]
    tree = LabelTree.build(zip(labelled["label"], labelled["category"], strict=True))
    clips["n_frames"] = embedded.n_frames(clips["clip_id"])
    tables = {}
    for head, classes in tree.heads.items():
        targets = clips["label"].map({name: tree.target(head, name) for name in tree.labels})
        mine = clips[targets.notna()].assign(target=targets.dropna().astype(np.int64))
        mine["weight"] = np.float32(0.0)
        for _, side in mine.groupby("split"):
            mine.loc[side.index, "weight"] = class_weights(
                side["target"].to_numpy(), side["n_frames"].to_numpy(), len(classes)
            )
        _check_head(head, mine, clip_manifest)
        mine["embedder"] = embedded.info.fingerprint
        tables[head] = mine.reset_index(drop=True)
    # what is none of the labels stands beside them, with a class of its own
    background = clips[clips["label"] == BACKGROUND].assign(
        target=len(tree.heads[GENERAL]), weight=np.float32(1.0), embedder=embedded.info.fingerprint
    )
    if len(background):
        tables[GENERAL] = pd.concat([tables[GENERAL], background], ignore_index=True)
    state = {"digest": manifest_digest(clips), "fingerprint": embedded.info.fingerprint}
    return tables, state


def _check_head(head: str, clips: pd.DataFrame, manifest: pd.DataFrame) -> None:
    answered = (
        set(manifest.loc[manifest["answered"].astype(bool), "clip_id"])
        if ("answered" in manifest)
        else set()
    )
    if head != GENERAL and clips["clip_id"].isin(answered).all():
        return  # a category that people named in a recording or two: there is but one side yet
    for split in ("train", "validation"):
        if not (clips["split"] == split).any():
            raise SoundxError(
                f"Head '{head}' has no clip for {split}: its labels need clips from more "
                "recordings, or a larger splits.validation_fraction."
            )
