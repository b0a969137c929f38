"""The mirror's ledger: what it put into its folder, what it refused, and of which source.

What the ledger does not know is somebody's own and is never touched.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from soundx.clips.source import SourceObject
from soundx.errors import SoundxError
from soundx.storage.database import open_database, read_database

KEPT_BY_SOUNDX = ".soundx"
"""Folder inside the mirror for the ledger and for files still on their way."""

_FILE = "ledger.sqlite"
_COLUMNS = "PRAGMA table_info(files)"
_TABLES = """
CREATE TABLE IF NOT EXISTS files
    (key TEXT PRIMARY KEY, version TEXT, size INTEGER, mtime_ns INTEGER, checksum INTEGER);
CREATE TABLE IF NOT EXISTS refused (key TEXT PRIMARY KEY, reason TEXT);
CREATE TABLE IF NOT EXISTS origin (url TEXT);
"""


@dataclass(frozen=True)
class LedgerEntry:
    """A file that the mirror put there.

    Attributes:
        version: Size and version of the source's object; empty while it was on its way.
        size_bytes: Size of the file as it was put.
        mtime_ns: Its time of change as it was put, in nanoseconds.
    """

    version: str
    size_bytes: int
    mtime_ns: int

    def is_untouched(self, path: Path) -> bool:
        """Tell whether the file is still as it was put."""
        try:
            state = path.stat()
        except OSError:
            return False
        return (state.st_size, state.st_mtime_ns) == (self.size_bytes, self.mtime_ns)


class Ledger:
    """What the mirror put into a folder, in a small SQLite file inside it.

    Args:
        database: The file, opened.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        if not any(name == "checksum" for _, name, *_ in database.execute(_COLUMNS)):  # 0.1's
            database.execute("ALTER TABLE files ADD COLUMN checksum INTEGER")

    @classmethod
    @contextmanager
    def to_write(cls, root: Path) -> Iterator[Ledger]:
        """Yield the ledger of a folder, begun where there is none.

        A row that a power cut takes means that its file is fetched again.

        Raises:
            SoundxError: It cannot be opened, or not written to.
        """
        file = _file(root)
        try:
            with closing(open_database(file, _TABLES)) as database:
                yield cls(database)
        except sqlite3.OperationalError as error:  # a folder, read-only, a full disk
            raise SoundxError(
                f"{file} cannot be opened or written: {error}. See what stands there, who may "
                "write it, and whether the disk is full."
            ) from error

    @classmethod
    @contextmanager
    def to_read(cls, root: Path) -> Iterator[Ledger]:
        """Yield what the ledger of a folder says; an empty one where there is none.

        Nothing in the folder is made or changed.
        """
        with read_database(_file(root), _TABLES) as database:
            yield cls(database)

    def files(self) -> dict[str, LedgerEntry]:
        """Return all files put there, by key; a garbled row is as good as none."""
        rows = self._db.execute("SELECT key, version, size, mtime_ns, checksum FROM files")
        return {
            key: LedgerEntry(*entry)
            for key, *entry, checksum in rows
            if checksum is None or checksum == _checksum(key, *entry)
        }

    def expect(self, item: SourceObject) -> None:
        """Note that a file is about to be put there, so that it is known as ours."""
        self._write(item.key, "", -1, 0)

    def put(self, item: SourceObject, path: Path) -> None:
        """Note that a file was put there."""
        state = path.stat()
        self._write(item.key, version_of(item), state.st_size, state.st_mtime_ns)

    def _write(self, *row: str | int) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO files (key, version, size, mtime_ns, checksum) "
            "VALUES (?, ?, ?, ?, ?)",
            (*row, _checksum(*row)),
        )

    def forget(self, key: str) -> None:
        """Note that a file is no longer ours."""
        self._db.execute("DELETE FROM files WHERE key = ?", (key,))

    def doubt(self, key: str) -> None:
        """Note that a file put there is not what it was: it is ours still, and fetched again."""
        nothing = ("", -1, 0)
        self._db.execute(
            "UPDATE files SET version = ?, size = ?, mtime_ns = ?, checksum = ? WHERE key = ?",
            (*nothing, _checksum(key, *nothing), key),
        )

    def set_refused(self, refused: Iterable[tuple[str, str]]) -> None:
        """Replace the list of keys that were refused, with reasons."""
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM refused")
        self._db.executemany("INSERT OR REPLACE INTO refused VALUES (?, ?)", refused)
        self._db.execute("COMMIT")

    def set_origin(self, name: str) -> None:
        """Note which source the files are of."""
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM origin")
        self._db.execute("INSERT INTO origin VALUES (?)", (name,))
        self._db.execute("COMMIT")

    def origin(self) -> str:
        """Return which source the files are of; empty where none was noted."""
        row = self._db.execute("SELECT url FROM origin").fetchone()
        return row[0] if row else ""

    def refused(self) -> list[tuple[str, str]]:
        """Return (key, reason) of what the last run refused."""
        return list(self._db.execute("SELECT key, reason FROM refused ORDER BY key"))


def _checksum(*row: str | int) -> int:
    return zlib.crc32(json.dumps(row).encode())


def _file(root: Path) -> Path:
    return root / KEPT_BY_SOUNDX / _FILE


def version_of(item: SourceObject) -> str:
    """Return what changes when an object does."""
    return f"{item.size_bytes}:{item.version}"
