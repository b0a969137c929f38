"""Answers that come from other programs, and go to them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from soundx.errors import SoundxError
from soundx.labels import BACKGROUND
from soundx.listening.formats import write_events
from soundx.review.answers import UNSURE, Answer, write_answers
from soundx.review.elsewhere import answers_as_events, answers_in, recordings_of
from soundx.search.index import IndexedRecording


@dataclass(frozen=True)
class Index:
    """Stands for the windows of some recordings: nothing of them is read here."""

    files: tuple[str, ...] = ("/nights/a.wav", "/nights/b/c d.flac")
    window_s: float = 1.92
    recordings: tuple[IndexedRecording, ...] = field(init=False)

    def __post_init__(self) -> None:
        made = (
            IndexedRecording(f"{n}", file, "", 60.0, 125, 1, 62 * n, 62, 0)
            for n, file in enumerate(self.files)
        )
        object.__setattr__(self, "recordings", tuple(made))


GIVEN = [
    Answer("/nights/a.wav", 1.92, 3.84, "owl", "Ada", "2026-11-28T00:00:00Z", "v", 0.25, "owl"),
    Answer("/nights/a.wav", 3.84, 5.76, BACKGROUND, "Ada", "2026-11-28T00:00:01Z"),
    Answer("/nights/b/c d.flac", 0.0, 1.92, UNSURE, "Bo", "2026-11-28T00:00:02Z"),
]


def test_a_table_of_answers_comes_back_as_it_was():
    assert answers_in("x.csv", write_answers(GIVEN).encode(), Index(), "Eve") == (GIVEN, [])


@pytest.mark.parametrize("name", ["audacity", "raven", "birdnet", "dcase", "kaleidoscope"])
def test_what_another_program_is_given_it_gives_back(name):
    index = Index()
    texts = write_events(
        name, recordings_of(index), answers_as_events(GIVEN), combined=name == "raven"
    )
    found = []
    for file, text in texts.items():
        answers, why_not = answers_in(file.rpartition("/")[2], text.encode(), index, "Eve")
        assert not why_not
        found += answers
    assert [(a.recording, a.label, a.answered_by) for a in found] == [
        ("/nights/a.wav", "owl", "Eve"),
        ("/nights/a.wav", BACKGROUND, "Eve"),
    ]
    assert [a.onset_s for a in found] == pytest.approx([1.92, 3.84], abs=1e-3)
    assert all(a.answered_at.endswith("Z") for a in found)


def test_what_a_model_found_is_nobodys_answer():
    table = write_events("csv", recordings_of(Index()), answers_as_events(GIVEN))["events.csv"]
    for saved in (table, table.replace(",", ";")):  # a spreadsheet's semicolons
        with pytest.raises(SoundxError, match=r"^found\.csv is .* is nobody's answer"):
            answers_in("found.csv", saved.encode(), Index(), "Eve")
    # a table of one's own may have columns of the same names
    own = b"file,onset_s,offset_s,label,category\n/nights/a.wav,0,1,owl,birds\n"
    assert len(answers_in("own.csv", own, Index(), "Eve")[0]) == 1


def test_a_point_is_a_window_around_it():
    ((answer,), _) = answers_in("a.txt", b"10.0\t10.0\towl\n", Index(), "Eve")
    assert (answer.onset_s, answer.offset_s) == (9.04, 10.96)


def test_other_recordings_and_times_beyond_the_end_are_told_of():
    table = b"recording,onset_s,offset_s,label\n/etc/passwd,0,1,owl\n/nights/a.wav,70,71,owl\n"
    found, why_not = answers_in("x.csv", table, Index(), "Eve")
    assert found == []
    assert "/etc/passwd: not a recording that was listened to here" in why_not[0]
    assert "ends before 70 s" in why_not[1]


def test_a_recording_is_known_by_its_name_wherever_it_lay_there():
    table = b"recording,onset_s,offset_s,label\nD:\\field\\A.WAV,0,1.92,owl\n"
    ((answer,), _) = answers_in("x.csv", table, Index(), "Eve")
    assert answer.recording == "/nights/a.wav"


def test_labels_stand_in_the_column_that_is_named():
    table = b"Selection\tBegin Time (s)\tEnd Time (s)\tWho\tBegin Path\n1\t0\t1\towl\ta.wav\n"
    with pytest.raises(SoundxError, match=r"Name it \(label_column\), or call it 'label'"):
        answers_in("x.txt", table, Index(), "Eve")
    ((answer,), _) = answers_in("x.txt", table, Index(), "Eve", label_column="Who")
    assert answer.label == "owl"


def test_a_name_that_two_recordings_have_is_nobodys():
    index = Index(("/nights/1/a.wav", "/nights/2/a.wav"))
    table = b"recording,onset_s,offset_s,label\na.wav,0,1.92,owl\n/nights/2/a.wav,0,1.92,owl\n"
    found, why_not = answers_in("x.csv", table, index, "Eve")
    assert [answer.recording for answer in found] == ["/nights/2/a.wav"]
    assert len(why_not) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", ""),
        (b"<html>", "begins no list of events"),
        (b"1\t2\ta/b\n", "cannot be a label"),
        (b"recording,onset_s,offset_s,label\na.wav,0,1\n", "line 2"),
    ],
)
def test_what_is_no_list_is_named_by_its_own_name(content, says):
    if not says:
        assert answers_in("x.txt", content, Index(), "Eve") == ([], [])
        return
    with pytest.raises(SoundxError, match=says) as caught:
        answers_in("x.txt", content, Index(), "Eve")
    assert "soundx-" not in str(caught.value)


def test_somebody_has_to_have_said_it():
    with pytest.raises(SoundxError, match="1 to 60 characters"):
        answers_in("x.txt", b"1\t2\towl\n", Index(), "  ")
