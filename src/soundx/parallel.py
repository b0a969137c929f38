"""A bounded parallel map that keeps order, and how many processors there are for it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def n_workers() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
    with ThreadPoolExecutor(workers, thread_name_prefix="soundx") as pool:
        yield from map_in_order(function, items, pool, in_flight=workers * in_flight_per_worker)


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], executor: Executor, *, in_flight: int
) -> Iterator[Result]:
    """Apply a function by an executor that others may use as well; the same otherwise."""
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) >= in_flight:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class Pool(Generic[Item]):
    """Things of which each is for one thread at a time: as many as are in use at once.

    Args:
        make: Makes one more.
    """

    def __init__(self, make: Callable[[], Item]) -> None:
        self._make = make
        self._idle: deque[Item] = deque()

    @contextmanager
    def lend(self) -> Iterator[Item]:
        """Yield one that nobody else has until the block ends."""
        try:
            item = self._idle.pop()
        except IndexError:
            item = self._make()
        try:
            yield item
        finally:
            self._idle.append(item)
