"""Where clips are kept by their owner: what a source has to offer, and a folder as one.

A bucket is in ``bucket``, the demo's synthesised clips in ``demo``.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from soundx.clips.listing import is_hidden, list_folder
from soundx.errors import Setting, SoundxError
from soundx.markup import printable
from soundx.parallel import n_workers
from soundx.progress import counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceObject:
    """One object of a source.

    Attributes:
        key: Its name relative to the source's root, parts separated by ``/``.
        size_bytes: Its length.
        version: Anything that changes when its content does (ETag, time of change).
        problem: Why it cannot be fetched; empty where it can.
    """

    key: str
    size_bytes: int
    version: str
    problem: str = ""


class ClipSource(Protocol):
    """Where clips are kept by their owner."""

    @property
    def name(self) -> str:
        """What to call it in messages."""

    def list_objects(self) -> Iterable[SourceObject]:
        """Yield every object, in any order."""

    @property
    def parallel_fetches(self) -> int:
        """How many objects to fetch at once."""

    def fetch(self, key: str, target: Path) -> None:
        """Write one object's bytes to a file."""


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
            what = "is a file, not a folder" if self.folder.exists() else "is not a folder"
            raise SoundxError(
                f"The source {folder} {what}. Give one that holds a folder per label.",
                remedy=Setting("source", "DIR"),
            )

    @property
    def name(self) -> str:
        """The folder's path."""
        return str(self.folder)

    def list_objects(self) -> Iterator[SourceObject]:
        """Yield every file below the folder, and what is none; hidden ones are counted."""
        hidden: list[str] = []
        for name, problem in list_folder(self.folder):
            if is_hidden(name):
                hidden.append(name)
                continue
            yield self._object(name, problem)
        if hidden:
            logger.info(
                "%s of %s left out: names that begin with a dot, such as '%s', are hidden.",
                counted(len(hidden), "file"),
                self.folder,
                printable(hidden[0]),
            )

    def _object(self, name: str, problem: str) -> SourceObject:
        if problem:
            return SourceObject(name, -1, "", problem)
        try:
            state = (self.folder / name).stat()
        except OSError as error:
            return SourceObject(name, -1, "", f"cannot be read: {error.strerror}")
        return SourceObject(name, state.st_size, str(state.st_mtime_ns))

    @property
    def parallel_fetches(self) -> int:
        """How many files to copy at once."""
        return n_workers()

    def fetch(self, key: str, target: Path) -> None:
        """Copy one file."""
        shutil.copyfile(self.folder / key, target)
