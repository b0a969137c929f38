"""``metadata.csv`` as people and their spreadsheets write it."""

from __future__ import annotations

import codecs
import csv
import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import pandas as pd

from soundx.errors import SoundxError
from soundx.markup import printable

logger = logging.getLogger(__name__)

METADATA = "metadata.csv"

COLUMNS = ("filename", "label", "category", "group", "fold", "licence", "license")
"""What is read of it; other columns are the owner's."""

_EXPECTED = "Expected: filename,label[,category,group,fold,licence]"
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_LONGEST = 1_000_000
_LONGEST_NAME = 20
_EXAMPLES = 3
_END = "\x1e"  # a row of its own behind the last one, unless a quote has swallowed it


def read_metadata(path: Path, roots: Iterable[Path] = ()) -> pd.DataFrame:
    """Return the table, all of it text, with one row a filename.

    Commas, semicolons and tabs separate; filenames may have backslashes, or begin with where the
    clips are or were.

    Args:
        path: The file.
        roots: Folders that whole paths in it may begin with.

    Raises:
        SoundxError: It is no such table, or says one thing twice.
    """
    rows = _rows(path)
    header = next((row for row in rows if any(row)), [])
    if not header:
        raise SoundxError(f"{path} is empty. {_EXPECTED}")
    header = [name.strip().lower() for name in header]
    while header and not header[-1]:  # a separator at the end of the line
        header.pop()
    if "filename" not in header:
        raise SoundxError(f"{path} has no column 'filename'; {_told(header)}. {_EXPECTED}")
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise SoundxError(f"{path} has two columns '{twice[0]}': leave one. {_EXPECTED}")
    prefixes = [f"{root.as_posix().rstrip('/')}/" for root in roots]
    read = {name: header.index(name) for name in COLUMNS if name in header}
    columns: dict[str, list[str]] = {name: [] for name in read}
    for number, row in enumerate(rows, 2):
        if not any(row):
            continue
        _check_length(path, number, row, len(header))
        for name, index in read.items():
            field = row[index] if index < len(row) else ""
            if "\n" in field or "\r" in field:
                raise SoundxError(
                    f"{path} has a line break in the {name} of row {number}: there is a quote "
                    "that is not closed."
                )
            columns[name].append(_relative(field, prefixes) if name == "filename" else field)
    if not columns["filename"]:
        logger.warning("%s has no rows below its header: no label is taken from it.", path)
    table = pd.DataFrame(columns, dtype="str")
    names = table["filename"]
    again = names[names.duplicated()]
    if len(again):
        raise SoundxError(f"{path} names '{printable(again.iloc[0])}' twice: leave one line of it.")
    return table.set_index("filename")


def check_names(metadata: pd.DataFrame, files: Sequence[str], path: Path) -> list[str]:
    """Return the names in the table that no file has.

    Raises:
        SoundxError: No file has any of them: labels would be ignored without a word.
    """
    there = set(files)
    missing = [name for name in metadata.index if name not in there]
    if missing and len(missing) == len(metadata):
        raise SoundxError(
            f"{path} names no file that is there; its first is '{printable(missing[0])}', and a "
            f"file here is '{printable(files[0])}'. Name files from the folder of {METADATA}, or "
            "take it away."
        )
    return missing


def _told(header: Sequence[str]) -> str:
    """Return what is there instead: not all of it, the file may be about something else."""
    names = [name for name in header if name.isprintable() and 0 < len(name) <= _LONGEST_NAME]
    some = f", among them {', '.join(names[:_EXAMPLES])}" if names else ""
    return f"it has {len(header)} column{'s' * (len(header) != 1)}{some}"


def _rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows one by one: a table of millions is never held as text in lists.

    Raises:
        SoundxError: It is no text, no table, or ends inside a quote.
    """
    content = path.read_bytes()
    encoding = next((e for mark, e in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SoundxError(
            f"{path} is not UTF-8 text (line {line}): save it as 'CSV UTF-8'."
        ) from error
    lines = io.TextIOWrapper(io.BytesIO(content), encoding, newline="")
    first = next((line for line in lines if line.strip("\r\n")), "").lstrip("\ufeff")
    separator = max(",;\t", key=first.count)
    csv.field_size_limit(_LONGEST)
    try:
        for row in csv.reader(chain([first], lines, [_END]), delimiter=separator):
            if row == [_END]:
                return
            yield row
    except csv.Error as error:
        raise SoundxError(f"{path} is not a table of comma-separated text: {error}") from error
    raise SoundxError(f"{path} ends inside a quote that is not closed.")


def _check_length(path: Path, number: int, row: list[str], n_columns: int) -> None:
    if any(field.strip() for field in row[n_columns:]):
        raise SoundxError(
            f"{path} has {len(row)} fields in row {number} and {n_columns} columns: a field with "
            'a separator in it stands in quotes, "like, this".'
        )


def _relative(name: str, prefixes: Sequence[str]) -> str:
    name = name.strip().replace("\\", "/").removeprefix("./")
    for prefix in prefixes:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name
