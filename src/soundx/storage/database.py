"""Small SQLite files that a folder keeps beside its clips: opened to write, or read from a copy."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from soundx.storage.names import name_aside

logger = logging.getLogger(__name__)

_LOG = "-wal"
_TRIES = 5


def open_database(path: Path, tables: str) -> sqlite3.Connection:
    """Open a database to read and write, made where it is missing.

    Nothing is committed but by itself or by ``BEGIN`` and ``COMMIT``. One that is broken is set
    aside, with a warning, and begun anew.

    Args:
        path: Its file; the folder is made where it is missing.
        tables: Statements that make the tables which are missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _open(path, tables)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # locked, read-only, disk full
            raise
        aside = name_aside(path.name)
        for end in ("", _LOG, "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{path}{end}").rename(path.with_name(aside + end))
        logger.warning("%s is broken: %s. Set aside as %s, and begun anew.", path, error, aside)
        return _open(path, tables)


def _open(path: Path, tables: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    try:
        # a killed process loses nothing in this mode; only a power cut may lose the last rows
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        database.executescript(tables)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def read_database(path: Path, tables: str) -> Iterator[sqlite3.Connection]:
    """Yield what stands in a database; nothing is written where it lies.

    SQLite writes beside a database even to read it (the log's index, and the log itself), so
    a copy is read. One that is missing is read as empty, and so is a broken one, with a warning.

    Args:
        path: Its file.
        tables: As for ``open_database``.
    """
    with tempfile.TemporaryDirectory(prefix="soundx-") as folder:
        copy = Path(folder, path.name)
        _copy_whole(path, copy)
        try:
            database = _open(copy, tables)
        except sqlite3.DatabaseError as error:
            logger.warning("%s is broken: %s. It is read as empty.", path, error)
            database = _open(copy.with_name("empty"), tables)
        with closing(database):
            yield database


def _copy_whole(path: Path, copy: Path) -> None:
    """Copy a database and what its log holds beyond it, even while somebody writes to it."""
    for _ in range(_TRIES):
        before = _state(path)
        if before is None:
            return
        shutil.copyfile(path, copy)
        with suppress(FileNotFoundError):  # no log: all is in the database
            shutil.copyfile(f"{path}{_LOG}", f"{copy}{_LOG}")
        # the log was written back in between: the two copies may not belong together
        if _state(path) == before:
            return
        Path(f"{copy}{_LOG}").unlink(missing_ok=True)


def _state(path: Path) -> tuple[int, int] | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        stat = path.stat()
        return stat.st_size, stat.st_mtime_ns
    return None
