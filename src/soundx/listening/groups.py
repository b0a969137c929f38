"""The ``metadata.csv`` beside clips that were cut: which of them are of one recording.

Rows are added and never changed: what a person has corrected in it stays. A file that holds
anything else than names of clips that soundx cut is somebody's own, and not touched.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from soundx.errors import SoundxError
from soundx.storage.whole import whole_file

logger = logging.getLogger(__name__)

METADATA = "metadata.csv"
"""What ingestion reads."""

_OURS = re.compile(r"(?!\.\.?/)[^/]+/[^/]+_[0-9]{6,}\.[0-9]{3}_[01]\.[0-9]{3}(~[0-9a-f]{12})?\.wav")


class Row(NamedTuple):
    """What stands of a clip in the table; its fields are the columns.

    Attributes:
        filename: The clip, from the table's folder on.
        label: Its label.
        category: Its category.
        group: The recording it was cut from.
    """

    filename: str
    label: str
    category: str
    group: str


@contextmanager
def keep_together(folder: Path, rows: Mapping[str, Row]) -> Iterator[set[str]]:
    """Have a folder's table tell the recording of each clip, before that clip is there.

    Whoever is killed in between leaves rows without a clip, and no clip without its recording.

    Args:
        folder: Where clips are cut to.
        rows: What stands of each, by filename.

    Yields:
        An empty set: who puts a clip in its place adds its filename. In the end the rows of the
        others are taken out again.
    """
    path = folder / METADATA
    there: set[str] = set()
    known = read_rows(folder)
    if known is None:
        logger.warning(
            "%s is not of soundx's making and stays as it is. Clips of one recording may come to "
            "stand on both sides of a split: give them the recording as 'group' there.",
            path,
        )
        yield there
        return
    _write(path, {**rows, **known})
    try:
        yield there
    finally:
        _write(path, {**{name: row for name, row in rows.items() if name in there}, **known})


def forget(folder: Path, names: Collection[str]) -> None:
    """Take clips that are gone out of a folder's table."""
    known = read_rows(folder)
    if known and not known.keys().isdisjoint(names):
        _write(folder / METADATA, {name: row for name, row in known.items() if name not in names})


def read_rows(folder: Path) -> dict[str, Row] | None:
    """Return a table's rows by filename, empty where there is none, None where it is not ours."""
    path = folder / METADATA
    try:
        text = path.read_bytes().decode("utf-8")
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        found = [Row(*row) for row in rows]
    except FileNotFoundError:
        return None if path.is_symlink() else {}
    except (OSError, ValueError, TypeError, csv.Error):
        return None
    if tuple(header) != Row._fields or not all(_OURS.fullmatch(row.filename) for row in found):
        return None
    return {row.filename: row for row in found}


def _write(path: Path, rows: Mapping[str, Row]) -> None:
    if not rows:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(
        [Row._fields, *sorted(rows.values(), key=lambda row: row.filename)]
    )
    try:
        with whole_file(path) as partial:
            partial.write_text(text.getvalue(), encoding="utf-8", newline="")
    except OSError as error:
        raise SoundxError(f"{path} cannot be written: {error.strerror}.") from error
