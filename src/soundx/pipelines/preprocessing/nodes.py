"""From clips to embeddings, splits, and the table each head is trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from soundx.audio.decoding import Waveform, decode_clip
from soundx.clips import RawClips
from soundx.embedders import Embedder
from soundx.embedders.base import Float32
from soundx.embedders.store import EmbeddingJob, EmbeddingStore
from soundx.errors import AudioError, SoundxError
from soundx.labels import LabelTree
from soundx.modelling.splitting import (
    FIELD,
    SplitOptions,
    assign_splits,
    check_splits,
    class_weights,
)
from soundx.progress import map_in_threads

LazyWaveforms = dict[str, Callable[[], Waveform]]


class EmbeddingOptions(BaseModel):
    """How embeddings are computed.

    Attributes:
        clips_per_shard: Clips embedded and written at a time; what a killed run repeats.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clips_per_shard: int = Field(128, gt=0)


def decode_clips(raw_clips: RawClips, clip_manifest: pd.DataFrame) -> LazyWaveforms:
    """Name every clip's waveform, 16 kHz mono, decoded when it is called for."""
    return {path: partial(decode_clip, raw_clips.path(path)) for path in clip_manifest["path"]}


def embed_clips(
    waveforms: LazyWaveforms,
    clip_manifest: pd.DataFrame,
    embedder: Embedder,
    embedding: EmbeddingOptions,
) -> EmbeddingJob:
    """Describe which clips to embed and how; the store computes those it does not hold."""
    path_of = dict(zip(clip_manifest["clip_id"], clip_manifest["path"], strict=True))

    def decode(clip_id: str) -> Waveform:
        try:
            return waveforms[path_of[clip_id]]()
        except AudioError as error:
            raise SoundxError(
                f"{path_of[clip_id]} could be decoded before and cannot now ({error}). "
                "Run: kedro run --pipelines=ingestion,preprocessing"
            ) from error

    def compute(clip_ids: Sequence[str]) -> Mapping[str, Float32]:
        decoded = list(map_in_threads(decode, clip_ids))
        return dict(zip(clip_ids, embedder.embed(decoded), strict=True))

    return EmbeddingJob(
        embedder=embedder.info,
        clip_ids=clip_manifest["clip_id"].tolist(),
        compute=compute,
        clips_per_shard=embedding.clips_per_shard,
    )


def split_clips(clip_manifest: pd.DataFrame, splits: SplitOptions) -> pd.DataFrame:
    """Put every clip into train, validation or test, by recording and by hash."""
    return assign_splits(clip_manifest, splits)


def build_model_input(
    clip_manifest: pd.DataFrame, splits: pd.DataFrame, embeddings: EmbeddingStore
) -> dict[str, pd.DataFrame]:
    """List, for each head, the clips it learns from: class, split, weight, frames.

    Embeddings are not copied: training reads them from their shards.

    Raises:
        SoundxError: A group stands on two sides, or a head would have no clips to learn
            from or to stop by.
    """
    check_splits(splits)
    embedded = embeddings.current
    clips = clip_manifest[["clip_id", "label", "category"]].merge(
        splits[["clip_id", "split"]], on="clip_id", validate="one_to_one"
    )
    clips = clips[clips["split"] != FIELD]
    tree = LabelTree.build(zip(clips["label"], clips["category"], strict=True))
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
        for split in ("train", "validation"):
            if not (mine["split"] == split).any():
                raise SoundxError(
                    f"Head '{head}' has no clip for {split}: its labels need clips from more "
                    "recordings, or a larger splits.validation_fraction."
                )
        mine["embedder"] = embedded.info.fingerprint
        tables[head] = mine.reset_index(drop=True)
    return tables
