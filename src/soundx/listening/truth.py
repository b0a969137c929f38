"""Events from the files in which people and programs mark them.

Our own CSV file, Audacity's label tracks, Raven's selection tables, the tables of DCASE, of
BirdNET-Analyzer and Kaleidoscope, and the headerless lists of sed_eval. Which one a file is, its
content tells. What cannot be understood is named, with its line: nothing is passed over.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from soundx.errors import SoundxError
from soundx.labels import category_of
from soundx.listening.events import Event
from soundx.markup import printable, unguarded

MAX_BYTES = 100_000_000
"""Larger files are no lists of events: two million lines have less."""

SUFFIXES = (".txt", ".csv", ".tsv", ".ann", ".lab")
"""What is read of a folder; which format a file is, its content tells."""

LABEL_COLUMNS = (
    *("label", "annotation", "annotations", "common name", "species", "species code"),
    *("scientific name", "event label", "tag", "tags", "class", "call type", "call", "sound type"),
)
"""Where a selection table may have its labels, the first that is there; letters' case and ``_``
do not count."""

_CONFIDENCE = ("probability", "confidence")
# what programs append to a recording's name, longest first
_APPENDED = re.compile(
    r"(\.birdnet)?((\.results\.kaleidoscope|\.results|\.selection\.table)"
    r"|(\.table\.\d+)?\.selections|\.audacity|\.labels)?\.(txt|csv|tsv|ann|lab)$",
    re.IGNORECASE,
)
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")


@dataclass(frozen=True)
class _Row:
    """A line of a table: its number, and its cells by the lower-case name of their column."""

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class _Table:
    """A file's rows, and what is to be said where one of them is wrong."""

    path: Path
    columns: Sequence[str]
    rows: Sequence[_Row]

    def error(self, row: _Row | None, what: str) -> SoundxError:
        where = f", line {row.line}" if row else ""
        return SoundxError(f"{printable(str(self.path))}{where}: {printable(what)}")

    def seconds(self, row: _Row, column: str) -> float:
        text = row.cells[column]
        value = _number(text)
        if value is None or not math.isfinite(value):
            raise self.error(row, f"'{text}' is no time in seconds (column {column}).")
        return value

    def label(self, row: _Row, column: str) -> str:
        label = row.cells[column].strip()
        if not label:
            raise self.error(row, f"there is no label (column {column}): write one, or remove it.")
        return label

    def probability(self, row: _Row) -> float:
        """Return what a column tells; people write words and grades into such columns, too."""
        told = next((row.cells[name] for name in _CONFIDENCE if name in row.cells), "")
        value = _number(told)
        return value if value is not None and 0 <= value <= 1 else 1.0

    def event(
        self,
        row: _Row,
        file: str,
        onset_s: float,
        offset_s: float,
        label: str,
        *,
        category: str | None = None,
        mean_probability: float | None = None,
        starts_at: datetime | None = None,
    ) -> Event:
        if onset_s < 0:
            raise self.error(row, f"an event cannot begin at {onset_s:g} s, before its recording.")
        if offset_s < onset_s:
            raise self.error(
                row,
                f"'{label}' would end at {offset_s:g} s and begin at {onset_s:g} s: exchange them.",
            )
        probability = self.probability(row)
        return Event(
            file=file,
            onset_s=onset_s,
            offset_s=offset_s,
            label=label,
            category=category_of(label) if category is None else category,
            probability=probability,
            mean_probability=probability if mean_probability is None else mean_probability,
            starts_at=starts_at,
        )


Reader = Callable[[_Table, str, str | None], Iterator[Event]]


def read_events(
    path: str | Path, *, file: str | None = None, label_column: str | None = None
) -> list[Event]:
    """Return the events that a file, or every file of a folder, tells of.

    Probabilities are 1 where none is told, categories those that labels have by their names.

    Args:
        path: A file, or a folder; of a folder the files below it with one of ``SUFFIXES`` are
            read, save hidden ones.
        file: The recording it is about. Unless given, it is what the file itself says
            (``Begin Path``, ``File``, ``filename``), else what its own name stands for:
            ``rec.Table.1.selections.txt`` is about ``rec``, ``a/rec.txt`` of a folder about
            ``a/rec``.
        label_column: Column of the labels in a table that has headings, where it is none of
            ``LABEL_COLUMNS``.

    Returns:
        Events by recording, in order of time. A file without lines is a recording without any.

    Raises:
        SoundxError: Something cannot be read or understood; file, line and remedy are named.
    """
    path = Path(path)
    if path.is_dir():
        if file is not None:
            raise SoundxError(
                f"{path} is a folder, of many recordings: they cannot all be '{file}'."
            )
        events = _of_folder(path, label_column)
    else:
        named = file if file is not None else _recording_of(path.name)
        events = list(_of_file(path, named, label_column))
        if file is not None:
            about = sorted({event.file for event in events})
            if len(about) > 1:
                some = printable(", ".join(about[:2]))
                raise SoundxError(
                    f"{path} is about {len(about)} recordings ({some}, ...): they cannot all be "
                    f"'{file}'."
                )
            events = [_moved(event, file) for event in events]
    return sorted(events, key=lambda e: (e.file, e.onset_s, e.offset_s, e.label))


def _of_folder(folder: Path, label_column: str | None) -> list[Event]:
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not paths:
        raise SoundxError(f"{folder} has no file of events in it ({', '.join(SUFFIXES)}).")
    events: list[Event] = []
    about: dict[str, Path] = {}
    for path in paths:
        named = _recording_of(path.relative_to(folder).as_posix())
        found = list(_of_file(path, named, label_column))
        # twice the same label track and selection table would be every event twice
        first = about.setdefault(named, path)
        if first != path and any(event.file == named for event in found):
            raise SoundxError(f"{first} and {path} are both about '{named}': keep one of them.")
        events += found
    return events


def _of_file(path: Path, named: str, label_column: str | None) -> Iterator[Event]:
    text = _text(path)
    if not text.strip():
        return
    for delimiter in "\t,;":
        rows = _cells(text, delimiter)
        if not rows:  # nothing but frequencies of a label track
            return
        first = rows[0][1]
        names = [_plain(name) for name in first]
        for needed, reader in _HEADERS.items():
            if needed <= set(names):
                yield from reader(_table(path, names, rows[1:]), named, label_column)
                return
        columns = _headerless(first)
        if columns:
            yield from _read_plain(_table(path, columns, rows), named, None)
            return
    start = text.strip().splitlines()[0][:60]
    raise SoundxError(
        f"{path}: its first line ('{start}') begins no list of events. There are Audacity's label "
        "tracks, Raven's selection tables, the tables of DCASE, BirdNET and Kaleidoscope, and the "
        "events.csv of soundx. Take other files out of the folder."
    )


def _text(path: Path) -> str:
    """Return a file's text, whatever its line ends; a byte order mark is no part of it."""
    try:
        if not path.is_file():
            raise SoundxError(f"{path} is not there, or is no file.")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise SoundxError(
                f"{path} has {size / 1e6:.0f} MB: no list of events is as long. Lists of more "
                f"than {MAX_BYTES / 1e6:.0f} MB have to be divided."
            )
        content = path.read_bytes()
    except OSError as error:
        raise SoundxError(f"{path} cannot be read: {error.strerror}.") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content:
        raise SoundxError(f"{path} is UTF-16 or no text at all: save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SoundxError(
            f"{path}, line {line}: not UTF-8 (byte {content[error.start]:#04x}). Save it as UTF-8."
        ) from error


def _cells(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Return the cells of each line that has any, with the line's number."""
    if delimiter == "\t":
        # a quote is a letter in label tracks and selection tables, save around a whole cell
        lines = enumerate(re.split("\r\n|\n|\r", text), start=1)
        # a label track's frequencies stand below it, after a backslash
        rows = [
            (line, [_unquoted(cell) for cell in content.split("\t")])
            for line, content in lines
            if not content.startswith("\\")
        ]
    else:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows = []
        try:
            for cells in reader:
                rows.append((reader.line_num, [unguarded(cell) for cell in cells]))
        except csv.Error:  # one cell of more than 131,072 characters: another delimiter, or none
            return [(1, [""])]
    return [(line, cells) for line, cells in rows if any(cell.strip() for cell in cells)]


def _unquoted(cell: str) -> str:
    inside = re.fullmatch(r'\s*"(.*)"\s*', cell, re.DOTALL)
    return inside[1].replace('""', '"') if inside else cell


def _table(path: Path, columns: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> _Table:
    """Name the cells of every row; what stands beside the last column has to be empty."""
    named = []
    n = len(columns)
    for line, cells in rows:
        if len(cells) < n or any(cell.strip() for cell in cells[n:]):
            raise SoundxError(
                f"{path}, line {line}: {len(cells)} columns where there should be {n} "
                f"({', '.join(columns)})."
            )
        named.append(_Row(line, dict(zip(columns, cells, strict=False))))
    return _Table(path, columns, named)


def _headerless(first: Sequence[str]) -> tuple[str, ...] | None:
    """Return the columns of a list without headings by its first line, None where it is none."""
    numbers = [_number(cell) is not None for cell in first]
    n = len(first)
    if n == 4 and numbers[1] and numbers[2] and not (numbers[0] and numbers[3]):  # noqa: PLR2004
        return ("filename", "onset", "offset", "event label")
    if n in (3, 4) and numbers[0] and numbers[1]:
        return ("onset", "offset", "event label", "confidence")[:n]
    return None


def _read_plain(table: _Table, named: str, label_column: str | None) -> Iterator[Event]:
    """Read DCASE's table, sed_eval's list or a label track."""
    column = _label_column(table, label_column)
    for row in table.rows:
        told = [row.cells[name].strip() for name in ("onset", "offset", column)]
        if "filename" in row.cells and not any(told):
            continue  # so DCASE names a recording without events
        file = row.cells.get("filename", "").strip() or named
        onset_s, offset_s = table.seconds(row, "onset"), table.seconds(row, "offset")
        yield table.event(row, file, onset_s, offset_s, table.label(row, column))


def _read_ours(table: _Table, named: str, label_column: str | None) -> Iterator[Event]:
    for row in table.rows:
        starts_at = None
        if clock := row.cells.get("starts at", "").strip():
            try:
                starts_at = datetime.fromisoformat(clock)
            except ValueError:
                raise table.error(row, f"'{clock}' is no time (ISO 8601).") from None
        mean = _number(row.cells.get("mean probability", ""))
        label = row.cells["label"]  # of ours, spaces at its ends are part of it
        yield table.event(
            row,
            row.cells.get("file") or named,
            table.seconds(row, "onset s"),
            table.seconds(row, "offset s"),
            label,
            category=row.cells.get("category"),
            mean_probability=mean if mean is not None and 0 <= mean <= 1 else None,
            starts_at=starts_at,
        )


def _read_birdnet(table: _Table, named: str, label_column: str | None) -> Iterator[Event]:
    column = _label_column(table, label_column)
    for row in table.rows:
        onset_s, offset_s = table.seconds(row, "start (s)"), table.seconds(row, "end (s)")
        file = row.cells.get("file") or named
        yield table.event(row, file, onset_s, offset_s, table.label(row, column))


def _read_kaleidoscope(table: _Table, named: str, label_column: str | None) -> Iterator[Event]:
    # what a person put in is more than what a program found
    own = ("manual id", "top1match", "common name", "scientific name")
    columns = [name for name in own if name in table.columns]
    if label_column is not None or not columns:
        columns = [_label_column(table, label_column)]
    for row in table.rows:
        path = row.cells["in file"]
        for name in ("folder", "indir"):
            above = row.cells.get(name, "")
            path = f"{above.rstrip('/')}/{path}" if above else path
        onset_s = table.seconds(row, "offset")
        offset_s = round(onset_s + table.seconds(row, "duration"), 6)
        column = next((name for name in columns if row.cells[name].strip()), columns[0])
        yield table.event(row, path or named, onset_s, offset_s, table.label(row, column))


def _read_raven(table: _Table, named: str, label_column: str | None) -> Iterator[Event]:
    column = _label_column(table, label_column)
    path_column = next((n for n in ("begin path", "begin file") if n in table.columns), None)
    in_file = "file offset (s)" in table.columns
    if path_column and not in_file and len({r.cells[path_column] for r in table.rows}) > 1:
        raise table.error(
            None,
            "its selections are in several recordings, their times counted through all of them. "
            "Add the column 'File Offset (s)' in Raven (Measurements) and save it again.",
        )
    for row in _one_view(table, column):
        begin_s, end_s = table.seconds(row, "begin time (s)"), table.seconds(row, "end time (s)")
        onset_s, offset_s = begin_s, end_s
        if in_file and row.cells["file offset (s)"].strip():
            onset_s = table.seconds(row, "file offset (s)")
            # the difference of two sums: without what the sums lost
            offset_s = round(onset_s + (end_s - begin_s), 6)
        file = (row.cells[path_column].strip() if path_column else "") or named
        yield table.event(row, file, onset_s, offset_s, table.label(row, column))


def _one_view(table: _Table, column: str) -> list[_Row]:
    """Return one row a selection: Raven has one for each view (waveform, spectrogram)."""
    rows: dict[tuple[str, ...], _Row] = {}
    views = {"selection", "view"} <= set(table.columns)
    for row in table.rows:
        key: tuple[str, ...] = (str(row.line),)
        if views:
            key = (row.cells["selection"], row.cells["begin time (s)"], row.cells["end time (s)"])
        if key in rows and row.cells["view"] == rows[key].cells["view"]:
            key = (*key, str(row.line))  # the same number twice in one view: two selections
        if key not in rows or not rows[key].cells[column].strip():
            rows[key] = row
    return list(rows.values())


def _label_column(table: _Table, label_column: str | None) -> str:
    if label_column is not None:
        if (column := _plain(label_column)) in table.columns:
            return column
        raise table.error(None, f"no column '{label_column}' among {', '.join(table.columns)}.")
    found = next((name for name in LABEL_COLUMNS if name in table.columns), None)
    if found is None:
        raise table.error(
            None,
            f"which of its columns holds the labels? None of {', '.join(table.columns)} is known "
            "to. Name it (label_column), or call it 'label'.",
        )
    return found


_HEADERS: Mapping[frozenset[str], Reader] = {
    frozenset(("onset s", "offset s", "label")): _read_ours,
    frozenset(("begin time (s)", "end time (s)")): _read_raven,
    frozenset(("start (s)", "end (s)")): _read_birdnet,
    frozenset(("in file", "offset", "duration")): _read_kaleidoscope,
    frozenset(("onset", "offset", "event label")): _read_plain,
}


def _plain(name: str) -> str:
    """Return a column's name as it is compared."""
    return " ".join(name.lower().replace("_", " ").split())


def _number(text: str) -> float | None:
    """Return a number, with a point or a comma before its decimals; None where it is none."""
    if _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    if "_" in text:  # Python's own way to write a million
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _recording_of(name: str) -> str:
    """Return the recording that a file of events stands for, by its name.

    >>> _recording_of("a/rec.Table.1.selections.txt"), _recording_of("rec.wav.txt")
    ('a/rec', 'rec.wav')
    """
    return _APPENDED.sub("", name) or name


def _moved(event: Event, file: str) -> Event:
    return Event(**{**vars(event), "file": file})
