"""Embed on a Dask cluster: one task a shard, written by the worker that made it.

Dask does the scheduling, restarts workers and repeats tasks that were lost; here stand only
the task, how many are under way, and what happens to a clip that kills its worker. Workers
need soundx, and see the clips and the store by the same paths or URLs as the client.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from soundx.embedders.base import Embedder, Shareable
from soundx.embeddings.engine import Clip, embed_clips
from soundx.embeddings.store import ClipFrames, EmbeddingSet, Shard
from soundx.errors import Setting, SoundxError
from soundx.options import Options
from soundx.parallel import n_workers
from soundx.storage.folder import Folder

if TYPE_CHECKING:
    from distributed import Client, Future

logger = logging.getLogger(__name__)

_CONNECT_S = 10
_ONE_THREAD_EACH = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_EXTRA = "Dask is not installed: pip install 'soundx[dask]'"


class DaskOptions(Options):
    """Whether and how work is spread over a Dask cluster.

    Attributes:
        enabled: Whether it is spread.
        scheduler: Address of a cluster's scheduler (``tcp://host:8786``); empty for a
            cluster on this machine, which lasts as long as the run.
        workers: Worker processes of that cluster; None for one a processor.
        tasks_per_thread: Shards under way or waiting, for each thread of the cluster.
        resources: What a task takes of a worker's resources, for example ``{GPU: 1}``.
    """

    enabled: bool = False
    scheduler: str = ""
    workers: int | None = Field(None, gt=0)
    tasks_per_thread: int = Field(2, gt=0)
    resources: dict[str, float] = Field(default_factory=dict)


def embed_on_dask(
    stored: EmbeddingSet,
    embedder: Embedder,
    shards: Iterator[list[Clip]],
    options: DaskOptions,
    tick: Callable[[int], None],
) -> Iterator[Shard]:
    """Embed shards of clips on a cluster.

    A clip whose decoder kills its worker is noted as rejected in ``stored``; its neighbours
    are embedded.

    Args:
        stored: Where workers write shards to.
        embedder: The embedder.
        shards: The clips of each.
        options: Which cluster.
        tick: Called with the number of clips done.

    Yields:
        Shards that a worker has written.

    Raises:
        SoundxError: Dask is not installed, there is no cluster, it is lost, or a clip cannot
            be decoded. Shards that are whole stay.
    """
    try:
        import distributed
    except ImportError:
        raise SoundxError(_EXTRA) from None
    # what becomes of a lost worker's clips is told here
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if isinstance(embedder, Shareable):
        embedder.share()
    lost = (OSError, distributed.client.FutureCancelledError, distributed.CancelledError)
    with _cluster(options) as client:
        run = _Run(client, stored, embedder, options, tick)
        try:
            yield from run.embed(shards)
        except lost as error:
            raise SoundxError(
                "The Dask scheduler was lost. Shards that were whole are kept: run again to "
                f"go on. ({type(error).__name__}: {error})"
            ) from error


class _Run:
    """Shards under way on a cluster."""

    def __init__(
        self,
        client: Client,
        stored: EmbeddingSet,
        embedder: Embedder,
        options: DaskOptions,
        tick: Callable[[int], None],
    ) -> None:
        self._client = client
        self._stored = stored
        self._embedder = embedder
        self._options = options
        self._tick = tick
        self._size = (0, 0)

    def embed(self, shards: Iterator[list[Clip]]) -> Iterator[Shard]:
        import distributed

        under_way = {self._submit(clips): clips for clips in self._next(shards, under_way=0)}
        finished = distributed.as_completed(list(under_way), loop=self._client.loop)
        suspects = []
        for future in finished:
            clips = under_way.pop(future)
            error = future.exception()
            if isinstance(error, distributed.KilledWorker):
                suspects.append(clips)
            elif error is not None:
                raise error
            else:
                yield self._take_up(future, len(clips))
            for more in self._next(shards, under_way=len(under_way)):
                under_way[new := self._submit(more)] = more
                finished.add(new)
        for clips in suspects:
            yield from self._isolate(clips)

    def _next(self, shards: Iterator[list[Clip]], *, under_way: int) -> list[list[Clip]]:
        """Return as many shards as the cluster, as large as it is now, may be given."""
        n_threads = sum(self._client.nthreads().values())
        limit = self._options.tasks_per_thread * max(n_threads, 1)
        return list(islice(shards, max(limit - under_way, 0)))

    def _submit(self, clips: list[Clip], *, probe: bool = False) -> Future:
        return self._client.submit(
            _embed_shard,
            self._stored.folder,
            self._embedder,
            clips,
            probe=probe,
            pure=False,
            resources=self._options.resources or None,
        )

    def _take_up(self, future: Future, n_clips: int) -> Shard:
        clips, rejected = future.result()
        self._tick(n_clips)
        threads = self._client.nthreads()
        # what it was at its largest: workers come, die and come again
        self._size = max(self._size, (sum(threads.values()), len(threads)))
        engine = "{}; Dask, {} workers, {} threads".format(
            self._embedder.model.engine, *reversed(self._size)
        )
        return Shard(self._embedder.info, clips, engine, rejected=rejected)

    def _isolate(self, clips: list[Clip]) -> Iterator[Shard]:
        """Find out which clip of a shard kills its worker, reject it, embed the others.

        Each is tried with nothing else on the cluster: Dask blames whatever a worker had
        when it died.
        """
        import distributed

        logger.warning(
            "A worker was lost again and again on a shard of %d clips: trying them one by one.",
            len(clips),
        )
        killers = {}
        for clip in clips:
            error = self._submit([clip], probe=True).exception()
            if isinstance(error, distributed.KilledWorker):
                killers[clip.clip_id] = "its decoder killed every worker that tried it"
            elif error is not None:
                raise error
        self._stored.reject(killers)
        innocent = [clip for clip in clips if clip.clip_id not in killers]
        if innocent:
            yield self._take_up(self._submit(innocent), len(innocent))
        self._tick(len(killers))


_held: dict[str, Embedder] = {}
_holding = threading.Lock()


def _embed_shard(
    folder: Folder, embedder: Embedder, clips: list[Clip], *, probe: bool
) -> tuple[ClipFrames, dict[str, str]]:
    """Embed clips into one shard, on a worker; as a probe, only see whether it survives.

    Returns:
        The clips of the shard, and those that took their decoder down, with reasons.
    """
    with _holding:
        # the first one that came stays: its network is built once for all tasks
        embedder = _held.setdefault(embedder.fingerprint, embedder)
    rejected: dict[str, str] = {}
    stored = EmbeddingSet(folder, embedder.info)
    while clips:
        if not probe:
            written = stored.shard_of([clip.clip_id for clip in clips])
            if written is not None:  # by a worker that was lost before it could say so
                return written[1], rejected
        pieces = embed_clips(clips, embedder, rejected=rejected, workers=1)
        with suppress(_RejectedError):
            if probe:
                for _ in pieces:
                    pass
                break
            with stored.new_shard() as shard:
                for clip_id, frames in pieces:
                    if clip_id in rejected:
                        raise _RejectedError
                    shard.add(clip_id, frames)
            return shard.clips, rejected
        # what was written of it cannot be taken back: once more, without it
        clips = [clip for clip in clips if clip.clip_id not in rejected]
    return [], rejected


class _RejectedError(Exception):
    """A clip of a shard took its decoder down."""


@contextmanager
def _cluster(options: DaskOptions) -> Iterator[Client]:
    """Yield a client of the cluster that the options name, or of one on this machine."""
    import dask
    from distributed import Client, LocalCluster

    if options.scheduler:
        try:
            client = Client(options.scheduler, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise SoundxError(
                f"There is no Dask scheduler at {options.scheduler}: {error}. Give its address "
                "as dask.scheduler, or none for a cluster on this machine.",
                remedy=Setting("dask.scheduler", "tcp://HOST:8786"),
            ) from error
        with client:
            if not client.nthreads():
                logger.info("Waiting for workers of %s ...", options.scheduler)
            yield client
        return
    wanted = options.workers or n_workers()
    variables = {**dict.fromkeys(_ONE_THREAD_EACH, "1"), "DASK_LOGGING__DISTRIBUTED": "critical"}
    settings = {
        # Dask's own gives memory back after each task, and decoding takes 1.5 times as long
        "distributed.nanny.pre-spawn-environ": variables,
        "distributed.scheduler.allowed-failures": 2,
    }
    with (
        _environment_as_it_was(),
        dask.config.set(settings),
        LocalCluster(
            n_workers=wanted,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        # where one dies while it starts, its nanny gives up: another takes its place
        cluster.adapt(minimum=wanted, maximum=wanted, interval="2s")
        yield client


@contextmanager
def _environment_as_it_was() -> Iterator[None]:
    """Undo what Dask does to this process's own environment when it starts workers."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
