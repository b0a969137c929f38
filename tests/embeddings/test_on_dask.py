from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from counting import KILLER_SAMPLES, Counting, assert_holds_all, fill, job, write_clips

from soundx.embeddings.store import EmbeddingStore
from soundx.errors import SoundxError
from soundx.storage.folder import Folder
from tests.conftest import KILLS

pytest.importorskip("distributed", reason="needs the extra 'dask'")

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def workers_find_the_class(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)


def started(*command, **options):
    return subprocess.Popen([sys.executable, *map(str, command)], text=True, **options)


@pytest.mark.slow
def test_a_clip_that_kills_its_worker_costs_no_neighbour(tmp_path, caplog):
    """A killer of the network among clips that are embedded, on a cluster that soundx starts."""
    clips = tmp_path / "clips"
    write_clips(clips, [*range(1600, 1640), KILLER_SAMPLES])
    store = EmbeddingStore(Folder(str(tmp_path / "store")))
    before = dict(os.environ)
    report = fill(store, job(clips, enabled=True, workers=2))
    assert dict(os.environ) == before
    assert (report["clips"], report["embedded"]) == (41, 40)
    assert list(report["rejected"]) == [f"{KILLER_SAMPLES}.wav"]
    assert re.search(r"Dask, [12] workers", report["engine"])  # one may just have been killed
    assert_holds_all(tmp_path / "store", clips, without=KILLER_SAMPLES)
    # nothing is tried again, and the local engine does not die of it either
    again = fill(store, job(clips))
    assert (again["embedded"], again["cache_hits"]) == (0, 40)
    assert list(again["rejected"]) == [f"{KILLER_SAMPLES}.wav"]
    assert f"{KILLER_SAMPLES}.wav was left out" in caplog.text


@pytest.mark.parametrize("kills", KILLS)
def test_workers_killed_again_and_again_lose_nothing(tmp_path, pipe, rng, kills):
    clips, folder = tmp_path / "clips", tmp_path / "store"
    write_clips(clips, range(1600, 1600 + 80 * kills))
    path, lines = pipe
    run = started(HERE / "counting.py", clips, folder, path, "local")
    try:
        for _ in range(kills):
            for _ in range(int(rng.integers(1, 30))):
                worker, _ = lines.take()
            with contextlib.suppress(ProcessLookupError):  # heard of one that is gone already
                os.kill(worker, signal.SIGKILL)
        lines.widen()
        assert run.wait(timeout=300) == 0
    finally:
        run.kill()
    assert_holds_all(folder, clips)
    kept = EmbeddingStore(Folder(str(folder))).of(Counting().info)
    assert kept.rejected == {}


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and a worker as somebody else would start them."""
    scheduler = started(
        "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
        "--no-dashboard", stderr=subprocess.PIPE,
        env={**os.environ, "DASK_LOGGING__DISTRIBUTED": "info"},  # its address is in the log
    )  # fmt: skip
    address = None
    assert scheduler.stderr is not None
    for line in scheduler.stderr:
        if found := re.search(r"Scheduler at: +(tcp://\S+)", line):
            address = found[1]
            break
    worker = started(
        "-m", "distributed.cli.dask_worker", address, "--nthreads", "2", "--no-dashboard",
        "--local-directory", tmp_path, "--death-timeout", "5", stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield address, scheduler
    for process in (worker, scheduler):
        process.terminate()
        process.wait(timeout=30)
    scheduler.stderr.close()


@pytest.mark.slow
def test_a_lost_scheduler_loses_only_unfinished_shards(cluster, tmp_path, pipe):
    address, scheduler = cluster
    clips, folder = tmp_path / "clips", tmp_path / "store"
    write_clips(clips, range(1600, 2600))
    path, lines = pipe
    run = started(HERE / "counting.py", clips, folder, path, address, stderr=subprocess.PIPE)
    for _ in range(50):
        lines.take()
    scheduler.kill()
    lines.widen()
    _, said = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "message for people: The Dask scheduler was lost" in said
    store = EmbeddingStore(Folder(str(folder)))
    whole = {n for n in range(1600, 2600) if f"{n}.wav" in store.of(Counting().info)}
    assert whole
    lines.take_what_is_there()
    report = fill(store, job(clips, path))
    assert report["cache_hits"] == len(whole)
    assert not whole & {n for _, n in lines.take_what_is_there()}
    assert_holds_all(folder, clips)


def test_a_cluster_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("soundx.embeddings.on_dask._CONNECT_S", 1)
    clips = tmp_path / "clips"
    write_clips(clips, [1600])
    store = EmbeddingStore(Folder(str(tmp_path / "store")))
    with pytest.raises(
        SoundxError, match=r"no Dask scheduler at tcp://127.0.0.1:9.*dask\.scheduler"
    ):
        fill(store, job(clips, enabled=True, scheduler="tcp://127.0.0.1:9"))


def test_without_the_extra_it_says_how_to_get_it(tmp_path, monkeypatch):
    clips = tmp_path / "clips"
    write_clips(clips, [1600])
    monkeypatch.setitem(sys.modules, "distributed", None)
    store = EmbeddingStore(Folder(str(tmp_path / "store")))
    with pytest.raises(SoundxError, match=r"pip install 'soundx\[dask\]'"):
        fill(store, job(clips, enabled=True))


@pytest.mark.yamnet
def test_workers_need_no_weights(tmp_path, write_clip, yamnet_folder, rng):
    """YAMNet's network reaches the workers through the store, the answer is the same."""
    import dataclasses

    import numpy as np

    from soundx.embedders import EmbedderSettings, load_embedder

    for number in range(20):
        write_clip(f"clips/{number}.wav", seconds=1.5)
    frames = []
    for where in ("here", "there"):
        networks = Folder(str(tmp_path / where / "networks"))
        settings = EmbedderSettings(yamnet_handle=yamnet_folder, networks=networks)
        embedder = load_embedder("yamnet", settings)
        todo = job(tmp_path / "clips", enabled=where == "there", workers=2)
        store = EmbeddingStore(Folder(str(tmp_path / where)))
        fill(store, dataclasses.replace(todo, embedder=embedder))
        frames.append(store.current.frames(todo.clips["clip_id"].tolist()))
    np.testing.assert_array_equal(*frames)
