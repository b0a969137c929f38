"""What a scan found in a file, remembered until the file changes."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import zlib
from pathlib import Path
from types import TracebackType

from soundx.clips.ledger import KEPT_BY_SOUNDX
from soundx.storage.database import open_database

logger = logging.getLogger(__name__)

_RECIPE = 3  # raise it where a scan would find something else in the same bytes
_WRITES_AT_ONCE = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS scans (path TEXT PRIMARY KEY, state TEXT, found TEXT) WITHOUT ROWID;
"""

Found = list[str | int | float]


class ScanMemory:
    """Findings by path, size and times of change, in a small SQLite file beside the ledger.

    Where the folder cannot be written, nothing is remembered.

    Args:
        root: The folder of the clips.
    """

    def __init__(self, root: Path) -> None:
        self._db: sqlite3.Connection | None = None
        self._unwritten = 0
        try:
            self._db = open_database(root / KEPT_BY_SOUNDX / "scans.sqlite", _TABLES)
            self._db.execute("BEGIN")
        except (OSError, sqlite3.Error) as error:
            logger.warning("What is found in %s cannot be remembered: %s.", root, error)
            self._db = None

    def __enter__(self) -> ScanMemory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._db is not None:
            self._db.execute("COMMIT")
            self._db.close()

    def recall(self, path: str, stat: os.stat_result) -> Found | None:
        """Return what was found in a file, None where it is new or has changed."""
        if self._db is None:
            return None
        row = self._db.execute(
            "SELECT found FROM scans WHERE path = ? AND state = ?", (path, _state(stat))
        ).fetchone()
        return None if row is None else _checked(row[0])

    def remember(self, path: str, stat: os.stat_result, found: Found) -> None:
        """Keep what was found in a file that had this state before it was read."""
        if self._db is None:
            return
        self._db.execute(
            "INSERT OR REPLACE INTO scans VALUES (?, ?, ?)",
            (path, _state(stat), _with_checksum(json.dumps(found))),
        )
        self._unwritten += 1
        if self._unwritten >= _WRITES_AT_ONCE:
            self._db.execute("COMMIT")
            self._db.execute("BEGIN")
            self._unwritten = 0

    def forget(self, path: str) -> None:
        """Have a file read again, whatever its size and time of change say."""
        if self._db is not None:
            self._db.execute("DELETE FROM scans WHERE path = ?", (path,))


def _with_checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}{text}"


def _checked(row: str) -> Found | None:
    """Return what was found, None where the row is not what was written."""
    if row.startswith("["):  # version 0.1 wrote no checksum
        row = _with_checksum(row)
    if row != _with_checksum(row[8:]):
        return None
    found: Found = json.loads(row[8:])
    return found


def _state(stat: os.stat_result) -> str:
    # taggers put the time of change back; that of the inode nobody can
    return f"{_RECIPE}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"
