"""Events as files that other programs open: tables, label tracks, selection tables.

What is written is text by file name; nothing here touches a disk. Reading such files back is
:mod:`soundx.listening.truth`.

Names of labels and recordings are anybody's. In tables separated by tabs, which know no
quoting, line breaks, tabs and other control characters become spaces and ``"`` becomes ``'``, on
which some readers would swallow lines. In CSV files such characters are quoted, and a text that
a spreadsheet would take for a formula gets an apostrophe in front (:func:`soundx.markup.guarded`).
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count

from soundx.audio import SAMPLE_RATE_HZ
from soundx.errors import SoundxError
from soundx.labels import shown_label
from soundx.listening.events import Event, Recording
from soundx.markup import guarded

CSV_HEADER = (
    "file",
    "onset_s",
    "offset_s",
    "label",
    "category",
    "probability",
    "mean_probability",
    "starts_at",
)
RAVEN_HEADER = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)"),
    *("Low Freq (Hz)", "High Freq (Hz)", "Label", "Category", "Confidence"),
    *("Begin Path", "File Offset (s)"),
)
KALEIDOSCOPE_HEADER = (
    *("INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION"),
    *("TOP1MATCH", "scientific_name", "confidence"),
)
BIRDNET_HEADER = ("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File")
DCASE_HEADER = ("filename", "onset", "offset", "event_label")

HIGHEST_HZ = SAMPLE_RATE_HZ / 2
"""Nothing above it is heard: the upper edge of selections. crowsetta takes no whole numbers."""

ByFile = Mapping[str, Sequence[Event]]
Writer = Callable[[Sequence[Recording], ByFile, bool], dict[str, str]]

_LONGEST_NAME = 200  # bytes; with our suffixes below the 255 of file systems
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # by Windows


def write_events(
    format: str,
    recordings: Sequence[Recording],
    events: Sequence[Event],
    *,
    combined: bool = False,
) -> dict[str, str]:
    """Return events as the files of a format.

    Args:
        format: One of ``FORMATS``. ``csv`` is our own, one table with all that is known.
            ``audacity`` are label tracks, which are also the headerless lists that sed_eval
            reads (told that a tab separates, where labels hold spaces); ``raven`` selection
            tables; ``kaleidoscope`` one table; ``birdnet`` tables as BirdNET-Analyzer's;
            ``dcase`` one table as DCASE's baselines, psds_eval and sed_eval read it.
        recordings: All that was listened to, in order; one without events has its file as well.
        events: What was heard in them.
        combined: One file for all recordings, where a format has one for each. Raven's times
            then go on from recording to recording, as when it opens them as one sound.

    Returns:
        Text by file name, with ``/`` between folders, each name once also where case does not
        count. It is to be written as UTF-8 with its line ends as they are (``newline=""``).

    Raises:
        SoundxError: There is no such format, an event's recording is not among those given, or
            label tracks, which name no recording, are asked for as one.
    """
    if format not in FORMATS:
        raise SoundxError(f"'{format}' is no format of events. There are {', '.join(FORMATS)}.")
    distinct = list({recording.file: recording for recording in recordings}.values())
    by_file: dict[str, list[Event]] = {recording.file: [] for recording in distinct}
    for event in events:
        if event.file not in by_file:
            raise SoundxError(f"An event is in '{event.file}', which was not listened to.")
        by_file[event.file].append(event)
    return FORMATS[format](distinct, by_file, combined)


def write_formats(
    formats: Iterable[str],
    recordings: Sequence[Recording],
    events: Sequence[Event],
    *,
    combined: bool = False,
) -> dict[str, str]:
    """Return events in several formats; the files of each but our own in a folder of its name.

    Args:
        formats: Some of ``FORMATS``.
        recordings: All that was listened to, in order.
        events: What was heard in them.
        combined: One selection table of Raven's for all recordings.
    """
    files: dict[str, str] = {}
    for name in formats:
        folder = "" if name == "csv" else f"{name}/"
        texts = write_events(name, recordings, events, combined=combined and name == "raven")
        files |= {f"{folder}{file}": text for file, text in texts.items()}
    return files


def names_of(recordings: Sequence[Recording]) -> list[str]:
    """Return a name for the files about each recording, without a suffix.

    It is the recording's own, without suffix, below the folder that all of them share; two of one
    name (``a.wav`` beside ``a.mp3``) keep their suffixes, and what is still the same is numbered.
    Characters that a file system may refuse become ``_``, and nothing leads out of a folder.
    """
    paths = [_parts(recording.file) for recording in recordings]
    shared = _n_shared([path[:-1] for path in paths])
    whole = ["/".join(map(_safe, path[shared:])) for path in paths]
    short = [re.sub(r"(?<=[^/])\.[^./]{1,5}$", "", name) for name in whole]
    seen = Counter(name.casefold() for name in short)
    taken: set[str] = set()
    folders = {folder for name in whole for folder in _folders(name.casefold())}
    names = []
    for full, stem in zip(whole, short, strict=True):
        wanted = stem if seen[stem.casefold()] == 1 else full
        tries = (wanted if n == 1 else f"{wanted} ({n})" for n in count(1))
        # a file may not have the name of a folder, whatever suffix it gets
        name = next(
            name
            for name in tries
            if name.casefold() not in taken
            and not any(folder.startswith(f"{name.casefold()}.") for folder in folders)
        )
        taken.add(name.casefold())
        names.append(name)
    return names


def _csv(recordings: Sequence[Recording], by_file: ByFile, combined: bool) -> dict[str, str]:
    rows = [
        (
            event.file,
            _seconds(event.onset_s),
            _seconds(event.offset_s),
            event.label,
            event.category,
            _probability(event),
            f"{event.mean_probability:.4f}",
            event.starts_at.isoformat(timespec="milliseconds") if event.starts_at else "",
        )
        for event in _in_order(recordings, by_file)
    ]
    return {"events.csv": _commas(CSV_HEADER, rows)}


def _audacity(recordings: Sequence[Recording], by_file: ByFile, combined: bool) -> dict[str, str]:
    if combined:
        raise SoundxError(
            "Audacity's label tracks do not say which recording they are of: they cannot be one "
            "file. Leave them apart, or choose another format."
        )
    return {
        f"{name}.txt": _tabs(
            (_seconds(event.onset_s), _seconds(event.offset_s), shown_label(event.label))
            for event in by_file[recording.file]
        )
        for name, recording in zip(names_of(recordings), recordings, strict=True)
    }


def _raven(recordings: Sequence[Recording], by_file: ByFile, combined: bool) -> dict[str, str]:
    tables: dict[str, list[Sequence[str]]] = {}
    before_s = 0.0
    for name, recording in zip(names_of(recordings), recordings, strict=True):
        table = "events" if combined else name
        rows = tables.setdefault(f"{table}.selections.txt", [RAVEN_HEADER])
        for event in by_file[recording.file]:
            rows.append(
                (
                    *(str(len(rows)), "Spectrogram 1", "1"),
                    *(_seconds(before_s + event.onset_s), _seconds(before_s + event.offset_s)),
                    *("0.0", f"{HIGHEST_HZ:.1f}", shown_label(event.label)),
                    *(event.category, _probability(event)),
                    *(event.file, _seconds(event.onset_s)),
                )
            )
        before_s += recording.duration_s if combined else 0.0
    if combined:
        tables.setdefault("events.selections.txt", [RAVEN_HEADER])
    return {name: _tabs(rows) for name, rows in tables.items()}


def _kaleidoscope(
    recordings: Sequence[Recording], by_file: ByFile, combined: bool
) -> dict[str, str]:
    """Kaleidoscope's own columns, and the two in which BirdNET-Analyzer looks for its answer.

    ``TOP1DIST``, which some tools fill with a confidence, is a distance: the lower the surer.
    """
    rows = []
    for event in _in_order(recordings, by_file):
        folder, _, name = event.file.rpartition("/")
        above, slash, folder = folder.rpartition("/")
        if not (above or folder) and event.file.startswith("/"):
            slash = "/"
        duration_s = round(event.offset_s, 3) - round(event.onset_s, 3)
        times = (_seconds(event.onset_s), _seconds(duration_s))
        label = shown_label(event.label)
        rows.append((above or slash, folder, name, *times, label, label, _probability(event)))
    return {"kaleidoscope.csv": _commas(KALEIDOSCOPE_HEADER, rows)}


def _birdnet(recordings: Sequence[Recording], by_file: ByFile, combined: bool) -> dict[str, str]:
    """A label has one name, which stands for the scientific and the common one."""
    tables: dict[str, list[Sequence[str]]] = {"events": []} if combined else {}
    for name, recording in zip(names_of(recordings), recordings, strict=True):
        rows = tables.setdefault("events" if combined else name, [])
        for event in by_file[recording.file]:
            times = (_seconds(event.onset_s), _seconds(event.offset_s))
            label = shown_label(event.label)
            rows.append((*times, label, label, _probability(event), event.file))
    return {
        f"{name}.BirdNET.results.csv": _commas(BIRDNET_HEADER, rows)
        for name, rows in tables.items()
    }


def _dcase(recordings: Sequence[Recording], by_file: ByFile, combined: bool) -> dict[str, str]:
    rows = [
        (event.file, _seconds(event.onset_s), _seconds(event.offset_s), shown_label(event.label))
        for event in _in_order(recordings, by_file)
    ]
    return {"dcase.tsv": _tabs([DCASE_HEADER, *rows])}


FORMATS: Mapping[str, Writer] = {
    "csv": _csv,
    "audacity": _audacity,
    "raven": _raven,
    "kaleidoscope": _kaleidoscope,
    "birdnet": _birdnet,
    "dcase": _dcase,
}


def _in_order(recordings: Sequence[Recording], by_file: ByFile) -> list[Event]:
    return [event for recording in recordings for event in by_file[recording.file]]


def _seconds(time_s: float) -> str:
    return f"{time_s:.3f}"


def _probability(event: Event) -> str:
    return f"{event.probability:.4f}"


def _commas(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    # only with this line end are both of its characters quoted inside a text
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([guarded(_writable(cell)) for cell in row] for row in rows)
    return text.getvalue()


def _tabs(rows: Iterable[Sequence[str]]) -> str:
    return "".join("\t".join(map(_one_cell, row)) + "\n" for row in rows)


def _one_cell(text: str) -> str:
    broken = ("Cc", "Zl", "Zp")
    spaced = "".join(" " if unicodedata.category(c) in broken else c for c in _writable(text))
    return spaced.replace('"', "'").strip()


def _writable(text: str) -> str:
    """Replace what UTF-8 cannot hold (bytes of file names that are none) and no text should."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


def _parts(file: str) -> list[str]:
    """Split a path or URL; what stands after ``?`` in a URL may be a signature, and is left out."""
    scheme, found, rest = file.partition("://")
    path = re.split("[?#]", rest)[0] if found else scheme
    return [part for part in re.split(r"[/\\]", path) if part not in ("", ".", "..")] or ["_"]


def _n_shared(folders: Sequence[Sequence[str]]) -> int:
    shared = 0
    for level in zip(*folders, strict=False):
        if len(set(level)) > 1:
            break
        shared += 1
    return shared


def _safe(part: str) -> str:
    """Return a name that every file system takes."""
    name = re.sub(r'[\x00-\x1f\x7f-\x9f\u2028\u2029<>:"|?*]', "_", _writable(part))
    if len(coded := name.encode()) > _LONGEST_NAME:
        # the end is kept: it holds the suffix, and often the time
        name = coded[:120].decode(errors="ignore") + "_" + coded[-60:].decode(errors="ignore")
    name = re.sub(r"[. ]+$", "_", name)
    return f"_{name}" if _RESERVED.match(name) else name


def _folders(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]
