"""What was heard so far, on disk, so that a run that was killed goes on where it was.

Of each recording there is a file of window probabilities that grows by whole pieces, and, once it
is heard to its end, one that says so. The piece that was written last when the process died is cut
off; rows that are not those that their ending tells of are heard again. They are keyed by
recording, its bytes' state and the model: what changes is heard anew.
"""

from __future__ import annotations

import json
import logging
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from soundx.audio import Float32
from soundx.errors import BrokenFileError
from soundx.listening.windows import PIECE_ROWS
from soundx.storage.checksum import parse_json, with_checksum
from soundx.storage.whole import whole_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ending:
    """How the hearing of a recording ended.

    Attributes:
        n_samples: Its length in samples at 16 kHz.
        n_rows: Rows of window probabilities.
        whole: Probabilities of all of it; empty where it could not be heard.
        starts_at: When it began by the clock, ISO 8601; empty where that is not known.
        error: Why it could not be heard; empty where it could.
        rows_checksum: CRC-32 of the rows; None in endings of earlier versions, which had none.
    """

    n_samples: int
    n_rows: int
    whole: tuple[float, ...]
    starts_at: str = ""
    error: str = ""
    rows_checksum: int | None = None


class Kept:
    """What is kept of one recording.

    Args:
        folder: Where such files are.
        key: What stands for the recording and the model.
        n_labels: Numbers of a row.
    """

    def __init__(self, folder: Path, key: str, n_labels: int) -> None:
        self._rows = folder / f"{key}.f32"
        self._end = folder / f"{key}.json"
        self._n_labels = n_labels
        self._checksum = 0  # of the rows, while they grow

    @property
    def ending(self) -> Ending | None:
        """How it ended; None where it has not, or the rows or what says so are broken."""
        try:
            fields: dict[str, Any] = parse_json(self._end.read_bytes(), str(self._end))
            ending = Ending(**{**fields, "whole": tuple(fields["whole"])})
        except (OSError, BrokenFileError, TypeError, KeyError):
            return None
        if ending.n_rows and not ending.n_samples:  # rows of no sound: that was no ending
            return None
        rows = self.rows()[: ending.n_rows]
        if len(rows) < ending.n_rows:
            return None
        if ending.rows_checksum not in (None, zlib.crc32(rows.data)):
            logger.warning(
                "%s is broken: it is not what was heard. The recording has to be heard again.",
                self._rows,
            )
            return None
        return ending

    def resume(self) -> int:
        """Cut off the last piece, whole or not; return how many rows are left.

        The last piece may be the end of the recording, and how long that is, and what is said of
        all of it, is known only by hearing its last piece. Where an ending is there, but cannot
        be used, nothing is left: the rows may be what is wrong.
        """
        self._rows.parent.mkdir(parents=True, exist_ok=True)
        if self._end.exists() or not self._rows.exists():  # not there, or a link to nothing
            self.restart()
            self._end.unlink(missing_ok=True)
        with self._rows.open("ab") as file:
            n_rows = max(file.tell() - 1, 0) // (PIECE_ROWS * self._row_bytes) * PIECE_ROWS
            file.truncate(n_rows * self._row_bytes)
        self._checksum = zlib.crc32(self.rows().data)
        return n_rows

    def restart(self) -> None:
        """Forget what was heard."""
        self._rows.unlink(missing_ok=True)

    def add(self, rows: Float32) -> None:
        """Append rows [shape=(n, n_labels)]."""
        content = np.ascontiguousarray(rows, "<f4").tobytes()
        self._checksum = zlib.crc32(content, self._checksum)
        with self._rows.open("ab") as file:
            file.write(content)

    def end(self, ending: Ending) -> None:
        """Say that all has been heard."""
        told = asdict(replace(ending, rows_checksum=self._checksum))
        with whole_file(self._end) as partial:
            partial.write_text(json.dumps(with_checksum(told)))

    def rows(self) -> Float32:
        """Return the rows, read from disk as they are needed [shape=(n_rows, n_labels)]."""
        if not self._rows.exists() or self._rows.stat().st_size < self._row_bytes:
            return np.zeros((0, self._n_labels), np.float32)
        n_rows = self._rows.stat().st_size // self._row_bytes
        return np.memmap(self._rows, "<f4", "r", shape=(n_rows, self._n_labels))

    @property
    def _row_bytes(self) -> int:
        return 4 * self._n_labels
