"""Keep a local folder the exact mirror of wherever the clips are kept.

A ``ClipSource`` lists objects and fetches one at a time; ``mirror`` fetches what is new or
changed, removes what went away, and remembers in a ledger what it put there: a file that
the ledger does not know is somebody's own and is never touched. A file is whole or absent,
and a run that was killed goes on where it was.
"""

from __future__ import annotations

import filecmp
import logging
import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from soundx.errors import SoundxError
from soundx.progress import map_in_threads, track

logger = logging.getLogger(__name__)

KEPT_BY_SOUNDX = ".soundx"
"""Folder inside the mirror for the ledger and for files still on their way."""


@dataclass(frozen=True)
class SourceObject:
    """One object of a source.

    Attributes:
        key: Its name relative to the source's root, parts separated by ``/``.
        size_bytes: Its length.
        version: Anything that changes when its content does (ETag, time of change).
    """

    key: str
    size_bytes: int
    version: str


class ClipSource(Protocol):
    """Where clips are kept by their owner."""

    @property
    def name(self) -> str:
        """What to call it in messages."""

    def list_objects(self) -> Iterable[SourceObject]:
        """Yield every object, in any order."""

    def fetch(self, key: str, target: Path) -> None:
        """Write one object's bytes to a file that does not exist yet."""


@dataclass
class MirrorReport:
    """What one run of ``mirror`` did; numbers of files."""

    fetched: int = 0
    unchanged: int = 0
    removed: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{self.fetched} fetched, {self.unchanged} unchanged, {self.removed} removed"
        return f"{text}, {len(self.refused)} refused" if self.refused else text


class FolderSource:
    """A folder of label folders on this machine.

    Args:
        folder: Its path.

    Raises:
        SoundxError: There is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).expanduser().resolve()
        if not self.folder.is_dir():
            raise SoundxError(
                f"The source {folder} is not a folder. Give one that holds a folder per label: "
                "kedro run --params=source=DIR"
            )

    @property
    def name(self) -> str:
        """The folder's path."""
        return str(self.folder)

    def list_objects(self) -> Iterator[SourceObject]:
        """Yield every file below the folder; hidden ones are left out."""
        for directory, folders, files in os.walk(self.folder):
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            for name in sorted(files):
                path = Path(directory, name)
                if name.startswith(".") or not path.is_file():
                    continue
                state = path.stat()
                key = path.relative_to(self.folder).as_posix()
                yield SourceObject(key, state.st_size, str(state.st_mtime_ns))

    def fetch(self, key: str, target: Path) -> None:
        """Copy one file."""
        shutil.copyfile(self.folder / key, target)


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
    """What the mirror put into a folder, in a small SQLite file inside it."""

    def __init__(self, root: Path) -> None:
        folder = root / KEPT_BY_SOUNDX
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
        # a killed process loses nothing in this mode; only a power cut may lose the last rows,
        # and then the files are fetched again
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS files"
            " (key TEXT PRIMARY KEY, version TEXT, size INTEGER, mtime_ns INTEGER)"
        )
        self._db.execute("CREATE TABLE IF NOT EXISTS refused (key TEXT PRIMARY KEY, reason TEXT)")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def files(self) -> dict[str, LedgerEntry]:
        """Return all files put there, by key."""
        rows = self._db.execute("SELECT key, version, size, mtime_ns FROM files")
        return {key: LedgerEntry(*entry) for key, *entry in rows}

    def expect(self, item: SourceObject) -> None:
        """Note that a file is about to be put there, so that it is known as ours."""
        self._db.execute("INSERT OR REPLACE INTO files VALUES (?, '', -1, 0)", (item.key,))

    def put(self, item: SourceObject, path: Path) -> None:
        """Note that a file was put there."""
        state = path.stat()
        self._db.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
            (item.key, _version_of(item), state.st_size, state.st_mtime_ns),
        )

    def forget(self, key: str) -> None:
        """Note that a file is no longer ours."""
        self._db.execute("DELETE FROM files WHERE key = ?", (key,))

    def set_refused(self, refused: Iterable[tuple[str, str]]) -> None:
        """Replace the list of keys that were refused, with reasons."""
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM refused")
        self._db.executemany("INSERT OR REPLACE INTO refused VALUES (?, ?)", refused)
        self._db.execute("COMMIT")

    def refused(self) -> list[tuple[str, str]]:
        """Return (key, reason) of what the last run refused."""
        return list(self._db.execute("SELECT key, reason FROM refused ORDER BY key"))


def why_refused(key: str) -> str | None:
    """Tell why a key cannot be mirrored to a file of that name; None where it can."""
    parts = key.split("/")
    if not key or key.startswith("/") or (len(key) > 1 and key[1] == ":"):
        return "an absolute name"
    if "\\" in key:
        return "a backslash in its name"
    if not key.isprintable():
        return "control characters in its name"
    if any(part in ("", ".", "..") for part in parts):
        return "a name that leaves its folder, or an empty part in it"
    if parts[0] == KEPT_BY_SOUNDX:
        return f"'{KEPT_BY_SOUNDX}' is soundx's own folder"
    if any(len(os.fsencode(part)) > 255 for part in parts):  # noqa: PLR2004
        return "a part of its name is longer than 255 bytes"
    return None


def mirror(source: ClipSource, root: Path) -> MirrorReport:
    """Make a folder the mirror of a source.

    Args:
        source: Where the clips are.
        root: The folder; made where it is missing.

    Returns:
        What was done.

    Raises:
        SoundxError: The source cannot be read.
    """
    root.mkdir(parents=True, exist_ok=True)
    partial = root / KEPT_BY_SOUNDX / "partial"
    with closing(Ledger(root)) as ledger:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        report = MirrorReport()
        known = ledger.files()
        wanted: list[SourceObject] = []
        present: set[str] = set()
        for item in source.list_objects():
            reason = why_refused(item.key)
            if reason is not None:
                report.refused.append((item.key, reason))
                continue
            present.add(item.key)
            entry = known.get(item.key)
            if entry and entry.version == _version_of(item) and entry.is_untouched(root / item.key):
                report.unchanged += 1
            else:
                wanted.append(item)
        done = map_in_threads(_fetcher(source, partial), wanted, in_flight_per_worker=4)
        arrivals = zip(wanted, done, strict=True)
        for item, arrived in track(arrivals, description="Mirroring clips", total=len(wanted)):
            final = root / item.key
            if item.key not in known and _stands_in_the_way(final, arrived):
                report.refused.append((item.key, "a file of yours stands in its place"))
                arrived.unlink()
                continue
            # noted before and after: a file is known as ours even if we are killed between
            ledger.expect(item)
            arrived.replace(final)
            ledger.put(item, final)
            report.fetched += 1
        for key in sorted(known.keys() - present):
            _remove(root, key, known[key])
            ledger.forget(key)
            report.removed += 1
        ledger.set_refused(report.refused)
        shutil.rmtree(partial, ignore_errors=True)
    return report


def refused_keys(root: Path) -> list[tuple[str, str]]:
    """Return (key, reason) of what the last run of ``mirror`` into a folder refused."""
    if not (root / KEPT_BY_SOUNDX / "ledger.sqlite").is_file():
        return []
    with closing(Ledger(root)) as ledger:
        return ledger.refused()


def _fetcher(source: ClipSource, partial: Path) -> Callable[[SourceObject], Path]:
    def fetch(item: SourceObject) -> Path:
        target = partial / uuid.uuid4().hex
        try:
            source.fetch(item.key, target)
        except OSError as error:
            raise SoundxError(
                f"'{item.key}' cannot be fetched from {source.name}: {error}"
            ) from error
        return target

    return fetch


def _stands_in_the_way(final: Path, arrived: Path) -> bool:
    """Make room for a new file; true where somebody's own file or folder has its place."""
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return True
    if not os.path.lexists(final):
        return False
    return not (final.is_file() and filecmp.cmp(final, arrived, shallow=False))


def _version_of(item: SourceObject) -> str:
    return f"{item.size_bytes}:{item.version}"


def _remove(root: Path, key: str, entry: LedgerEntry) -> None:
    path = root / key
    if entry.version and path.exists() and not entry.is_untouched(path):
        logger.warning("%s went away from the source, but was changed here: kept.", key)
        return
    path.unlink(missing_ok=True)
    for folder in PurePosixPath(key).parents:
        if str(folder) == ".":
            break
        with suppress(OSError):  # not empty: somebody's files are in it
            (root / folder).rmdir()
