"""Recordings as the embedding store knows them: by content, in parts of ten minutes.

A recording is the SHA-256 of its bytes; a part of it is what a killed run does again, what a
worker of a cluster is given, and what stands in the store as a clip does. Parts overlap by what a
frame reaches beyond its hop, so that their frames, joined, are those of the whole recording.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.audio.decoding import decode_blocks, inspect_clip
from soundx.embedders.base import Embedder, EmbedderInfo
from soundx.errors import AudioError
from soundx.listening.clock import starts_at
from soundx.listening.recordings import Source
from soundx.parallel import map_in_threads
from soundx.progress import counted, track

logger = logging.getLogger(__name__)

PART_FRAMES = 1250
"""Frames of a part: ten minutes of YAMNet's."""

MANIFEST_DTYPES = {
    "recording_id": "str",
    "file": "str",
    "state": "str",
    "duration_s": "float64",
    "starts_at": "str",
    "error": "str",
}
"""Columns of the table of recordings, in order, and their types."""

_OPEN_AT_ONCE = 3
_BLOCK = 15 * SAMPLE_RATE_HZ


def scan_recordings(sources: list[Source], known: pd.DataFrame) -> pd.DataFrame:
    """Look at recordings: what each is, how long, and when it began.

    Args:
        sources: The recordings.
        known: What an earlier run found, columns of ``MANIFEST_DTYPES`` or empty; those whose
            state is the same are not read again.

    Returns:
        A row a recording, columns of ``MANIFEST_DTYPES``; ``error`` tells why one cannot be used.
    """
    before = {}
    if len(known):
        before = {(row.file, row.state): row for row in known.itertuples(index=False)}

    def look(source: Source) -> tuple[Any, ...]:
        name = source.file.encode("utf-8", "replace").decode()
        if name != source.file:  # no table can hold it
            return ("", name, source.state, 0.0, "", "its name is no text: rename it")
        same = before.get((source.file, source.state))
        if same is not None and source.state and not same.error:
            return tuple(getattr(same, name) for name in MANIFEST_DTYPES)
        try:
            with source.on_disk() as path:
                info = inspect_clip(path)
                began = starts_at(path) or starts_at(Path(source.file))
        except AudioError as error:
            return ("", source.file, source.state, 0.0, "", str(error))
        clock = began.isoformat() if began else ""
        return (info.sha256, source.file, source.state, info.duration_s, clock, "")

    looked = map_in_threads(look, sources, in_flight_per_worker=4)
    rows = list(track(looked, description="Looking at recordings", total=len(sources)))
    table = pd.DataFrame(rows, columns=list(MANIFEST_DTYPES)).astype(MANIFEST_DTYPES)
    broken = table[table["error"] != ""]
    for row in broken.itertuples(index=False):
        logger.warning("%s cannot be used: %s", row.file, row.error)
    whole = table[table["error"] == ""]
    logger.info(
        "%s, %.2f hours.", counted(len(whole), "recording"), whole["duration_s"].sum() / 3600
    )
    return table


def usable(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of recordings that can be used, each content once."""
    whole = manifest[manifest["error"] == ""]
    return whole.drop_duplicates("recording_id").reset_index(drop=True)


def n_frames_of(duration_s: float, info: EmbedderInfo) -> int:
    """Return how many frames a recording has; or one too many, as a frame may span more samples.

    YAMNet's spans 15 ms more than ``window_s``: what its spectrum needs beyond its patch.
    """
    rest = round((duration_s - info.window_s) * SAMPLE_RATE_HZ)
    hop = round(info.hop_s * SAMPLE_RATE_HZ)
    return 1 + max(0, -(-rest // hop))


def part_ids(recording_id: str, duration_s: float, info: EmbedderInfo) -> list[str]:
    """Return what the parts of a recording are called in the store, in order.

    All but the last have ``PART_FRAMES`` frames; that one has one or more, or one too many.
    """
    # one frame alone is no part: it may be there or not
    n_parts = max(1, -(-(n_frames_of(duration_s, info) - 1) // PART_FRAMES))
    return [f"{recording_id}:{part}" for part in range(n_parts)]


def parts_of(manifest: pd.DataFrame, info: EmbedderInfo) -> pd.DataFrame:
    """Return the parts of all usable recordings, as the store's clips.

    Args:
        manifest: Columns of ``MANIFEST_DTYPES``.
        info: The embedder.

    Returns:
        ``clip_id``, ``path`` (of the recording, and which part), ``duration_s``, ``file``,
        ``first_sample`` and ``n_samples`` of each.
    """
    hop = round(info.hop_s * SAMPLE_RATE_HZ)
    rows = []
    for row in usable(manifest).itertuples(index=False):
        n_samples = round(row.duration_s * SAMPLE_RATE_HZ)
        ids = part_ids(row.recording_id, row.duration_s, info)
        for part, clip_id in enumerate(ids):
            first = part * PART_FRAMES * hop
            length = n_samples - first
            if part < len(ids) - 1:
                length = (PART_FRAMES - 1) * hop  # and what the last frame spans: see below
            path = row.file if len(ids) == 1 else f"{row.file} (part {part + 1} of {len(ids)})"
            rows.append((clip_id, path, length / SAMPLE_RATE_HZ, row.file, first, length))
    columns = ["clip_id", "path", "duration_s", "file", "first_sample", "n_samples"]
    return pd.DataFrame(rows, columns=columns)


class RecordingParts(Mapping[str, "RecordingPart"]):
    """The waveforms of parts by path, each decoded when it is asked for.

    Parts of one recording are decoded in one go where they are asked for in order, and only if
    its bytes are still those that were looked at.

    Args:
        parts: As ``parts_of`` returns them.
        sources: Their recordings.
        embedder: The embedder: how much of the next part the last frame of one sees.
    """

    def __init__(self, parts: pd.DataFrame, sources: list[Source], embedder: Embedder) -> None:
        self._row_of = {row.path: row for row in parts.itertuples(index=False)}
        self._last_of = set(parts.groupby("file")["path"].last()) if len(parts) else set()
        self._source_of = {source.file: source for source in sources}
        self._embedder = embedder
        self._open: OrderedDict[str, _Reading] = OrderedDict()

    def __getitem__(self, path: str) -> RecordingPart:
        row: Any = self._row_of[path]
        n_samples = None
        if path not in self._last_of:
            span = self._embedder.model.span_samples
            n_samples = row.n_samples + (span or round(self._embedder.window_s * SAMPLE_RATE_HZ))
        reading = self._reading(row.file, row.clip_id.partition(":")[0])
        return RecordingPart(reading, row.first_sample, n_samples)

    def _reading(self, file: str, sha256: str) -> _Reading:
        reading = self._open.pop(file, None) or _Reading(self._source_of[file], sha256)
        self._open[file] = reading
        while len(self._open) > _OPEN_AT_ONCE:
            self._open.popitem(last=False)
        return reading

    def __iter__(self) -> Iterator[str]:
        return iter(self._row_of)

    def __len__(self) -> int:
        return len(self._row_of)


@dataclass(frozen=True)
class RecordingPart:
    """Samples of a part, decoded when they are asked for.

    Attributes:
        reading: The recording as it is read.
        first_sample: Where it begins, in samples at 16 kHz.
        n_samples: How long it is; None for the last, which is all that is left.
    """

    reading: _Reading
    first_sample: int
    n_samples: int | None

    def __call__(self) -> Float32:
        """Return all of it [shape=(n_samples,)]."""
        return self.reading.part(self.first_sample, self.n_samples)

    def blocks(self) -> Iterator[Float32]:
        """Yield it piece by piece."""
        samples = self()
        for first in range(0, len(samples), _BLOCK):
            yield samples[first : first + _BLOCK]


@dataclass
class _Reading:
    """A recording that is decoded from its beginning on; the part asked for last is kept.

    Its decoder, which is a process, is given back with the end of the recording. Another machine
    that is given one begins anew.
    """

    source: Source
    sha256: str
    _held: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    _held_from: int = 0
    _blocks: Iterator[Float32] | None = None
    _open: contextlib.ExitStack | None = None
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def __reduce__(self) -> tuple[type[_Reading], tuple[Source, str]]:
        return (_Reading, (self.source, self.sha256))

    def part(self, first: int, n_samples: int | None) -> Float32:
        with self._one_at_a_time:
            if self._blocks is None or first < self._held_from:
                self._begin()
            assert self._blocks is not None
            end = math.inf if n_samples is None else first + n_samples
            held, held_to = [self._held], self._held_from + len(self._held)
            try:
                while held_to < end and (block := next(self._blocks, None)) is not None:
                    held_to += len(block)
                    if held_to <= first:  # before what is wanted
                        held, self._held_from = [], held_to
                    else:
                        held.append(block)
            except AudioError:  # or the next part would take this for the end
                self.close()
                raise
            joined = np.concatenate(held) if held else np.zeros(0, np.float32)
            drop = min(max(first - self._held_from, 0), len(joined))
            self._held, self._held_from = joined[drop:], self._held_from + drop
            found = self._held[:n_samples]
            if n_samples is None:
                self.close()
            return found

    def _begin(self) -> None:
        self.close()
        self._open = contextlib.ExitStack()
        path = self._open.enter_context(self.source.on_disk())
        self._blocks = iter(decode_blocks(path, sha256=self.sha256))

    def close(self) -> None:
        """Let go of the recording, and of its decoder."""
        if self._blocks is not None and hasattr(self._blocks, "close"):
            self._blocks.close()
        if self._open is not None:
            self._open.close()
        self._blocks = self._open = None
        self._held, self._held_from = np.zeros(0, np.float32), 0

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()
