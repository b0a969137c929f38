from __future__ import annotations

import dataclasses
import itertools
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from counting import Counting, assert_holds_all, fill, job, write_clips

from soundx.embedders import EmbedderSettings, load_embedder
from soundx.embeddings.missing import EmbeddingOptions
from soundx.embeddings.store import EmbeddingStore
from soundx.errors import DecoderLostError, SoundxError
from soundx.storage.folder import Folder
from tests.conftest import KILLS

HERE = Path(__file__).parent


@pytest.fixture
def clips(tmp_path):
    write_clips(tmp_path / "clips", range(1600, 1640))
    return tmp_path / "clips"


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(Folder(str(tmp_path / "store")))


def test_a_clip_is_never_embedded_twice(clips, store, tmp_path):
    report = fill(store, job(clips))
    assert (report["clips"], report["embedded"], report["cache_hits"]) == (40, 40, 0)
    assert report["embedder"] == "counting"
    assert report["fingerprint"] == Counting().fingerprint
    assert report["clips_per_s"] == pytest.approx(40 / report["seconds"])
    assert report["times_real_time"] == pytest.approx(40.0 / report["seconds"])
    assert report["hours"] == pytest.approx(40 / 3600)
    write_clips(tmp_path / "more", [1700])
    (tmp_path / "more" / "1700.wav").rename(clips / "1700.wav")
    again = fill(store, job(clips))
    assert (again["clips"], again["embedded"], again["cache_hits"]) == (41, 1, 40)
    nothing = fill(store, job(clips))
    assert (nothing["embedded"], nothing["cache_hits"]) == (0, 41)
    assert nothing["clips_per_s"] is None
    assert_holds_all(tmp_path / "store", clips)


def test_content_decides_not_names(clips, store):
    """A clip under another path, or twice under two, costs nothing."""
    first = job(clips)
    fill(store, first)
    moved = first.clips.assign(path=first.clips["path"].to_numpy()[::-1])
    assert fill(store, dataclasses.replace(first, clips=moved))["embedded"] == 0
    changed = first.clips.assign(clip_id=["new", *first.clips["clip_id"][1:]])
    assert fill(store, dataclasses.replace(first, clips=changed))["embedded"] == 1


def test_another_front_end_is_another_store(clips, store):
    plain = load_embedder("logmel")
    levelled = load_embedder("logmel", EmbedderSettings(level_dbfs=-23.0))
    for embedder in (plain, levelled):
        report = fill(store, dataclasses.replace(job(clips), embedder=embedder))
        assert report["embedded"] == 40
        assert store.current.info == embedder.info
    assert len(store.sets()) == 2


def test_garbage_goes_only_when_asked(clips, store):
    everything = job(clips)
    fill(store, everything)
    fewer = dataclasses.replace(everything, clips=everything.clips.head(10))
    fill(store, fewer)
    assert len(store.current) == 40
    options = EmbeddingOptions(clips_per_shard=8, collect_garbage=True)
    fill(store, dataclasses.replace(fewer, options=options))
    assert len(store.current) == 10
    assert fill(store, everything)["embedded"] == 30


def test_long_clips_have_shards_of_their_own(clips, store, monkeypatch):
    monkeypatch.setattr("soundx.embeddings.missing.SHARD_NUMBERS", 200_000)
    long = job(clips)
    fill(store, dataclasses.replace(long, clips=long.clips.head(5).assign(duration_s=36_000.0)))
    names = store.folder.sub(Counting().fingerprint).names()
    assert sum(name.endswith(".parquet") for name in names) == 5


def run_and_kill(command, lines, after):
    """Start, kill -9 after so many clips; return (clips embedded, whether it ended first)."""
    process = subprocess.Popen([sys.executable, str(HERE / "counting.py"), *command])
    try:
        heard = []
        while len(heard) < after:
            heard.append(lines.take()[1])
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    return heard + [n for _, n in lines.take_what_is_there()]


@pytest.mark.parametrize("kills", KILLS)
def test_killed_again_and_again_it_goes_on_from_the_last_whole_shard(tmp_path, pipe, rng, kills):
    clips, folder = tmp_path / "clips", tmp_path / "store"
    lengths = range(1600, 1600 + 50 * kills)
    write_clips(clips, lengths)
    path, lines = pipe
    times: Counter[int] = Counter()
    for _ in range(kills):
        whole = EmbeddingStore(Folder(str(folder))).of(Counting().info)
        before = {n for n in lengths if f"{n}.wav" in whole}
        after = int(rng.integers(1, 40))
        heard = run_and_kill([str(clips), str(folder), path], lines, after)
        assert not before & set(heard), "clips of a whole shard were embedded again"
        times.update(heard)
    assert times.total() > 10 * kills
    lines.widen()
    last = [sys.executable, str(HERE / "counting.py"), str(clips), str(folder), path]
    subprocess.run(last, check=True)
    times.update(n for _, n in lines.take_what_is_there())
    assert set(times) == set(lengths)
    assert_holds_all(folder, clips)


def test_looking_at_a_store_writes_nothing(store, tmp_path):
    stored = store.of(Counting().info)
    assert len(stored) == 0
    assert stored.rejected == {}
    assert store.sets() == []
    with pytest.raises(SoundxError, match="no embeddings"):
        _ = store.current
    assert list(tmp_path.iterdir()) == []


def test_a_shard_too_long_for_memory_goes_through_a_file(clips, store, monkeypatch):
    monkeypatch.setattr("soundx.embeddings.missing.SHARD_NUMBERS", 15)
    whole = job(clips)
    report = fill(store, dataclasses.replace(whole, clips=whole.clips.assign(duration_s=0.5)))
    assert report["embedded"] == 40
    frames = store.current.frames(whole.clips["clip_id"].tolist()).reshape(40, 2, 3)
    assert (frames == frames[:, :1, :1]).all()
    expected = [float(name.removesuffix(".wav")) - 1600 for name in whole.clips["clip_id"]]
    assert frames[:, 0, 0].tolist() == expected


class Deadly(dict):
    """Waveforms of which some take their decoder down, long ones after the first pieces."""

    def __init__(self, waveforms, *paths):
        super().__init__(waveforms)
        for path in paths:
            self[path] = _Deadly(self[path])


class _Deadly:
    def __init__(self, waveform):
        self._waveform = waveform

    def __call__(self):
        raise DecoderLostError("its decoder crashed (SIGSEGV)")

    def blocks(self):
        yield from itertools.islice(self._waveform.blocks(), 3)
        raise DecoderLostError("its decoder crashed (SIGSEGV)")


@pytest.mark.parametrize("where", ["memory", "file", "dask"])
def test_a_clip_that_takes_its_decoder_down_is_left_out_for_good(clips, store, monkeypatch, where):
    dask = where == "dask"
    if dask:
        pytest.importorskip("distributed")
    if where == "file":
        monkeypatch.setattr("soundx.embeddings.missing.SHARD_NUMBERS", 15)
    whole = job(clips, enabled=dask, workers=1)
    doomed = ["1603.wav", "1610.wav"]
    deadly = dataclasses.replace(whole, waveforms=Deadly(whole.waveforms, *doomed))
    report = fill(store, deadly)
    assert (report["embedded"], list(report["rejected"])) == (38, doomed)
    kept = store.current
    assert set(kept.rejected.values()) == {"its decoder crashed (SIGSEGV)"}
    ids = [clip_id for clip_id in whole.clips["clip_id"] if clip_id not in doomed]
    frames = kept.frames(ids).reshape(38, 2, 3)
    expected = [float(name.removesuffix(".wav")) - 1600 for name in ids]
    np.testing.assert_array_equal(frames[:, 0, 0], expected)
    assert fill(store, deadly)["embedded"] == 0
