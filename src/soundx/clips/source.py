"""Where clips are kept by their owner: what a source has to offer, and a folder as one.

A bucket is in ``bucket``, the demo's synthesised clips in ``demo``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from soundx.errors import Setting, SoundxError
from soundx.parallel import n_workers


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
            raise SoundxError(
                f"The source {folder} is not a folder. Give one that holds a folder per label.",
                remedy=Setting("source", "DIR"),
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

    @property
    def parallel_fetches(self) -> int:
        """How many files to copy at once."""
        return n_workers()

    def fetch(self, key: str, target: Path) -> None:
        """Copy one file."""
        shutil.copyfile(self.folder / key, target)
