"""What is asked next: every order does what it says, and nothing is asked twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundx.errors import SoundxError
from soundx.labels import BACKGROUND
from soundx.review.queue import ORDERS, Known, Queue, candidates
from soundx.search.query import likeness_to, near
from tests.search.test_index import Kept

CLASSES = ("dog", "siren", BACKGROUND)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Some nights; the one that comes first is not the oldest, and one has no clock."""
    kept = Kept(tmp_path_factory.mktemp("kept"))
    kept.add("late.wav", 60, clock="2024-05-03T21:30:00")
    kept.add("somewhen.wav", 30)
    kept.add("early.wav", 40, clock="2024-05-01T21:30:00+02:00")
    kept.add("tiny.wav", 1, clock="2024-05-02T04:00:00")
    return kept.build()


@pytest.fixture(scope="module")
def probabilities(index):
    drawn = np.random.default_rng(7).dirichlet([1, 1, 1], len(index))
    return drawn.astype(np.float32)


@pytest.fixture
def known(index, probabilities):
    return Known(index, CLASSES, probabilities)


def assert_best_first(index, listed, scores, gone=()):
    """Each is the best of those that overlap none before it."""
    left = np.ones(len(index), bool)
    left[near(index, gone)] = False
    for number in listed:
        assert left[number]
        assert scores[number] == scores[left].max()
        left[near(index, [number])] = False
    return left


def margins(probabilities):
    two = np.sort(probabilities, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]


@given(
    order=st.sampled_from(ORDERS),
    answered=st.lists(st.integers(0, 60), max_size=12, unique=True),
    n=st.integers(1, 40),
    has_model=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_whatever_the_order_nothing_answered_is_asked_and_nothing_twice(
    index, probabilities, order, answered, n, has_model
):
    labels = [CLASSES[number % 3] for number in answered]
    model = (CLASSES, probabilities) if has_model or order == "best" else ((), None)
    known = Known(index, *model, answered, labels)
    drawn = np.random.default_rng(7).permutation(index.apart()).tolist()
    options = {"label": "dog", "like": index.vectors([3, 9]), "drawn": drawn, "n": n}
    listed = candidates(known, order, **options)
    assert len(listed) == len(set(listed)) <= n
    assert listed or not np.setdiff1d(index.apart(), near(index, answered)).size
    # what was drawn is asked however near it is to others: or it were no fair sample
    closed = set(answered) if order == "spread" else set(near(index, answered).tolist())
    assert not closed & set(listed)
    assert all(type(number) is int for number in listed)
    assert listed == candidates(known, order, **options), "by chance alone"


def test_the_least_sure_come_first(index, known, probabilities):
    listed = candidates(known, "uncertain", n=20)
    assert_best_first(index, listed, -margins(probabilities))
    answered = Known(index, CLASSES, probabilities, listed[:2], ["dog", "dog"])
    again = candidates(answered, "uncertain", n=20)
    assert_best_first(index, again, -margins(probabilities), listed[:2])


def test_the_most_probable_of_a_label_come_first(index, known, probabilities):
    for place, label in enumerate(CLASSES[:2]):
        left = assert_best_first(
            index, candidates(known, "best", label=label), probabilities[:, place]
        )
        assert not left.any(), "some are never asked"


def test_the_likest_come_first(index, known):
    like = index.vectors([4, 20])
    listed = candidates(known, "like", like=like, n=15)
    assert_best_first(index, listed, likeness_to(index, like))


def test_the_oldest_come_first_and_last_what_has_no_clock(index, known):
    windows = [index.window(number) for number in candidates(known, "oldest")]
    files = list(dict.fromkeys(window.recording.file for window in windows))
    assert files == ["early.wav", "tiny.wav", "late.wav", "somewhen.wav"]
    for file in files:
        onsets_s = [window.onset_s for window in windows if window.recording.file == file]
        assert onsets_s == sorted(onsets_s)
    assert sorted(window.number for window in windows) == index.apart().tolist()


def test_random_windows_are_all_windows_in_an_order_of_their_own(index, probabilities):
    listed = candidates(Known(index), "random")
    assert sorted(listed) == index.apart().tolist()
    assert listed != sorted(listed)
    assert candidates(Known(index), "random", seed=8) != listed
    # the model has no say in it
    assert candidates(Known(index, CLASSES, probabilities), "random") == listed


def test_what_was_drawn_comes_as_it_was_drawn(index, known, probabilities):
    drawn = [30, 4, 6, 0, 44, 5]
    assert candidates(known, "spread", drawn=drawn) == drawn
    answered = Known(index, CLASSES, probabilities, [6, 30, 2], ["dog"] * 3)
    assert candidates(answered, "spread", drawn=drawn) == [4, 0, 44, 5]
    assert candidates(answered, "spread", drawn=drawn, n=2) == [4, 0]
    assert candidates(known, "spread") == []


def kinds(tmp_path, **counts):
    """Return an index of a recording a kind of sound, all of whose frames are much alike."""
    draw = np.random.default_rng(7)
    kept = Kept(tmp_path)
    for name, (n_frames, *levels) in counts.items():
        frames = np.array(levels) + 0.03 * draw.standard_normal((n_frames, 6))
        kept.add(name, n_frames, frames=frames)
    return kept.build()


def file_of(index, number):
    return index.window(number).recording.file


def test_without_a_model_what_is_like_nothing_else_comes_first(tmp_path):
    """Rare sounds of two kinds in much of what is always there."""
    index = kinds(
        tmp_path,
        bed=(400, 0, 0, 0, 0, 1, 1),
        rare=(48, 9, 0, 0, 0, 1, 4),
        other=(48, 0, 9, 0, 0, 4, 1),
    )
    for seed in range(6):
        for order in ("usual", "uncertain"):
            listed = candidates(Known(index), order, seed=seed)
            assert {file_of(index, number) for number in listed[:2]} == {"rare", "other"}
            assert sorted(listed) == index.apart().tolist()
    # one of them was answered: more of its kind can wait
    answered = [index.number_at("rare", 0.0)]
    listed = candidates(Known(index, answered=answered, labels=["dog"]), "usual")
    assert file_of(index, listed[0]) == "other"


def test_windows_that_are_all_the_same_are_all_asked_once(tmp_path):
    """Of digital silence: none is less like the others, by whatever rounding says."""
    frames = np.tile([1.0, 2.0, 3.0, 4.0, 0.3, 0.7], (60, 1))
    index = Kept(tmp_path).add("a.wav", 30).add("silence.wav", 60, frames=frames).build()
    listed = candidates(Known(index), "usual")
    assert sorted(listed) == index.apart().tolist()


def test_the_usual_order_takes_turns(index, probabilities):
    """The least sure, the best of the label with the fewest answers, and what is like nothing."""
    labels = ["dog", "dog", BACKGROUND]
    known = Known(index, CLASSES, probabilities, [0, 10, 20], labels)
    listed = candidates(known, "usual", n=60)
    assert len(listed) == len(set(listed))
    gone = [0, 10, 20]
    unsure = candidates(known, "uncertain", n=20)
    siren = candidates(known, "best", label="siren", n=5)
    assert listed[0] == unsure[0]
    assert siren[0] in listed[:4], "siren has no answer yet"
    assert unsure[1] in listed[:4]
    first = candidates(Known(index, answered=gone, labels=labels), "usual", n=20)[0]
    assert first in listed[:4], "what is like nothing that was answered"
    dog = candidates(known, "best", label="dog", n=5)
    assert dog[0] in listed[:8]
    # background is nobody's aim: it is heard enough on the way
    column = probabilities[:, 2]
    surest = [n for n in np.argsort(-column) if n not in near(index, gone)][:5]
    assert not set(map(int, surest)) & {listed[1], listed[5]}


def test_a_model_of_one_class_can_be_asked_by(index):
    only = Known(index, ("dog",), np.ones((len(index), 1), np.float32))
    assert sorted(candidates(only, "uncertain")) == sorted(set(candidates(only, "uncertain")))
    assert candidates(only, "usual")


def test_what_an_order_lacks_is_said(index, known):
    with pytest.raises(SoundxError, match="Choose a sound first"):
        candidates(known, "like")
    with pytest.raises(SoundxError, match="Choose a sound first"):
        candidates(known, "like", like=index.vectors([]))
    with pytest.raises(SoundxError, match="Name the label"):
        candidates(known, "best")
    for without in (known, Known(index)):
        with pytest.raises(SoundxError, match="No model knows 'cat' yet"):
            candidates(without, "best", label="cat")


@pytest.mark.parametrize("order", ORDERS)
def test_where_no_window_is_none_is_asked(tmp_path, order):
    empty = Kept(tmp_path).build()
    assert candidates(Known(empty), order, label="dog") == []


# --- one after the other ----------------------------------------------------------------------


def test_what_was_answered_or_is_being_answered_is_passed_over(index):
    queue = Queue(index, [0, 1, 2, 10, 11, 40])
    assert queue.next([]) == 0
    assert queue.next([], taken=[0]) == 2
    assert queue.next([], taken=[1]) == 10
    assert queue.next([], taken=[0, 2, 10]) == 40
    assert queue.next([0, 2, 10], taken=[40]) is None
    assert queue.waiting == [0, 1, 2, 10, 11, 40], "what is passed over stays"
    assert Queue(index).next([]) is None


def test_what_is_much_like_the_last_answers_waits(tmp_path):
    index = kinds(tmp_path, one=(40, 9, 0, 0, 0, 1, 4), other=(30, 0, 9, 0, 0, 4, 1))
    ones = [n for n in index.apart().tolist() if file_of(index, n) == "one"]
    others = [n for n in index.apart().tolist() if file_of(index, n) == "other"]
    queue = Queue(index, [*ones[1:5], *others[1:3]])
    assert queue.next([]) == ones[1]
    assert queue.next([ones[0]]) == others[1]
    assert queue.next([others[0]]) == ones[1]
    # long ago it was: twelve answers later it may come again
    after = [ones[0], *([others[0]] * 12)]
    assert queue.next(after) == ones[1]
    # both have just been heard, and one of them it has to be
    assert queue.next([ones[0], others[0]]) in queue.waiting
    assert Queue(index, ones[1:3]).next([ones[0]]) in ones[1:3]
