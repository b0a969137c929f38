"""Progress bars for long work, and counts in words.

Where ``SOUNDX_PROGRESS`` names a file, a run also tells its progress there, for those who
watch it from another process.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from soundx.storage.whole import whole_file

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")

PROGRESS_FILE = "SOUNDX_PROGRESS"
"""The variable with the path of the file that progress is told in, as JSON."""


_SHOWN_EVERY_S = 0.1


class _Told:
    """What a run has told of its progress so far."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.written_s = -math.inf
        self.lock = threading.Lock()


_told = _Told()


def tell_progress(*, at_once: bool = False, **facts: Any) -> None:
    """Add facts to the file that ``SOUNDX_PROGRESS`` names, if it names one.

    Args:
        at_once: Write even if the last time is less than a second ago.
        facts: ``nodes_done`` of ``nodes``; of a bar ``step``, ``done`` and ``total``.
    """
    path = os.environ.get(PROGRESS_FILE)
    if not path:
        return
    with _told.lock:
        _told.facts.update(facts)
        now_s = time.monotonic()
        if at_once or now_s - _told.written_s >= 1:
            _told.written_s = now_s
            with whole_file(Path(path)) as partial:
                partial.write_text(json.dumps(_told.facts))


@cache
def _bar() -> type[Progress]:
    """Return the class of our progress bars; rich is imported here, as not all have it."""
    from rich.progress import Progress, ProgressColumn, TaskID

    class Bar(Progress):
        """A progress bar that also tells what it shows."""

        def __init__(self, *columns: ProgressColumn) -> None:
            super().__init__(*columns)
            self._held: dict[TaskID, float] = {}
            self._shown_s = -math.inf

        def advance(self, task_id: TaskID, advance: float = 1) -> None:
            # nobody sees more than ten changes a second, and each takes 1 % of embedding a clip
            with self._lock:
                self._held[task_id] = self._held.get(task_id, 0) + advance
                if time.monotonic() - self._shown_s >= _SHOWN_EVERY_S:
                    self._show()

        def _show(self) -> None:
            with self._lock:
                self._shown_s = time.monotonic()
                while self._held:
                    task_id, advance = self._held.popitem()
                    super().advance(task_id, advance)
                    self._tell(task_id)

        def stop(self) -> None:
            self._show()
            super().stop()

        def update(self, task_id: TaskID, **changes: Any) -> None:
            self._show()  # or what is held would be added to what is set
            super().update(task_id, **changes)
            self._tell(task_id)

        def _tell(self, task_id: TaskID) -> None:
            task = next(task for task in self.tasks if task.id == task_id)
            total = None if task.total is None else int(task.total)
            tell_progress(step=task.description, done=int(task.completed), total=total)

    return Bar


def progress_bar() -> Progress:
    """Return soundx's one style of progress bar, silent where nobody watches."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return _bar()(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


def track(items: Iterable[Item], *, description: str, total: int | None = None) -> Iterator[Item]:
    """Yield items while a progress bar counts them; without one where there is no rich."""
    try:
        bar = progress_bar()
    except ImportError:
        yield from items
        return
    with bar:
        yield from bar.track(items, total=total, description=description)


def counted(n: int, singular: str, plural: str | None = None) -> str:
    """Return a count with its noun, as a person writes it.

    >>> counted(1, "file"), counted(1234, "file"), counted(2, "category", "categories")
    ('1 file', '1,234 files', '2 categories')
    """
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"
