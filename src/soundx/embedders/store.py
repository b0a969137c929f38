"""Embeddings kept by content: by clip id, in one folder for each embedder's fingerprint.

Shards are Parquet files with ``clip_id``, ``frame`` and ``embedding``, written whole; the
clips of a shard, with their numbers of frames, also stand in its footer, so that what is
there is known without reading embeddings. A renamed or relabelled clip is found again,
a changed clip or embedder is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from soundx.embedders.base import EmbedderInfo
from soundx.errors import SoundxError
from soundx.storage import Folder

Float32 = npt.NDArray[np.float32]

_CLIPS_KEY = b"soundx.clips"
_CURRENT = "current.json"
_EMBEDDER = "embedder.json"


@dataclass(frozen=True)
class _Place:
    shard: str
    start: int
    n_frames: int


class EmbeddingSet:
    """All embeddings of one embedder.

    Args:
        folder: Where its shards are.
        info: The embedder.
    """

    def __init__(self, folder: Folder, info: EmbedderInfo) -> None:
        self.folder = folder
        self.info = info
        self._places: dict[str, _Place] | None = None

    @property
    def _index(self) -> dict[str, _Place]:
        if self._places is None:
            self._places = {}
            for name in self.folder.names():
                if name.endswith(".parquet"):
                    self._add_shard(name)
        return self._places

    def _add_shard(self, name: str) -> None:
        with self.folder.open(name) as file:
            metadata = pq.read_schema(file).metadata or {}
        start = 0
        for clip_id, n_frames in json.loads(metadata[_CLIPS_KEY]):
            self._index[clip_id] = _Place(name, start, n_frames)
            start += n_frames

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._index

    def __len__(self) -> int:
        return len(self._index)

    def n_frames(self, clip_ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return the number of frames of each clip [shape=(n_clips,)].

        Raises:
            SoundxError: A clip has no embeddings here.
        """
        return np.array([self._place(clip_id).n_frames for clip_id in clip_ids], np.int64)

    def frames(self, clip_ids: Sequence[str]) -> Float32:
        """Return the frames of clips, one clip after the other, in the order asked for.

        Returns:
            Embeddings [shape=(n_frames, dim), dtype=float32].

        Raises:
            SoundxError: A clip has no embeddings here.
        """
        places = [self._place(clip_id) for clip_id in clip_ids]
        ends = np.cumsum([place.n_frames for place in places])
        out = np.empty((int(ends[-1]) if len(ends) else 0, self.info.dim), np.float32)
        by_shard: dict[str, list[int]] = {}
        for position, place in enumerate(places):
            by_shard.setdefault(place.shard, []).append(position)
        for shard, positions in by_shard.items():
            embeddings = self._read_shard(shard)
            for position in positions:
                place = places[position]
                end = ends[position]
                out[end - place.n_frames : end] = embeddings[
                    place.start : place.start + place.n_frames
                ]
        return out

    def add_shard(self, clips: Mapping[str, Float32]) -> None:
        """Write the frames of clips as one shard, whole or not at all.

        Args:
            clips: Frames by clip id [shape=(n_frames, dim), dtype=float32].
        """
        ids = list(clips)
        counts = [len(frames) for frames in clips.values()]
        values = np.concatenate(list(clips.values())).astype(np.float32, copy=False)
        if values.shape[1] != self.info.dim:
            raise SoundxError(
                f"Embeddings of {values.shape[1]} numbers do not belong to {self.info.name}, "
                f"which gives {self.info.dim}."
            )
        table = pa.table(
            {
                "clip_id": pa.array(np.repeat(ids, counts)).dictionary_encode(),
                "frame": np.concatenate([np.arange(n, dtype=np.int32) for n in counts]),
                "embedding": pa.FixedSizeListArray.from_arrays(values.ravel(), self.info.dim),
            }
        )
        clips_text = json.dumps(list(zip(ids, counts, strict=True)))
        table = table.replace_schema_metadata({_CLIPS_KEY: clips_text.encode()})
        name = f"{hashlib.sha256(clips_text.encode()).hexdigest()[:20]}.parquet"
        index = self._index  # listed before the new shard is there, or it would count twice
        # floats do not compress; plain pages are read back without a copy
        self.folder.write_with(
            name,
            lambda file: pq.write_table(
                table, file, compression="none", use_dictionary=["clip_id"]
            ),
        )
        start = 0
        for clip_id, n_frames in zip(ids, counts, strict=True):
            index[clip_id] = _Place(name, start, n_frames)
            start += n_frames

    def _read_shard(self, name: str) -> Float32:
        with self.folder.open(name) as file:
            column = pq.read_table(file, columns=["embedding"]).column("embedding")
        flat = column.combine_chunks().flatten()
        return np.asarray(flat).reshape(-1, self.info.dim)

    def _place(self, clip_id: str) -> _Place:
        try:
            return self._index[clip_id]
        except KeyError:
            raise SoundxError(
                f"Clip {clip_id[:12]}... has no embeddings by {self.info.name} in {self.folder}. "
                "Run: kedro run --pipelines=preprocessing"
            ) from None


class EmbeddingStore:
    """The sets of all embedders that were ever used on a project.

    Args:
        folder: Where they are, one sub-folder each.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def of(self, info: EmbedderInfo) -> EmbeddingSet:
        """Return the set of an embedder, made where it is missing.

        Raises:
            SoundxError: The folder of that fingerprint belongs to another embedder.
        """
        sub = self.folder.sub(info.fingerprint)
        if sub.exists(_EMBEDDER):
            known = EmbedderInfo(**sub.read_json(_EMBEDDER))
            if known != info:
                raise SoundxError(f"{sub} was made by {known}, not by {info}: move it away.")
        else:
            sub.write_json(_EMBEDDER, info.to_dict())
        return EmbeddingSet(sub, info)

    @property
    def current(self) -> EmbeddingSet:
        """The set that the last preprocessing run filled.

        Raises:
            SoundxError: There is none yet.
        """
        if not self.folder.exists(_CURRENT):
            raise SoundxError(
                f"There are no embeddings in {self.folder} yet. "
                "Run: kedro run --pipelines=preprocessing"
            )
        return self.of(EmbedderInfo(**self.folder.read_json(_CURRENT)))

    def set_current(self, info: EmbedderInfo) -> None:
        """Note which set the last preprocessing run filled."""
        self.folder.write_json(_CURRENT, info.to_dict())


@dataclass(frozen=True)
class EmbeddingJob:
    """Clips to embed: what a node hands to the catalog instead of all embeddings at once.

    Attributes:
        embedder: Which embedder; its weights are only read if a clip is missing.
        clip_ids: All clips wanted.
        compute: Embeds some of them: clip ids to frames by clip id.
        clips_per_shard: How many to compute and write at a time.
    """

    embedder: EmbedderInfo
    clip_ids: Sequence[str]
    compute: Callable[[Sequence[str]], Mapping[str, Float32]]
    clips_per_shard: int
