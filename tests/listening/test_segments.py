from __future__ import annotations

import csv
import os
import resource
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from soundx.audio.decoding import decode_blocks, decode_clip
from soundx.clips.manifest import IngestionOptions, scan_clips
from soundx.clips.raw import RawClips
from soundx.errors import SoundxError
from soundx.listening.events import Event
from soundx.listening.segments import PartlyCutError, choose_segments, cut_segments

RATE = 16_000


def event(file="a.wav", onset_s=1.0, offset_s=2.0, label="A_DOG", probability=0.873):
    category = label.partition("_")[0]
    return Event(file, onset_s, offset_s, label, category, probability, probability)


def scored(*scores, label="A_DOG"):
    return [
        event(onset_s=i, offset_s=i + 1, label=label, probability=s) for i, s in enumerate(scores)
    ]


def scores(events):
    return [one.probability for one in events]


@pytest.fixture
def record(tmp_path, rng):
    """Write a recording of noise; a file of 40 s is decoded in several blocks."""

    def write(name="a.wav", *, seconds=4.0, rate_hz=RATE, **options):
        path = tmp_path / "recordings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.uniform(-0.4, 0.4, round(seconds * rate_hz))
        soundfile.write(path, noise, rate_hz, **options)
        return path

    return write


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "segments"


def content(folder):
    """All files of a folder, hidden ones too, with their bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_holds(clip, path, start, end):
    """A clip is that slice of the recording, as far as 16 bits can tell."""
    found, rate_hz = soundfile.read(clip, dtype="int16")
    about = soundfile.info(clip)
    assert (rate_hz, about.channels, about.format, about.subtype) == (RATE, 1, "WAV", "PCM_16")
    expected = decode_clip(path)[start:end]
    assert len(found) == len(expected)
    assert np.abs(found / 32768 - expected).max() <= 0.5 / 32768 + 1e-7


def test_all_are_chosen_in_their_order():
    events = scored(0.9, 0.1, 0.5)[::-1]
    for how in ("all", "best", "random", "balanced"):
        assert choose_segments(events, how=how, per_label=None) == events
    assert choose_segments([], how="best", per_label=3) == []


def test_the_best_of_each_label_are_chosen():
    events = [*scored(0.2, 0.7, 0.5), *scored(0.1, 0.3, label="B_CAT"), *scored(0.9)]
    assert scores(choose_segments(events, how="best", per_label=2)) == [0.7, 0.1, 0.3, 0.9]


@pytest.mark.parametrize("how", ["random", "balanced", "best"])
def test_a_choice_depends_neither_on_order_nor_on_other_labels(how, rng):
    dogs = scored(*rng.uniform(0.3, 1.0, 50).round(1))
    cats = scored(*rng.uniform(0.3, 1.0, 50), label="B_CAT")
    chosen = choose_segments(dogs, how=how, per_label=7)
    assert len(set(chosen)) == 7
    assert chosen == choose_segments(dogs, how=how, per_label=7)
    mixed = [*cats, *dogs]
    rng.shuffle(mixed)
    again = choose_segments(mixed, how=how, per_label=7)
    assert {one for one in again if one.label == "A_DOG"} == set(chosen)
    assert len(again) == 14
    if how != "best":
        assert set(choose_segments(dogs, how=how, per_label=7, seed=8)) != set(chosen)


def test_a_balanced_choice_is_spread_over_scores():
    # by far the most events are sure ones
    events = scored(*np.linspace(0.5, 0.59, 8), *np.linspace(0.91, 1.0, 200))
    found = np.array(scores(choose_segments(events, how="balanced", per_label=10)))
    assert (found < 0.6).sum() == 5
    # a bin that is short is filled up from the others
    found = np.array(scores(choose_segments(events, how="balanced", per_label=30)))
    assert (found < 0.6).sum() == 8
    even = scored(*np.linspace(0.4, 0.9, 101))
    found = np.array(scores(choose_segments(even, how="balanced", per_label=20)))
    assert np.histogram(found, bins=10, range=(0.4, 0.9))[0].tolist() == [2] * 10
    # fewer than there are bins left: lowest and highest are among them
    found = np.array(scores(choose_segments(even, how="balanced", per_label=12)))
    counts = np.histogram(found, bins=10, range=(0.4, 0.9))[0]
    assert sorted(counts) == [1] * 8 + [2] * 2
    assert counts[0] == counts[-1] == 2


def test_a_balanced_choice_of_equal_scores_is_one_all_the_same():
    assert len(choose_segments(scored(*[0.7] * 9), how="balanced", per_label=4)) == 4


@pytest.mark.parametrize(
    ("how", "per_label", "said"),
    [("worst", 3, "'worst' is no way"), ("best", 0, "0 events"), ("all", 3, "'all' and 3")],
)
def test_choices_that_cannot_be_are_refused(how, per_label, said):
    with pytest.raises(SoundxError, match=said):
        choose_segments(scored(0.5), how=how, per_label=per_label)


def test_clips_hold_what_was_heard_wherever_blocks_end(record, folder):
    path = record(seconds=40)
    assert sum(1 for _ in decode_blocks(path)) > 2
    spans = [
        (0.0, 40.0),
        (0.0, 0.5),
        (14.9, 33.3),
        (15.0, 17.12349),
        (39.5, 40.0),
        (20.0, 20.00001),
    ]
    events = [event(onset_s=onset, offset_s=offset) for onset, offset in spans]
    clips = cut_segments({"a.wav": path}, events, folder)
    assert len(clips) == len(set(clips)) == len(spans)
    for clip, (onset, offset) in zip(clips, spans, strict=True):
        start = round(onset * RATE)
        assert_holds(clip, path, start, max(round(offset * RATE), start + 1))
    # 16 bits come out as they went in, but for the offset that was taken off
    whole, _ = soundfile.read(clips[0], dtype="int16")
    original, _ = soundfile.read(path, dtype="int16")
    assert np.unique(whole.astype(int) - original).size == 1
    assert {name.rpartition("/")[0] for name in content(folder)} == {"A_DOG", ""}


def test_other_rates_channels_and_codings_are_cut_as_decoded(record, folder):
    path = record("b.flac", seconds=20, rate_hz=44_100)
    (clip,) = cut_segments({"b": path}, [event("b", 14.5, 18.25)], folder)
    assert_holds(clip, path, round(14.5 * RATE), round(18.25 * RATE))


def test_full_scale_does_not_wrap_around(tmp_path, folder):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.tile([1.0, -1.0], RATE), RATE, subtype="FLOAT")
    (clip,) = cut_segments({"a.wav": path}, [event(onset_s=0, offset_s=1)], folder)
    found, _ = soundfile.read(clip, dtype="int16")
    assert set(found) == {32767, -32768}


def test_names_tell_recording_onset_and_score_and_sort_by_time(record, folder):
    path = record(seconds=12)
    events = [event(onset_s=10.5, offset_s=11, probability=0.5), event(onset_s=2, offset_s=3)]
    clips = cut_segments({"a.wav": path}, events, folder)
    names = [clip.relative_to(folder).as_posix() for clip in clips]
    assert names == ["A_DOG/a_000010.500_0.500.wav", "A_DOG/a_000002.000_0.873.wav"]
    assert sorted(names) == names[::-1]


def test_padding_goes_as_far_as_the_recording(record, folder):
    path = record(seconds=4)
    events = [event(onset_s=o, offset_s=o + 1) for o in (0.25, 1.5, 2.75)]
    clips = cut_segments({"a.wav": path}, events, folder, padding_s=0.5)
    for clip, (start, end) in zip(clips, [(0, 1.75), (1, 3), (2.25, 4)], strict=True):
        assert_holds(clip, path, round(start * RATE), round(end * RATE))


@pytest.mark.parametrize(
    ("onset", "offset", "start", "end"),
    [
        (20.0, 20.5, 18.25, 22.25),  # on both sides
        (0.5, 1.0, 0.0, 4.0),  # where it begins there is no more
        (39.5, 40.0, 36.0, 40.0),  # nor where it ends
        (31.5, 32.5, 30.0, 34.0),
        (10.0, 15.0, 10.0, 15.0),  # long enough
        (34.0, 41.0, 34.0, 40.0),
    ],
)
def test_short_clips_are_lengthened_inside_the_recording(record, folder, onset, offset, start, end):
    path = record(seconds=40)
    clips = cut_segments({"a.wav": path}, [event(onset_s=onset, offset_s=offset)], folder, min_s=4)
    assert_holds(clips[0], path, round(start * RATE), round(end * RATE))


@pytest.mark.parametrize(("onset", "start"), [(0.1, 0.0), (3.6, 2.8)])
def test_padding_that_is_cut_off_does_not_make_clips_too_short(record, folder, onset, start):
    path = record(seconds=4)
    events = [event(onset_s=onset, offset_s=onset + 0.3)]
    (clip,) = cut_segments({"a.wav": path}, events, folder, padding_s=0.5, min_s=1.2)
    assert_holds(clip, path, round(start * RATE), round((start + 1.2) * RATE))


def test_a_recording_shorter_than_a_clip_is_to_be_is_cut_whole(record, folder):
    path = record(seconds=3)
    (clip,) = cut_segments({"a.wav": path}, [event()], folder, padding_s=0.1, min_s=10)
    assert_holds(clip, path, 0, 3 * RATE)


def test_a_second_time_gives_the_same_files(record, folder):
    paths = {"a.wav": record()}
    events = [event(), event(), event(onset_s=2), event(label="B_CAT")]
    events[2] = replace(events[2], offset_s=3.0)
    clips = cut_segments(paths, events, folder)
    before = content(folder)
    assert cut_segments(paths, events[::-1], folder) == clips[::-1]
    assert content(folder) == before
    assert len(clips) == 3
    assert len(before) == 4


def test_names_never_collide(record, folder):
    paths = {"x/a.wav": record("x/a.wav"), "y/A.flac": record("y/A.flac")}
    events = [
        event("x/a.wav"),
        event("y/A.flac"),
        event("x/a.wav", onset_s=1.00001),
        event("x/a.wav", offset_s=1.5),
    ]
    clips = cut_segments(paths, events, folder)
    assert len({str(clip).casefold() for clip in clips}) == 4
    for clip, one in zip(clips, events, strict=True):
        span = (round(one.onset_s * RATE), round(one.offset_s * RATE))
        assert_holds(clip, paths[one.file], *span)
    # which of two alike is cut does not change what it is called
    again = cut_segments(paths, events[:1], folder.with_name("other"))
    assert again[0].name.startswith("a~")


@pytest.mark.parametrize("stem", [".hidden", "a\\b", "line\nbreak", "é" * 90, "caf\udce9", " a"])
def test_clips_of_oddly_named_recordings_are_ingested(record, folder, stem):
    path = record()
    cut_segments({f"{stem}.wav": path}, [event(f"{stem}.wav")], folder)
    manifest, rejected = scan_clips(RawClips(folder), IngestionOptions())
    assert len(manifest) == 1
    assert manifest["group"][0] != manifest["clip_id"][0]
    assert not len(rejected)


def test_what_somebody_else_put_there_is_never_written_over(record, folder):
    paths = {"a.wav": record()}
    first, second = event(), event(onset_s=2.0, offset_s=3.0)
    (clip,) = cut_segments(paths, [first], folder)
    clip.write_bytes(b"mine")
    with pytest.raises(PartlyCutError, match="holds something else: take it away") as caught:
        cut_segments(paths, [first, second], folder)
    assert clip.read_bytes() == b"mine"
    assert [path.name for path in caught.value.cut] == ["a_000002.000_0.873.wav"]
    assert caught.value.cut[0].exists()


def test_a_broken_recording_keeps_none_of_the_others_back(record, folder):
    paths = {name: record(name) for name in ("a.wav", "b.wav", "c.wav")}
    paths["b.wav"].write_bytes(b"RIFF and nothing else")
    events = [event(name) for name in ("a.wav", "b.wav", "c.wav", "d.wav")]
    events.append(event("c.wav", onset_s=100, offset_s=101))
    with pytest.raises(PartlyCutError) as caught:
        cut_segments(paths, events, folder)
    assert [path.name[0] for path in caught.value.cut] == ["a", "c"]
    assert list(caught.value.reasons) == ["b.wav", "c.wav", "d.wav"]
    assert caught.value.reasons["d.wav"] == ["it is not among the recordings"]
    assert caught.value.reasons["c.wav"] == ["it ends at 4.000 s, before 100.000 s"]
    assert "from 3 recordings" in str(caught.value)
    assert "2 clips of the others are there" in str(caught.value)
    # and the table tells of those that are there
    assert len(scan_clips(RawClips(folder), IngestionOptions())[0]) == 2
    assert content(folder)["metadata.csv"].count(b"\n") == 3


def test_where_nothing_can_be_cut_nothing_is_left(folder):
    with pytest.raises(PartlyCutError):
        cut_segments({}, [event()], folder)
    assert content(folder) == {}
    assert cut_segments({}, [], folder) == []


def test_what_is_cut_when_the_disk_fills_is_whole_and_the_rest_not_there(record, folder):
    paths = {"a.wav": record(), "b.wav": record("b.wav", seconds=20)}
    decode_clip(paths["a.wav"])  # a worker that starts now is not held to the limit
    # the kernel's own limit on how long a file may get
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(SoundxError, match="cannot be written: File too large"):
            cut_segments(paths, [event(), event("b.wav", offset_s=19.0)], folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert set(content(folder)) == {"A_DOG/a_000001.000_0.873.wav", "metadata.csv"}
    assert_holds(folder / "A_DOG/a_000001.000_0.873.wav", paths["a.wav"], RATE, 2 * RATE)
    assert b"b.wav" not in content(folder)["metadata.csv"]


@pytest.mark.parametrize(
    "label",
    [" ", "a/b", "a\\b", "..", ".a", " a", "a\n", ":BACKGROUND", ":TEST_1", "é" * 101],
)
def test_labels_that_no_folder_can_stand_for_are_refused_before_anything_is_cut(
    record, folder, label
):
    with pytest.raises(SoundxError, match="cannot be put in a folder"):
        cut_segments({"a.wav": record()}, [event(), event(label=label)], folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"onset_s": -1.0},
        {"offset_s": 1.0},
        {"offset_s": float("inf")},
        {"onset_s": float("nan")},
        {"probability": float("nan")},
        {"category": "a/b"},
        {"offset_s": 1e9},
    ],
)
def test_events_that_cannot_be_are_refused_before_anything_is_cut(record, folder, wrong):
    with pytest.raises(SoundxError, match=r"cannot be|can be"):
        cut_segments({"a.wav": record()}, [event(), replace(event(), **wrong)], folder)
    assert not folder.exists()


@pytest.mark.parametrize("lengths", [{"padding_s": -1}, {"min_s": -1}, {"min_s": float("inf")}])
def test_lengths_that_cannot_be_are_refused(folder, lengths):
    with pytest.raises(SoundxError, match="cannot be below 0"):
        cut_segments({}, [], folder, **lengths)


def test_any_number_of_events_may_overlap(record, folder):
    path = record(seconds=40)
    events = [event(onset_s=i / 100, offset_s=30 + i / 100) for i in range(60)]
    decode_clip(path)  # a worker that starts now is not held to the limit
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_open = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 30, limits[1]))
    try:
        clips = cut_segments({"a.wav": path}, events, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert_holds(clips[59], path, round(0.59 * RATE), round(30.59 * RATE))


def test_what_a_killed_process_left_is_cleared_away_and_what_another_does_is_not(record, folder):
    left, others = folder / ".soundx-segments-old", folder / ".soundx-segments-new"
    for place in (left, others):
        place.mkdir(parents=True)
        (place / "0.wav").write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    os.utime(left, (yesterday, yesterday))
    cut_segments({"a.wav": record()}, [event()], folder)
    assert not left.exists()
    assert (others / "0.wav").exists()


def test_ingestion_reads_labels_categories_and_recordings(record, folder):
    paths = {"x/a.wav": record("x/a.wav"), "y/a.wav": record("y/a.wav")}
    events = [event(file, o, o + 1) for file in paths for o in (0, 1, 2)]
    events += [event("x/a.wav", 3, 4, label="dog, or wolf")]
    events += [replace(event("y/a.wav", 3, 4, label="NATURAL_SEA"), category="water")]
    clips = cut_segments(paths, events, folder)
    manifest, rejected = scan_clips(RawClips(folder), IngestionOptions())
    assert not len(rejected)
    found = manifest.set_index("path")[["label", "category", "group"]]
    for clip, one in zip(clips, events, strict=True):
        row = tuple(found.loc[clip.relative_to(folder).as_posix()])
        assert row == (one.label, one.category, one.file)


def test_the_table_is_added_to_and_what_was_corrected_in_it_stays(record, folder):
    paths = {"a.wav": record()}
    cut_segments(paths, [event()], folder)
    table = folder / "metadata.csv"
    table.write_text(table.read_text().replace(",A_DOG,A,", ",A_WOLF,A,"))
    cut_segments(paths, [event(), event(onset_s=2.0, offset_s=3.0)], folder)
    with table.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["filename", "label", "category", "group"],
        ["A_DOG/a_000001.000_0.873.wav", "A_WOLF", "A", "a.wav"],
        ["A_DOG/a_000002.000_0.873.wav", "A_DOG", "A", "a.wav"],
    ]


@pytest.mark.parametrize(
    "theirs",
    [
        b"",
        b"filename,label,category,group\nmine.wav,A,A,1\n",
        b"filename,label,category,group,fold\n",
        b"filename,label,category,group\nA_DOG/a_000001.000_0.873.wav,A\n",
        b"\xff\xfe\0",
        b'filename,label,category,group\n"',
    ],
)
def test_somebody_elses_table_is_not_touched_and_that_is_told(record, folder, caplog, theirs):
    folder.mkdir()
    (folder / "metadata.csv").write_bytes(theirs)
    (clip,) = cut_segments({"a.wav": record()}, [event()], folder)
    assert clip.exists()
    assert (folder / "metadata.csv").read_bytes() == theirs
    assert "is not of soundx's making and stays as it is" in caplog.text


def test_every_clip_that_is_there_has_its_recording_whenever_it_ends(record, folder, monkeypatch):
    paths = {"a.wav": record(), "b.wav": record("b.wav")}
    cut_segments(paths, [event()], folder)
    table = folder / "metadata.csv"
    table.write_text(table.read_text().replace(",A_DOG,A,", ",A_WOLF,A,"))

    def told(items, **_):
        for number, item in enumerate(items):
            if number == 1:
                # as who is killed here leaves it
                now = table.read_text()
                assert "a_000001.000_0.873.wav,A_WOLF,A,a.wav" in now
                assert "a_000002.000_0.873.wav,A_DOG,A,a.wav" in now
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr("soundx.listening.segments.track", told)
    with pytest.raises(KeyboardInterrupt):
        cut_segments(paths, [event(), event(onset_s=2, offset_s=3), event("b.wav")], folder)
    manifest, _ = scan_clips(RawClips(folder), IngestionOptions())
    assert manifest["group"].tolist() == ["a.wav"] * 2
    assert "b.wav" not in table.read_text()


def test_a_folder_that_cannot_be_is_told(record, folder):
    folder.write_text("a file")
    with pytest.raises(SoundxError, match="segments cannot be written"):
        cut_segments({"a.wav": record()}, [event()], folder)
