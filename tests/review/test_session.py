"""Several people at one review: who is asked what, what is kept, and what is learnt meanwhile."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest

from soundx.audio.decoding import decode_stretch
from soundx.classifier.bundle import JOINT_MODEL, Classifier
from soundx.datasets.recordings import HeardDataset
from soundx.errors import AudioError, SoundxError
from soundx.labels import BACKGROUND
from soundx.listening.kept import Ending
from soundx.listening.kept import Kept as KeptRows
from soundx.listening.recordings import Source
from soundx.pipelines.listening import create_pipeline as listening_pipeline
from soundx.pipelines.listening.nodes import ListeningOptions
from soundx.review import session
from soundx.review.answers import UNSURE, Answer, AnswersFile
from soundx.review.estimates import estimate
from soundx.review.learning import Clips
from soundx.review.queue import ORDERS, candidates
from soundx.review.session import RESERVED_S, Review, Shipped
from soundx.review.shipped import shipped_probabilities
from soundx.search.index import build_index
from soundx.search.query import near
from soundx.search.recordings import scan_recordings
from soundx.storage.checksum import digest
from tests.listening.conftest import model  # noqa: F401  a fixture
from tests.pipelines.runs import run
from tests.review.test_learning import clips, make_world  # noqa: F401  a fixture
from tests.search.test_index import INFO, Kept
from tests.search.test_recordings import LOGMEL, NOTHING

LABELS = ("dog", "siren")
KIND_FRAMES = 10


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Recordings in which two kinds of sounds take turns, and one in which a third is heard."""
    kept = Kept(tmp_path_factory.mktemp("kept"))
    draw = np.random.default_rng(7)
    levels = np.array([[5, 0, 0, 0, 1, 4], [0, 5, 0, 0, 4, 1], [0, 0, 5, 0, 2, 2]])
    for name in "abc":
        kinds = np.arange(60) // KIND_FRAMES % 2 if name != "c" else np.full(60, 2)
        frames = levels[kinds] + 0.5 * np.abs(draw.standard_normal((60, 6)))
        kept.add(f"{name}.wav", 60, frames=frames)
    kept.build()
    return kept


@pytest.fixture
def index(kept):
    return kept.build()


@pytest.fixture
def table(tmp_path):
    return AnswersFile(tmp_path / "answers.csv")


@pytest.fixture
def shipped(index):
    drawn = np.random.default_rng(8).dirichlet([1, 1, 3], len(index))
    return Shipped("v1", LABELS, drawn[:, :2].astype(np.float32))


@pytest.fixture
def open_review(kept, index, table, shipped):
    """Return the review as a server that was just started has it."""
    return lambda: Review(
        index, kept.stored, Clips.none(INFO), table, version="v1", shipped=shipped
    )


@pytest.fixture
def review(open_review):
    return open_review()


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


def number_of(question):
    return question.window.number


def truth(window):
    """What is heard in a window: one of two kinds, both, or the third."""
    if window.recording.file == "c.wav":
        return BACKGROUND
    kinds = {(window.first_frame + n) // KIND_FRAMES % 2 for n in range(3)}
    return UNSURE if len(kinds) > 1 else LABELS[kinds.pop()]


def answer_some(review, n, person="Ann", order="random"):
    """Answer as somebody who knows; return the windows."""
    windows = []
    for _ in range(n):
        question = review.ask(person, order)
        assert review.answer(person, number_of(question), truth(question.window))
        windows.append(number_of(question))
    return windows


def wait_until_learnt():
    """Wait for what learns in the background; it may have begun, or ended."""
    for thread in threading.enumerate():
        if thread.name == "soundx-learn":
            thread.join(timeout=60)
            assert not thread.is_alive()


# --- one person -------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_a_question_stays_until_it_is_answered_and_then_another_comes(review, index, order):
    answer_some(review, 12)
    review.learn()
    options = {"label": "siren" if order in ("best", "spread") else "", "like": [3]}
    first = review.ask("Ann", order, **options)
    assert review.ask("Ann", order, **options) == first
    assert first.order == order
    assert review.answer("Ann", number_of(first), "siren")
    second = review.ask("Ann", order, **options)
    closed = {number_of(first)} if order == "spread" else near(index, [number_of(first)]).tolist()
    assert number_of(second) not in closed


def test_an_answer_is_in_the_table_when_it_was_given(review, table):
    asked = review.ask("Ann", "random")
    assert table.read() == []
    assert review.answer("Ann", number_of(asked), "  siren ")
    (found,) = table.read()
    window = asked.window
    assert (found.recording, found.onset_s, found.offset_s, found.label, found.answered_by) == (
        window.recording.file, window.onset_s, window.offset_s, "siren", "Ann",
    )  # fmt: skip
    assert (found.model_version, found.probability, found.drawn_for) == ("v1", None, "")
    assert found.answered_at.endswith("Z")
    for label in (BACKGROUND, UNSURE):
        review.answer("Ann", number_of(review.ask("Ann", "random")), label)
    assert [one.label for one in table.read()] == ["siren", BACKGROUND, UNSURE]
    assert review.labels == review.keyed_labels == ["siren"]


def test_another_order_is_another_question(review):
    review.learn()
    oldest = review.ask("Ann", "oldest")
    assert number_of(oldest) == 0
    drawn = review.ask("Ann", "spread", label="dog")
    assert number_of(drawn) == review.drawn_for("dog")[0]
    assert drawn.label == "dog"
    assert number_of(review.ask("Ann", "oldest")) == 0
    like = review.ask("Ann", "like", like=[20])
    assert number_of(like) == 20


@pytest.mark.parametrize("at_a_time", [600, 4])
def test_everything_is_asked_in_the_end_and_nothing_twice(review, index, monkeypatch, at_a_time):
    """However few are listed at a time."""

    def few(*given, **more):
        return candidates(*given, n=at_a_time, **more)

    monkeypatch.setattr(session, "candidates", few)
    asked = []
    while (question := review.ask("Ann", "usual")) is not None:
        assert number_of(question) not in near(index, asked)
        asked.append(number_of(question))
        review.answer("Ann", number_of(question), BACKGROUND)
        assert len(asked) <= len(index)
    assert len(near(index, asked)) == len(index)
    assert review.ask("Ann", "random") is None


@pytest.mark.parametrize("label", ["", "  ", ".a", ":UNSURE2", "a/b", "a\nb"])
def test_what_cannot_be_a_label_changes_nothing(review, table, label):
    asked = review.ask("Ann", "random")
    if label:
        with pytest.raises(SoundxError, match="cannot be a label"):
            review.answer("Ann", number_of(asked), label)
        assert table.read() == []
        assert not table.path.exists()
        assert review.ask("Ann", "random") == asked
    # it can still be answered
    assert review.answer("Ann", number_of(asked), "siren")


def test_an_answer_about_another_window_is_none(review, table):
    assert not review.answer("Ann", 3, "siren"), "nothing was asked"
    mine, other = review.ask("Ann", "random"), review.ask("Bob", "random")
    for number in (number_of(other), number_of(mine) + 1, -1, 10**9):
        assert not review.answer("Ann", number, "siren")
    assert table.read() == []
    assert review.ask("Ann", "random") == mine


@pytest.mark.parametrize("name", ["", " ", "A\nB", "x" * 61])
def test_nobody_is_no_person(review, name):
    with pytest.raises(SoundxError, match="name"):
        review.ask(name, "random")
    with pytest.raises(SoundxError, match="name"):
        review.answer(name, 0, "siren")


def test_an_answer_given_twice_is_kept_once(review, table):
    asked = review.ask("Ann", "random")
    assert review.answer("Ann", number_of(asked), "siren")
    assert not review.answer("Ann", number_of(asked), "dog")
    assert [one.label for one in table.read()] == ["siren"]
    # by a key that was pressed too long, in two threads
    asked = review.ask("Ann", "random")
    with ThreadPoolExecutor(4) as threads:
        kept = list(
            threads.map(lambda _: review.answer("Ann", number_of(asked), "siren"), range(8))
        )
    assert sum(kept) == 1
    assert len(table.read()) == 2


def test_what_was_skipped_comes_no_more_and_stays_for_others(review, index):
    first = review.ask("Ann", "oldest")
    review.skip("Ann", number_of(first) + 1)  # not what is asked
    assert review.ask("Ann", "oldest") == first
    review.skip("Ann", number_of(first))
    second = review.ask("Ann", "oldest")
    assert number_of(second) not in near(index, [number_of(first)])
    assert number_of(review.ask("Bob", "oldest")) == number_of(first)
    assert not review.answer("Ann", number_of(first), "siren")
    drawn = review.drawn_for("siren")
    assert number_of(review.ask("Cem", "spread", label="siren")) == drawn[0]
    review.skip("Cem", int(drawn[0]))
    assert number_of(review.ask("Cem", "spread", label="siren")) == drawn[1]


# --- several ----------------------------------------------------------------------------------


def test_two_are_never_asked_the_same_at_once(review, index):
    for order in ("oldest", "random", "usual"):
        asked = [number_of(review.ask(f"Person {n}", order)) for n in range(8)]
        for number in asked:
            others = [other for other in asked if other != number]
            assert len(others) == 7
            assert not set(others) & set(near(index, [number]).tolist())
    drawn = [number_of(review.ask(f"Person {n}", "spread", label="dog")) for n in range(8)]
    assert drawn == review.drawn_for("dog")[:8].tolist()


def test_many_at_once_answer_everything_once(review, index, table):
    """Each in a thread, as the viewer's sessions are."""
    together = threading.Barrier(6)

    def person(name):
        together.wait(timeout=60)
        n_kept = 0
        while (question := review.ask(name, "random")) is not None:
            n_kept += review.answer(name, number_of(question), "siren")
        return n_kept

    with ThreadPoolExecutor(6) as threads:
        kept = list(threads.map(person, [f"Person {n}" for n in range(6)]))
    found = table.read()
    assert sum(kept) == len(found)
    answered = [index.number_at(one.recording, one.onset_s) for one in found]
    assert len(set(answered)) == len(answered)
    for number in answered:
        assert not set(near(index, [number]).tolist()) & (set(answered) - {number})
    assert len(near(index, answered)) == len(index)
    wait_until_learnt()


def test_what_somebody_else_answered_is_not_asked_any_more(review, open_review, index):
    """Somebody beside this server, at another one, or with an editor."""
    asked = review.ask("Ann", "oldest")
    window = asked.window
    elsewhere = Answer(window.recording.file, window.onset_s, window.offset_s, "dog", "Eve")
    review.add_from_elsewhere([elsewhere])
    after = review.ask("Ann", "oldest")
    assert number_of(after) not in near(index, [number_of(asked)])
    beside = open_review()
    theirs = beside.ask("Bob", "oldest")
    assert number_of(theirs) not in near(index, [number_of(asked)])
    beside.answer("Bob", number_of(theirs), "siren")
    assert [one.label for one in review.answers] == ["dog", "siren"]
    # not on the grid of windows: the nearest counts
    review.add_from_elsewhere([Answer("c.wav", 9.7, 10.2, "dog", "Eve")])
    nearest = index.number_at("c.wav", 9.7)
    wait_until_learnt()
    listed = review.to_ask("random", 1000)
    assert not set(listed) & set(near(index, [nearest]).tolist())


def test_a_window_is_free_again_when_nobody_comes_back_to_it(review, clock, table):
    left = review.ask("Ann", "oldest")
    clock.s += RESERVED_S - 1
    other = review.ask("Bob", "oldest")
    assert number_of(other) != number_of(left)
    clock.s += 2
    taken = review.ask("Cem", "oldest")
    assert number_of(taken) == number_of(left)
    # who comes back late is asked something else, and what they say at last is kept
    assert review.answer("Ann", number_of(left), "siren")
    assert [one.answered_by for one in table.read()] == ["Ann"]
    assert number_of(review.ask("Cem", "oldest")) != number_of(left)


def test_who_comes_back_too_late_is_asked_something_else(review, clock):
    left = review.ask("Ann", "oldest")
    clock.s += RESERVED_S + 1
    assert number_of(review.ask("Bob", "oldest")) == number_of(left)
    assert number_of(review.ask("Ann", "oldest")) != number_of(left)
    # but where nobody took it, it is still theirs
    mine = review.ask("Ann", "oldest")
    clock.s += 10 * RESERVED_S
    assert review.ask("Ann", "oldest") == mine


def test_who_is_still_there_keeps_their_question(review, clock):
    mine = review.ask("Ann", "oldest")
    for _ in range(5):
        clock.s += RESERVED_S - 1
        assert review.ask("Ann", "oldest") == mine
    assert number_of(review.ask("Bob", "oldest")) != number_of(mine)


# --- taking back ------------------------------------------------------------------------------


def test_what_was_taken_back_is_asked_again(review, table, index):
    numbers = answer_some(review, 3, order="oldest")
    answer_some(review, 1, "Bob", order="oldest")
    before = table.read()
    review.ask("Ann", "oldest")
    taken = review.undo("Ann")
    assert taken == before[2]
    assert table.read() == [*before[:2], before[3]]
    # it is theirs from now on
    assert number_of(review.ask("Cem", "oldest")) not in near(index, [numbers[2]])
    again = review.ask("Ann", "oldest")
    assert number_of(again) == numbers[2]
    assert review.answer("Ann", numbers[2], "cat")
    assert [one.label for one in table.read() if one.answered_by == "Ann"][-1] == "cat"


def test_one_after_the_other_is_taken_back_and_only_ones_own(review, table):
    numbers = answer_some(review, 3)
    answer_some(review, 2, "Bob")
    for number in reversed(numbers):
        review.undo("Ann")
        assert number_of(review.ask("Ann", "random")) == number
    assert review.undo("Ann") is None
    assert [one.answered_by for one in table.read()] == ["Bob", "Bob"]
    assert review.undo("Nobody yet") is None


def test_whatever_spaces_stand_around_a_name(review, table):
    asked = review.ask(" Ann ", "random")
    assert review.ask("Ann", "random") == asked
    assert review.answer("Ann\n", number_of(asked), "siren")
    assert review.undo(" Ann ") is not None
    assert table.read() == []
    assert number_of(review.ask("Ann", "random")) == number_of(asked)
    assert number_of(review.ask("Bob", "random")) != number_of(asked)


def test_what_was_drawn_counts_as_drawn_when_it_is_answered_again(review, table):
    """Whatever was asked in between: else the sample would not go on where it was."""
    drawn = review.ask("Ann", "spread", label="dog")
    review.answer("Ann", number_of(drawn), "dog")
    (first,) = table.read()
    assert (first.model_version, first.drawn_for) == ("v1", "dog")
    assert first.probability == pytest.approx(drawn.probability, abs=1e-4)
    answer_some(review, 12, "Bob")
    review.learn()  # what thinks now is another model
    review.ask("Ann", "oldest")
    assert review.undo("Ann") == first
    review.answer("Ann", number_of(drawn), "siren")
    (again,) = (one for one in table.read() if one.answered_by == "Ann")
    assert replace(again, answered_at="", label="dog") == replace(first, answered_at="")


def test_what_was_not_drawn_does_not_count_as_drawn_when_it_is_answered_again(review, table):
    answer_some(review, 1)
    review.ask("Ann", "spread", label="dog")
    taken = review.undo("Ann")
    number = review.index.number_at(taken.recording, taken.onset_s)
    assert review.answer("Ann", number, "siren")
    (again,) = table.read()
    assert again.drawn_for == ""


# --- a server that was killed -----------------------------------------------------------------


def test_nothing_is_lost_with_the_server(review, open_review, table, index):
    numbers = [*answer_some(review, 4), *answer_some(review, 3, "Bob")]
    open_question = review.ask("Ann", "random")
    before = table.read()
    assert len(before) == 7
    again = open_review()
    assert again.answers == before
    asked = []
    for name in ("Ann", "Bob", "Cem"):
        question = again.ask(name, "random")
        assert number_of(question) not in near(index, numbers + asked)
        asked.append(number_of(question))
    # the one that was open is lost to nobody
    assert not again.answer("Ann", number_of(open_question), "siren") or (
        number_of(open_question) == asked[0]
    )
    again.learn()
    review.learn()
    np.testing.assert_array_equal(again.probabilities, review.probabilities)


def test_what_was_answered_before_it_was_killed_can_be_taken_back(review, open_review, table):
    numbers = answer_some(review, 2)
    again = open_review()
    assert again.undo("Ann") is not None
    assert len(table.read()) == 1
    assert number_of(again.ask("Ann", "random")) == numbers[1]


def test_a_table_that_breaks_stops_answers_until_it_is_whole_again(review, table):
    answer_some(review, 2)
    asked = review.ask("Ann", "random")
    whole = table.path.read_bytes()
    table.path.write_bytes(whole + b"a,b\n")
    for do in (
        lambda: review.ask("Ann", "random"),
        lambda: review.answer("Ann", number_of(asked), "siren"),
        lambda: review.undo("Ann"),
    ):
        with pytest.raises(SoundxError, match="line 4"):
            do()
        assert table.path.read_bytes() == whole + b"a,b\n"
    table.path.write_bytes(whole)
    assert review.ask("Ann", "random") == asked
    assert review.answer("Ann", number_of(asked), "siren")
    assert len(table.read()) == 3


# --- learning meanwhile -----------------------------------------------------------------------


def test_after_some_answers_it_learns_and_asks_by_what_it_has_learnt(review, monkeypatch):
    monkeypatch.setattr(session, "LEARN_EVERY", 12)
    with pytest.raises(SoundxError, match="No model knows 'siren' yet"):
        review.ask("Ann", "best", label="siren")
    assert review.version == "v1"
    assert review.probabilities is None
    while sum(one.is_sure for one in review.answers) < 11:
        answer_some(review, 1)
    wait_until_learnt()
    assert review.taught is None, "it is too early"
    while sum(one.is_sure for one in review.answers) < 12:
        answer_some(review, 1)
    wait_until_learnt()
    assert set(review.taught.classes) == {*LABELS, BACKGROUND}
    assert review.version == "v1+12"
    assert {row["label"] for row in review.changed} == set(review.taught.classes)
    assert [row["recall_before"] for row in review.changed] == [None] * 3
    best = review.ask("Ann", "best", label="siren")
    column = review.probabilities[:, review.taught.classes.index("siren")].copy()
    column[near(review.index, review.answered_windows())] = -1.0
    assert best.probability == pytest.approx(float(column[number_of(best)]))
    assert best.model_version == "v1+12"
    listed = review.next_best("siren", 3)
    assert listed[0] == column.argmax()
    # what is much like the answers before it can wait
    assert number_of(best) in review.next_best("siren", 99)
    siren = next(one for one in map(review.index.window, range(99)) if truth(one) == "siren")
    guesses = review.guesses(siren)
    assert guesses[0][0] == "siren"
    assert [share for _, share in guesses] == sorted((s for _, s in guesses), reverse=True)
    assert sum(share for _, share in guesses) == pytest.approx(1.0)
    recalls = [row["recall"] for row in review.changed]
    answer_some(review, 5)
    review.learn()
    assert [row["recall_before"] for row in review.changed] == recalls


def test_learning_orders_everybodys_questions_anew(review):
    answer_some(review, 12)
    asked = review.ask("Bob", "uncertain")
    review.learn()
    assert review.ask("Bob", "uncertain") == asked, "none is changed while somebody listens"
    assert review.answer("Bob", number_of(asked), truth(asked.window))
    after = review.ask("Bob", "uncertain")
    assert after.probability is not None
    assert after.model_version == review.version
    # by the margins of now, as for somebody who has just come
    assert after.window.number == review.to_ask("uncertain", 1)[0]


def test_people_go_on_while_it_learns_and_it_learns_once_at_a_time(review, monkeypatch):
    monkeypatch.setattr(session, "LEARN_EVERY", 1)
    begun, go_on, original = threading.Event(), threading.Event(), session.learn
    runs = []

    def slow(*given, **more):
        runs.append(threading.current_thread())
        begun.set()
        assert go_on.wait(timeout=60)
        return original(*given, **more)

    monkeypatch.setattr(session, "learn", slow)
    while not begun.is_set():
        answer_some(review, 1, order="oldest")
        wait = [t for t in threading.enumerate() if t.name == "soundx-learn"]
        if wait:
            begun.wait(timeout=60)
    assert review.is_learning
    n_before = len(review.answers)
    answer_some(review, 5)
    assert review.undo("Ann") is not None
    assert len(review.answers) == n_before + 4
    assert len(runs) == 1
    assert sum(one.name == "soundx-learn" for one in threading.enumerate()) == 1
    go_on.set()
    wait_until_learnt()
    assert not review.is_learning
    review.learn()
    assert review.taught.n_answers == sum(one.is_sure for one in review.answers)


def test_what_cannot_be_learnt_is_told_and_stops_nobody(review, caplog):
    labels = iter(["general_a", "general_b", "TONE_a", "TONE_b"])
    for label in labels:
        review.answer("Ann", number_of(review.ask("Ann", "random")), label)
    with caplog.at_level(logging.WARNING):
        review.learn_soon()
        wait_until_learnt()
    assert "cannot be learnt: A category may not be called 'general'" in caplog.text
    answer_some(review, 1)


def test_disagreement_is_not_learnt(review, index):
    first = answer_some(review, 12)
    review.learn()
    n = review.taught.n_answers
    sure = next(number for number in first if truth(index.window(number)) == "siren")
    window = index.window(sure)
    other = Answer(window.recording.file, window.onset_s, window.offset_s, "dog", "Eve")
    review.add_from_elsewhere([other])
    wait_until_learnt()
    review.learn()
    assert review.taught.n_answers == n - 1


def test_all_that_the_model_takes_for_a_label_are_background_at_once(review, table, index):
    answered = answer_some(review, 12)
    review.learn()
    listed = [*review.next_best("siren", 4), answered[0]]
    version = review.version
    assert review.all_background("Ann", listed, "siren") == 4
    new = table.read()[12:]
    assert [one.label for one in new] == [BACKGROUND] * 4
    assert [index.number_at(one.recording, one.onset_s) for one in new] == listed[:4]
    assert {one.model_version for one in new} == {version}
    assert all(one.probability is not None and one.drawn_for == "" for one in new)
    wait_until_learnt()
    assert review.all_background("Ann", listed, "siren") == 0
    wait_until_learnt()


# --- estimates --------------------------------------------------------------------------------


def answer_about(review, number, label, person="Eve", **more):
    window = review.index.window(int(number))
    times = (window.onset_s, window.offset_s)
    review._file.add([Answer(window.recording.file, *times, label, person, **more)])


def test_windows_are_asked_in_the_order_in_which_they_were_drawn(review):
    drawn = review.drawn_for("siren")
    apart = set(review.index.apart().tolist())
    assert set(drawn.tolist()) == apart
    assert not np.array_equal(drawn, review.drawn_for("dog")), "for each label others"
    answer_about(review, drawn[1], "siren")
    # beside one that was answered is no reason to leave one out
    answer_about(review, drawn[2] + 1, "siren")
    asked = []
    for _ in range(3):
        question = review.ask("Ann", "spread", label="siren")
        asked.append(number_of(question))
        assert question.probability == pytest.approx(review.shipped.probabilities[asked[-1], 1])
        review.answer("Ann", asked[-1], UNSURE)
    assert asked == [drawn[0], drawn[2], drawn[3]]
    kept = [one for one in review.answers if one.answered_by == "Ann"]
    assert {(one.drawn_for, one.model_version) for one in kept} == {("siren", "v1")}


def test_an_estimate_counts_what_was_drawn_up_to_the_last_and_no_more(review, shipped, index):
    drawn = review.drawn_for("siren")
    as_drawn = {"drawn_for": "siren", "model_version": "v1"}
    # no answer as drawn: what was chosen in other ways is no sample
    for place in (0, 1, 7, 12):
        answer_about(review, drawn[place], "siren")
    assert review.estimate("siren").n_answers == 0
    answer_about(review, drawn[2], BACKGROUND, **as_drawn)
    answer_about(review, drawn[5], "siren", **as_drawn)  # whatever came before is answered later
    answer_about(review, drawn[9], "siren", drawn_for="siren", model_version="v0")
    answer_about(review, drawn[10], "siren", drawn_for="dog", model_version="v1")
    answer_about(review, drawn[3] + 1, "siren")  # beside a window that was drawn
    near_it = index.window(int(drawn[4]))
    onset_s = near_it.onset_s + 0.2  # from elsewhere, about something else than that window
    elsewhere = Answer(near_it.recording.file, onset_s, onset_s + 1, "siren", "Eve")
    review._file.add([elsewhere])
    found = review.estimate("siren")
    assert found.n_answers == 4, "the first three, and the sixth"
    apart = index.apart()
    place_of = {int(number): place for place, number in enumerate(apart)}
    expected = estimate(
        shipped.probabilities[apart, 1],
        [place_of[int(drawn[place])] for place in (0, 1, 2, 5)],
        [True, True, False, True],
        window_s=index.window_s,
    )
    assert found == expected
    # where nobody could tell it counts as not asked, but the sample reaches so far
    answer_about(review, drawn[8], UNSURE, **as_drawn)
    assert review.estimate("siren").n_answers == 5, "and the eighth"
    # two who disagree are as one who cannot tell
    answer_about(review, drawn[5], "dog", "Bob")
    assert review.estimate("siren").n_answers == 4
    assert review.estimate("dog").n_answers == 0 or review.drawn_for("dog")[0] != drawn[0]


def test_what_an_estimate_lacks_is_said(kept, index, table, review):
    with pytest.raises(SoundxError, match="does not know 'cat' yet"):
        review.ask("Ann", "spread", label="cat")
    without = Review(index, kept.stored, Clips.none(INFO), table)
    for do in (lambda: without.estimate("siren"), lambda: without.drawn_for("siren")):
        with pytest.raises(SoundxError, match="has not heard all of these recordings"):
            do()


# --- what is heard and shown ------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"), "ab", 20.0)


def test_a_window_is_heard_with_what_is_around_it(world, table):
    review = Review(world.index, world.stored, Clips.none(LOGMEL.info), table)
    for number, before_s in ((0, 0.0), (3, 1.0), (len(world.index) - 1, 1.0)):
        window = world.index.window(number)
        samples, begins_s = review.sound(window)
        assert begins_s == pytest.approx(before_s)
        expected = decode_stretch(
            Path(window.recording.file), window.onset_s - before_s, window.offset_s + 1.0
        )
        np.testing.assert_array_equal(samples, expected)


def test_a_recording_in_a_bucket_is_fetched_once_for_several_windows(
    tmp_path, world, table, monkeypatch
):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    fetched = []
    original = Source.on_disk

    def counting(source):
        fetched.append(source.file)
        return original(source)

    monkeypatch.setattr(Source, "on_disk", counting)
    review = Review(world.index, world.stored, Clips.none(LOGMEL.info), table)
    there = {}
    for recording in world.index.recordings:
        url = f"memory://{tmp_path.name}/{Path(recording.file).name}"
        with fsspec.open(url, "wb") as file:
            file.write(Path(recording.file).read_bytes())
        there[recording.file] = url

    def hear(number):
        window = world.index.window(number)
        remote = replace(window.recording, file=there[window.recording.file])
        samples, _ = review.sound(replace(window, recording=remote))
        np.testing.assert_array_equal(samples, review.sound(window)[0])

    last = len(world.index) - 1
    for number in (1, 4, 2, last, last - 1, 0):
        hear(number)
    assert [Path(file).name for file in fetched] == ["a.wav", "b.wav", "a.wav"]
    assert len(list(scratch.iterdir())) == 1, "only the last is kept"
    fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)
    with pytest.raises(AudioError, match="cannot be fetched"):
        hear(last)
    assert list(scratch.iterdir()) == []


def test_the_clips_most_like_a_window_are_shown(world, table, clips):  # noqa: F811
    review = Review(world.index, world.stored, clips, table)
    quiet = next(n for n in range(len(world.index)) if world.label(n) == BACKGROUND)
    shown = review.neighbours(world.index.window(quiet))
    assert len(shown) == 3
    assert {label for _, label, _ in shown} == {BACKGROUND}
    cosines = [cosine for _, _, cosine in shown]
    assert cosines == sorted(cosines, reverse=True)
    assert all(-1 <= cosine <= 1.001 for cosine in cosines)
    labels = dict(zip(clips.clip_ids, clips.examples.labels, strict=True))
    assert all(labels[clip_id] == label for clip_id, label, _ in shown)
    assert review.labels == ["middle"]
    nothing = Review(world.index, world.stored, Clips.none(LOGMEL.info), table)
    assert nothing.neighbours(world.index.window(quiet)) == []
    assert nothing.guesses(world.index.window(quiet)) == []


def test_the_shipped_classifier_is_asked_about_the_same_windows(
    world,
    tmp_path,
    model,  # noqa: F811
):
    """Every window of the index has the row that listening heard of the same sound."""
    classifier = Classifier.of_folder(model)
    sources = [Source(file, "1") for file in world.tones]
    manifest = scan_recordings(sources, NOTHING)
    heard = HeardDataset(path=str(tmp_path / "heard"))
    assert shipped_probabilities(world.index, classifier, heard.load(), manifest) is None
    run(
        listening_pipeline(),
        {
            "recordings": sources,
            "classifier": classifier,
            "heard": heard,
            "params:listening": ListeningOptions(),
        },
    )
    found = shipped_probabilities(world.index, classifier, heard.load(), manifest)
    assert found.shape == (len(world.index), len(classifier.labels))
    for number in (0, 5, len(world.index) - 1):
        window = world.index.window(number)
        samples = decode_stretch(Path(window.recording.file), window.onset_s, window.onset_s + 2.0)[
            : 2 * 7680 + 15_600
        ]
        alone = classifier.hear(samples).windows
        row = alone[min(classifier.windowing.around[0], len(alone) - 1)]
        np.testing.assert_allclose(found[number], row, atol=0.02)
    longer = build_index(tmp_path / "longer", manifest, world.stored, 5)
    assert shipped_probabilities(longer, classifier, heard.load(), manifest) is None
    changed = manifest.assign(state="2")
    assert shipped_probabilities(world.index, classifier, heard.load(), changed) is None
    fewer = manifest.iloc[:1]
    assert shipped_probabilities(world.index, classifier, heard.load(), fewer) is None
    key = sources[1].key(digest(classifier.files[JOINT_MODEL])[:16])
    unheard = Ending(0, 0, (), error="its decoder crashed")
    KeptRows(heard.load(), key, len(classifier.labels)).end(unheard)
    assert shipped_probabilities(world.index, classifier, heard.load(), manifest) is None
