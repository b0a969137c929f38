"""The table of answers: whole after every change, whoever writes it and whatever is in it."""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import resource
import signal
import tempfile
import threading
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from soundx.errors import SoundxError
from soundx.labels import BACKGROUND
from soundx.review.answers import (
    BACKGROUND_ANSWER,
    COLUMNS,
    LONGEST_LABEL,
    UNSURE,
    Answer,
    AnswersFile,
    Stretch,
    check_label,
    check_person,
    known_only,
    now,
    read_answers,
    settled,
    write_answers,
)
from tests.conftest import FORGED, every_byte

SIREN = Answer("site/a.wav", 1.0, 2.92, "siren", "Ann", "2024-05-01T21:30:00Z", "v1", 0.75, "siren")
HOSTILE = [
    *("=1+1", "'=1+1", "''=1", "+1", "-2", "@SUM(A1)", "\uff1d1", "'tis", "'", '"', 'say "x"'),
    *("a,b", "a;b", "a\u2028b", "a\x85b", "鳥", "\U0001f989", "NA", "nan", "0", " padded "),
    *("a\nb", "a\r\nb", "a\rb", "a\tb", "\ufeffa", "a\u200bb", "\\"),
]
FORK = multiprocessing.get_context("fork")  # other starts take a second
FORMULAS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


@pytest.fixture
def table(tmp_path):
    return AnswersFile(tmp_path / "answers" / "answers.csv")


def answer(number, person="Ann", label="siren", **more):
    return replace(
        SIREN, onset_s=float(number), offset_s=number + 1.0, label=label, answered_by=person, **more
    )


def is_label(text):
    try:
        return check_label(text) == text
    except SoundxError:
        return False


# --- there and back ---------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
millis = st.integers(0, 9_999_999).map(lambda ms: ms / 1000)


@given(
    recording=st.sampled_from(HOSTILE) | texts.filter(bool),
    label=st.sampled_from(["siren", "=1+1", "'tis", "a,b", "A B", "unsure", "background"])
    | texts.map(str.strip).filter(is_label),
    person=st.sampled_from(["", "Ann", "=Ann", "'Ann", "Ännchen, 鳥"])
    | texts.filter(str.isprintable),
    at=st.sampled_from([now(), "", "2024-05-01"]) | st.datetimes().map(datetime.isoformat),
    version=st.sampled_from(["", "v1+20", "-1"]) | texts,
    times=st.tuples(millis, millis),
    probability=st.none() | st.integers(0, 10_000).map(lambda n: n / 10_000),
    drawn_for=st.sampled_from(["", "siren", "=1+1"]) | texts,
)
@example("a.wav", BACKGROUND, "Ann", "", "", (0.0, 1.0), None, "")
@example("a.wav", UNSURE, "Ann", "", "", (0.0, 0.001), 1.0, "siren")
@example("a\r.wav", "siren", "Ann", "", "", (0.0, 1.0), 0.0, "")
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_read_back(
    recording, label, person, at, version, times, probability, drawn_for
):
    onset_s, offset_s = times
    assume(onset_s < offset_s)
    assume(not person or person.strip())
    given_answer = Answer(
        recording, onset_s, offset_s, label, person, at, version, probability, drawn_for
    )
    several = [SIREN, given_answer, answer(7)]
    text = write_answers(several)
    assert read_answers(text.encode(), "table") == several
    # what looks like a formula stands behind an apostrophe, whatever column it is in
    for row in list(csv.reader(io.StringIO(text, newline="")))[1:]:
        assert not any(cell.startswith(FORMULAS) for cell in row)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_what_they_are_on_disk(table, name):
    hostile = replace(SIREN, recording=name, drawn_for=name, model_version=name)
    table.add([hostile, answer(1)])
    table.add([answer(2)])
    assert AnswersFile(table.path).read() == [hostile, answer(1), answer(2)]
    assert table.remove([hostile]) == 1
    assert table.read() == [answer(1), answer(2)]


def test_the_table_is_one_that_other_programs_read(table):
    table.add([SIREN, answer(3, label=BACKGROUND), answer(4, label=UNSURE, probability=None)])
    with table.path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert list(rows[0].values()) == [
        *("site/a.wav", "1.000", "2.920", "siren", "Ann", "2024-05-01T21:30:00Z"),
        *("v1", "0.7500", "siren"),
    ]
    assert [row["label"] for row in rows[1:]] == [BACKGROUND_ANSWER, UNSURE]
    assert rows[2]["probability"] == ""


def test_times_are_kept_to_the_millisecond_and_stay_the_same_stretch(table):
    exact = replace(SIREN, onset_s=1.23456, offset_s=3.15444, probability=0.123456)
    table.add([exact])
    (found,) = table.read()
    assert found.stretch == exact.stretch == Stretch("site/a.wav", 1.235, 3.154)
    assert found.probability == 0.1235
    table.add([replace(exact, label="dog")])
    assert [one.label for one in table.read()] == ["dog"]


def test_tables_from_elsewhere_are_read():
    text = "\ufeffLabel,ONSET_S, offset_s ,recording,comment\nsiren,0,1.5,a.wav,loud\n,,,,\n\n"
    assert read_answers(text.encode(), "t") == [Answer("a.wav", 0.0, 1.5, "siren")]


def test_a_table_that_is_not_there_has_no_answers(table):
    assert table.read() == []
    assert not table.path.parent.exists(), "looking makes nothing"


# --- adding, replacing, taking back -----------------------------------------------------------


def test_who_answers_again_replaces_their_own_answer_alone(table):
    table.add([answer(1), answer(2), answer(1, "Bob", "dog")])
    table.add([answer(1, label="cat", answered_at="2024-04-01")])  # a clock that was set
    assert table.read() == [
        answer(2),
        answer(1, "Bob", "dog"),
        answer(1, label="cat", answered_at="2024-04-01"),
    ]
    # of one call the last counts
    table.add([answer(2, label="cat"), answer(2, label="dog")])
    assert [one.label for one in table.read()] == ["dog", "cat", "dog"]


def test_what_comes_from_elsewhere_does_not_take_back_what_was_said_since(table):
    table.add([answer(1), answer(2, answered_at=""), answer(3)])
    sent = [
        answer(1, label="cat", answered_at="2024-05-01T23:29:59+02:00"),  # a second before
        answer(2, label="cat", answered_at="2020-01-01"),  # nobody knows when the other was
        answer(3, label="cat", answered_at="2024-05-01T21:30:01"),
        answer(3, "Bob", "dog", answered_at="2020-01-01"),
    ]
    assert table.add_newer(sent) == 1
    by_key = {(a.answered_by, a.onset_s): a for a in table.read()}
    assert list(by_key.values()) == [answer(1), *sent[1:]]
    # of one call the newest counts, whatever file it stood in
    newest = answer(3, label="owl", answered_at="2025-01-02")
    assert table.add_newer([newest, answer(3, answered_at="2025-01-01")]) == 1
    assert newest in table.read()


def test_answers_are_taken_back(table):
    table.add([answer(1), answer(2), answer(2, "Bob")])
    assert table.remove([answer(2), answer(9)]) == 1
    assert table.read() == [answer(1), answer(2, "Bob")]
    assert table.remove([]) == 0


def test_nothing_to_say_writes_nothing(table):
    table.add([answer(1)])
    before = every_byte(table.path.parent)
    table.add([])
    table.remove([answer(5)])
    assert every_byte(table.path.parent) == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label": ".hidden"}, "cannot be a label"),
        ({"label": ":BACKGROUND"}, "cannot be a label"),
        ({"label": "a/b"}, "cannot be a label"),
        ({"label": "a\nb"}, "cannot be a label"),
        ({"label": "\udcff"}, "cannot be a label"),
        ({"label": "é" * (LONGEST_LABEL // 2) + "x"}, "cannot be a label"),
        ({"label": " siren"}, "spaces around"),
        ({"recording": ""}, "no recording"),
        ({"recording": "a\0b"}, "no recording"),
        ({"recording": "\udcff.wav"}, "not whole text"),
        ({"model_version": "\udcff"}, "not whole text"),
        ({"onset_s": 2.92}, "begins at 0 or later"),
        ({"onset_s": -0.001}, "begins at 0 or later"),
        ({"onset_s": float("nan")}, "begins at 0 or later"),
        ({"offset_s": float("inf")}, "begins at 0 or later"),
        # in milliseconds these are nothing, and could not be read back
        ({"onset_s": 1.0001, "offset_s": 1.0004}, "begins at 0 or later"),
        ({"offset_s": 9_999_999.9999}, "begins at 0 or later"),
        ({"probability": 1.1}, "0 to 1"),
        ({"probability": float("nan")}, "0 to 1"),
        ({"answered_by": "A\nB"}, "can be printed"),
        ({"answered_at": "yesterday"}, "no time .column answered_at"),
        ({"answered_by": "A" * 61}, "can be printed"),
    ],
)
def test_what_cannot_be_an_answer_changes_nothing(table, changes, said):
    table.add([answer(1)])
    before = every_byte(table.path.parent)
    with pytest.raises(SoundxError, match=said):
        table.add([answer(2), replace(SIREN, **changes)])
    assert every_byte(table.path.parent) == before


def test_labels_and_names_lose_the_spaces_around_them():
    assert check_label("  A dog\t") == "A dog"
    assert check_person(" Ann\n") == "Ann"
    assert check_label("x" * LONGEST_LABEL) == "x" * LONGEST_LABEL
    for nobody in ("", "  ", "a\x07"):
        with pytest.raises(SoundxError):
            check_person(nobody)


# --- several at once, and killed --------------------------------------------------------------


def add_some(path, person, n, together):
    file = AnswersFile(path)
    together.wait(timeout=60)
    for number in range(n):
        file.add([answer(number, person)])


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_several_who_add_at_once_lose_nothing(table, kind):
    people, n = ["Ann", "Bob", "Cem", "Dag"], 15
    if kind == "threads":
        together, start = threading.Barrier(len(people)), threading.Thread
    else:
        together, start = FORK.Barrier(len(people)), FORK.Process
    started = [start(target=add_some, args=(table.path, p, n, together)) for p in people]
    for one in started:
        one.start()
    for one in started:
        one.join(timeout=60)
    found = table.read()
    assert len(found) == len(people) * n
    for person in people:
        assert [a for a in found if a.answered_by == person] == [
            answer(number, person) for number in range(n)
        ]


def change_again_and_again(path, told):
    """Give eight hundred rows one label and then the other, without end."""
    many = [replace(SIREN, recording=f"{n}.wav", answered_by="Eve") for n in range(800)]
    while True:
        for label in ("one", "other"):
            AnswersFile(path).add([replace(one, label=label) for one in many])
            told.send(label)


def test_a_process_that_is_killed_at_any_moment_leaves_the_old_table_or_the_new_one(table, rng):
    table.add([answer(1)])
    for _ in range(8):
        heard, told = multiprocessing.Pipe(duplex=False)
        child = FORK.Process(target=change_again_and_again, args=(table.path, told))
        child.start()
        for _ in range(int(rng.integers(1, 4))):
            heard.recv()
        child.join(float(rng.uniform(0, 0.05)))  # some moment of the next change
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        found = table.read()
        assert found[0] == answer(1)
        assert len(found) == 801
        assert len({one.label for one in found[1:]}) == 1, "half of a change"
        assert found[1].label in ("one", "other")
        # nobody has to wait for who is dead
        table.add([answer(2)])
        assert table.remove([answer(2)]) == 1


@pytest.mark.parametrize(
    ("moment", "kept"), [("os.fsync", 1), ("pathlib.Path.replace", 1), ("os.close", 2)]
)
def test_nothing_is_seen_of_a_change_before_all_of_it(table, monkeypatch, moment, kept):
    """Killed when all is written, when it is about to take its place, and after that."""
    table.add([answer(1)])

    def killed(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def add():
        monkeypatch.setattr(moment, killed)
        table.add([answer(2)])

    child = FORK.Process(target=add)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert table.read() == [answer(1), answer(2)][:kept]


# --- tables that are broken, and places that cannot be written --------------------------------

HEAD = ",".join(COLUMNS)
ROW = "a.wav,0,1,siren,Ann,,v1,0.5,"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no column 'recording'"),
        ("a,b\n1,2\n", "no column 'recording'"),
        (f"{HEAD},label\n", "two of 'label'"),
        (f"{HEAD}\n{ROW}\n".replace(",", ";"), "has ';' between its fields.*: save it with commas"),
        (f"{HEAD}\n{ROW}\n".replace(",", "\t"), "has tabs between its fields"),
        (f"{HEAD}\n{ROW}\n{ROW},x\n", "line 3: 10 fields where there should be 9"),
        (f"{HEAD}\n{ROW}\na.wav,0\n", "line 3: 2 fields"),
        (f"{HEAD}\na.wav,zero,1,siren,,,,,\n", "line 2: 'zero' is no number .column onset_s"),
        (f"{HEAD}\na.wav,0,nan,siren,,,,,\n", "line 2: 'nan' is no number .column offset_s"),
        (f"{HEAD}\n{ROW}\na.wav,2,1,siren,,,,,\n", "line 3: A stretch from 2 s to 1 s"),
        (f"{HEAD}\na.wav,0,1,,,,,,\n", "line 2: there is no label: :BACKGROUND"),
        (f"{HEAD}\na.wav,0,1,a/b,,,,,\n", "line 2: 'a/b' cannot be a label"),
        (f"{HEAD}\na.wav,0,1,:OTHER,,,,,\n", "line 2: ':OTHER' cannot be a label"),
        (f"{HEAD}\n,0,1,siren,,,,,\n", "line 2: There is no recording"),
        (f"{HEAD}\na.wav,0,1,siren,,,,half,\n", "line 2: 'half' is no number .column probability"),
        (f"{HEAD}\na.wav,0,1,siren,,,,2,\n", "line 2: A probability of 2"),
        (f'{HEAD}\na.wav,"0{FORGED}",1,siren,,,,,\n', r"0x\\x1b.* is no number .column onset_s"),
        (
            f"{HEAD}\na.wav,0,1,siren,,01.11.2026 10:00,,,\n",
            "line 2: '01.11.2026 10:00' is no",
        ),
        (f'{HEAD}\n"a.wav\n', "line 2"),
        (f'{HEAD}\n"a"x,0,1,siren,,,,,\n', "line 2"),
        (HEAD.encode("utf-16"), "is no table of answers"),
        (b"\xff\xfe", "is no table of answers"),
        (f"{HEAD}\n{ROW}".encode() + b"\xff", "is no table of answers"),
    ],
)
def test_broken_tables_are_named_with_the_line_and_never_written_over(table, content, said):
    table.path.parent.mkdir()
    content = content if isinstance(content, bytes) else content.encode()
    table.path.write_bytes(content)
    for do in (table.read, lambda: table.add([SIREN]), lambda: table.remove([SIREN])):
        with pytest.raises(SoundxError, match=said) as told:
            do()
        assert str(table.path) in str(told.value)
        assert str(told.value).isprintable()
        assert table.path.read_bytes() == content
    assert {path.name for path in table.path.parent.iterdir()} <= {table.path.name, ".answers.lock"}


def test_a_table_that_is_a_folder_is_said(table):
    table.path.mkdir(parents=True)
    for do in (table.read, lambda: table.add([SIREN])):
        with pytest.raises(SoundxError, match="cannot be read: Is a directory"):
            do()


def test_a_table_without_end_is_not_read(table, monkeypatch):
    monkeypatch.setattr("soundx.review.answers.MAX_BYTES", 100)
    table.add([answer(1)])
    with pytest.raises(SoundxError, match="too large to be a table of answers"):
        table.read()


def in_a_child(do):
    """Call a function in a process of its own; return what it answers about an error."""
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def call():
        try:
            do()
        except SoundxError as error:
            sender.send(str(error))
        except BaseException as error:
            sender.send(repr(error))
        else:
            sender.send("it was done")

    child = FORK.Process(target=call)
    child.start()
    said = receiver.recv()
    child.join()
    return said


@pytest.fixture
def open_folder():
    """A folder that others may look into, as pytest's own may not be."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("there", ["lock and table", "table", "nothing"])
def test_a_folder_that_cannot_be_written_is_said_and_nothing_is_changed(open_folder, there):
    folder = open_folder / "answers"
    folder.mkdir()
    table = AnswersFile(folder / "answers.csv")
    if there != "nothing":
        table.add([answer(1)])
    if there == "table":
        (folder / ".answers.lock").unlink()
    folder.chmod(0o555)

    def add():
        if os.geteuid() == 0:  # who owns the system may write anywhere
            os.setgid(65_534)
            os.setuid(65_534)
        table.add([answer(2)])

    before = every_byte(folder)
    said = in_a_child(add)
    assert said == f"{table.path} cannot be written: Permission denied. Nothing of it was changed."
    assert every_byte(folder) == before
    folder.chmod(0o755)


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    table = AnswersFile(tmp_path / "file" / "answers.csv")
    with pytest.raises(SoundxError, match=r"cannot be written: (Not a directory|File exists)"):
        table.add([SIREN])


def test_a_full_disk_is_said_and_the_old_table_stays(table):
    table.add([answer(1)])
    before = table.path.read_bytes()

    def add():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        table.add([answer(number) for number in range(2, 100)])

    assert "cannot be written: File too large. Nothing of it was changed" in in_a_child(add)
    assert table.path.read_bytes() == before
    assert {path.name for path in table.path.parent.iterdir()} == {"answers.csv", ".answers.lock"}


# --- what several said ------------------------------------------------------------------------


def test_what_all_agree_on_is_settled():
    ann, bob, unsure = answer(1), answer(1, "Bob"), answer(1, "Cem", UNSURE)
    assert settled([ann]) == settled([ann, bob]) == settled([ann, unsure, bob]) == [ann]
    assert settled([unsure, ann]) == [ann]
    assert settled([unsure]) == [unsure]
    assert settled([]) == []


def test_where_people_disagree_nothing_is_sure():
    ann, bob = answer(1), answer(1, "Bob", BACKGROUND)
    (found,) = settled([ann, bob, answer(1, "Cem")])
    assert found == replace(ann, label=UNSURE)
    assert not found.is_sure
    assert answer(1, label=BACKGROUND).is_sure


def test_stretches_keep_their_order_and_are_told_apart_to_the_millisecond():
    first, second, third = answer(5), answer(1), replace(answer(5), onset_s=5.001)
    again = replace(first, onset_s=5.0004, answered_by="Bob")
    assert settled([first, second, third, again]) == [first, second, third]
    assert settled([first, replace(again, label="dog")])[0].label == UNSURE


def test_answers_about_recordings_of_others_are_left_out_with_the_reason():
    ours = {"site/a.wav": 10.0}
    there = replace(SIREN, recording="/their/a.wav")
    asked = [
        SIREN,
        there,
        replace(SIREN, recording="b.wav"),
        replace(SIREN, onset_s=10.0, offset_s=11.0),
        replace(SIREN, onset_s=9.5, offset_s=11.5),
    ]
    kept, why = known_only(asked, ours, same={"/their/a.wav": "site/a.wav"}.get)
    assert kept == [SIREN, SIREN, replace(SIREN, onset_s=9.5, offset_s=10.0)]
    assert why == [
        "b.wav: not a recording that was listened to here",
        "site/a.wav: it ends before 10 s",
    ]
    _, why = known_only([replace(SIREN, recording=FORGED)], ours, same={}.get)
    assert why[0].isprintable()


def test_the_time_is_that_of_utc_in_whole_seconds():
    assert len(now()) == len("2024-05-01T21:30:00Z")
    assert now().endswith("Z")
