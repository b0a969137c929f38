"""Searching is exact: what is found is what comparing everything with everything would find."""

from __future__ import annotations

from dataclasses import replace
from datetime import time

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from soundx.embeddings.store import EmbeddingStore
from soundx.errors import SoundxError
from soundx.listening.recordings import find_recordings
from soundx.modelling.pooling import pool_frames
from soundx.search.index import build_index
from soundx.search.query import Filter, best_apart, likeness_to, near, search
from soundx.search.recordings import scan_recordings
from soundx.storage.folder import Folder
from tests.search.test_index import INFO, Kept
from tests.search.test_recordings import HOP, LOGMEL, NOTHING, SPAN, keep

WINDOW_FRAMES = (1, 3, 4)


@pytest.fixture(scope="module")
def indexes(tmp_path_factory):
    """Windows of some nights, and of silence, which are all the same; by length in frames."""
    found = {}
    for length in WINDOW_FRAMES:
        kept = Kept(tmp_path_factory.mktemp("kept"))
        kept.add("evening.wav", 80, clock="2024-05-01T21:30:00")
        kept.add("midnight.wav", 60, clock="2024-05-01T23:59:45+02:00")
        kept.add("short.wav", 1, clock="2024-05-02T04:00:00")
        kept.add("silence.wav", 40, clock="2024-05-02T00:00:10", frames=np.zeros((40, 6)))
        kept.add("somewhen.wav", 30)
        found[length] = kept.build(length)
    return found


@pytest.fixture
def index(indexes):
    return indexes[3]


def windows_of(index):
    return [index.window(number) for number in range(len(index))]


def overlap(index, one, other):
    """Whether two windows share sound."""
    apart_s = abs(one.onset_s - other.onset_s)
    return one.recording == other.recording and apart_s < index.window_s - 1e-3


def brute_force(index, like, unlike):
    """Return the mean cosine to some windows less that to others, of every window."""
    vectors = index.vectors(np.arange(len(index))).astype(np.float64)
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    found = np.zeros(len(index))
    for numbers, sign in ((like, 1), (unlike, -1)):
        if numbers:
            found += sign * np.mean([units @ units[number] for number in numbers], axis=0)
    return found


def allowed(index, where):
    """Tell which windows a filter leaves, one by one."""
    left = []
    for window in windows_of(index):
        good = where.files is None or window.recording.file in where.files
        if where.hours is not None:
            first, last = where.hours
            now = None if window.starts_at is None else window.starts_at.time()
            if now is None:
                good = False
            elif first <= last:
                good &= first <= now <= last
            else:
                good &= now >= first or now <= last
        if where.scores is not None:
            low, high = where.score_range
            good &= bool(low <= where.scores[window.number] <= high)
        gone = [index.window(number) for number in where.leave_out]
        good &= not any(overlap(index, window, other) for other in gone)
        left.append(good)
    return np.array(left)


numbers = st.lists(st.integers(0, 30), max_size=3)
times = st.builds(time, st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))


@given(
    length=st.sampled_from(WINDOW_FRAMES),
    like=numbers,
    unlike=numbers,
    n=st.integers(0, 60),
    files=st.none() | st.sets(st.sampled_from(["evening.wav", "silence.wav", "gone.wav"])),
    hours=st.none() | st.tuples(times, times),
    score_range=st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)),
    leave_out=numbers,
)
@example(3, [0], [], 200, None, None, None, [])
@example(4, [0], [1], 5, None, (time(23, 59), time(0, 0, 20)), None, [40])
@settings(max_examples=60, deadline=None)
def test_it_finds_what_comparing_with_everything_finds(
    indexes, length, like, unlike, n, files, hours, score_range, leave_out
):
    index = indexes[length]
    if not like and not unlike:
        like = [2]
    scores = np.random.default_rng(7).uniform(size=len(index))
    where = Filter(
        files,
        hours,
        None if score_range is None else scores,
        score_range or (0.0, 1.0),
        leave_out,
    )
    hits = search(index, index.vectors(like), unlike=index.vectors(unlike), n=n, where=where)
    expected = brute_force(index, like, unlike)
    left = allowed(index, where)
    np.testing.assert_array_equal(where.mask(index), left)
    assert len(hits) <= n
    for hit in hits:
        assert hit.likeness == pytest.approx(expected[hit.window.number], abs=1e-5)
        # the best of those that are left, of several that are alike any
        assert left[hit.window.number]
        assert hit.likeness >= expected[left].max() - 1e-5
        for window in windows_of(index):
            left[window.number] &= not overlap(index, window, hit.window)
    assert len(hits) == n or not left.any()


@given(
    scores=st.lists(st.sampled_from([0.0, 0.25, 1.0, -np.inf, np.nan]), min_size=55, max_size=55),
    n=st.integers(1, 30),
)
@settings(max_examples=60, deadline=None)
def test_among_equals_all_are_found_once(indexes, scores, n):
    """Of whole numbers alike, where only some of those at the border are looked at first."""
    index = indexes[3]
    scores = np.resize(np.array(scores, np.float32), len(index))
    found = best_apart(index, scores, n)
    assert len(found) <= n
    left = np.isfinite(scores)
    for number in found:
        assert left[number]
        assert scores[number] == scores[left].max()
        left[near(index, [number])] = False
    assert len(found) == n or not left.any()


def test_as_many_are_found_as_there_are_however_many_overlap(tmp_path):
    """Where each overlaps fourteen, the highest scores are those around a few."""
    dense = replace(INFO, hop_s=0.12, fingerprint="test-dense")
    index = Kept(tmp_path, dense).add("a.wav", 200).build(1)
    scores = np.zeros(200)
    for place, best in enumerate((20, 180, 60, 140, 100)):
        scores[best - 7 : best + 8] = 9.5 - place
        scores[best] = 10 - place
    assert best_apart(index, scores, 5) == [20, 180, 60, 140, 100]
    assert best_apart(index, np.linspace(1, 0, 200), 99) == list(range(0, 200, 8))


def test_the_nearest_window_is_the_window_itself(index):
    for number in (0, 17, 60):
        (hit,) = search(index, index.vectors([number]), n=1)
        assert hit.window == index.window(number)
        assert hit.likeness == pytest.approx(1.0, abs=1e-5)


def test_how_loud_a_question_is_does_not_matter(index):
    quiet, loud = 0.01 * index.vectors([3]), 100 * index.vectors([3])
    both = np.concatenate([quiet, loud])
    for question in (quiet, loud, both):
        np.testing.assert_allclose(
            likeness_to(index, question), likeness_to(index, index.vectors([3])), atol=1e-5
        )


def test_more_like_these_and_less_like_those(tmp_path):
    """Sounds of one kind, of another, and of both at once."""
    draw = np.random.default_rng(7)
    kinds = {"one": [9, 0, 0, 0, 1, 1], "other": [0, 9, 0, 0, 1, 1], "both": [7, 7, 0, 0, 1, 1]}
    kept = Kept(tmp_path)
    for name, levels in kinds.items():
        frames = np.array(levels) + 0.2 * draw.standard_normal((30, 6))
        kept.add(name, 30, frames=frames)
    kept.add("neither", 30)
    index = kept.build()
    of = {name: index.number_at(name, 5.0) for name in kept.frames}

    def order(like, unlike=()):
        found = likeness_to(
            index,
            index.vectors([of[name] for name in like]),
            index.vectors([of[name] for name in unlike]),
        )
        return sorted(of, key=lambda name: -found[of[name]])

    assert order(["one"])[:2] == ["one", "both"]
    plain = likeness_to(index, index.vectors([of["one"]]))
    less = likeness_to(index, index.vectors([of["one"]]), index.vectors([of["other"]]))
    assert order(["one"], ["other"])[0] == "one"
    assert order(["one"], ["other"])[-1] == "other"
    assert plain[of["both"]] - less[of["both"]] > 0  # it is like what is not wanted
    for kind in kinds:
        found = search(index, index.vectors([of[kind]]), n=3)
        assert [hit.window.recording.file for hit in found] == [kind] * 3
    # less like one thing alone is a question as well
    (worst,) = search(index, index.vectors([]), unlike=index.vectors([of["other"]]), n=1)
    assert worst.window.recording.file != "other"


def test_hours_over_midnight(index):
    night = Filter(hours=(time(23, 59, 50), time(0, 0, 12)))
    found = [window for window in windows_of(index) if night.mask(index)[window.number]]
    assert {window.recording.file for window in found} == {"midnight.wav", "silence.wav"}
    onsets_s = [w.onset_s for w in found if w.recording.file == "midnight.wav"]
    assert min(onsets_s) == pytest.approx(5.76)  # from 23:59:45
    assert max(onsets_s) == pytest.approx(26.88)
    early = Filter(hours=(time(0, 0, 1), time(0, 0, 9)))
    found = [window for window in windows_of(index) if early.mask(index)[window.number]]
    assert {window.recording.file for window in found} == {"midnight.wav"}
    assert [min(w.onset_s for w in found), max(w.onset_s for w in found)] == [16.32, 24.0]
    day = Filter(hours=(time(0, 0, 12), time(23, 59, 50)))
    both = night.mask(index) | day.mask(index)
    # at every time either is true, but where nobody knows when it was
    clocked = [window.starts_at is not None for window in windows_of(index)]
    assert both.tolist() == clocked


def test_filters_go_together(index):
    scores = np.linspace(0, 1, len(index))
    where = Filter(
        files=["evening.wav"],
        hours=(time(21, 30), time(21, 30, 20)),
        scores=scores,
        score_range=(0.0, 0.1),
        leave_out=[0],
    )
    found = np.flatnonzero(where.mask(index))
    assert found.tolist() == [n for n in range(2, len(index)) if scores[n] <= 0.1 and n <= 20]
    assert not Filter(files=[]).mask(index).any()
    assert Filter().mask(index).all()


def test_what_overlaps_is_near_and_never_of_another_recording(indexes):
    for index in indexes.values():
        windows = windows_of(index)
        for window in windows:
            expected = [one.number for one in windows if overlap(index, one, window)]
            assert near(index, [window.number]).tolist() == expected
        assert near(index, []).tolist() == []
        assert near(index, [3, 3, 4]).tolist() == sorted({*near(index, [3]), *near(index, [4])})


def test_nothing_was_given(index):
    for unlike in (None, index.vectors([])):
        with pytest.raises(SoundxError, match="Nothing was given to search for"):
            search(index, index.vectors([]), unlike=unlike)


def test_an_index_without_windows_finds_nothing(tmp_path):
    empty = Kept(tmp_path).build()
    question = np.zeros((1, empty.n_dims), np.float32)
    assert search(empty, question) == []
    assert search(empty, question, where=Filter(leave_out=[], hours=(time(1), time(2)))) == []


def test_nobody_asked_for_any(index):
    assert search(index, index.vectors([0]), n=0) == []


def test_a_sound_is_found_where_it_was_heard(tmp_path):
    """By a clip of it, in recordings of noise with two kinds of tones."""
    draw = np.random.default_rng(7)
    rate_hz, places_s = 16_000, {1000: (8.0, 31.0), 3000: (15.0, 22.0)}

    # of whole frames: what a clip is filled up with is most like the ends of recordings
    n_samples = SPAN + 2 * HOP

    def tone(hz):
        return 0.3 * np.sin(2 * np.pi * hz * np.arange(n_samples) / rate_hz)

    (tmp_path / "nights").mkdir()
    for name in ("a.wav", "b.flac"):
        samples = 0.01 * draw.standard_normal(40 * rate_hz)
        for hz, begins_s in places_s.items():
            for begin_s in begins_s:
                first = int(begin_s * rate_hz)
                samples[first : first + n_samples] += tone(hz)
        soundfile.write(tmp_path / "nights" / name, samples, rate_hz)
    sources = find_recordings([str(tmp_path / "nights")])
    manifest: pd.DataFrame = scan_recordings(sources, NOTHING)
    _, stored = keep(EmbeddingStore(Folder(str(tmp_path / "store"))), sources, manifest)
    index = build_index(tmp_path / "windows", manifest, stored, 3)
    for hz, begins_s in places_s.items():
        clip = (tone(hz) + 0.01 * draw.standard_normal(n_samples)).astype(np.float32)
        (frames,) = LOGMEL.embed([clip])
        question = index.projection(pool_frames(frames, np.array([len(frames)]), LOGMEL.parts))
        hits = search(index, question, n=4)
        assert len({(h.window.recording.file, h.window.onset_s) for h in hits}) == 4
        for hit in hits:
            assert any(abs(hit.window.onset_s - begin_s) < 1 for begin_s in begins_s), hz
