"""Progress bars for long work, and a bounded parallel map that keeps order.

Where ``SOUNDX_PROGRESS`` names a file, a run also tells its progress there, for those who
watch it from another process.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from soundx.storage import whole_file

Item = TypeVar("Item")
Result = TypeVar("Result")

PROGRESS_FILE = "SOUNDX_PROGRESS"
"""The variable with the path of the file that progress is told in, as JSON."""


def n_workers() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


class _Bar(Progress):
    """A progress bar that also tells what it shows."""

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._tell(task_id)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        task = next(task for task in self.tasks if task.id == task_id)
        total = None if task.total is None else int(task.total)
        tell_progress(step=task.description, done=int(task.completed), total=total)


def progress_bar() -> Progress:
    """Return soundx's one style of progress bar, silent where nobody watches."""
    return _Bar(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


def track(items: Iterable[Item], *, description: str, total: int | None = None) -> Iterator[Item]:
    """Yield items while a progress bar counts them."""
    with progress_bar() as bar:
        yield from bar.track(items, total=total, description=description)


def map_in_threads(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    in_flight_per_worker: int = 8,
) -> Iterator[Result]:
    """Apply a function in threads; yield results in order, only a few ahead in memory.

    For work that releases the GIL: reading, hashing, decoding, resampling. The first
    exception is raised in its turn, and what is still waiting is dropped.
    """
    workers = workers or n_workers()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="soundx") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= workers * in_flight_per_worker:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
