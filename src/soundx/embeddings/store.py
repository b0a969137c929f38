"""Embeddings kept by content: by clip id, in one folder for each embedder's fingerprint.

Shards are Parquet files with ``clip_id``, ``frame`` and ``embedding``, written whole; the
clips of a shard, with their numbers of frames, also stand in its footer, so that what is
there is known without reading embeddings. Pages and that list carry checksums: a garbled shard
is named, and set aside by the run that can make it again. A renamed or relabelled clip is found
again, a changed clip or embedder is not. Memory does not grow with the embeddings that are kept:
an index takes some 30 bytes a clip, and everything else is read and written in row groups.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from soundx.audio import Float32
from soundx.embedders.base import EmbedderInfo
from soundx.errors import BrokenFileError, Remedy, SoundxError
from soundx.parallel import map_in_threads
from soundx.storage.checksum import LOAD_PARQUET, SAVE_PARQUET, digest, why_broken
from soundx.storage.folder import Folder

Int64 = npt.NDArray[np.int64]

ROW_GROUP_NUMBERS = 2 * 2**20
"""Numbers read or written at a time: 8 MiB in memory."""
COMPACT_SHARDS = 16
"""So many small shards are merged."""
COMPACT_NUMBERS = 64 * 2**20
"""Numbers of a merged shard at most, unless one clip has more; half of it is small."""
COMPACT_CLIPS = 2**14
"""Clips of a merged shard at most: all of them are listed in its footer, which is read whenever
the shard is opened."""

_HALF = np.dtype("<f2")
_OLD_S = 24 * 3600.0  # what a killed run left behind; a younger file may still be written
_CLIPS_KEY = b"soundx.clips"
_CHECKSUM_KEY = b"soundx.clips.checksum"
_CURRENT = "current.json"
_EMBEDDER = "embedder.json"
_REJECTED = "rejected.json"

ClipFrames = list[tuple[str, int]]
"""Clips of a shard, in order, with their numbers of frames."""


class _Index:
    """Where each clip's frames are: shard, first row, number of rows; 32 bytes a clip."""

    def __init__(self) -> None:
        self.shards: list[str] = []
        self._keys = np.empty(0, "S16")
        self._places = np.empty((0, 3), np.int64)
        self._waiting: list[tuple[npt.NDArray[Any], Int64]] = []

    def add(self, shard: str, clips: ClipFrames) -> None:
        counts = np.array([n_frames for _, n_frames in clips], np.int64)
        starts = np.cumsum(counts) - counts
        number = np.full(len(clips), len(self.shards))
        self.shards.append(shard)
        self._waiting.append((_keys(clip for clip, _ in clips), np.c_[number, starts, counts]))

    def find(self, clip_ids: Iterable[str]) -> Int64:
        """Return shard number, first row and rows of each clip; -1 where it is not kept."""
        self.sort()
        keys = _keys(clip_ids)
        found = np.full((len(keys), 3), -1, np.int64)
        if len(self._keys):
            at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            known = self._keys[at] == keys
            found[known] = self._places[at[known]]
        return found

    def __len__(self) -> int:
        self.sort()
        return len(self._keys)

    def sort(self) -> None:
        """Take up what was added."""
        if not self._waiting:
            return
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._waiting)])
        places = np.concatenate([self._places, *(places for _, places in self._waiting)])
        # a clip may stand in two shards after a kill during merging: either will do
        self._keys, first = np.unique(keys, return_index=True)
        self._places = places[first]
        self._waiting = []


def _keys(clip_ids: Iterable[str]) -> npt.NDArray[Any]:
    digests = b"".join(hashlib.blake2b(clip.encode(), digest_size=16).digest() for clip in clip_ids)
    return np.frombuffer(digests, "S16")


def _shard_name(clip_ids: Sequence[str]) -> str:
    return f"{hashlib.sha256(json.dumps(list(clip_ids)).encode()).hexdigest()[:20]}.parquet"


@dataclass(frozen=True)
class Shard:
    """Frames of some clips, to be written as one file, whole or not at all.

    Attributes:
        info: The embedder that made them.
        clips: The clips, in order, with their numbers of frames.
        engine: What computed them, for people.
        pieces: Returns clip ids and frames in order, those of one clip in one piece or in
            several; None where a cluster's worker has written the shard already.
        rejected: Clips that cannot be embedded, with reasons.
    """

    info: EmbedderInfo
    clips: ClipFrames
    engine: str = ""
    pieces: Callable[[], Iterable[tuple[str, Float32]]] | None = None
    rejected: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What its file is called."""
        return _shard_name([clip_id for clip_id, _ in self.clips])


class ShardWriter:
    """Writes one shard, row group by row group; nothing is there before its end.

    Args:
        path: Where to.
        dim: Length of an embedding.
    """

    def __init__(self, path: Path, dim: int) -> None:
        self.clips: ClipFrames = []
        self._dim = dim
        self._held: list[tuple[str, int, Float32]] = []
        self._n_held = 0
        schema = pa.schema(
            {
                "clip_id": pa.string(),
                "frame": pa.int32(),
                # float16, one frame a value: half the bytes of float32, and no model is the worse
                # for it (docs/benchmarks.md); as a list they took ten times as long to write
                "embedding": pa.binary(dim * _HALF.itemsize),
            }
        )
        # floats do not compress; plain pages are read back without a copy
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="none",
            use_dictionary=["clip_id"],
            write_statistics=["clip_id", "frame"],
            **SAVE_PARQUET,
        )

    def add(self, clip_id: str, frames: Float32) -> None:
        """Append frames of a clip [shape=(n_frames, dim)]; pieces of one follow each other.

        Raises:
            SoundxError: The embeddings have another length than the shard's.
        """
        if frames.shape[1] != self._dim:
            raise SoundxError(
                f"Embeddings of {frames.shape[1]} numbers do not belong here, where they "
                f"have {self._dim}."
            )
        first = 0
        if self.clips and self.clips[-1][0] == clip_id:
            first = self.clips.pop()[1]
        self.clips.append((clip_id, first + len(frames)))
        self._held.append((clip_id, first, frames))
        self._n_held += len(frames)
        if self._n_held * self._dim >= ROW_GROUP_NUMBERS:
            self._flush()

    @property
    def name(self) -> str:
        """What the shard is called."""
        return _shard_name([clip_id for clip_id, _ in self.clips])

    def close(self) -> None:
        """Write what is left, and the list of clips."""
        self._flush()
        clips = json.dumps(self.clips).encode()
        self._writer.add_key_value_metadata(
            {_CLIPS_KEY: clips, _CHECKSUM_KEY: digest(clips).encode()}
        )
        self._writer.close()

    def _flush(self) -> None:
        if not self._held:
            return
        values = np.concatenate([frames for _, _, frames in self._held])
        counts = [len(frames) for _, _, frames in self._held]
        owners = np.repeat([clip_id for clip_id, _, _ in self._held], counts)
        numbers = [np.arange(first, first + len(f), dtype=np.int32) for _, first, f in self._held]
        self._writer.write_table(
            pa.table(
                {
                    "clip_id": pa.array(owners, pa.string()),
                    "frame": np.concatenate(numbers),
                    "embedding": pa.FixedSizeBinaryArray.from_buffers(
                        pa.binary(self._dim * _HALF.itemsize),
                        len(values),
                        [None, pa.py_buffer(_halves(values))],
                    ),
                }
            ),
            row_group_size=len(values),
        )
        self._held, self._n_held = [], 0


def starts_of_runs(owners: Int64) -> Int64:
    """Return where the frames of each clip begin [shape=(n_runs,)], of what owns each frame."""
    return np.flatnonzero(np.diff(owners, prepend=-1))


def _stored_order(places: Int64) -> Int64:
    return np.lexsort((places[:, 1], places[:, 0]))


def _n_frames(clips: ClipFrames) -> int:
    return sum(n_frames for _, n_frames in clips)


def _halves(values: Float32) -> npt.NDArray[np.float16]:
    """Return numbers in 16 bits; those too large for them as the largest there is."""
    largest = float(np.finfo(_HALF).max)
    return np.clip(values, -largest, largest).astype(_HALF)


def _frames_of(table: pa.Table, dim: int) -> Float32:
    """Return the embeddings in rows of a shard [shape=(n_rows, dim)]."""
    column = table.column("embedding").combine_chunks()
    if pa.types.is_fixed_size_binary(column.type):
        start = column.offset * column.type.byte_width
        values = np.frombuffer(column.buffers()[1], _HALF, len(column) * dim, start)
    else:  # lists, as version 0.1 wrote them
        values = np.asarray(column.flatten())
    return values.astype(np.float32).reshape(-1, dim)


class EmbeddingSet:
    """All embeddings of one embedder.

    Args:
        folder: Where its shards are.
        info: The embedder.
        remedy: What embeds again what is missing or broken.
    """

    def __init__(
        self, folder: Folder, info: EmbedderInfo, *, remedy: Remedy = Remedy.PREPROCESS
    ) -> None:
        self.folder = folder
        self.info = info
        self._remedy = remedy
        self._known: _Index | None = None

    @property
    def _index(self) -> _Index:
        known = self._known
        if known is None:
            known = _Index()
            for name in self._shards():
                known.add(name, self._clips_of(name))
            known.sort()
            self._known = known  # other threads see all of it or nothing
        return known

    def _shards(self) -> list[str]:
        return [name for name in self.folder.names() if name.endswith(".parquet")]

    def _clips_of(self, shard: str) -> ClipFrames:
        with self._opened(shard) as parquet:
            metadata = parquet.metadata.metadata or {}
            text = metadata.get(_CLIPS_KEY)
            if text is None:
                raise BrokenFileError(shard, "it is not a shard of embeddings")
            if metadata.get(_CHECKSUM_KEY, digest(text).encode()) != digest(text).encode():
                raise BrokenFileError(shard, "the checksum of its clips is of something else")
            clips = [(clip_id, n_frames) for clip_id, n_frames in json.loads(text)]
            if _n_frames(clips) != parquet.metadata.num_rows:
                raise BrokenFileError(shard, "it has not the rows of its clips")
            return clips

    @contextmanager
    def _opened(self, shard: str) -> Iterator[pq.ParquetFile]:
        """Yield a shard to read; what shows while it is read that it is broken, names it.

        Raises:
            BrokenFileError: It is not Parquet, or not what was written, or a link to nothing.
            FileNotFoundError: It is no longer there.
        """
        try:
            opened = self.folder.open(shard)
        except FileNotFoundError:
            if shard not in self._shards():  # another process has merged it
                raise
            raise self._broken(shard, "it is a link to nothing") from None
        with opened as file:
            try:
                yield pq.ParquetFile(file, **LOAD_PARQUET)
            except BrokenFileError as error:
                why = error.why
            except (pa.ArrowException, ValueError, TypeError, OSError) as error:
                found = why_broken(error)
                if found is None:
                    raise
                why = found
            else:
                return
        raise self._broken(shard, why)

    def _broken(self, shard: str, why: str) -> BrokenFileError:
        return BrokenFileError(self.folder.shown(shard), why, remedy=self._remedy)

    def _why_broken(self, shard: str) -> str | None:
        """Read a shard whole; tell what is wrong with it, None where nothing is."""
        try:
            self._clips_of(shard)
            with self._opened(shard) as parquet:
                for number in range(parquet.num_row_groups):
                    parquet.read_row_group(number)
        except BrokenFileError as error:
            return error.why
        return None

    def mend(self) -> None:
        """Set aside what is broken: shards, and what stands beside them. All of it is read.

        The clips of such a shard are then missing, and embedded again by whoever embeds those.
        Whose set it is, is noted again where it is not: shards that are whole need no others.
        """
        for name in (_EMBEDDER, _REJECTED):
            _set_aside_broken(self.folder, name)
        names = self._shards()
        broken = map_in_threads(self._why_broken, names)
        for name, why in zip(names, broken, strict=True):
            if why is not None:
                self.folder.set_aside(name, why)
                self._known = None
        if self._shards():
            self._begin()

    def __contains__(self, clip_id: str) -> bool:
        return bool(self.holds([clip_id])[0])

    def __len__(self) -> int:
        return len(self._index)

    def holds(self, clip_ids: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Tell of each clip whether its embeddings are here [shape=(n_clips,)]."""
        return self._index.find(clip_ids)[:, 0] >= 0

    def n_frames(self, clip_ids: Iterable[str]) -> Int64:
        """Return the number of frames of each clip [shape=(n_clips,)].

        Raises:
            SoundxError: A clip has no embeddings here.
        """
        return self._find(list(clip_ids), self._index)[:, 2]

    def stored_order(self, clip_ids: Sequence[str]) -> Int64:
        """Return positions in ``clip_ids``, in the order in which the clips lie here.

        Who asks for many clips some at a time asks in this order: in any other, each time may
        take pieces of every shard.

        Raises:
            SoundxError: A clip has no embeddings here.
        """
        places = self._find(list(clip_ids), self._index)
        return _stored_order(places)

    def frames(self, clip_ids: Sequence[str]) -> Float32:
        """Return the frames of clips, one clip after the other, in the order asked for.

        Returns:
            Embeddings [shape=(n_frames, dim), dtype=float32].

        Raises:
            SoundxError: A clip has no embeddings here.
        """
        unique = list(dict.fromkeys(clip_ids))
        counts = self.n_frames(unique)
        out = np.empty((int(counts.sum()), self.info.dim), np.float32)
        ends = np.cumsum(counts)
        filled = ends - counts
        for owners, frames in self.iter_frames(unique):
            starts = starts_of_runs(owners)
            for owner, mine in zip(owners[starts], np.split(frames, starts[1:]), strict=True):
                out[filled[owner] : filled[owner] + len(mine)] = mine
                filled[owner] += len(mine)
        if len(unique) == len(clip_ids):
            return out
        where = {clip: slice(e - n, e) for clip, e, n in zip(unique, ends, counts, strict=True)}
        return np.concatenate([out[where[clip]] for clip in clip_ids])

    def clip_ids(self) -> Iterator[str]:
        """Yield the clips that are kept here, each once, shard by shard."""
        seen: set[str] = set()  # one may stand in two shards after a kill during merging
        for name in self._shards():
            found = dict.fromkeys(clip_id for clip_id, _ in self._clips_of(name))
            yield from (clip_id for clip_id in found if clip_id not in seen)
            seen.update(found)

    def stretches(self, places: Sequence[tuple[str, int, int]]) -> list[Float32]:
        """Return some frames of clips; of a long clip nothing else is read than lies beside them.

        Args:
            places: Clip, first frame, and number of frames, which is cut at the clip's end.

        Returns:
            Frames [shape=(n_frames, dim), dtype=float32] of each.

        Raises:
            SoundxError: A clip has no embeddings here.
        """
        try:
            return self._stretches(places)
        except FileNotFoundError:  # another process has merged shards since they were listed
            self._known = None
            return self._stretches(places)

    def _stretches(self, places: Sequence[tuple[str, int, int]]) -> list[Float32]:
        if not places:
            return []
        index = self._index
        clips = self._find([clip_id for clip_id, _, _ in places], index)
        asked = np.array([(first, n) for _, first, n in places], np.int64).reshape(-1, 2)
        begins = clips[:, 1] + np.minimum(asked[:, 0], clips[:, 2])
        counts = np.minimum(begins + asked[:, 1], clips[:, 1] + clips[:, 2]) - begins
        ends = np.cumsum(counts)
        rows = np.repeat(begins - (ends - counts), counts) + np.arange(counts.sum())
        # stretches may overlap, and each row is read once
        wanted, inverse = np.unique(
            np.column_stack([np.repeat(clips[:, 0], counts), rows]), axis=0, return_inverse=True
        )
        frames = np.empty((len(wanted), self.info.dim), np.float32)
        one_each = np.column_stack([wanted, np.ones(len(wanted), np.int64)])
        for shard, number, first, mine in self._row_groups(one_each, index):
            frames[mine] = self._read_row_group(shard, number)[wanted[mine, 1] - first]
        return np.split(frames[inverse.reshape(-1)], ends[:-1])

    def iter_frames(
        self,
        clip_ids: Sequence[str],
        *,
        max_frames: int = 1,
        shuffle: np.random.Generator | None = None,
    ) -> Iterator[tuple[Int64, Float32]]:
        """Yield all frames of clips, some at a time, as they lie in the shards.

        Args:
            clip_ids: The clips, each once.
            max_frames: About how many frames to yield at a time; a row group at least.
            shuffle: Draws another order of row groups; without it a clip's frames come in
                their order.

        Yields:
            The position in ``clip_ids`` that each frame belongs to [shape=(n_frames,)], and
            the frames [shape=(n_frames, dim), dtype=float32]. A clip may be spread over
            several yields.

        Raises:
            SoundxError: A clip has no embeddings here.
        """
        index = self._index
        places = self._find(clip_ids, index)
        groups = self._row_groups(places, index)
        if shuffle is not None:
            groups = [groups[i] for i in shuffle.permutation(len(groups))]
        owners: list[Int64] = []
        held: list[Float32] = []
        n_held = 0
        for shard, number, first, clips in groups:
            data = self._read_row_group(shard, number)
            starts = np.maximum(places[clips, 1] - first, 0)
            counts = np.minimum(places[clips, 1] + places[clips, 2] - first, len(data)) - starts
            ends = np.cumsum(counts)
            rows = np.repeat(starts - (ends - counts), counts) + np.arange(ends[-1])
            owners.append(np.repeat(clips, counts))
            held.append(data if len(rows) == len(data) else data[rows])
            n_held += len(rows)
            if n_held >= max_frames:
                yield np.concatenate(owners), np.concatenate(held)
                owners, held, n_held = [], [], 0
        if held:
            yield np.concatenate(owners), np.concatenate(held)

    def _row_groups(self, places: Int64, index: _Index) -> list[tuple[str, int, int, Int64]]:
        """Return (shard, row group, its first row, positions of the clips that lie in it)."""
        groups: list[tuple[str, int, int, Int64]] = []
        if not len(places):
            return groups
        order = _stored_order(places)
        numbers, firsts = np.unique(places[order, 0], return_index=True)
        for number, mine in zip(numbers, np.split(order, firsts[1:]), strict=True):
            shard = index.shards[number]
            starts = places[mine, 1]
            ends = starts + places[mine, 2]
            with self._opened(shard) as parquet:
                metadata = parquet.metadata
            first = 0
            for group in range(metadata.num_row_groups):
                size = metadata.row_group(group).num_rows
                low = np.searchsorted(ends, first, side="right")
                high = np.searchsorted(starts, first + size, side="left")
                if low < high:
                    groups.append((shard, group, first, mine[low:high]))
                first += size
        return groups

    def _read_row_group(self, shard: str, number: int) -> Float32:
        with self._opened(shard) as parquet:
            return _frames_of(parquet.read_row_group(number, columns=["embedding"]), self.info.dim)

    def _find(self, clip_ids: Sequence[str], index: _Index) -> Int64:
        places = index.find(clip_ids)
        missing = np.flatnonzero(places[:, 0] < 0)
        if len(missing):
            raise SoundxError(
                f"{len(missing)} clips have no embeddings by {self.info.name} in {self.folder}, "
                f"for example {clip_ids[missing[0]][:12]}...",
                remedy=self._remedy,
            )
        return places

    @contextmanager
    def new_shard(self) -> Iterator[ShardWriter]:
        """Yield a writer; what it was given is there, as one shard, when the block ends."""
        self._begin()
        with self.folder.new_file(".parquet") as new:
            writer = ShardWriter(new.path, self.info.dim)
            yield writer
            writer.close()
            new.name = writer.name
        self.note_shard(new.name, writer.clips)

    def _begin(self) -> None:
        """Note whose set it is, before anything stands in it."""
        if not self.folder.exists(_EMBEDDER):
            self.folder.write_json(_EMBEDDER, self.info.to_dict())

    def note_shard(self, name: str, clips: ClipFrames) -> None:
        """Take up a shard that was written elsewhere."""
        if self._known is not None:
            self._known.add(name, clips)

    def shard_of(self, clip_ids: Sequence[str]) -> tuple[str, ClipFrames] | None:
        """Return name and clips of the shard that holds just these clips, if there is one."""
        name = _shard_name(clip_ids)
        return (name, self._clips_of(name)) if self.folder.exists(name) else None

    def write(self, shard: Shard) -> None:
        """Write a shard, whole or not at all."""
        with self.new_shard() as writer:
            for clip_id, frames in shard.pieces() if shard.pieces is not None else ():
                writer.add(clip_id, frames)

    def add_shard(self, clips: Mapping[str, Float32]) -> None:
        """Write the frames of clips as one shard, whole or not at all.

        Args:
            clips: Frames by clip id [shape=(n_frames, dim), dtype=float32].
        """
        sizes = [(clip_id, len(frames)) for clip_id, frames in clips.items()]
        self.write(Shard(self.info, sizes, pieces=clips.items))

    def compact(self) -> int:
        """Merge small shards where there are many; return how many went into larger ones.

        Killed at any moment, nothing is lost: a merged shard is whole before the small ones
        go, and frames that stand in two shards do no harm.
        """
        small = [
            (name, clips)
            for name, clips in ((name, self._clips_of(name)) for name in self._shards())
            if self._fullness(len(clips), _n_frames(clips)) < 1 / 2
        ]
        if len(small) < COMPACT_SHARDS:
            return 0
        batch: list[str] = []
        n_clips = n_frames = 0
        for name, clips in small:
            n_clips += len(clips)
            n_frames += _n_frames(clips)
            if batch and self._fullness(n_clips, n_frames) > 1:
                self._merge(batch, None)
                batch, n_clips, n_frames = [], len(clips), _n_frames(clips)
            batch.append(name)
        self._merge(batch, None)
        self._known = None
        return len(small)

    def _fullness(self, n_clips: int, n_frames: int) -> float:
        """Return how full a merged shard of so much would be, of 1."""
        return max(n_frames * self.info.dim / COMPACT_NUMBERS, n_clips / COMPACT_CLIPS)

    def keep_only(self, clip_ids: Collection[str]) -> int:
        """Remove the embeddings of all other clips; return how many clips that were."""
        wanted = set(clip_ids)
        removed = 0
        for name in self._shards():
            clips = [clip for clip, _ in self._clips_of(name)]
            gone = [clip for clip in clips if clip not in wanted]
            if len(gone) == len(clips):
                self.folder.remove(name)
            elif gone:
                self._merge([name], wanted)
            removed += len(gone)
        self._known = None
        self.folder.remove_partial(_OLD_S)
        return removed

    def _merge(self, shards: Sequence[str], wanted: Collection[str] | None) -> None:
        seen: set[str] = set()
        with self.folder.new_file(".parquet") as new:
            writer = ShardWriter(new.path, self.info.dim)
            for shard in shards:
                clips = self._clips_of(shard)
                keep = {c for c, _ in clips if c not in seen and (wanted is None or c in wanted)}
                seen |= keep
                for clip_id, frames in self._read_clips(shard, clips):
                    if clip_id in keep:
                        writer.add(clip_id, frames)
            writer.close()
            new.name = writer.name
        for shard in shards:
            if shard != new.name:
                self.folder.remove(shard)

    def _read_clips(self, shard: str, clips: ClipFrames) -> Iterator[tuple[str, Float32]]:
        """Yield a shard's clips in pieces, one row group in memory."""
        with self._opened(shard) as groups:
            left = iter(clips)
            clip_id, remaining = "", 0
            for number in range(groups.metadata.num_row_groups):
                table = groups.read_row_group(number, columns=["embedding"])
                data = _frames_of(table, self.info.dim)
                while len(data):
                    if not remaining:
                        clip_id, remaining = next(left)
                    yield clip_id, data[:remaining]
                    taken = min(remaining, len(data))
                    remaining -= taken
                    data = data[taken:]

    @property
    def rejected(self) -> dict[str, str]:
        """Clips that cannot be embedded, and why: their decoder died of them."""
        if not self.folder.exists(_REJECTED):
            return {}
        return dict(self.folder.read_json(_REJECTED, remedy=self._remedy))

    def reject(self, clips: Mapping[str, str]) -> None:
        """Note clips that cannot be embedded, with reasons."""
        self._begin()
        self.folder.write_json(_REJECTED, {**self.rejected, **clips})


class EmbeddingStore:
    """The sets of all embedders that were ever used on a project.

    Args:
        folder: Where they are, one sub-folder each.
        remedy: What embeds again what is missing or broken.
    """

    def __init__(self, folder: Folder, *, remedy: Remedy = Remedy.PREPROCESS) -> None:
        self.folder = folder
        self._remedy = remedy

    def of(self, info: EmbedderInfo) -> EmbeddingSet:
        """Return the set of an embedder; an empty one where nothing was saved yet.

        Raises:
            SoundxError: The folder of that fingerprint belongs to another embedder.
        """
        sub = self.folder.sub(info.fingerprint)
        if sub.exists(_EMBEDDER):
            known = self._info_in(sub, _EMBEDDER)
            if known != info:
                raise SoundxError(f"{sub} was made by {known}, not by {info}: move it away.")
        return self._set(sub, info)

    def named(self, fingerprint: str) -> EmbeddingSet:
        """Return the set of the embedder with that fingerprint.

        Raises:
            SoundxError: There is none.
        """
        sub = self.folder.sub(fingerprint)
        if not sub.exists(_EMBEDDER):
            raise SoundxError(
                f"There are no embeddings by {fingerprint} in {self.folder}.", remedy=self._remedy
            )
        return self._set(sub, self._info_in(sub, _EMBEDDER))

    def mend(self, info: EmbedderInfo) -> EmbeddingSet:
        """Set aside all of an embedder's that is broken, and return its set.

        For a run that makes it again: it reads every shard, and writes.
        """
        _set_aside_broken(self.folder, _CURRENT)
        for name in self.folder.names():
            if "." not in name:
                _set_aside_broken(self.folder.sub(name), _EMBEDDER)
        self._set(self.folder.sub(info.fingerprint), info).mend()
        return self.of(info)

    def save(self, shard: Shard) -> None:
        """Write a shard, whole or not at all, and note what was rejected."""
        if shard.rejected:
            self.of(shard.info).reject(shard.rejected)
        if shard.clips and shard.pieces is not None:
            self.of(shard.info).write(shard)

    def sets(self) -> list[EmbeddingSet]:
        """Return the sets of all embedders."""
        folders = (self.folder.sub(name) for name in self.folder.names() if "." not in name)
        return [
            self._set(sub, self._info_in(sub, _EMBEDDER))
            for sub in folders
            if sub.exists(_EMBEDDER)
        ]

    @property
    def current(self) -> EmbeddingSet:
        """The set that the last preprocessing run filled.

        Raises:
            SoundxError: There is none yet.
        """
        if not self.folder.exists(_CURRENT):
            raise SoundxError(f"There are no embeddings in {self.folder} yet.", remedy=self._remedy)
        return self.of(self._info_in(self.folder, _CURRENT))

    def set_current(self, info: EmbedderInfo) -> None:
        """Note which set the last preprocessing run filled."""
        self.folder.write_json(_CURRENT, info.to_dict())

    def _set(self, sub: Folder, info: EmbedderInfo) -> EmbeddingSet:
        return EmbeddingSet(sub, info, remedy=self._remedy)

    def _info_in(self, folder: Folder, name: str) -> EmbedderInfo:
        return EmbedderInfo.from_dict(folder.read_json(name, remedy=self._remedy))


def _set_aside_broken(folder: Folder, name: str) -> None:
    """Set aside a JSON file that is broken; one that is missing or whole stays as it is."""
    if not folder.exists(name):
        return
    try:
        folder.read_json(name)
    except BrokenFileError as error:
        folder.set_aside(name, error.why)
