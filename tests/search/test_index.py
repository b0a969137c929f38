"""Windows of recordings as vectors in one file, that are right whatever happened to it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError

from soundx.audio.decoding import decode_clip
from soundx.classifier.options import ExportOptions
from soundx.datasets.recordings import WindowFolderDataset, WindowIndexDataset
from soundx.embedders import EmbedderInfo
from soundx.embedders.base import Part
from soundx.embeddings.missing import EmbeddingOptions
from soundx.embeddings.on_dask import DaskOptions
from soundx.embeddings.store import EmbeddingSet, EmbeddingStore
from soundx.errors import BrokenFileError, Remedy, SoundxError, find_soundx_error
from soundx.listening.recordings import find_recordings
from soundx.modelling import pooling
from soundx.modelling.pooling import pool_frames, pooled_widths
from soundx.modelling.ridge import Standardiser
from soundx.pipelines.recordings import create_pipeline
from soundx.search import index as module
from soundx.search import recordings
from soundx.search.index import Projection, WindowIndex, build_index
from soundx.storage.checksum import with_checksum
from soundx.storage.folder import Folder
from tests.pipelines.runs import run, steps
from tests.search.test_recordings import LOGMEL, write_noise

INFO = EmbedderInfo(
    *("test", "test-1", 6, 0.96, 0.48), parts=(Part("a", 4), Part("b", 2, ("mean",), root=True))
)
DIM = sum(pooled_widths(INFO.parts))
PART_FRAMES = 7


@pytest.fixture(autouse=True)
def small_parts():
    """Parts of seven frames, so that windows reach over their ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recordings, "PART_FRAMES", PART_FRAMES)
        patch.setattr(module, "PART_FRAMES", PART_FRAMES)
        yield


@dataclass
class Kept:
    """Recordings of made frames, kept in a store, and where their windows go.

    Attributes:
        folder: Where all of it is.
        info: The embedder.
        frames: Of each recording, by file.
        clocks: When each began.
    """

    folder: Path
    info: EmbedderInfo = INFO
    frames: dict[str, np.ndarray] = field(default_factory=dict)
    clocks: dict[str, str] = field(default_factory=dict)

    @property
    def stored(self) -> EmbeddingSet:
        return EmbeddingStore(Folder(str(self.folder / "store"))).of(self.info)

    @property
    def windows(self) -> Path:
        return self.folder / "windows"

    def add(self, file, n_frames, *, clock="", seed=7, frames=None):
        """Keep frames of a recording, which 16 bits hold exactly; drawn unless they are given."""
        draw = np.random.default_rng([seed, n_frames, *file.encode()])
        if frames is None:
            frames = draw.standard_normal((n_frames, self.info.dim))
        self.frames[file] = frames.astype(np.float16).astype(np.float32)
        self.clocks[file] = clock
        ids = recordings.part_ids(identity(file), self.duration_s(file), self.info)
        cuts = [PART_FRAMES * part for part in range(1, len(ids))]
        self.stored.add_shard(dict(zip(ids, np.split(self.frames[file], cuts), strict=True)))
        return self

    def duration_s(self, file):
        return self.info.window_s + (len(self.frames[file]) - 1) * self.info.hop_s

    @property
    def manifest(self):
        rows = [
            (identity(file), file, "", self.duration_s(file), self.clocks[file], "")
            for file in self.frames
        ]
        columns = list(recordings.MANIFEST_DTYPES)
        return pd.DataFrame(rows, columns=columns).astype(recordings.MANIFEST_DTYPES)

    def build(self, window_frames=3, **options):
        return build_index(self.windows, self.manifest, self.stored, window_frames, **options)

    def pooled(self, window_frames=3):
        """Return pooled vectors of all windows, cut from the frames as they were given."""
        found = []
        stride = max(1, (window_frames + 1) // 2)
        for frames in self.frames.values():
            width = min(window_frames, len(frames))
            for first in range(0, len(frames) - width + 1, stride):
                some = frames[first : first + width]
                found.append(pool_frames(some, np.array([width]), self.info.parts)[0])
        return np.stack(found)


def identity(file):
    return hashlib.sha256(file.encode()).hexdigest()


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path).add("a.wav", 20).add("b.wav", 16).add("c.wav", 25)


@pytest.fixture
def computed(monkeypatch):
    """How many windows are pooled for the index, and not to find directions by."""
    counts = []

    def counting(frames, counts_of_clips, parts):
        counts.append(len(counts_of_clips))
        return pool_frames(frames, counts_of_clips, parts)

    original = module._vectors_of

    def vectors_of(*given):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pooling, "pool_frames", counting)
            yield from original(*given)

    monkeypatch.setattr(module, "_vectors_of", vectors_of)
    return counts


def assert_right(index, kept, window_frames=3):
    """Its vectors are those of the recordings' windows, computed here from their frames."""
    expected = index.projection(kept.pooled(window_frames))
    assert len(index) == len(expected)
    np.testing.assert_allclose(index.vectors(np.arange(len(index))), expected, atol=1e-5)
    again = np.concatenate([rows for _, rows in index.blocks()])
    np.testing.assert_array_equal(again, index.vectors(np.arange(len(index))))


# --- what is in it ----------------------------------------------------------------------------


def test_windows_begin_half_a_window_after_each_other_and_know_when(tmp_path):
    kept = Kept(tmp_path).add("night/a.wav", 9, clock="2024-05-01T23:59:58+02:00").add("b.wav", 2)
    index = kept.build()
    assert (index.window_frames, index.stride_frames, index.window_s) == (3, 2, 1.92)
    windows = [index.window(number) for number in range(len(index))]
    assert [window.number for window in windows] == [0, 1, 2, 3, 4]
    assert [window.recording.file for window in windows] == ["night/a.wav"] * 4 + ["b.wav"]
    assert [window.first_frame for window in windows] == [0, 2, 4, 6, 0]
    assert [window.onset_s for window in windows] == [0.0, 0.96, 1.92, 2.88, 0.0]
    # the last is a recording shorter than a window
    assert [window.offset_s for window in windows] == [1.92, 2.88, 3.84, 4.8, 1.44]
    midnight = datetime.fromisoformat("2024-05-02T00:00:00+02:00")
    assert windows[2].starts_at == midnight - timedelta(seconds=0.08)
    assert windows[4].starts_at is None
    np.testing.assert_allclose(index.onsets_s(), [0.0, 0.96, 1.92, 2.88, 0.0])


def test_the_window_nearest_to_a_time_is_found(kept):
    index = kept.build()
    for number in range(len(index)):
        window = index.window(number)
        for away_s in (-0.4, 0.0, 0.4):
            found = index.number_at(window.recording.file, window.onset_s + away_s)
            assert found == number
    last = max(n for n in range(len(index)) if index.window(n).recording.file == "a.wav")
    assert index.number_at("a.wav", 1e6) == last
    assert index.number_at("elsewhere.wav", 0.0) is None


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    window_frames=st.integers(1, 9),
)
@example(lengths=[1], window_frames=1)
@example(lengths=[7, 8, 9, 14, 15, 16], window_frames=3)  # at the borders of parts
@settings(max_examples=15, deadline=None)
def test_vectors_are_those_of_pooled_windows(tmp_path_factory, lengths, window_frames):
    kept = Kept(tmp_path_factory.mktemp("kept"))
    for number, n_frames in enumerate(lengths):
        kept.add(f"{number}.wav", n_frames)
    index = kept.build(window_frames)
    assert_right(index, kept, window_frames)
    # and are where they are said to be in the store
    for number in range(len(index)):
        window = index.window(number)
        frames = np.concatenate(kept.stored.stretches(index.frames_place(window)))
        first = window.first_frame
        expected = kept.frames[window.recording.file][first : first + window_frames]
        np.testing.assert_array_equal(frames, expected)


def test_a_last_part_may_have_one_frame_more(tmp_path):
    """A frame sees 15 ms more than is told, so that a recording's length does not settle it."""
    kept = Kept(tmp_path).add("a.wav", 2 * PART_FRAMES + 1)
    assert kept.stored.n_frames([f"{identity('a.wav')}:1"]).tolist() == [PART_FRAMES + 1]
    for window_frames in (3, 1):
        index = kept.build(window_frames)
        assert_right(index, kept, window_frames)
        last = index.window(len(index) - 1)
        first = 2 * PART_FRAMES + 1 - window_frames
        assert last.first_frame == first
        place = (f"{identity('a.wav')}:1", first - PART_FRAMES, window_frames)
        assert index.frames_place(last) == [place]


@given(window_frames=st.integers(1, 12), n_frames=st.integers(1, 60))
@settings(max_examples=15, deadline=None)
def test_windows_apart_share_no_sound_and_leave_little_out(
    tmp_path_factory, window_frames, n_frames
):
    kept = Kept(tmp_path_factory.mktemp("kept")).add("a.wav", n_frames).add("b.wav", 30)
    index = kept.build(window_frames)
    for file in kept.frames:
        apart = [index.window(int(i)) for i in index.apart()]
        mine = [window for window in apart if window.recording.file == file]
        assert mine[0].onset_s == 0.0
        for one, other in pairwise(mine):
            gap_s = other.onset_s - (one.onset_s + index.window_s)
            assert -1e-3 <= gap_s < index.stride_frames * index.hop_s


def test_products_are_those_of_vectors_wherever_rows_lie(kept, rng):
    kept.build()
    # one that is gone leaves a hole, what was added comes after it
    del kept.frames["b.wav"]
    kept.add("d.wav", 9)
    index = kept.build()
    weights = rng.standard_normal((index.n_dims, 2)).astype(np.float32)
    bias = np.array([1.0, -2.0], np.float32)
    vectors = index.vectors(np.arange(len(index)))
    np.testing.assert_allclose(index.scores(weights, bias), vectors @ weights + bias, atol=1e-5)
    np.testing.assert_allclose(index.lengths, np.linalg.norm(vectors, axis=1), rtol=1e-5)


# --- directions -------------------------------------------------------------------------------


def test_where_no_dimension_is_dropped_a_head_is_exact(kept, rng):
    index = kept.build()
    assert index.n_dims == DIM
    standardise = Standardiser.of(iter([kept.pooled()]), pooled_widths(INFO.parts))
    standardise = replace(standardise, mean=standardise.mean + np.float32(0.5))
    weights = rng.standard_normal((DIM, 3)).astype(np.float32)
    bias = rng.standard_normal(3).astype(np.float32)
    short = index.projection.head(standardise, weights, bias)
    pooled = rng.standard_normal((50, DIM)).astype(np.float32)  # no windows of the index either
    expected = standardise(pooled) @ weights + bias
    np.testing.assert_allclose(index.projection(pooled) @ short[0] + short[1], expected, atol=1e-4)


def test_directions_are_those_in_which_sounds_differ_most(rng, monkeypatch):
    """As exact decomposition finds them, also those in which they differ a hundredth of most."""
    monkeypatch.setattr(module, "DIMS", 60)
    hidden = np.linalg.qr(rng.standard_normal((100, 100)))[0]
    vectors = (rng.standard_normal((150, 100)) * np.logspace(0, -3, 100)) @ hidden.T
    projection = Projection.of(vectors.astype(np.float32), [100])
    np.testing.assert_allclose(projection.basis.T @ projection.basis, np.eye(60), atol=1e-5)
    whole = projection.standardise(vectors.astype(np.float32))
    sizes = np.linalg.svd(whole, compute_uv=False)
    lost = np.linalg.norm(whole - projection(vectors) @ projection.basis.T)
    assert lost <= 1.05 * np.linalg.norm(sizes[60:])


def test_clips_are_among_what_directions_are_found_by(tmp_path, rng, monkeypatch):
    """What is in clips alone is told apart as well."""
    monkeypatch.setattr(module, "DIMS", 3)
    flat = np.zeros((20, 6))
    flat[:, 0] = np.arange(20)  # the recording differs in one number alone
    kept = Kept(tmp_path).add("a.wav", 20, frames=flat)
    clips = EmbeddingStore(Folder(str(tmp_path / "clips"))).of(INFO)
    ids = [f"{number:064d}" for number in range(30)]
    clips.add_shard({clip_id: 50 * rng.standard_normal((4, 6)) for clip_id in ids})
    pooled = pool_frames(clips.frames(ids), np.full(30, 4), INFO.parts)
    lost = []
    for some in (None, clips):
        (kept.windows / "index.json").unlink(missing_ok=True)
        projection = kept.build(clips=some).projection
        whole = projection.standardise(pooled)
        rest = whole - projection(pooled) @ projection.basis.T
        lost.append(np.square(rest).sum() / np.square(whole).sum())
    assert lost[1] < 0.7 * lost[0]


# --- growing ----------------------------------------------------------------------------------


def test_what_is_added_is_appended_and_nothing_else_is_computed(kept, computed):
    first = kept.build()
    assert sum(computed) == len(first) == 9 + 7 + 12
    before = first.vectors(np.arange(len(first)))
    rows = (kept.windows / "vectors.f32").read_bytes()
    computed.clear()
    kept.add("d.wav", 12)
    index = kept.build()
    assert sum(computed) == 5
    assert (kept.windows / "vectors.f32").read_bytes().startswith(rows)
    np.testing.assert_array_equal(index.vectors(np.arange(len(first))), before)
    assert_right(index, kept)
    computed.clear()
    kept.build()
    assert computed == []


def test_a_recording_under_a_new_name_is_not_computed_again(kept, computed):
    index = kept.build()
    computed.clear()
    moved = kept.manifest
    moved.loc[1, ["file", "starts_at"]] = ["night/b.wav", "2024-05-01T21:30:00"]
    again = build_index(kept.windows, moved, kept.stored, 3)
    assert computed == []
    assert [one.file for one in again.recordings] == ["a.wav", "night/b.wav", "c.wav"]
    assert again.window(10).starts_at == datetime(2024, 5, 1, 21, 30, 0, 960_000)
    assert len(again) == len(index)


def test_what_is_gone_is_not_found_any_more_and_may_come_back(kept, computed):
    kept.build()
    everything, stored = dict(kept.frames), kept.stored
    del kept.frames["b.wav"]
    computed.clear()
    index = kept.build()
    assert computed == []
    assert {one.file for one in index.recordings} == {"a.wav", "c.wav"}
    assert index.number_at("b.wav", 0.0) is None
    assert_right(index, kept)
    kept.frames = {name: everything[name] for name in ("a.wav", "c.wav", "b.wav")}
    assert stored.holds([f"{identity('b.wav')}:0"]).all()
    assert_right(kept.build(), kept)
    assert sum(computed) == 7


def test_the_last_one_gone_and_another_in_its_place(kept):
    """Rows beyond the end are written over, and what was there is not taken for it."""
    kept.build()
    del kept.frames["c.wav"]
    kept.build()
    kept.add("d.wav", 14)
    assert_right(kept.build(), kept)


def test_a_recording_that_lacks_a_part_waits(kept):
    whole = kept.manifest
    info = kept.info
    part = recordings.part_ids(identity("x.wav"), 20 * 0.48, info)[0]
    kept.stored.add_shard({part: np.ones((PART_FRAMES, 6), np.float32)})
    row = whole.iloc[[0]].assign(recording_id=identity("x.wav"), file="x.wav", duration_s=9.6)
    index = build_index(kept.windows, pd.concat([whole, row]), kept.stored, 3)
    assert [one.file for one in index.recordings] == ["a.wav", "b.wav", "c.wav"]


def test_of_no_recording_there_is_an_empty_index_that_grows(tmp_path):
    kept = Kept(tmp_path)
    index = kept.build()
    assert len(index) == 0
    assert index.recordings == ()
    assert index.apart().tolist() == index.onsets_s().tolist() == []
    assert index.scores(np.zeros((index.n_dims, 1), np.float32)).shape == (0, 1)
    assert index.vectors([]).shape == (0, index.n_dims)
    kept.add("a.wav", 20)
    index = kept.build()
    assert index.n_dims > 0
    assert_right(index, kept)


def test_directions_found_by_few_windows_are_found_anew_by_many(tmp_path, computed):
    """Or all that is ever added would be seen through one short recording."""
    kept = Kept(tmp_path).add("a.wav", 5)
    index = kept.build()
    assert index.n_dims < DIM
    kept.add("b.wav", 4)
    computed.clear()
    again = kept.build()
    assert sum(computed) == 1, "for so few more it is not worth it"
    np.testing.assert_array_equal(again.projection.basis, index.projection.basis)
    kept.add("c.wav", 40)
    index = kept.build()
    assert index.n_dims == DIM
    assert_right(index, kept)
    assert len(list(kept.windows.glob("projection-*.npz"))) == 1


def test_many_more_clips_find_directions_anew(kept, rng, computed):
    clips = EmbeddingStore(Folder(str(kept.folder / "clips"))).of(INFO)

    def add(first, last):
        some = {f"{n:064d}": rng.standard_normal((2, 6)) for n in range(first, last)}
        clips.add_shard(some)

    add(0, 110)
    index = kept.build(clips=clips)
    for n_clips, anew in ((220, False), (221, True)):
        add(n_clips - (110 if not anew else 1), n_clips)
        computed.clear()
        again = kept.build(clips=clips)
        assert bool(computed) == anew
        same = np.array_equal(again.projection.basis, index.projection.basis)
        assert same != anew
    assert_right(again, kept)


@pytest.mark.parametrize("change", ["embedder", "length"])
def test_another_embedder_or_length_makes_it_anew(kept, change):
    kept.build()
    if change == "length":
        assert_right(kept.build(5), kept, 5)
        assert_right(kept.build(3), kept, 3)
        return
    other = Kept(kept.folder, replace(INFO, fingerprint="test-2", dim=3, parts=()))
    other.add("a.wav", 20, seed=8).add("b.wav", 16, seed=8)
    index = other.build()
    assert (index.fingerprint, len(index.recordings)) == ("test-2", 2)
    assert_right(index, other)
    assert len(list(kept.windows.glob("projection-*.npz"))) == 1


def test_who_has_the_old_one_open_goes_on_reading_it(kept):
    old = kept.build()
    numbers = np.arange(len(old))
    before = old.vectors(numbers).copy()
    del kept.frames["b.wav"], kept.frames["c.wav"]
    kept.build()  # fewer rows
    kept.build()
    np.testing.assert_array_equal(old.vectors(numbers), before)
    kept.build(5)  # others, and fewer
    np.testing.assert_array_equal(old.vectors(numbers), before)


# --- what may happen to it --------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", range(8))
def test_a_killed_run_goes_on_and_the_result_is_the_same(tmp_path, monkeypatch, computed, at):
    """Killed at every moment at which something was written, or was about to be."""
    monkeypatch.setattr(module, "_RECORDINGS_A_WRITE", 2)
    kept, undisturbed = Kept(tmp_path / "killed"), Kept(tmp_path / "undisturbed")
    for number in range(5):
        for one in (kept, undisturbed):
            one.add(f"{number}.wav", 10 + number)
    expected = undisturbed.build()
    moments = iter(range(100))
    append, write = module._append, module._State.write

    def killed_between(file, *given):
        if next(moments) == at:
            file.write(b"torn")
            file.flush()
            raise Killed
        return append(file, *given)

    def killed_before(state, folder):
        if next(moments) == at:
            raise Killed
        n_bytes = (folder / "vectors.f32").stat().st_size
        assert n_bytes >= 4 * state.n_rows * state.projection.basis.shape[1], "said too early"
        write(state, folder)

    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(module, "_append", killed_between)
        patch.setattr(module._State, "write", killed_before)
        kept.build()
    assert next(moments) == at + 1, "it was not killed"
    computed.clear()
    index = kept.build()
    assert_right(index, kept)
    np.testing.assert_array_equal(
        index.vectors(np.arange(len(index))), expected.vectors(np.arange(len(expected)))
    )
    assert index.recordings == expected.recordings
    told = 2 * ((at > 2) + (at > 5))  # recordings that it came to say
    assert sum(computed) == sum(one.n_windows for one in index.recordings[told:])


def test_what_a_killed_run_wrote_and_did_not_say_does_no_harm(kept):
    kept.build()
    with (kept.windows / "vectors.f32").open("ab") as file:
        file.write(bytes(range(256)) * 3 + b"odd")
    assert_right(WindowIndex(kept.windows), kept)
    kept.add("d.wav", 9)
    assert_right(kept.build(), kept)


def test_garbled_vectors_are_found_and_made_again_alone(kept, computed, caplog):
    index = kept.build()
    second = index.recordings[1]
    path = kept.windows / "vectors.f32"
    content = bytearray(path.read_bytes())
    content[(second.first + 3) * index.n_dims * 4 + 1] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="vectors of 1 recording are not what") as told:
        WindowIndexDataset(path=str(kept.windows)).load()
    assert find_soundx_error(told.value).remedy is Remedy.KEEP_RECORDINGS
    computed.clear()
    index = kept.build()
    assert len(WindowIndexDataset(path=str(kept.windows)).load()) == len(index)
    assert sum(computed) == 7
    assert "Vectors of 1 recording are broken" in caplog.text
    kept.frames = {name: kept.frames[name] for name in ("a.wav", "c.wav", "b.wav")}
    assert_right(index, kept)
    computed.clear()
    assert_right(kept.build(), kept)
    assert computed == []


def garble(path, content=None):
    path.write_bytes(path.read_bytes()[:-9] + b"x" * 9 if content is None else content)


def other_field(path, **fields):
    facts = json.loads(path.read_bytes()) | fields
    garble(path, json.dumps(with_checksum(facts)).encode())


def other_directions(path):
    with np.load(path) as arrays:
        other = {name: 2 * arrays[name] for name in arrays}
    np.savez(path, **other)


BROKEN = {
    "garbled": lambda folder: garble(folder / "index.json"),
    "empty": lambda folder: garble(folder / "index.json", b""),
    "text": lambda folder: garble(folder / "index.json", b"somebody's notes"),
    "a list": lambda folder: garble(folder / "index.json", b"[]"),
    "says nothing": lambda folder: garble(folder / "index.json", b"{}"),
    "changed by hand": lambda folder: garble(
        folder / "index.json",
        (folder / "index.json").read_bytes().replace(b'"n_windows": 9', b'"n_windows": 8'),
    ),
    "of another version": lambda folder: other_field(
        folder / "index.json", recordings=[{"id": 1}], format=0
    ),
    "without rows": lambda folder: (folder / "vectors.f32").unlink(),
    "with fewer rows": lambda folder: garble(folder / "vectors.f32", b"\0" * 100),
    "without directions": lambda folder: next(folder.glob("projection-*")).unlink(),
    "with broken directions": lambda folder: garble(next(folder.glob("projection-*"))),
    "with other directions": lambda folder: other_directions(next(folder.glob("projection-*"))),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_index_is_named_and_made_again(kept, how, caplog):
    kept.build()
    BROKEN[how](kept.windows)
    with pytest.raises(BrokenFileError) as told:
        WindowIndex(kept.windows)
    assert str(kept.windows) in str(told.value)
    assert told.value.remedy is Remedy.KEEP_RECORDINGS
    assert_right(kept.build(), kept)
    if how not in ("says nothing", "of another version"):  # that may be no fault of anybody's
        assert "made anew" in caplog.text
    assert_right(WindowIndex(kept.windows), kept)


def test_without_an_index_it_is_said_what_to_do(tmp_path):
    with pytest.raises(SoundxError, match="no index of recordings") as told:
        WindowIndex(tmp_path)
    assert told.value.remedy is Remedy.KEEP_RECORDINGS
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"


def test_names_are_kept_as_they_are(tmp_path):
    name = "nächte/鳥 \u2028 \"'=1\n.wav"
    index = Kept(tmp_path).add(name, 9).build()
    assert index.window(0).recording.file == name
    assert index.number_at(name, 0.0) == 0


# --- the pipeline -----------------------------------------------------------------------------


def test_its_steps_are_these():
    assert steps(create_pipeline()) == [
        "recordings.scan_recordings",
        "recordings.embed_recordings",
        "recordings.compact_recordings",
        "recordings.index_windows",
    ]


def test_from_recordings_to_windows_that_can_be_searched(tmp_path):
    from soundx.datasets.models import EmbeddingsDataset, EmbeddingShardsDataset

    write_noise(tmp_path / "nights" / "20240501_213000.wav", 160_000)
    write_noise(tmp_path / "nights" / "b.flac", 10_000, rate_hz=44_100)
    (tmp_path / "nights" / "broken.mp3").write_bytes(b"RIFF")
    embedded, windows = str(tmp_path / "frames"), str(tmp_path / "windows")

    def keep():
        return run(
            create_pipeline(),
            {
                "recordings": find_recordings([str(tmp_path / "nights")]),
                "recording_scans": pd.DataFrame(),
                "embedder": LOGMEL,
                "embedder_networks": None,
                "recording_cache": EmbeddingShardsDataset(path=embedded),
                "recording_shards": EmbeddingShardsDataset(path=embedded),
                "recording_embeddings": EmbeddingsDataset(path=embedded),
                "embedding_cache": EmbeddingStore(Folder(str(tmp_path / "clips"))),
                "window_folder": WindowFolderDataset(path=windows),
                "window_index": WindowIndexDataset(path=windows),
                "params:embedding": EmbeddingOptions(),
                "params:dask": DaskOptions(),
                "params:export": ExportOptions(),
            },
        )

    made = keep()
    assert (made["recording_manifest"]["error"] != "").tolist() == [False, False, True]
    index = made["window_index"]
    assert [one.duration_s for one in index.recordings] == [10.0, 10_000 / 44_100]
    assert str(index.window(0).starts_at) == "2024-05-01 21:30:00"
    (frames,) = LOGMEL.embed([decode_clip(tmp_path / "nights" / "20240501_213000.wav")])
    expected = index.projection(pool_frames(frames[4:7], np.array([3]), LOGMEL.parts))
    np.testing.assert_allclose(index.vectors([2]), expected, atol=0.01)
    again = keep()["window_index"]
    assert again.recordings == index.recordings
