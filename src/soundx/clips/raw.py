"""The folder ``01_raw`` as those see it who read clips: files, metadata, what is missing and why.

How it is filled is in ``mirror``.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd

from soundx.clips.ledger import KEPT_BY_SOUNDX, Ledger
from soundx.clips.listing import list_folder, why_no_file
from soundx.clips.metadata import METADATA, read_metadata
from soundx.clips.scans import ScanMemory
from soundx.errors import SoundxError

_NEAR_MISS = re.compile(r"metadata\.(csv|tsv|xlsx)", re.IGNORECASE)

ANSWERS = ":ANSWERS"
"""Folder of the clips that are cut out of recordings, as people answered: a folder a label."""


class RawClips:
    """The folder ``01_raw``: label folders with clips, and perhaps a ``metadata.csv``.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def path(self, name: str) -> Path:
        """Return the full path of a file."""
        return self.root / name

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yield what lies there, in order, soundx's own left out.

        Yields:
            The relative path, and why it can be no clip: empty of a file.
        """
        for name, problem in list_folder(self.root):
            if (
                name not in (METADATA, ".gitkeep", "README.md", f"{ANSWERS}/{METADATA}")
                and KEPT_BY_SOUNDX not in (name.split("/")[:-1])
            ):
                yield name, problem

    def files(self) -> Iterator[str]:
        """Yield the relative paths of all files, in order, soundx's own left out."""
        return (name for name, problem in self.entries() if not problem)

    def doubt(self, name: str) -> None:
        """Have the next ingestion fetch and read a file again: its bytes are not those it found.

        A disk that loses bytes leaves size and time as they were, by which a file counts as
        unchanged.
        """
        with suppress(OSError, sqlite3.Error, SoundxError), Ledger.to_write(self.root) as ledger:
            ledger.doubt(name)
        with suppress(sqlite3.Error), ScanMemory(self.root) as memory:
            memory.forget(name)

    def refused(self) -> list[tuple[str, str]]:
        """Return (key, reason) of what the mirror would not bring here."""
        with Ledger.to_read(self.root) as ledger:
            return ledger.refused()

    def origin(self) -> str:
        """Return the URL of the bucket that this is a mirror of; empty where it is of none."""
        name = self._source()
        return name if "://" in name else ""

    def _source(self) -> str:
        with Ledger.to_read(self.root) as ledger:
            return ledger.origin()

    def metadata(self) -> pd.DataFrame | None:
        """Return ``metadata.csv`` with one row a filename, or None where there is none.

        Raises:
            SoundxError: It is no such table, or names a file twice; or there is one that cannot
                be read, was not brought here or is misnamed: labels would be lost without a word.
        """
        path = self.root / METADATA
        if not os.path.lexists(path):
            if reason := dict(self.refused()).get(METADATA):
                raise SoundxError(f"The source's {METADATA} cannot be used: {reason}.")
            self._check_near_misses()
            return None
        if reason := why_no_file(path, self.root):
            raise SoundxError(f"{path} cannot be used: {reason}.")
        roots = (self._source(), self.root.absolute())
        return read_metadata(path, [Path(root) for root in roots if root])

    def _check_near_misses(self) -> None:
        names = sorted(path.name for path in self.root.iterdir()) if self.root.is_dir() else []
        for name in names:
            if _NEAR_MISS.fullmatch(name):
                raise SoundxError(
                    f"{self.root / name} is not read: call it {METADATA} (with commas, semicolons "
                    "or tabs), or something else if no labels are in it."
                )
