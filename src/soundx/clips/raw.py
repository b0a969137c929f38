"""The folder ``01_raw`` as those see it who read clips: files, metadata, what is missing and why.

How it is filled is in ``mirror``.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from soundx.clips.ledger import KEPT_BY_SOUNDX, Ledger
from soundx.errors import SoundxError

METADATA = "metadata.csv"


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

    def files(self) -> Iterator[str]:
        """Yield the relative paths of all files, in order, soundx's own left out."""
        for directory, folders, files in os.walk(self.root):
            folders[:] = sorted(f for f in folders if f != KEPT_BY_SOUNDX)
            for name in sorted(files):
                relative = Path(directory, name).relative_to(self.root).as_posix()
                if relative not in (METADATA, ".gitkeep", "README.md"):
                    yield relative

    def refused(self) -> list[tuple[str, str]]:
        """Return (key, reason) of what the mirror would not bring here."""
        with Ledger.to_read(self.root) as ledger:
            return ledger.refused()

    def origin(self) -> str:
        """Return the URL of the bucket that this is a mirror of; empty where it is of none."""
        with Ledger.to_read(self.root) as ledger:
            name = ledger.origin()
        return name if "://" in name else ""

    def metadata(self) -> pd.DataFrame | None:
        """Return ``metadata.csv`` with one row a filename, or None where there is none.

        Raises:
            SoundxError: It is not a table, has no ``filename`` column, or names a file
                twice.
        """
        path = self.root / METADATA
        if not path.is_file():
            return None
        try:
            # utf-8-sig: spreadsheets begin their files with a byte-order mark
            text = path.read_text(encoding="utf-8-sig")
            table = pd.read_csv(io.StringIO(text), dtype="str", keep_default_na=False)
        except (ValueError, UnicodeDecodeError) as error:
            raise SoundxError(f"{path} is not a table of comma-separated text: {error}") from error
        table.columns = [str(column).strip().lower() for column in table.columns]
        if "filename" not in table:
            raise SoundxError(
                f"{path} has the columns {', '.join(table.columns)}, but no 'filename'. "
                "Expected: filename,label[,category,group,fold,licence]"
            )
        table["filename"] = table["filename"].str.strip().str.removeprefix("./")
        twice = table["filename"][table["filename"].duplicated()]
        if len(twice):
            raise SoundxError(f"{path} names '{twice.iloc[0]}' twice.")
        return table.set_index("filename")
