"""Events to clips: which of them, and each cut out of its recording as a file of its own.

The folder that comes of it is one that ingestion reads: a folder a label, and a ``metadata.csv``
that keeps clips of one recording on one side of a split. Recordings are decoded once, and as they
come: neither their length nor the number of events is in memory as sound.
"""

from __future__ import annotations

import contextlib
import filecmp
import math
import os
import shutil
import struct
import tempfile
import time
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.audio.decoding import decode_blocks
from soundx.errors import AudioError, SoundxError
from soundx.labels import BACKGROUND, usable_as_label
from soundx.listening.events import Event
from soundx.listening.groups import Row, keep_together
from soundx.markup import printable
from soundx.progress import counted, track
from soundx.storage.names import folded, names_apart, short_hash

How = Literal["all", "random", "best", "balanced"]
"""Which events of a label are chosen."""

_SCORE_BINS = 10
_LONGEST_LABEL = 200  # as ingestion has it
_BACKGROUND_FOLDER = ":BACKGROUND"
_SPECIAL_FOLDERS = (":TEST", _BACKGROUND_FOLDER)  # what ingestion takes for no label
_WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_MOST_WAV_SAMPLES = (2**32 - 1 - _WAV_HEADER.size) // 2
_ASIDE = ".soundx-segments-"
_STALE_S = 24 * 3600.0
_EXAMPLES = 3

_Int16 = npt.NDArray[np.int16]


class PartlyCutError(SoundxError):
    """Some clips could not be cut; all others are there.

    Args:
        reasons: Why not, by recording.
        cut: The clips that are there.
    """

    def __init__(self, reasons: Mapping[str, Sequence[str]], cut: Sequence[Path]) -> None:
        self.reasons = {file: list(why) for file, why in reasons.items()}
        self.cut = list(cut)
        first = [f"{printable(file)}: {why[0]}" for file, why in self.reasons.items()][:_EXAMPLES]
        more = "; ..." if len(self.reasons) > _EXAMPLES else ""
        super().__init__(
            f"Not all clips could be cut from {counted(len(self.reasons), 'recording')}: "
            f"{'; '.join(first)}{more}. {counted(len(self.cut), 'clip')} of the others "
            f"{'is' if len(self.cut) == 1 else 'are'} there."
        )


def choose_segments(
    events: Sequence[Event], *, how: How, per_label: int | None, seed: int = 7
) -> list[Event]:
    """Choose events to cut, label by label; the choice does not depend on their order.

    Args:
        events: The events.
        how: ``all``; ``random``; ``best``, the most probable; or ``balanced``, spread evenly over
            probabilities: of ten equal bins between a label's lowest and highest (fewer where
            ``per_label`` is), as many from each, and more from others where one is short.
        per_label: How many of a label at most; None for no limit.
        seed: What ``random`` and ``balanced`` draw by, 0 or more.

    Returns:
        Those chosen, in the order in which they were given.

    Raises:
        SoundxError: There is no such way to choose, no such number of them, or no such seed.
    """
    if how not in get_args(How):
        raise SoundxError(f"'{how}' is no way to choose events: {', '.join(get_args(How))} are.")
    if per_label is not None and per_label < 1:
        raise SoundxError(f"{per_label} events of a label cannot be chosen: 1 or more can.")
    if how == "all" and per_label is not None:
        raise SoundxError(
            f"'all' and {per_label} of a label cannot both be: leave out the number, or choose "
            "by 'random', 'best' or 'balanced'."
        )
    if seed < 0:
        raise SoundxError(f"Choices cannot be drawn by {seed}: a seed is 0 or more.")
    by_label: dict[str, list[int]] = {}
    for index, event in enumerate(events):
        by_label.setdefault(event.label, []).append(index)
    chosen: list[int] = []
    for label, indices in by_label.items():
        if per_label is None or len(indices) <= per_label:
            chosen += indices
            continue
        # a generator of its own: other labels that come or go change nothing
        rng = np.random.default_rng([seed, zlib.crc32(label.encode("utf-8", "surrogatepass"))])
        by_time = sorted(indices, key=lambda index: _place(events[index]))
        scores = np.array([events[index].probability for index in by_time])
        if how == "best":
            order = np.argsort(-scores, kind="stable").tolist()
        elif how == "random":
            order = rng.permutation(len(scores)).tolist()
        else:
            order = _balanced(scores, per_label, rng)
        chosen += [by_time[one] for one in order[:per_label]]
    return [events[index] for index in sorted(chosen)]


def _balanced(scores: npt.NDArray[np.float64], wanted: int, rng: np.random.Generator) -> list[int]:
    """Return indices into scores such that bins between lowest and highest have equally many."""
    n_bins = min(_SCORE_BINS, wanted)
    low, high = float(scores.min()), float(scores.max())
    edges = np.linspace(low, high, n_bins + 1)[1:-1]
    bin_of = np.digitize(scores, edges)
    bins = [list(rng.permutation(np.flatnonzero(bin_of == number))) for number in range(n_bins)]
    taken: list[int] = []
    while len(taken) < wanted:
        filled = [rest for rest in bins if rest]
        left = wanted - len(taken)
        if left < len(filled):  # the last round: from the lowest to the highest
            filled = [filled[int(i)] for i in np.linspace(0, len(filled) - 1, left).round()]
        taken += [int(rest.pop()) for rest in filled]
    return taken


def cut_segments(
    paths: Mapping[str, Path],
    events: Iterable[Event],
    folder: Path,
    *,
    padding_s: float = 0.0,
    min_s: float | None = None,
) -> list[Path]:
    """Cut events out of their recordings, as clips that ingestion reads.

    A clip is ``<label>/<recording>_<onset in s>_<probability>.wav``, 16 kHz, mono, 16 bits. A
    ``metadata.csv`` beside the labels' folders gives each its recording as group; one that has
    other things in it stays as it is, and that is logged. Clips of a recording come to their
    places once all of it was decoded, each whole or not at all. What is there already is never
    written over.

    Args:
        paths: Where each recording is, by ``Event.file``.
        events: What to cut; the same one twice is one clip.
        folder: Where to.
        padding_s: How much more is cut on either side, as far as the recording goes, in seconds.
        min_s: How long a clip is at least, in seconds: a shorter one goes on to both sides
            alike, or to one at an end of the recording. None for as long as it happens to be.

    Returns:
        The clips, in the order of their events, those that were there already among them.

    Raises:
        SoundxError: A label or category cannot be a folder's name, an event has no length, or a
            length is below 0: nothing was cut. Or the folder cannot be written.
        PartlyCutError: A recording is broken or missing, ends before an event begins, or
            something else has a clip's name. All others are cut.
    """
    lengths = (padding_s, min_s or 0.0)
    if not all(math.isfinite(length) and length >= 0 for length in lengths):
        raise SoundxError("Padding and shortest length of clips cannot be below 0, or endless.")
    n_least = _samples(min_s or 0.0)
    clips = _plan(paths, list(events), padding_s=padding_s, min_s=min_s or 0.0)
    if not clips:
        return []
    by_file: dict[str, list[_Clip]] = {}
    for clip in clips:
        by_file.setdefault(clip.event.file, []).append(clip)
    reasons: dict[str, list[str]] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_partial(folder, older_than_s=_STALE_S)
        with keep_together(folder, {clip.name: clip.row for clip in clips}) as there:
            for file, its in track(by_file.items(), description="Cutting clips"):
                for clip, reason in _cut_recording(paths.get(file), its, folder, n_least):
                    if reason:
                        reasons.setdefault(file, []).append(reason)
                    else:
                        there.add(clip.name)
    except OSError as error:
        where = error.filename or folder
        raise SoundxError(
            f"{printable(str(where))} cannot be written: {error.strerror or error}. Clips that "
            "were cut are whole; cut again, and the others follow."
        ) from error
    made = [folder / clip.name for clip in clips if clip.name in there]
    if reasons:
        raise PartlyCutError(reasons, made)
    return made


def segment_names(paths: Mapping[str, Path], events: Sequence[Event]) -> dict[Event, str]:
    """Return what each event's clip is called, from the folder on; see ``cut_segments``."""
    return {clip.event: clip.name for clip in _plan(paths, events, padding_s=0.0, min_s=0.0)}


@dataclass(frozen=True)
class _Clip:
    """A clip to be cut.

    Attributes:
        event: What is in it.
        name: What it is called from the folder on.
        start: Its first sample.
        end: The sample after its last one.
    """

    event: Event
    name: str
    start: int
    end: int

    @property
    def row(self) -> Row:
        return Row(self.name, self.event.label, self.event.category, printable(self.event.file))


def _plan(
    paths: Mapping[str, Path], events: Sequence[Event], *, padding_s: float, min_s: float
) -> list[_Clip]:
    """Return what is to be cut, with names that no two have."""
    for event in events:
        _check(event)
    once = {(*_place(event), event.label, event.probability): event for event in events}
    stems = names_apart(
        {file: PurePosixPath(file).stem for file in (*paths, *(e.file for e in once.values()))}
    )
    names = {key: _name(event, stems[event.file]) for key, event in once.items()}
    alike = Counter(map(folded, names.values()))
    clips = []
    for key, event in once.items():
        name = names[key]
        if alike[folded(name)] > 1:
            name += f"~{short_hash(repr(key))}"
        start, end = _span(event, padding_s=padding_s, min_s=min_s)
        if end - start > _MOST_WAV_SAMPLES:
            raise SoundxError(
                f"{printable(event.file)}: '{event.label}' from {event.onset_s:.3f} s to "
                f"{event.offset_s:.3f} s is longer than a WAV file can be."
            )
        clips.append(_Clip(event, f"{name}.wav", start, end))
    return clips


def _check(event: Event) -> None:
    """Refuse what ingestion would take for another label, or for none, and what has no length."""
    for kind, name in (("label", event.label), ("category", event.category)):
        why = ""
        if name == BACKGROUND:
            continue  # it has a folder of its own
        if not usable_as_label(name):
            why = "it is empty, or has characters that no name of a folder has"
        elif name != name.strip():
            why = "it begins or ends with a space"
        elif len(name.encode()) > _LONGEST_LABEL:
            why = f"it is longer than {_LONGEST_LABEL} bytes"
        elif kind == "label" and name.startswith((".", *_SPECIAL_FOLDERS)):
            why = "a folder called so is not taken for a label"
        if why:
            raise SoundxError(f"Clips of the {kind} {name!r} cannot be put in a folder: {why}.")
    # NaN is not below anything
    if not (0 <= event.onset_s < event.offset_s < math.inf and event.probability >= 0):
        raise SoundxError(
            f"{printable(event.file)}: '{event.label}' cannot be cut from {event.onset_s} s to "
            f"{event.offset_s} s with the probability {event.probability}."
        )


def _span(event: Event, *, padding_s: float, min_s: float) -> tuple[int, int]:
    """Return a clip's first sample, and the one after its last, were there no end to sound."""
    start = max(_samples(event.onset_s - padding_s), 0)
    end = max(_samples(event.offset_s + padding_s), start + 1)
    missing = _samples(min_s) - (end - start)
    if missing <= 0:
        return start, end
    start = max(start - missing // 2, 0)
    return start, start + _samples(min_s)


def _cut_recording(
    path: Path | None, clips: Sequence[_Clip], folder: Path, n_least: int
) -> Iterator[tuple[_Clip, str]]:
    """Cut one recording; yield each clip, and why it is not there, empty where it is."""
    if path is None:
        yield from ((clip, "it is not among the recordings") for clip in clips)
        return
    with tempfile.TemporaryDirectory(prefix=_ASIDE, dir=folder) as aside:
        pieces = {clip.name: Path(aside, f"{number}.wav") for number, clip in enumerate(clips)}
        try:
            n_samples = _write_pieces(path, clips, pieces, n_least)
        except AudioError as error:
            yield from ((clip, str(error)) for clip in clips)
            return
        for clip in clips:
            if _samples(clip.event.onset_s) >= n_samples:
                length = f"{n_samples / SAMPLE_RATE_HZ:.3f} s"
                yield clip, f"it ends at {length}, before {clip.event.onset_s:.3f} s"
                continue
            yield clip, _put_in_place(pieces[clip.name], folder / clip.name)


def _write_pieces(
    path: Path, clips: Sequence[_Clip], pieces: Mapping[str, Path], n_least: int
) -> int:
    """Write each clip to its piece, as the recording is decoded; return its length in samples.

    No file stays open: any number of events may overlap. The last ``n_least`` samples are kept:
    where a recording ends is known when it does, and a clip may need more of what came before.
    """
    waiting = deque(sorted(clips, key=lambda clip: clip.start))
    last = np.zeros(0, np.int16)
    under_way: list[_Clip] = []
    position = 0
    for block in decode_blocks(path):
        samples = _to_int16(block)
        end = position + len(samples)
        while waiting and waiting[0].start < end:
            under_way.append(waiting.popleft())
        for clip in under_way:
            inside = samples[max(clip.start - position, 0) : clip.end - position]
            _append(pieces[clip.name], inside)
        under_way = [clip for clip in under_way if clip.end > end]
        if n_least:
            last = np.concatenate([last, samples])[-n_least:]
        position = end
    for clip in under_way:
        if position - clip.start < n_least:
            pieces[clip.name].unlink()
            _append(pieces[clip.name], last)
    for piece in pieces.values():
        if piece.exists():
            _write_header(piece)
    return position


def _to_int16(block: Float32) -> _Int16:
    """Return samples in 16 bits, such that those of a 16-bit recording are the same again."""
    scaled = np.rint(block * np.float32(32768))
    samples: _Int16 = np.clip(scaled, -32768, 32767).astype("<i2")
    return samples


def _append(piece: Path, samples: _Int16) -> None:
    with piece.open("ab") as file:
        if file.tell() == 0:
            file.write(bytes(_WAV_HEADER.size))
        file.write(samples.tobytes())


def _write_header(piece: Path) -> None:
    n_bytes = piece.stat().st_size - _WAV_HEADER.size
    form = (b"fmt ", 16, 1, 1, SAMPLE_RATE_HZ, 2 * SAMPLE_RATE_HZ, 2, 16)  # PCM, mono, 16 bits
    rest = _WAV_HEADER.size - 8 + n_bytes
    with piece.open("r+b") as file:
        file.write(_WAV_HEADER.pack(b"RIFF", rest, b"WAVE", *form, b"data", n_bytes))


def _put_in_place(piece: Path, target: Path) -> str:
    """Give a piece its name; return why not, empty where it is there."""
    if not os.path.lexists(target):
        target.parent.mkdir(exist_ok=True)
        piece.replace(target)
    elif not (target.is_file() and filecmp.cmp(piece, target, shallow=False)):
        return (
            f"{printable(str(target))} is there already and holds something else: take it away, or "
            "cut to another folder"
        )
    return ""


def remove_partial(folder: Path, *, older_than_s: float) -> None:
    """Remove clips that a killed process of ours began to cut and will never finish."""
    for left in folder.glob(f"{_ASIDE}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > older_than_s:
                shutil.rmtree(left, ignore_errors=True)


def _name(event: Event, stem: str) -> str:
    # six digits are eleven days
    folder = event.label if event.label != BACKGROUND else _BACKGROUND_FOLDER
    return f"{folder}/{stem}_{event.onset_s:010.3f}_{min(event.probability, 1.0):.3f}"


def _place(event: Event) -> tuple[Any, ...]:
    return event.file, event.onset_s, event.offset_s


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)
