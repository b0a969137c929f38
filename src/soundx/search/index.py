"""Windows of recordings as short vectors in one file, for whoever looks through all of them.

A window's frames are pooled as a clip's are, standardised part by part, and turned into the few
directions in which sounds differ most (PCA): 384 numbers hold what 5,632 do. Products with a
million of them take a moment, and heads that are linear in the pooled vector are linear in these.

Vectors are appended recording by recording; ``index.json`` is written last and says how many are
valid, so that a run that was killed goes on. Frames stay in the embedding store: this can be made
again at any time.
"""

from __future__ import annotations

import io
import json
import logging
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from soundx.audio import Float32
from soundx.embeddings.store import EmbeddingSet
from soundx.errors import BrokenFileError, Remedy, SoundxError
from soundx.modelling.pooling import pool_windows, pooled_widths
from soundx.modelling.ridge import Standardiser
from soundx.modelling.vectors import all_vectors
from soundx.parallel import map_in_threads
from soundx.progress import counted, track
from soundx.search.recordings import PART_FRAMES, n_frames_of, part_ids, usable
from soundx.storage.checksum import parse_json, with_checksum
from soundx.storage.whole import whole_file

logger = logging.getLogger(__name__)

Indices = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DIMS = 384
"""Numbers of a window's vector; fewer where so many windows are not there."""

_INDEX = "index.json"
_VECTORS = "vectors.f32"
_PROJECTION = "projection.npz"
_SAMPLE = 3000  # windows of recordings, and vectors of clips, that the directions are found by
_FORMAT = 1
_PARTS_SAMPLED = 200
_ROWS_AT_A_TIME = 65_536
_RECORDINGS_A_WRITE = 200
_FEW_CLIPS = 100
_GROWN = 2  # so many times more of them than the directions were found by: these are found anew


def unit_vectors(vectors: Float32) -> tuple[Float32, Float32]:
    """Return vectors of length 1 [shape=(n, dim)], and how long they were, never 0 [shape=(n,)]."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-9).astype(np.float32)
    return np.asarray(vectors / lengths[:, None], np.float32), lengths


@dataclass(frozen=True)
class Projection:
    """Pooled vectors to the numbers that are kept of them.

    Attributes:
        standardise: What is done to pooled vectors first.
        basis: Directions, orthonormal [shape=(pooled_dim, n_dims), dtype=float32].
    """

    standardise: Standardiser
    basis: Float32

    def __call__(self, pooled: Float32) -> Float32:
        """Return short vectors of pooled ones [shape=(n, n_dims), dtype=float32]."""
        return np.asarray(self.standardise(pooled) @ self.basis, np.float32)

    def head(
        self, standardise: Standardiser, weights: Float32, bias: Float32
    ) -> tuple[Float32, Float32]:
        """Return a linear head of pooled vectors as one of short vectors.

        Args:
            standardise: What that head does to pooled vectors first.
            weights: [shape=(pooled_dim, n_classes)].
            bias: [shape=(n_classes,)].

        Returns:
            Weights [shape=(n_dims, n_classes)] and bias; their scores differ from the head's by
            what the directions leave out.
        """
        scaled = standardise.scale[:, None] * weights
        shifted = (self.standardise.mean - standardise.mean) @ scaled
        inner = self.basis.T @ (scaled / self.standardise.scale[:, None])
        return np.asarray(inner, np.float32), np.asarray(bias + shifted, np.float32)

    @classmethod
    def of(cls, vectors: Float32, widths: Sequence[int], *, seed: int = 7) -> Projection:
        """Return the directions in which some pooled vectors differ most.

        Args:
            vectors: [shape=(n, pooled_dim)]; where there are none, there are no directions.
            widths: Width of each part of a pooled vector.
            seed: Of the randomised decomposition (Halko, Martinsson & Tropp 2011).
        """
        from sklearn.utils.extmath import randomized_svd

        if not len(vectors):  # nothing differs in any direction
            dim = vectors.shape[1]
            standardise = Standardiser(np.zeros(dim, np.float32), np.ones(dim, np.float32))
            return cls(standardise, np.zeros((dim, 0), np.float32))
        standardise = Standardiser.of(iter([vectors]), widths)
        n_dims = min(DIMS, *vectors.shape)
        # QR between its steps: without, numbers of 32 bits lose what is below a thirtieth of most
        _, _, directions = randomized_svd(
            standardise(vectors),
            n_dims,
            n_iter=2,
            power_iteration_normalizer="QR",
            random_state=seed,
        )
        return cls(standardise, np.asarray(directions.T, np.float32))


@dataclass(frozen=True)
class IndexedRecording:
    """A recording whose windows are in the index.

    Attributes:
        recording_id: Hash of its bytes.
        file: Its path or URL.
        starts_at: When it began, ISO 8601; empty where that is not known.
        duration_s: Its length, in seconds.
        n_frames: Its frames in the store.
        n_parts: The parts that they are in.
        first: Row of its first window.
        n_windows: How many it has.
        checksum: CRC-32 of their vectors.
    """

    recording_id: str
    file: str
    starts_at: str
    duration_s: float
    n_frames: int
    n_parts: int
    first: int
    n_windows: int
    checksum: int

    @property
    def clock(self) -> datetime | None:
        """When it began."""
        return datetime.fromisoformat(self.starts_at) if self.starts_at else None

    def places(self, first: int, n_frames: int) -> list[tuple[str, int, int]]:
        """Return where in the store some of its frames are: clip, first frame and number of each.

        Those that reach over the end of a part are in two.
        """
        places = []
        while n_frames > 0:
            part = min(first // PART_FRAMES, self.n_parts - 1)
            inside = first - part * PART_FRAMES
            is_last = part == self.n_parts - 1
            n = n_frames if is_last else min(n_frames, PART_FRAMES - inside)
            places.append((f"{self.recording_id}:{part}", inside, n))
            first, n_frames = first + n, n_frames - n
        return places


@dataclass(frozen=True)
class Window:
    """A window of a recording.

    Attributes:
        number: Its number among all windows of the index.
        recording: The recording.
        first_frame: Its first frame in the recording.
        onset_s: Where it begins, in seconds.
        offset_s: Where it ends.
    """

    number: int
    recording: IndexedRecording
    first_frame: int
    onset_s: float
    offset_s: float

    @property
    def starts_at(self) -> datetime | None:
        """When it began by the clock, where that is known."""
        clock = self.recording.clock
        return None if clock is None else clock + timedelta(seconds=self.onset_s)


class WindowIndex:
    """The windows of a project's recordings.

    Args:
        folder: Where the index is.

    Raises:
        SoundxError: There is none, or it is broken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        facts = _read_facts(self.folder)
        if facts is None:
            raise SoundxError(
                f"There is no index of recordings in {folder} yet.", remedy=Remedy.KEEP_RECORDINGS
            )
        try:
            self.fingerprint: str = facts["fingerprint"]
            self.window_frames: int = facts["window_frames"]
            self.stride_frames: int = facts["stride_frames"]
            self.window_s: float = facts["window_s"]
            self.hop_s: float = facts["hop_s"]
            self.recordings = tuple(IndexedRecording(**one) for one in facts["recordings"])
            self.projection = _read_projection(self.folder, facts["projection"])
        except (KeyError, TypeError):  # of an earlier version, or somebody else's
            why = "it does not say what an index says"
            raise BrokenFileError(
                str(self.folder / _INDEX), why, remedy=Remedy.KEEP_RECORDINGS
            ) from None
        self.n_dims = self.projection.basis.shape[1]
        n_rows = max((r.first + r.n_windows for r in self.recordings), default=0)
        self._stored = _open_vectors(self.folder, n_rows, self.n_dims)

    def check(self) -> None:
        """Hold all vectors against their checksums: of a million windows 1.5 GB are read.

        Raises:
            BrokenFileError: Some are not what was written.
        """
        broken = _broken_in(self._stored, self.recordings)
        if broken:
            why = f"vectors of {counted(len(broken), 'recording')} are not what was written"
            raise BrokenFileError(str(self.folder / _VECTORS), why, remedy=Remedy.KEEP_RECORDINGS)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def _starts(self) -> Indices:
        """Number of the first window of each recording, and how many there are in all."""
        return np.cumsum([0, *(r.n_windows for r in self.recordings)])

    def blocks(self) -> Iterator[tuple[int, Float32]]:
        """Yield numbers of first windows and the vectors from there on, as they lie on disk.

        Yields:
            A number, and vectors [shape=(n, n_dims), dtype=float32] that are read when used.
        """
        number = 0
        for first, n in _runs(self.recordings):
            for begin in range(0, n, _ROWS_AT_A_TIME):
                rows = self._stored[first + begin : first + min(begin + _ROWS_AT_A_TIME, n)]
                yield number, rows
                number += len(rows)

    def vectors(self, numbers: npt.ArrayLike) -> Float32:
        """Return the vectors of some windows [shape=(n, n_dims)]."""
        wanted = np.asarray(numbers, np.int64)
        owners = self.recording_of(wanted)
        firsts = np.array([r.first for r in self.recordings], np.int64)
        return np.asarray(self._stored[firsts[owners] + wanted - self._starts[owners]])

    def recording_of(self, numbers: Indices) -> Indices:
        """Return the place in ``recordings`` of each window's recording."""
        return np.searchsorted(self._starts, numbers, side="right") - 1

    def onsets_s(self) -> npt.NDArray[np.float64]:
        """Return where each window begins in its recording [shape=(n,)]."""
        numbers = np.arange(len(self))
        inside = numbers - self._starts[self.recording_of(numbers)]
        return np.asarray(inside * (self.stride_frames * self.hop_s), np.float64)

    def window(self, number: int) -> Window:
        """Return what a window is about."""
        owner = int(self.recording_of(np.array([number]))[0])
        recording = self.recordings[owner]
        first_frame = int(number - self._starts[owner]) * self.stride_frames
        onset_s = round(first_frame * self.hop_s, 3)
        offset_s = round(min(onset_s + self.window_s, max(recording.duration_s, 0.001)), 3)
        return Window(int(number), recording, first_frame, onset_s, offset_s)

    def number_at(self, file: str, onset_s: float) -> int | None:
        """Return the window of a recording that begins nearest to a time; None where it is not."""
        owner = self._owner_of.get(file)
        if owner is None or not self.recordings[owner].n_windows:
            return None
        place = round(onset_s / (self.stride_frames * self.hop_s))
        return int(self._starts[owner]) + min(max(place, 0), self.recordings[owner].n_windows - 1)

    @cached_property
    def _owner_of(self) -> dict[str, int]:
        return {recording.file: owner for owner, recording in enumerate(self.recordings)}

    @property
    def step(self) -> int:
        """How many windows further on the next one begins that shares no sound with a window."""
        # in hops: a frame is longer than one, so that windows overlap whose frames do not
        return max(1, math.ceil(round(self.window_s / self.hop_s, 6) / self.stride_frames))

    def apart(self) -> Indices:
        """Return the windows that do not overlap, one after the other: each sound once."""
        numbers = np.arange(len(self))
        inside = numbers - self._starts[self.recording_of(numbers)]
        return np.asarray(numbers[inside % self.step == 0])

    def scores(self, weights: Float32, bias: Float32 | float = 0.0) -> Float32:
        """Return products of all windows with some columns, and what is added to them.

        Args:
            weights: [shape=(n_dims, n_columns)].
            bias: [shape=(n_columns,)].

        Returns:
            [shape=(n_windows, n_columns), dtype=float32].
        """
        out = np.empty((len(self), weights.shape[1]), np.float32)
        for number, rows in self.blocks():
            np.matmul(rows, weights, out=out[number : number + len(rows)])
        out += bias
        return out

    @cached_property
    def lengths(self) -> Float32:
        """Length of each vector, never 0 [shape=(n,)]."""
        out = np.empty(len(self), np.float32)
        for number, rows in self.blocks():
            out[number : number + len(rows)] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        return np.maximum(out, 1e-9)

    def frames_place(self, window: Window) -> list[tuple[str, int, int]]:
        """Return where in the store a window's frames are: clip, first frame and number of each."""
        n_frames = min(self.window_frames, window.recording.n_frames - window.first_frame)
        return window.recording.places(window.first_frame, n_frames)


@dataclass
class _State:
    """What the index holds while it grows.

    Attributes:
        fields: What windows are, and how they were made: the fields of ``index.json``.
        projection: Pooled vectors to what is kept.
        recordings: What is in it, in the order of their rows.
    """

    fields: dict[str, Any]
    projection: Projection
    recordings: list[IndexedRecording]

    @property
    def n_rows(self) -> int:
        return max((one.first + one.n_windows for one in self.recordings), default=0)

    def write(self, folder: Path) -> None:
        facts = {**self.fields, "recordings": [asdict(one) for one in self.recordings]}
        with whole_file(folder / _INDEX) as partial:
            partial.write_text(json.dumps(with_checksum(facts)))


def build_index(
    folder: Path,
    manifest: pd.DataFrame,
    embedded: EmbeddingSet,
    window_frames: int,
    *,
    clips: EmbeddingSet | None = None,
) -> WindowIndex:
    """Add the windows of recordings that are not in the index yet, and leave out those now gone.

    Args:
        folder: Where the index is.
        manifest: The recordings; see ``soundx.search.recordings``.
        embedded: Frames of their parts; a recording that lacks some is left out.
        window_frames: Frames of a window; the next one begins half a window later.
        clips: Frames of labelled clips by the same embedder, which the directions are found by as
            well, where there are any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    info = embedded.info
    rows = {row.recording_id: row for row in usable(manifest).itertuples(index=False)}
    complete = {
        key: row
        for key, row in rows.items()
        if embedded.holds(part_ids(key, row.duration_s, info)).all()
    }
    clip_ids = [] if clips is None else list(clips.clip_ids())
    windows = {
        "format": _FORMAT,
        "fingerprint": info.fingerprint,
        "window_frames": window_frames,
        "stride_frames": max(1, (window_frames + 1) // 2),
        "window_s": round(info.window_s + (window_frames - 1) * info.hop_s, 6),
        "hop_s": info.hop_s,
    }
    known = {
        "n_clips": len(clip_ids),
        "n_frames": sum(n_frames_of(row.duration_s, info) for row in complete.values()),
    }
    state = _what_holds(folder, windows, known)
    if state is None:
        # whoever has the old one open goes on reading it
        (folder / _INDEX).unlink(missing_ok=True)
        (folder / _VECTORS).unlink(missing_ok=True)
        sample = _sample(complete, embedded, window_frames, clips, clip_ids)
        projection = Projection.of(sample, pooled_widths(info.parts))
        name = _write_projection(folder, projection)
        state = _State({**windows, **known, "projection": name}, projection, [])
    end = state.n_rows
    state.recordings = [_as_now(one, complete) for one in state.recordings if _is_in(one, complete)]
    there = {one.recording_id for one in state.recordings}
    missing = [row for key, row in complete.items() if key not in there]
    width = state.projection.basis.shape[1] * 4
    path = folder / _VECTORS
    with path.open("r+b" if path.exists() else "w+b") as file:
        # over what a killed run wrote and did not come to say; nothing is cut off, as a process
        # that reads beyond the end of a file it has mapped is killed
        file.seek(end * width)
        looked = track(missing, description="Indexing recordings", total=len(missing))
        for count, row in enumerate(looked, 1):
            state.recordings.append(_append(file, row, embedded, state, end))
            end += state.recordings[-1].n_windows
            if count % _RECORDINGS_A_WRITE == 0:
                file.flush()
                state.write(folder)
    state.write(folder)
    for old in folder.glob("projection-*.npz"):
        if old.name != state.fields["projection"]:
            old.unlink()
    index = WindowIndex(folder)
    logger.info(
        "%s of %s can be searched.",
        counted(len(index), "window"),
        counted(len(index.recordings), "recording"),
    )
    return index


def _is_in(one: IndexedRecording, complete: Mapping[str, Any]) -> bool:
    return one.recording_id in complete


def _as_now(one: IndexedRecording, complete: Mapping[str, Any]) -> IndexedRecording:
    """Return a recording under the name that its file has now."""
    row = complete[one.recording_id]
    return replace(one, file=row.file, starts_at=row.starts_at)


def _append(
    file: IO[bytes], row: Any, embedded: EmbeddingSet, state: _State, first: int
) -> IndexedRecording:
    n_windows = checksum = 0
    for vectors in _vectors_of(row, embedded, state):
        content = vectors.astype("<f4").tobytes()
        checksum = zlib.crc32(content, checksum)
        file.write(content)
        n_windows += len(vectors)
    parts = part_ids(row.recording_id, row.duration_s, embedded.info)
    return IndexedRecording(
        recording_id=row.recording_id,
        file=row.file,
        starts_at=row.starts_at,
        duration_s=row.duration_s,
        n_frames=int(embedded.n_frames(parts).sum()),
        n_parts=len(parts),
        first=first,
        n_windows=n_windows,
        checksum=checksum,
    )


def _vectors_of(row: Any, embedded: EmbeddingSet, state: _State) -> Iterator[Float32]:
    """Yield the vectors of a recording's windows, in order, some at a time."""
    parts = embedded.info.parts
    length, stride = state.fields["window_frames"], state.fields["stride_frames"]

    def compute(frames: Float32) -> Float32:
        width = min(length, len(frames))  # a recording shorter than a window is one
        begins = np.arange(0, len(frames) - width + 1, stride)
        return state.projection(pool_windows(frames, begins, width, parts))

    def stretches() -> Iterator[Float32]:
        held = np.zeros((0, embedded.info.dim), np.float32)
        n_yielded = 0
        for part in part_ids(row.recording_id, row.duration_s, embedded.info):
            held = np.concatenate([held, embedded.frames([part])])
            n_windows = max(0, (len(held) - length) // stride + 1)
            if n_windows:
                yield held[: (n_windows - 1) * stride + length]
                held = held[n_windows * stride :]
            n_yielded += n_windows
        if not n_yielded and len(held):
            yield held

    yield from map_in_threads(compute, stretches(), in_flight_per_worker=2)


def _sample(
    complete: Mapping[str, Any],
    embedded: EmbeddingSet,
    window_frames: int,
    clips: EmbeddingSet | None,
    clip_ids: Sequence[str],
) -> Float32:
    """Return pooled vectors of some windows and clips, for the directions to be found by."""
    rng = np.random.default_rng(7)
    info = embedded.info
    found = [np.zeros((0, sum(pooled_widths(info.parts))), np.float32)]
    parts = [part for key, row in complete.items() for part in part_ids(key, row.duration_s, info)]
    some = [parts[i] for i in np.sort(rng.permutation(len(parts))[:_PARTS_SAMPLED])]
    per_part = -(-_SAMPLE // max(len(some), 1))
    for part in track(some, description="Finding directions", total=len(some)):
        frames = embedded.frames([part])
        n = max(1, len(frames) - window_frames + 1)
        begins = np.sort(rng.permutation(n)[:per_part])
        width = min(window_frames, len(frames))
        found.append(pool_windows(frames, begins, width, info.parts))
    if clips is not None and len(clip_ids):
        chosen = [clip_ids[i] for i in np.sort(rng.permutation(len(clip_ids))[:_SAMPLE])]
        vectors = all_vectors(clips, chosen, windows_per_clip=1)
        found += [vectors.whole, vectors.windows]
    return np.concatenate(found)


def _runs(recordings: Iterable[IndexedRecording]) -> Iterator[tuple[int, int]]:
    """Yield first row and number of rows of recordings that lie one after the other on disk."""
    first = n = 0
    for one in recordings:
        if n and one.first == first + n:
            n += one.n_windows
            continue
        if n:
            yield first, n
        first, n = one.first, one.n_windows
    if n:
        yield first, n


def _what_holds(
    folder: Path, windows: Mapping[str, Any], known: Mapping[str, int]
) -> _State | None:
    """Return what is in the index, None where it has to be made anew; broken rows are left out.

    Args:
        folder: Where it is.
        windows: What its windows have to be.
        known: ``n_clips`` and ``n_frames`` (of recordings) that directions can be found by now.
    """
    try:
        facts = _read_facts(folder)
        if facts is None:
            return None
        if any(facts.get(name) != value for name, value in windows.items()):
            return None
        if known["n_clips"] > _GROWN * max(facts["n_clips"], _FEW_CLIPS):
            return None
        if min(known["n_frames"], _PARTS_SAMPLED * PART_FRAMES) > _GROWN * facts["n_frames"]:
            return None
        recordings = [IndexedRecording(**one) for one in facts.pop("recordings")]
        state = _State(facts, _read_projection(folder, facts["projection"]), recordings)
        stored = _open_vectors(folder, state.n_rows, state.projection.basis.shape[1])
    except (BrokenFileError, TypeError, KeyError) as error:
        logger.warning("The index of recordings is made anew: %s", error)
        return None
    broken = _broken_in(stored, recordings)
    if broken:
        n_broken = counted(len(broken), "recording")
        logger.warning("Vectors of %s are broken, and made anew.", n_broken)
        state.recordings = [one for one in recordings if one not in broken]
    return state


def _broken_in(stored: Float32, recordings: Sequence[IndexedRecording]) -> list[IndexedRecording]:
    """Return the recordings whose vectors are not what was written; all are read."""
    rows = (stored[one.first : one.first + one.n_windows] for one in recordings)
    checksums = map_in_threads(_checksum_of, rows)
    return [one for one, is_of in zip(recordings, checksums, strict=True) if is_of != one.checksum]


def _checksum_of(rows: Float32) -> int:
    checksum = 0
    for first in range(0, len(rows), _ROWS_AT_A_TIME):
        content = np.ascontiguousarray(rows[first : first + _ROWS_AT_A_TIME])
        checksum = zlib.crc32(content.tobytes(), checksum)
    return checksum


def _read_facts(folder: Path) -> dict[str, Any] | None:
    path = folder / _INDEX
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    facts = parse_json(content, str(path), remedy=Remedy.KEEP_RECORDINGS)
    if not isinstance(facts, dict):
        raise BrokenFileError(str(path), "it is no index", remedy=Remedy.KEEP_RECORDINGS)
    return facts


def _open_vectors(folder: Path, n_rows: int, n_dims: int) -> Float32:
    path = folder / _VECTORS
    if not n_rows:
        return np.zeros((0, n_dims), np.float32)
    if not path.exists() or path.stat().st_size < n_rows * n_dims * 4:
        raise BrokenFileError(
            str(path), "it is shorter than it should be", remedy=Remedy.KEEP_RECORDINGS
        )
    return np.memmap(path, "<f4", "r", shape=(n_rows, n_dims))


def _write_projection(folder: Path, projection: Projection) -> str:
    held = io.BytesIO()
    np.savez(
        held,
        mean=projection.standardise.mean,
        scale=projection.standardise.scale,
        basis=projection.basis,
    )
    content = held.getvalue()
    name = f"projection-{zlib.crc32(content):08x}.npz"
    with whole_file(folder / name) as partial:
        partial.write_bytes(content)
    return name


def _read_projection(folder: Path, name: str) -> Projection:
    path = folder / name
    try:
        content = path.read_bytes()
        if name != f"projection-{zlib.crc32(content):08x}.npz":
            raise BrokenFileError(
                str(path), "its checksum is of something else", remedy=Remedy.KEEP_RECORDINGS
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            standardise = Standardiser(arrays["mean"], arrays["scale"])
            return Projection(standardise, arrays["basis"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BrokenFileError(str(path), str(error), remedy=Remedy.KEEP_RECORDINGS) from error
