"""``metadata.csv`` as people and their spreadsheets write it."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from soundx.errors import SoundxError
from soundx.markup import printable

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
    text = _text(path)
    header, *rows = _rows(path, text)
    header = [name.strip().lower() for name in header]
    while header and not header[-1]:  # a separator at the end of the line
        header.pop()
    if "filename" not in header:
        raise SoundxError(f"{path} has no column 'filename'; {_told(header)}. {_EXPECTED}")
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise SoundxError(f"{path} has two columns '{twice[0]}': leave one. {_EXPECTED}")
    table = pd.DataFrame(
        [_fitted(path, number, row, len(header)) for number, row in enumerate(rows, 2) if any(row)],
        columns=pd.Index(header, dtype="str"),
        dtype="str",
    )
    prefixes = [f"{root.as_posix().rstrip('/')}/" for root in roots]
    table["filename"] = [_relative(name, prefixes) for name in table["filename"]]
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


def _text(path: Path) -> str:
    content = path.read_bytes()
    encoding = next((e for mark, e in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding).lstrip("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SoundxError(
            f"{path} is not UTF-8 text (line {line}): save it as 'CSV UTF-8'."
        ) from error


def _rows(path: Path, text: str) -> list[list[str]]:
    first = text.lstrip("\r\n").partition("\n")[0]
    separator = max(",;\t", key=first.count)
    csv.field_size_limit(_LONGEST)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise SoundxError(f"{path} is not a table of comma-separated text: {error}") from error
    while rows and not any(rows[0]):
        rows.pop(0)
    if not rows:
        raise SoundxError(f"{path} is empty. {_EXPECTED}")
    return rows


def _fitted(path: Path, number: int, row: list[str], n_columns: int) -> list[str]:
    """Return a row with as many fields as there are columns."""
    if any(field.strip() for field in row[n_columns:]):
        raise SoundxError(
            f"{path} has {len(row)} fields in row {number} and {n_columns} columns: a field with "
            'a separator in it stands in quotes, "like, this".'
        )
    return [*row[:n_columns], *[""] * (n_columns - len(row))]


def _relative(name: str, prefixes: Sequence[str]) -> str:
    name = name.strip().replace("\\", "/").removeprefix("./")
    for prefix in prefixes:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name
