from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundx.errors import SoundxError
from soundx.listening.counterparts import same_recordings
from soundx.listening.scores import n_matched, score_events
from tests.listening.events import event

WAYS = ("event", "segment", "intersection")
DURATIONS = {"a.wav": 1800.0, "b.wav": 1800.0}
# worked out by hand:
TRUTH = [
    event("a.wav", 1.0, 2.0, "dog"),
    event("a.wav", 10.0, 20.0, "dog"),
    event("b.wav", 5.0, 6.0, "dog"),
    event("b.wav", 30.0, 31.0, "cat"),
]
FOUND = [
    event("a.wav", 1.15, 2.1, "dog"),  # matched; in segments 1 and 2
    event("a.wav", 10.1, 21.9, "dog"),  # matched: 20 % of ten seconds are two
    event("b.wav", 5.25, 6.0, "dog"),  # onset too late; fills the true one to three quarters
    event("b.wav", 30.0, 31.3, "cat"),  # offset too late; 1 of 1.3 s is true
    event("b.wav", 100.0, 101.0, "cat"),  # a false alarm
    event("b.wav", 5.0, 6.0, "owl"),  # a label that is never true
]


def counts(scores):
    names = ("n_true_positives", "n_false_positives", "n_false_negatives")
    return tuple(scores[name] for name in names)


def test_scores_worked_out_by_hand():
    scores = score_events(FOUND, TRUTH, DURATIONS)
    dog, cat, owl = (scores["labels"][label] for label in ("dog", "cat", "owl"))
    assert counts(dog["event"]) == (2, 1, 1)
    assert counts(cat["event"]) == (0, 2, 1)
    assert counts(owl["event"]) == (0, 1, 0)
    # dog is true in segments 1, 10-19 and 5, found in 1 and 2, 10-21 and 5
    assert counts(dog["segment"]) == (12, 3, 0)
    assert counts(cat["segment"]) == (1, 2, 0)
    assert counts(dog["intersection"]) == (3, 0, 0)
    assert counts(cat["intersection"]) == (1, 1, 0)
    assert counts(scores["event"]) == (2, 4, 2)
    assert scores["event"]["precision"] == pytest.approx(2 / 6, abs=1e-12)
    assert scores["event"]["recall"] == pytest.approx(2 / 4, abs=1e-12)
    assert scores["event"]["f1"] == pytest.approx(4 / 10, abs=1e-12)
    # the label that is never true is in no macro average
    assert scores["event"]["macro_f1"] == pytest.approx((4 / 6 + 0) / 2, abs=1e-12)
    assert scores["intersection"]["macro_f1"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-12)
    assert (scores["n_found"], scores["n_true"], scores["hours"]) == (6, 4, 1.0)
    # nothing of their label touches the cat at 100 s and the owl
    assert (scores["n_false_alarms"], scores["false_alarms_per_hour"]) == (2, 2.0)
    assert cat["false_alarms_per_hour"] == 1.0
    assert scores["recordings"] == {
        "scored": 2,
        "without_truth": [],
        "truth_not_listened_to": [],
        "named_otherwise": {},
    }


def test_tolerances_can_be_set():
    wide = score_events(FOUND, TRUTH, DURATIONS, collar_s=0.31)
    assert counts(wide["event"])[0] == 4
    strict = score_events(FOUND, TRUTH, DURATIONS, dtc=0.8, gtc=0.8)
    # the cat, of 77 % truth, fails the first; three quarters of a dog the second
    assert counts(strict["labels"]["cat"]["intersection"]) == (0, 2, 1)
    assert counts(strict["labels"]["dog"]["intersection"]) == (2, 0, 1)
    assert strict["conventions"]["dtc"] == 0.8


def test_the_first_that_fits_is_not_always_the_right_one():
    truth = [event("a.wav", 0.9, 2.0), event("a.wav", 1.15, 2.3)]
    # the first fits both true ones, the second the first alone
    found = [event("a.wav", 1.0, 2.15), event("a.wav", 1.05, 1.9)]
    assert counts(score_events(found, truth, DURATIONS)["event"]) == (2, 0, 0)


def test_true_events_several_found_ones_fill_together():
    truth = [event("a.wav", 0.0, 10.0)]
    found = [event("a.wav", 0.0, 3.0), event("a.wav", 6.0, 9.0)]
    assert counts(score_events(found, truth, DURATIONS)["intersection"]) == (1, 0, 0)
    # one is not enough, and yet not wrong
    assert counts(score_events(found[:1], truth, DURATIONS)["intersection"]) == (0, 0, 1)
    # and one found event counts for two true ones
    truth = [event("a.wav", 0.0, 4.0), event("a.wav", 5.0, 9.0)]
    long = [event("a.wav", 0.0, 9.0)]
    assert counts(score_events(long, truth, DURATIONS)["intersection"]) == (2, 0, 0)


def test_the_perfect_the_empty_and_the_silent():
    perfect = score_events(TRUTH, TRUTH, DURATIONS)
    for way in WAYS:
        assert {perfect[way][f"{m}f1"] for m in ("", "macro_")} == {1.0}
    assert perfect["false_alarms_per_hour"] == 0.0
    for found, truth in (([], TRUTH), (FOUND, []), ([], [])):
        scores = score_events(found, truth, DURATIONS)
        for way in WAYS:
            assert {scores[way][m] for m in ("f1", "precision", "recall", "macro_f1")} == {0.0}
        assert scores["false_alarms_per_hour"] == len(found)
    assert score_events([], [], DURATIONS)["labels"] == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"collar_s": -1.0}, r"collar_s cannot be -1\.0"),
        ({"offset_share": float("nan")}, "offset_share cannot be nan"),
        ({"segment_s": 0.0}, r"segment_s cannot be 0\.0"),
        ({"dtc": 50}, "dtc cannot be 50"),
        ({"durations_s": {}}, "Nothing was listened to"),
        ({"durations_s": {"a.wav": float("nan"), "b.wav": 1.0}}, r"'a\.wav' cannot be nan s long"),
        ({"durations_s": {"a.wav": 1800.0}}, r"found in 'b\.wav', which was not listened to"),
        ({"found": [event("a.wav", 2.0, 1.0)]}, "cannot last from 2 to 1 s"),
        ({"truth": [event("a.wav", 1.0, float("nan"))]}, "cannot last from 1 to nan s"),
        ({"truth": [event("a.wav", 44100.0, 88200.0)]}, "Are its times in seconds"),
        ({"truth": [event("z.wav", 1.0, 2.0)]}, "about 'z.wav', listened was to 'a.wav'"),
    ],
)
def test_what_cannot_be_scored_is_named(change, said):
    arguments = {"found": FOUND, "truth": TRUTH, "durations_s": DURATIONS, **change}
    with pytest.raises(SoundxError, match=said):
        score_events(**arguments)


def test_recordings_are_found_under_other_names_and_it_is_told():
    truth = [replace(one, file=one.file.replace("a.wav", "D:\\mine\\A.flac")) for one in TRUTH]
    truth.append(event("lost.wav", 1.0, 2.0, "wolf"))
    scores = score_events(FOUND, truth, {**DURATIONS, "c.wav": 10.0})
    assert counts(scores["event"]) == (2, 4, 2)
    assert "wolf" not in scores["labels"]
    assert scores["recordings"] == {
        "scored": 3,
        "without_truth": ["c.wav"],
        "truth_not_listened_to": ["lost.wav"],
        "named_otherwise": {"D:\\mine\\A.flac": "a.wav"},
    }


@pytest.mark.parametrize(
    ("theirs", "ours", "same"),
    [
        (["s1/r.wav"], ["/d/s1/r.wav", "/d/s2/r.wav"], ["/d/s1/r.wav"]),
        (["s1/r"], ["/d/s1/r.wav", "/d/s2/r.wav"], ["/d/s1/r.wav"]),
        (["r.2024", "r"], ["r.2024.wav", "r.wav"], ["r.2024.wav", "r.wav"]),
        (["C:\\old\\r.mp3"], ["s1/r.wav"], ["s1/r.wav"]),
        (["r.wav"], ["s3://b/s1/r.wav?signed=1"], ["s3://b/s1/r.wav?signed=1"]),
        # another site's recording of the same name was not listened to
        (["s1/r.wav", "s3/r.wav"], ["s1/r.wav", "s2/r.wav"], ["s1/r.wav", None]),
        (["s1/r.wav", "s2/r.wav"], ["s1/r.wav"], ["s1/r.wav", None]),
        (["other.wav"], ["r.wav"], [None]),
        (["r.wav"], ["s1/r.wav", "s2/r.wav"], "may be 's1/r.wav' or 's2/r.wav'"),
        (["r"], ["r.wav", "r.mp3"], "may be 'r.wav' or 'r.mp3'"),
        (["s1/r", "s2/r"], ["r.wav"], "would both be 'r.wav'"),
    ],
)
def test_the_same_recording_by_other_names(theirs, ours, same):
    if isinstance(same, str):
        with pytest.raises(SoundxError, match=same):
            same_recordings(theirs, ours)
    else:
        found = same_recordings(theirs, ours)
        assert [found.get(name) for name in theirs] == same


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), max_size=4, unique=True), max_size=5))
def test_no_matching_is_larger(fits):
    best = max(
        (
            sum(item in wants for item, wants in zip(order, fits, strict=False))
            for order in permutations(range(5), len(fits))
        ),
        default=0,
    )
    assert n_matched(fits) == best


def test_a_crowded_recording_is_matched_in_a_moment():
    # every one may have its own place or the next; the last place is gone: each has to move up
    n = 20_000
    fits = [[i, i + 1] for i in range(n - 1)] + [[0]]
    assert n_matched(fits) == n


times = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 30)), max_size=12)


@settings(max_examples=80, deadline=None)
@given(times, times)
def test_counts_are_those_of_the_definitions(found, truth):
    """By definition, event against event, on a grid on which edges meet."""
    found, truth = (
        [event("a.wav", n / 8, (n + length) / 8) for n, length in some] for some in (found, truth)
    )
    scores = score_events(found, truth, {"a.wav": 20.0})

    def share(one, others):
        """How much of one others fill."""
        common = [min(one.offset_s, o.offset_s) - max(one.onset_s, o.onset_s) for o in others]
        return sum(c for c in common if c > 0) / (one.offset_s - one.onset_s)

    alarms = [
        f for f in found if all(f.offset_s < t.onset_s or t.offset_s < f.onset_s for t in truth)
    ]
    assert scores["n_false_alarms"] == len(alarms)
    long_found, long_truth = ([e for e in s if e.offset_s > e.onset_s] for s in (found, truth))
    good = [f for f in long_found if share(f, long_truth) >= 0.5]
    hits = [t for t in long_truth if share(t, good) >= 0.5]
    expected = (len(hits), len(long_found) - len(good), len(long_truth) - len(hits))
    assert counts(scores["intersection"]) == expected
    roll = np.zeros((2, 20), bool)
    for row, some in zip(roll, (found, truth), strict=True):
        for e in some:
            row[int(e.onset_s) : int(np.ceil(e.offset_s))] = True
    both = int((roll[0] & roll[1]).sum())
    assert counts(scores["segment"]) == (both, roll[0].sum() - both, roll[1].sum() - both)
