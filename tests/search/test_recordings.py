"""Recordings in the embedding store: in parts, and the same as in one go."""

from __future__ import annotations

import os
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from soundx.audio import decoding, framing
from soundx.audio.decoding import decode_blocks, decode_clip
from soundx.embedders import EmbedderInfo, load_embedder
from soundx.embeddings import engine
from soundx.embeddings import store as store_module
from soundx.embeddings.missing import EmbeddingOptions, embed_missing
from soundx.embeddings.on_dask import DaskOptions
from soundx.embeddings.store import EmbeddingStore
from soundx.errors import AudioError, DecoderLostError, SoundxError
from soundx.listening.recordings import find_recordings
from soundx.parallel import n_workers
from soundx.search import recordings
from soundx.search.recordings import (
    MANIFEST_DTYPES,
    RecordingParts,
    part_ids,
    parts_of,
    scan_recordings,
    usable,
)
from soundx.storage.folder import Folder

LOGMEL = load_embedder("logmel")
SPAN, HOP = framing.MIN_SAMPLES, framing.HOP_SAMPLES
NOTHING = pd.DataFrame()


def write_noise(path: Path, n_samples: int, *, rate_hz: int = 16_000, seed: int = 7) -> Path:
    """Write noise that grows louder, so that no two seconds are alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([seed, n_samples]).standard_normal(n_samples)
    soundfile.write(path, 0.1 * noise * np.linspace(0.05, 1.0, n_samples), rate_hz)
    return path


def keep(store: EmbeddingStore, sources, manifest, *, stop_after=None, per_shard=128, **dask):
    """Embed what is missing as the pipeline does; return what it tells, and what is stored."""
    parts = parts_of(manifest, LOGMEL.info)
    waveforms = RecordingParts(parts, sources, LOGMEL)
    options = EmbeddingOptions(clips_per_shard=per_shard)
    made = embed_missing(store, parts, waveforms, LOGMEL, options, DaskOptions(**dask))
    report = None
    for shard, report in islice(made, stop_after):  # noqa: B007  the last one is returned
        store.save(shard)
    made.close()
    return report, store.of(LOGMEL.info)


def joined(stored, row):
    """Return all frames of a recording, one part after the other."""
    return stored.frames(part_ids(row.recording_id, row.duration_s, LOGMEL.info))


def assert_same_frames(frames, expected):
    """What is stored has 11 bits; products of other sizes differ by a rounding error."""
    assert frames.shape == expected.shape
    np.testing.assert_allclose(frames, expected, rtol=2e-3, atol=2e-3)


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(Folder(str(tmp_path / "store")))


@pytest.fixture
def nights(tmp_path):
    return tmp_path / "nights"


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of four frames: 2.4 seconds."""
    monkeypatch.setattr(recordings, "PART_FRAMES", 4)


def lengths_at_borders():
    """Lengths in samples at which a frame, or a part of four frames, begins or ends."""
    borders = [SPAN + n * HOP for n in (0, 1, 3, 4, 5, 7, 8, 11)]
    # the window that people are told of ends 15 ms before the last sample a frame sees
    borders += [15_360 + n * HOP for n in (3, 4, 8)]
    near = {border + away for border in borders for away in (-1, 0, 1)}
    return sorted({1, 100, 8_000} | near)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_parts_joined_are_the_recording_in_one_go(nights, store, small_parts, rate_hz, suffix):
    for length in lengths_at_borders():
        n_samples = round(length * rate_hz / 16_000)
        write_noise(nights / f"{length}.{suffix}", n_samples, rate_hz=rate_hz)
    sources = find_recordings([str(nights)])
    manifest = scan_recordings(sources, NOTHING)
    _, stored = keep(store, sources, manifest)
    n_parts = []
    for row in manifest.itertuples():
        (whole,) = LOGMEL.embed([decode_clip(Path(row.file))])
        assert_same_frames(joined(stored, row), whole)
        counts = stored.n_frames(part_ids(row.recording_id, row.duration_s, LOGMEL.info))
        assert (counts[:-1] == 4).all(), row.file
        assert 1 <= counts[-1] <= 5, row.file
        n_parts.append(len(counts))
    assert set(n_parts) == {1, 2, 3}


def test_long_parts_come_piece_by_piece_and_are_the_same(nights, store, monkeypatch):
    monkeypatch.setattr(recordings, "PART_FRAMES", 10)
    monkeypatch.setattr(engine, "LONG_CLIP_S", 2.0)
    monkeypatch.setattr(engine, "UNIT_FRAMES", 3)
    write_noise(nights / "a.wav", 23 * HOP + SPAN + 99)
    sources = find_recordings([str(nights)])
    manifest = scan_recordings(sources, NOTHING)
    _, stored = keep(store, sources, manifest)
    (whole,) = LOGMEL.embed([decode_clip(nights / "a.wav")])
    (row,) = manifest.itertuples()
    assert_same_frames(joined(stored, row), whole)


def test_a_recording_of_more_than_ten_minutes_is_in_two_parts(nights):
    write_noise(nights / "a.flac", 601 * 16_000)
    sources = find_recordings([str(nights)])
    parts = parts_of(scan_recordings(sources, NOTHING), LOGMEL.info)
    assert [path[-13:] for path in parts["path"]] == ["(part 1 of 2)", "(part 2 of 2)"]
    waveforms = RecordingParts(parts, sources, LOGMEL)
    whole = decode_clip(nights / "a.flac")
    first, second = (waveforms[path]() for path in parts["path"])
    np.testing.assert_array_equal(first, whole[: 1249 * HOP + SPAN])
    np.testing.assert_array_equal(second, whole[1250 * HOP :])


def test_parts_come_in_any_order_and_to_several_threads_at_once(nights, small_parts, rng):
    write_noise(nights / "a.wav", 40 * HOP)
    write_noise(nights / "b.wav", 30 * HOP)
    sources = find_recordings([str(nights)])
    parts = parts_of(scan_recordings(sources, NOTHING), LOGMEL.info)
    waveforms = RecordingParts(parts, sources, LOGMEL)
    whole = {source.file: decode_clip(Path(source.file)) for source in sources}
    rows = [*parts.itertuples(), *parts.itertuples()]
    rng.shuffle(rows)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda row: waveforms[row.path](), rows))
    for row, samples in zip(rows, found, strict=True):
        last = row.path == parts[parts["file"] == row.file]["path"].iloc[-1]
        end = None if last else row.first_sample + 3 * HOP + SPAN
        np.testing.assert_array_equal(samples, whole[row.file][row.first_sample : end])


def test_a_part_in_blocks_is_the_part(nights):
    write_noise(nights / "a.wav", 40 * 16_000)
    sources = find_recordings([str(nights)])
    parts = parts_of(scan_recordings(sources, NOTHING), LOGMEL.info)
    (part,) = RecordingParts(parts, sources, LOGMEL).values()
    blocks = list(part.blocks())
    assert len(blocks) > 2
    np.testing.assert_array_equal(np.concatenate(blocks), part())


def test_pickled_parts_read_the_same(nights, small_parts):
    write_noise(nights / "a.wav", 20 * HOP)
    sources = find_recordings([str(nights)])
    parts = parts_of(scan_recordings(sources, NOTHING), LOGMEL.info)
    mine = list(RecordingParts(parts, sources, LOGMEL).values())
    expected = [part() for part in mine[:2]]  # read to its middle when it is sent
    sent = pickle.loads(pickle.dumps(mine))
    assert len(pickle.dumps(mine)) < 2000, "no sample is sent"
    for part, samples in zip(sent[:2], expected, strict=True):
        np.testing.assert_array_equal(part(), samples)
    np.testing.assert_array_equal(sent[-1](), mine[-1]())


def test_what_lies_before_a_part_is_not_held(nights, monkeypatch):
    """Where the first hours are embedded already, the last part is all there is in memory."""
    write_noise(nights / "a.wav", 20_000)
    sources = find_recordings([str(nights)])
    manifest = scan_recordings(sources, NOTHING).assign(duration_s=2 * 3600.0)
    blocks, most = [], 0

    def two_hours(path, **asked):
        nonlocal most
        for number in range(480):
            block = np.full(240_000, number, np.float32)
            blocks.append(weakref.ref(block))
            most = max(most, sum(one() is not None for one in blocks))
            yield block

    monkeypatch.setattr(recordings, "decode_blocks", two_hours)
    parts = parts_of(manifest, LOGMEL.info)
    *_, last = RecordingParts(parts, sources, LOGMEL).values()
    assert len(parts) == 12
    samples = last()
    assert (samples[0], samples[-1]) == (440, 479)
    assert most < 60


def test_decoders_are_given_back_at_the_end_of_each_recording(nights, monkeypatch):
    """A decoder is a process: with one left behind by every short recording there were hundreds."""
    workers = []

    class Noted(decoding._Worker):
        def __init__(self):
            super().__init__()
            workers.append(self)

    monkeypatch.setattr(decoding, "_Worker", Noted)
    monkeypatch.setattr(decoding, "_idle", [])
    for number in range(8):
        write_noise(nights / f"{number}.wav", 16_000 + number)
    sources = find_recordings([str(nights)])
    parts = parts_of(scan_recordings(sources, NOTHING), LOGMEL.info)
    mine = list(RecordingParts(parts, sources, LOGMEL).values())
    lengths = [len(part()) for part in mine]  # all of them are still held, as in a shard
    assert sorted(lengths) == [16_000 + number for number in range(8)]
    assert sum(worker._process.poll() is None for worker in workers) <= n_workers()
    decoding._stop_idle()


def test_what_is_broken_is_a_row_with_its_reason_and_the_others_go_on(nights, store, caplog):
    write_noise(nights / "20240501_213000.wav", 30_000)
    (nights / "page.mp3").write_bytes(b"<html>not found</html>")
    (nights / "empty.wav").write_bytes(b"")
    bad_name = os.fsencode(nights) + b"/\xff.wav"
    try:
        Path(os.fsdecode(bad_name)).write_bytes((nights / "20240501_213000.wav").read_bytes())
    except OSError:
        pytest.skip("file names are text here")
    sources = find_recordings([str(nights)])
    manifest = scan_recordings(sources, NOTHING)
    assert manifest.dtypes.astype(str).to_dict().keys() == MANIFEST_DTYPES.keys()
    assert [Path(file).name for file in manifest["file"]] == [
        "20240501_213000.wav", "empty.wav", "page.mp3", "?.wav",
    ]  # fmt: skip
    reasons = manifest["error"].tolist()
    assert reasons[0] == ""
    assert "0 bytes" in reasons[1]
    assert "web page" in reasons[2]
    assert "name is no text" in reasons[3]
    for name in ("empty.wav", "page.mp3", "?.wav"):
        assert name in caplog.text
    assert usable(manifest)["starts_at"].tolist() == ["2024-05-01T21:30:00"]
    report, stored = keep(store, sources, manifest)
    assert (report["clips"], report["embedded"], len(stored)) == (1, 1, 1)
    manifest.to_parquet(nights.parent / "manifest.parquet")


def test_all_may_be_broken(nights, store):
    nights.mkdir()
    (nights / "a.wav").write_bytes(b"RIFF")
    sources = find_recordings([str(nights)])
    manifest = scan_recordings(sources, NOTHING)
    assert usable(manifest).empty
    report, stored = keep(store, sources, manifest)
    assert (report["clips"], len(stored)) == (0, 0)


@pytest.fixture
def inspected(monkeypatch):
    """Names of the files that are read from end to end, as it happens."""
    names = []

    def counting(path):
        names.append(path.name)
        return decoding.inspect_clip(path)

    monkeypatch.setattr(recordings, "inspect_clip", counting)
    return names


def test_what_has_not_changed_is_not_read_again(nights, inspected, tmp_path):
    for name in ("a", "b", "c"):
        write_noise(nights / f"{name}.wav", 20_000, seed=ord(name))
    (nights / "d.wav").write_bytes(b"RIFF")
    first = scan_recordings(find_recordings([str(nights)]), NOTHING)
    assert sorted(inspected) == ["a.wav", "b.wav", "c.wav", "d.wav"]
    # as the next run finds it
    first.to_parquet(tmp_path / "manifest.parquet")
    known = pd.read_parquet(tmp_path / "manifest.parquet")
    inspected.clear()
    write_noise(nights / "b.wav", 25_000)
    (nights / "c.wav").rename(nights / "e.wav")
    second = scan_recordings(find_recordings([str(nights)]), known)
    # what could not be used may be usable now
    assert sorted(inspected) == ["b.wav", "d.wav", "e.wav"]
    assert second["recording_id"][0] == first["recording_id"][0]
    assert second["recording_id"][1] != first["recording_id"][1]
    assert second["recording_id"][3] == first["recording_id"][2]
    assert second["duration_s"].tolist() == [1.25, 25_000 / 16_000, 0.0, 1.25]


def test_two_files_of_the_same_bytes_are_one_recording(nights, store):
    path = write_noise(nights / "a.wav", 30_000)
    (nights / "copy.wav").write_bytes(path.read_bytes())
    sources = find_recordings([str(nights)])
    manifest = scan_recordings(sources, NOTHING)
    assert len(manifest) == 2
    assert [Path(file).name for file in usable(manifest)["file"]] == ["a.wav"]
    report, stored = keep(store, sources, manifest)
    assert (report["embedded"], len(stored)) == (1, 1)
    path.unlink()
    sources = find_recordings([str(nights)])
    report, _ = keep(store, sources, scan_recordings(sources, manifest))
    assert (report["embedded"], report["cache_hits"]) == (0, 1)


def test_a_run_that_was_stopped_goes_on_with_what_is_missing(nights, store, small_parts):
    write_noise(nights / "a.wav", 20 * HOP)
    write_noise(nights / "b.wav", 12 * HOP)
    sources = find_recordings([str(nights)])
    manifest = scan_recordings(sources, NOTHING)
    n_parts = len(parts_of(manifest, LOGMEL.info))
    assert n_parts > 5
    keep(store, sources, manifest, per_shard=1, stop_after=3)
    assert len(store.of(LOGMEL.info)) == 3
    report, stored = keep(store, sources, manifest, per_shard=1)
    assert (report["embedded"], report["cache_hits"]) == (n_parts - 3, 3)
    for row in manifest.itertuples():
        (whole,) = LOGMEL.embed([decode_clip(Path(row.file))])
        assert_same_frames(joined(stored, row), whole)


def test_recordings_in_a_bucket_are_those_on_disk(
    tmp_path, nights, store, small_parts, monkeypatch
):
    path = write_noise(nights / "20240501_213000.wav", 20 * HOP)
    url = f"memory://nights-{tmp_path.name}/site/20240501_213000.wav"
    with fsspec.open(url, "wb") as file:
        file.write(path.read_bytes())
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    sources = find_recordings([f"memory://nights-{tmp_path.name}"])
    manifest = scan_recordings(sources, NOTHING)
    (row,) = manifest.itertuples()
    assert (row.starts_at, row.error) == ("2024-05-01T21:30:00", "")
    assert scan_recordings(find_recordings([str(path)]), NOTHING)["recording_id"][0] == (
        row.recording_id
    )
    _, stored = keep(store, sources, manifest)
    (whole,) = LOGMEL.embed([decode_clip(path)])
    assert_same_frames(joined(stored, row), whole)
    mine = list(RecordingParts(parts_of(manifest, LOGMEL.info), sources, LOGMEL).values())
    for part in mine:
        part()
    assert not list(scratch.iterdir()), "what was fetched is still there"


def test_a_recording_that_is_gone_from_its_bucket_is_a_row_with_its_reason(tmp_path):
    url = f"memory://gone-{tmp_path.name}/a.wav"
    with fsspec.open(url, "wb") as file:
        file.write(b"x")
    sources = find_recordings([url])
    fsspec.filesystem("memory").rm(url)
    (row,) = scan_recordings(sources, NOTHING).itertuples()
    assert "cannot be fetched" in row.error


def test_a_recording_that_changed_since_it_was_looked_at_is_not_kept_as_the_old_one(nights, store):
    write_noise(nights / "a.wav", 30_000)
    sources = find_recordings([str(nights)])
    manifest = scan_recordings(sources, NOTHING)
    write_noise(nights / "a.wav", 30_000, seed=8)
    with pytest.raises(SoundxError, match=r"a\.wav is not what was ingested"):
        keep(store, sources, manifest)
    assert len(store.of(LOGMEL.info)) == 0


def test_a_decoder_that_dies_inside_costs_the_parts_that_it_did_not_reach(
    nights, store, small_parts, monkeypatch
):
    write_noise(nights / "a.wav", 20 * HOP)
    write_noise(nights / "b.wav", 20 * HOP, seed=8)

    def dies(path, **asked):
        (whole,) = decode_blocks(path, **asked)
        yield whole[: 6 * HOP]
        if path.name == "b.wav":
            raise DecoderLostError("its decoder crashed (SIGSEGV)")
        yield whole[6 * HOP :]

    monkeypatch.setattr(recordings, "decode_blocks", dies)
    sources = find_recordings([str(nights)])
    manifest = scan_recordings(sources, NOTHING)
    _, stored = keep(store, sources, manifest)
    (good, bad) = (part_ids(i, 9.6, LOGMEL.info) for i in manifest["recording_id"])
    assert stored.holds(good).all()
    assert stored.holds(bad).tolist() == [True, False, False, False, False]
    assert sorted(stored.rejected) == bad[1:]


def test_what_cannot_be_read_is_told_every_time_it_is_asked_for(nights, small_parts, monkeypatch):
    path = write_noise(nights / "a.wav", 20 * HOP)
    sources = find_recordings([str(nights)])
    parts = parts_of(scan_recordings(sources, NOTHING), LOGMEL.info)
    mine = list(RecordingParts(parts, sources, LOGMEL).values())
    path.unlink()
    for part in mine:
        with pytest.raises(AudioError):
            part()


def test_a_cluster_keeps_the_same_frames(nights, store, small_parts):
    pytest.importorskip("distributed", reason="needs the extra 'dask'")
    write_noise(nights / "a.wav", 20 * HOP)
    write_noise(nights / "b.flac", 12 * HOP)
    sources = find_recordings([str(nights)])
    manifest = scan_recordings(sources, NOTHING)
    report, stored = keep(store, sources, manifest, per_shard=2, enabled=True, workers=2)
    assert "Dask" in report["engine"]
    for row in manifest.itertuples():
        (whole,) = LOGMEL.embed([decode_clip(Path(row.file))])
        assert_same_frames(joined(stored, row), whole)


# --- some frames of long clips ----------------------------------------------------------------

INFO = EmbedderInfo("test", "test-1", 4, 0.96, 0.48)
LENGTHS = {"a": 3, "long": 50, "b": 1, "c": 20, "d": 9}


@pytest.fixture(scope="module")
def frames():
    draw = np.random.default_rng(7).standard_normal
    return {name: draw((n, 4)).astype(np.float16).astype(np.float32) for name, n in LENGTHS.items()}


@pytest.fixture(scope="module")
def in_pieces(tmp_path_factory, frames):
    """Two shards, whose row groups are of eight frames."""
    kept = EmbeddingStore(Folder(str(tmp_path_factory.mktemp("store")))).of(INFO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "ROW_GROUP_NUMBERS", 8 * 4)
        for names in (("a", "long", "b"), ("c", "d")):
            with kept.new_shard() as shard:
                for name in names:
                    for piece in np.array_split(frames[name], -(-len(frames[name]) // 8)):
                        shard.add(name, piece)
    return kept


@given(
    places=st.lists(
        st.tuples(st.sampled_from(list(LENGTHS)), st.integers(0, 60), st.integers(0, 60)),
        max_size=8,
    )
)
@example(places=[("long", 4, 30), ("c", 0, 20), ("long", 4, 30), ("long", 10, 1)])
@settings(max_examples=60, deadline=None)
def test_stretches_are_cut_from_clips_wherever_they_lie(in_pieces, frames, places):
    found = in_pieces.stretches(places)
    assert len(found) == len(places)
    for (name, first, n_frames), some in zip(places, found, strict=True):
        np.testing.assert_array_equal(some, frames[name][first : first + n_frames])


def test_of_a_long_clip_only_what_lies_beside_is_read(in_pieces, monkeypatch):
    read = []
    original = store_module.EmbeddingSet._read_row_group

    def counting(kept, shard, number):
        read.append(number)
        return original(kept, shard, number)

    monkeypatch.setattr(store_module.EmbeddingSet, "_read_row_group", counting)
    in_pieces.stretches([("long", 20, 3), ("long", 22, 2)])
    assert 1 <= len(read) <= 2


def test_stretches_of_a_clip_that_is_not_there_are_said(in_pieces):
    with pytest.raises(SoundxError, match="have no embeddings"):
        in_pieces.stretches([("a", 0, 1), ("nope", 0, 1)])


def test_frames_are_found_after_another_run_has_merged_their_shards(tmp_path, frames, monkeypatch):
    """A page stays open for hours, and runs come and go meanwhile."""
    monkeypatch.setattr(store_module, "COMPACT_SHARDS", 2)
    folder = Folder(str(tmp_path))
    for name, some in frames.items():
        EmbeddingStore(folder).of(INFO).add_shard({name: some})
    mine = EmbeddingStore(folder).of(INFO)
    assert mine.holds(LENGTHS).all()
    assert EmbeddingStore(folder).of(INFO).compact() == len(LENGTHS)
    for name, some in frames.items():
        np.testing.assert_array_equal(mine.stretches([(name, 0, 99)])[0], some)


def test_clips_are_told_once_whatever_killed_a_merge(tmp_path, frames, monkeypatch):
    monkeypatch.setattr(store_module, "COMPACT_SHARDS", 2)
    kept = EmbeddingStore(Folder(str(tmp_path))).of(INFO)
    for name, some in frames.items():
        kept.add_shard({name: some})
    assert sorted(kept.clip_ids()) == sorted(LENGTHS)

    def killed(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(kept.folder, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        kept.compact()
    assert sorted(EmbeddingStore(Folder(str(tmp_path))).of(INFO).clip_ids()) == sorted(LENGTHS)


def test_two_threads_may_be_the_first_to_look(tmp_path, frames, monkeypatch):
    """The second comes while the first has read one shard of several."""
    folder = Folder(str(tmp_path))
    for name, some in frames.items():
        EmbeddingStore(folder).of(INFO).add_shard({name: some})
    kept = EmbeddingStore(folder).of(INFO)
    original = store_module.EmbeddingSet._clips_of
    seen = []

    def interrupted(stored, shard):
        if not seen:
            seen.append(None)
            with ThreadPoolExecutor(1) as threads:
                seen[0] = threads.submit(lambda: kept.holds(LENGTHS)).result()
        return original(stored, shard)

    monkeypatch.setattr(store_module.EmbeddingSet, "_clips_of", interrupted)
    assert kept.holds(LENGTHS).all()
    assert seen[0].all()
