"""What a run keeps of itself: the lock on all its data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from soundx.datasets.folder import FolderDataset
from soundx.errors import SoundxError
from soundx.storage.lock import take_lock
from soundx.storage.s3 import explained_errors


class RunLockDataset(FolderDataset[Any, Callable[[str], Callable[[], None]]]):
    """The lock on the folder of all data: loading gives what takes it."""

    def load(self) -> Callable[[str], Callable[[], None]]:
        return self._take

    def _take(self, what: str) -> Callable[[], None]:
        with explained_errors(str(self._folder)):
            return take_lock(self._folder, what)

    def save(self, data: Any) -> None:
        raise SoundxError("A lock is taken, not saved.")

    def _exists(self) -> bool:
        return True
