"""Tables in CSV files, read back as written: a label may be ``NA``, ``001`` or ``=1+1``."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pandas as pd

from soundx.errors import BrokenFileError, Remedy
from soundx.markup import guarded, unguarded
from soundx.storage.checksum import why_broken

_TEXT = frozenset({"label", "category", "path", "id", "group", "reason"})
"""Last words of the names of columns that are text whatever stands in them."""


def guarded_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as a CSV file may hold it, that no spreadsheet runs as a formula.

    Texts, the names of columns and the index are guarded; ``read_csv`` gives all back.
    """
    return _each_text(table, guarded)


def read_csv(
    content: bytes, name: str, *, remedy: Remedy = Remedy.RUN, **options: Any
) -> pd.DataFrame:
    """Return the table in a CSV file.

    Columns of labels, paths and other names are text, as is an index; an empty field of them is
    empty text. Of other columns it is a missing value, and nothing else is.

    Args:
        content: The file.
        name: Where it is, for people.
        remedy: What makes it again.
        options: For pandas; they go before what is said here.

    Raises:
        BrokenFileError: It is no such table.
    """
    try:
        return _parsed(content, **options)
    except ValueError as error:
        raise BrokenFileError(name, why_broken(error) or "it is no table", remedy=remedy) from None


def _parsed(content: bytes, **options: Any) -> pd.DataFrame:
    header = pd.read_csv(io.BytesIO(content), nrows=0, encoding=options.get("encoding")).columns
    index = options.pop("index_col", None)
    text = {name for name in header if name.rpartition("_")[2] in _TEXT}
    if isinstance(index, int):
        text.add(index := header[index])
    ours: dict[str, Any] = {
        "dtype": dict.fromkeys(sorted(text), "str"),
        "keep_default_na": False,
        "na_values": {name: [""] for name in header if name not in text},
    }
    table = pd.read_csv(io.BytesIO(content), **(ours | options))
    if index is None:
        return _each_text(table, unguarded)
    table = _each_text(table.set_index(index), unguarded)
    # what pandas calls a column without a name
    return table.rename_axis(None) if str(index).startswith("Unnamed: ") else table


def _each_text(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    def changed(cell: Any) -> Any:
        return change(cell) if isinstance(cell, str) else cell

    texts = table.select_dtypes(exclude=["number", "bool"]).columns
    table = table.assign(**{name: table[name].map(changed) for name in texts})
    return table.set_axis(table.columns.map(changed), axis=1).set_axis(table.index.map(changed))
