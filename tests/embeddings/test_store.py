from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from soundx.embedders import EmbedderInfo
from soundx.embeddings import store
from soundx.embeddings.store import EmbeddingStore
from soundx.errors import BrokenFileError, Remedy, SoundxError
from soundx.storage.folder import Folder
from tests.conftest import every_byte

INFO = EmbedderInfo("test", "test-1", 4, 0.96, 0.48)


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    if request.param == "local":
        return Folder(str(tmp_path / "store"))
    return Folder(f"memory://store-{tmp_path.name}")


def clips(rng, **counts):
    """Frames of clips, of numbers that 16 bits hold exactly."""
    return {
        name: rng.standard_normal((n, 4)).astype(np.float16).astype(np.float32)
        for name, n in counts.items()
    }


def test_numbers_are_kept_to_three_digits_and_never_become_infinite(folder):
    kept = EmbeddingStore(folder).of(INFO)
    frames = np.array([[1.2345, -7e-3, 1e6, -1e9]], np.float32)
    kept.add_shard({"a": frames})
    found = kept.frames(["a"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, :2], frames[:, :2], rtol=1e-3)
    np.testing.assert_array_equal(found[:, 2:], [[65504, -65504]])


@pytest.mark.parametrize("number", [pa.float32(), pa.float16()])
def test_shards_of_earlier_versions_are_read_and_merged(folder, rng, number, monkeypatch):
    monkeypatch.setattr(store, "COMPACT_SHARDS", 2)
    kept = EmbeddingStore(folder).of(INFO)
    some = clips(rng, a=3, b=2)
    kept.add_shard(some)
    (name,) = shards(folder)
    # as they were written: a list a frame
    lists = pa.FixedSizeListArray.from_arrays(
        pa.array(np.concatenate(list(some.values())).ravel().astype(number.to_pandas_dtype())), 4
    )
    with folder.sub("test-1").open(name) as file:
        parquet = pq.ParquetFile(file)
        old = parquet.read().replace_schema_metadata(parquet.metadata.metadata)
    old = old.set_column(2, "embedding", lists)
    with folder.sub("test-1").new_file(".parquet") as new:
        pq.write_table(old, new.path, row_group_size=2)
        new.name = name
    assert_holds(folder, some)
    EmbeddingStore(folder).of(INFO).add_shard(more := clips(rng, c=1))
    assert EmbeddingStore(folder).of(INFO).compact() == 2
    assert_holds(folder, some | more)


def shards(folder):
    return [name for name in folder.sub("test-1").names() if name.endswith(".parquet")]


def assert_holds(folder, expected):
    kept = EmbeddingStore(folder).of(INFO)
    assert len(kept) == len(expected)
    for name, frames in expected.items():
        np.testing.assert_array_equal(kept.frames([name]), frames)


def test_frames_come_back_in_the_order_asked_for(folder, rng):
    kept = EmbeddingStore(folder).of(INFO)
    first, second = clips(rng, a=3, b=1), clips(rng, c=2)
    kept.add_shard(first)
    assert "a" in kept  # listed between two shards
    kept.add_shard(second)
    for again in (kept, EmbeddingStore(folder).of(INFO)):
        assert len(again) == 3
        assert again.holds(["d", "a"]).tolist() == [False, True]
        assert again.n_frames(["c", "a"]).tolist() == [2, 3]
        expected = np.concatenate([second["c"], first["a"], first["b"], first["a"]])
        np.testing.assert_array_equal(again.frames(["c", "a", "b", "a"]), expected)
        assert again.frames([]).shape == (0, 4)


def test_clips_longer_than_a_row_group_come_back_whole(folder, rng, monkeypatch):
    monkeypatch.setattr(store, "ROW_GROUP_NUMBERS", 8 * 4)
    kept = EmbeddingStore(folder).of(INFO)
    some = clips(rng, a=3, long=50, b=7, c=1)
    with kept.new_shard() as shard:
        for name, frames in some.items():
            for piece in np.array_split(frames, max(1, len(frames) // 10)):
                shard.add(name, piece)
    assert kept.n_frames(some).tolist() == [3, 50, 7, 1]
    np.testing.assert_array_equal(
        kept.frames(["c", "long"]), np.concatenate([some["c"], some["long"]])
    )


def test_every_frame_comes_once_however_they_are_drawn(folder, rng, monkeypatch):
    monkeypatch.setattr(store, "ROW_GROUP_NUMBERS", 8 * 4)
    kept = EmbeddingStore(folder).of(INFO)
    some = clips(rng, a=9, b=20, c=8, d=9)
    kept.add_shard({name: some[name] for name in "ab"})
    kept.add_shard({name: some[name] for name in "cd"})
    wanted = ["d", "b", "a"]
    orders = set()
    for seed in (None, 1, 2):
        draw = None if seed is None else np.random.default_rng(seed)
        found: dict[int, list] = {0: [], 1: [], 2: []}
        for owners, frames in kept.iter_frames(wanted, max_frames=10, shuffle=draw):
            assert len(owners) == len(frames) <= 10 + 20
            orders.add((seed, owners[0]))
            for owner, frame in zip(owners, frames, strict=True):
                found[int(owner)].append(frame)
        for position, name in enumerate(wanted):
            assert sorted(map(tuple, found[position])) == sorted(map(tuple, some[name]))
    assert len({tuple(o for s, o in orders if s == seed) for seed in (None, 1, 2)}) > 1


def test_a_missing_clip_says_what_to_run(folder):
    with pytest.raises(SoundxError, match="1 clips have no embeddings") as caught:
        EmbeddingStore(folder).of(INFO).frames(["nope"])
    assert caught.value.remedy is Remedy.PREPROCESS
    with pytest.raises(SoundxError, match="no embeddings"):
        _ = EmbeddingStore(folder).current


def test_sets_of_other_embedders_are_kept_apart(folder, rng):
    several = EmbeddingStore(folder)
    several.of(INFO).add_shard(clips(rng, a=1))
    other = EmbedderInfo("test", "test-2", 4, 0.96, 0.48)
    assert "a" not in several.of(other)
    several.set_current(other)
    assert several.current.info == other
    assert [kept.info for kept in several.sets()] == [INFO], "looking at a set makes none"
    with pytest.raises(SoundxError, match="was made by"):
        several.of(EmbedderInfo("imposter", "test-1", 8, 0.96, 0.48))
    with pytest.raises(SoundxError, match="do not belong"):
        several.of(INFO).add_shard({"b": np.zeros((1, 5), np.float32)})


def test_a_shard_that_fails_leaves_nothing(folder, rng):
    kept = EmbeddingStore(folder).of(INFO)
    with pytest.raises(SoundxError, match="do not belong"), kept.new_shard() as shard:  # noqa: PT012
        shard.add("a", clips(rng, a=3)["a"])
        shard.add("b", np.zeros((1, 5), np.float32))
    assert shards(folder) == []
    assert "a" not in EmbeddingStore(folder).of(INFO)


def test_many_small_shards_are_merged_and_nothing_changes(folder, rng):
    kept = EmbeddingStore(folder).of(INFO)
    some = clips(rng, **{f"c{n}": n % 3 + 1 for n in range(40)})
    for name, frames in list(some.items())[:15]:
        kept.add_shard({name: frames})
    assert kept.compact() == 0  # few
    for name, frames in list(some.items())[15:]:
        kept.add_shard({name: frames})
    assert kept.compact() == 40
    assert len(shards(folder)) == 1
    assert_holds(folder, some)
    np.testing.assert_array_equal(kept.frames(["c39"]), some["c39"])


def test_merged_shards_list_no_more_clips_than_is_read_quickly(folder, rng, monkeypatch):
    monkeypatch.setattr(store, "COMPACT_CLIPS", 8)
    kept = EmbeddingStore(folder).of(INFO)
    all_clips = clips(rng, **{f"c{i}": 1 for i in range(20)})
    for name, frames in all_clips.items():
        kept.add_shard({name: frames})
    assert kept.compact() == 20
    assert len(shards(folder)) == 3
    assert_holds(folder, all_clips)


def test_in_the_order_in_which_they_lie_a_few_clips_at_a_time_are_as_quick_as_all(
    folder, rng, monkeypatch
):
    kept = EmbeddingStore(folder).of(INFO)
    all_clips = clips(rng, **{f"c{i}": 1 for i in range(40)})
    names = list(all_clips)
    for start in range(4):  # neighbours in no shard
        kept.add_shard({name: all_clips[name] for name in names[start::4]})
    order = kept.stored_order(names)
    assert sorted(order) == list(range(40))
    read = []
    read_row_group = kept._read_row_group
    monkeypatch.setattr(
        kept, "_read_row_group", lambda *where: read.append(where) or read_row_group(*where)
    )
    for start in range(0, 40, 5):
        some = [names[i] for i in order[start : start + 5]]
        np.testing.assert_array_equal(
            kept.frames(some), np.concatenate([all_clips[name] for name in some])
        )
    assert len(read) == 8  # each half of four shards


def test_a_kill_while_merging_loses_and_doubles_nothing(folder, rng, monkeypatch):
    kept = EmbeddingStore(folder).of(INFO)
    some = clips(rng, **{f"c{n}": 2 for n in range(20)})
    for name, frames in some.items():
        kept.add_shard({name: frames})

    def killed(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(kept.folder, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        kept.compact()
    assert len(shards(folder)) == 21  # the merged one and all it was made of
    assert_holds(folder, some)
    again = EmbeddingStore(folder).of(INFO)
    again.compact()
    assert_holds(folder, some)
    assert len(shards(folder)) == 1


def test_garbage_is_what_nobody_asks_for(folder, rng):
    kept = EmbeddingStore(folder).of(INFO)
    some = clips(rng, a=3, b=1, c=2, d=4)
    kept.add_shard({name: some[name] for name in "ab"})
    kept.add_shard({name: some[name] for name in "cd"})
    assert kept.keep_only({"a", "x"}) == 3
    assert_holds(folder, {"a": some["a"]})
    assert len(shards(folder)) == 1


def test_what_a_killed_run_left_goes_with_the_garbage(tmp_path, rng):
    kept = EmbeddingStore(Folder(str(tmp_path))).of(INFO)
    kept.add_shard(clips(rng, a=1))
    old, young, other = (
        tmp_path / "test-1" / name
        for name in (".0123456789ab.parquet", ".ba9876543210.parquet", ".notes.parquet")
    )
    for path in (old, young, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (0, 0))
    kept.keep_only({"a"})
    assert [path.exists() for path in (old, young, other)] == [False, True, True]
    assert "a" in kept


def test_rejected_clips_are_remembered(folder):
    kept = EmbeddingStore(folder).of(INFO)
    kept.reject({"a": "why"})
    kept.reject({"b": "too"})
    assert EmbeddingStore(folder).of(INFO).rejected == {"a": "why", "b": "too"}


def broken_shards(folder):
    found = folder.fs.find(folder.sub("test-1").root)
    return [path for path in found if "/.broken-" in path]


def garbled_at(place):
    """Return what garbles 64 bytes of a file, at a share of its length."""

    def garble(content):
        start = int(place * (len(content) - 64))
        return (
            content[:start]
            + bytes(255 - b for b in content[start : start + 64])
            + content[start + 64 :]
        )

    return garble


@pytest.mark.parametrize(
    "garble",
    [
        *(garbled_at(place) for place in np.linspace(0, 1, 9)),
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: b"a text of somebody's" * 99,
    ],
)
def test_a_broken_shard_is_named_set_aside_and_missing(folder, rng, garble, caplog):
    kept = EmbeddingStore(folder).of(INFO)
    some, more = clips(rng, a=300, b=200), clips(rng, c=4)
    kept.add_shard(some)
    (name,) = shards(folder)
    kept.add_shard(more)
    inside = folder.sub("test-1")
    inside.write(name, garbled := garble(inside.read(name)))
    told = BrokenFileError(name, "as it should be", remedy=Remedy.PREPROCESS)
    try:  # right numbers, where what is garbled is not needed for them; or none
        found = EmbeddingStore(folder).of(INFO).frames(["a", "b"])
        np.testing.assert_array_equal(found, np.concatenate([some["a"], some["b"]]))
    except BrokenFileError as error:
        told = error
    assert name in str(told)
    assert told.remedy is Remedy.PREPROCESS
    mended = EmbeddingStore(folder).mend(INFO)
    assert mended.holds("abc").tolist() == [False, False, True]
    assert caplog.text.count("is broken") == 1
    assert name in caplog.text
    (aside,) = broken_shards(folder)
    assert folder.fs.cat_file(aside) == garbled
    mended.add_shard(some)
    assert_holds(folder, some | more)


def test_a_shard_that_is_a_link_to_nothing_is_broken(tmp_path, rng, caplog):
    folder = Folder(str(tmp_path))
    some = clips(rng, a=3)
    EmbeddingStore(folder).of(INFO).add_shard(some)
    (name,) = shards(folder)
    shard = tmp_path / "test-1" / name
    shard.unlink()
    shard.symlink_to(tmp_path / "disk that is gone")
    with pytest.raises(BrokenFileError, match=f"{name} is broken: it is a link to nothing"):
        EmbeddingStore(folder).of(INFO).frames(["a"])
    mended = EmbeddingStore(folder).mend(INFO)
    assert not mended.holds("a").any()
    assert name in caplog.text
    mended.add_shard(some)
    assert_holds(folder, some)


def test_a_shard_of_something_else_is_broken(folder, rng):
    kept = EmbeddingStore(folder).of(INFO)
    kept.add_shard(clips(rng, a=2))
    with folder.sub("test-1").new_file(".parquet") as new:
        pq.write_table(pa.table({"x": [1]}), new.path)
        new.name = "table.parquet"
    mended = EmbeddingStore(folder).mend(INFO)
    assert len(mended) == 1
    assert [path[-13:] for path in broken_shards(folder)] == ["table.parquet"]


def test_whole_shards_stay_and_nothing_is_written(tmp_path, rng):
    folder = Folder(str(tmp_path))
    kept = EmbeddingStore(folder)
    kept.of(INFO).add_shard(clips(rng, a=3, b=2))
    kept.of(INFO).reject({"c": "why"})
    kept.set_current(INFO)
    before = every_byte(tmp_path)
    kept.mend(INFO)
    assert every_byte(tmp_path) == before


@pytest.mark.parametrize("name", ["current.json", "test-1/embedder.json", "test-1/rejected.json"])
def test_broken_notes_are_named_and_set_aside_by_who_makes_them_again(folder, rng, name, caplog):
    kept = EmbeddingStore(folder)
    some = clips(rng, a=3)
    kept.of(INFO).add_shard(some)
    kept.of(INFO).reject({"c": "why"})
    kept.set_current(INFO)
    folder.write(name, folder.read(name)[:-9] + b"x" * 9)
    with pytest.raises(BrokenFileError, match=name.split("/")[-1]) as caught:
        _ = EmbeddingStore(folder).current.rejected
    assert caught.value.remedy is Remedy.PREPROCESS
    EmbeddingStore(folder).mend(INFO)
    assert "is broken" in caplog.text
    kept.set_current(INFO)
    assert EmbeddingStore(folder).current.rejected == ({} if "rejected" in name else {"c": "why"})
    assert_holds(folder, some)


def test_whose_shards_they_are_is_noted_again_where_that_is_gone(folder, rng):
    """No shard is missing, so that none is written, which would note it."""
    kept = EmbeddingStore(folder)
    some = clips(rng, a=3)
    kept.of(INFO).add_shard(some)
    folder.remove("test-1/embedder.json")
    assert EmbeddingStore(folder).mend(INFO).holds("a").all()
    np.testing.assert_array_equal(EmbeddingStore(folder).named("test-1").frames(["a"]), some["a"])
