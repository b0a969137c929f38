from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundx.errors import SoundxError
from soundx.listening import truth
from soundx.listening.truth import read_events
from tests.conftest import FORGED

RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\t{}\n"
)


@pytest.fixture
def read(tmp_path):
    """Read a text as a file of events, of any name; return what it tells, in short."""

    def of(text, name="rec.txt", **more):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return [(e.file, e.onset_s, e.offset_s, e.label) for e in read_events(path, **more)]

    return of


DOG_AND_CAT = [("rec", 1.5, 2.0, "a dog"), ("rec", 3.0, 3.0, "cat")]


@pytest.mark.parametrize(
    "text",
    [
        "1.500000\t2.000000\ta dog\n3.0\t3.0\tcat\n",
        "1.5\t2\ta dog\r\n\\\t100.0\t2000.0\r\n3\t3\tcat\r\n\\\t-1.0\t-1.0\r\n",
        "\ufeff1,5\t2,0\ta dog\r3,0\t3,0\tcat",
        "1.5\t2.0\ta dog\t0.9\n3\t3\tcat\t0.8\n",
        '1.5\t2.0\t"a dog"\n\n3\t3\tcat\n   \n',
        "1.5,2.0,a dog\n3,3,cat\n",
        "1,5;2,0;a dog\n3,0;3,0;cat\n",
        "onset\toffset\tevent_label\n3\t3\tcat\n1.5\t2.0\ta dog\n",
        "filename\tonset\toffset\tevent_label\nrec\t1.5\t2.0\ta dog\nrec\t3\t3\tcat\nz.wav\t\t\t\n",
        "rec\t1.5\t2.0\ta dog\nrec\t3\t3\tcat\n",
        "event_label,offset,onset,filename\na dog,2,1.5,rec\ncat,3,3,rec\n",
    ],
)
def test_one_truth_in_many_ways(read, text):
    assert read(text) == DOG_AND_CAT


def test_probabilities_and_categories_where_they_are_told(tmp_path):
    path = tmp_path / "rec.txt"
    path.write_text("1\t2\tANIMAL_dog\t0.25\n2\t3\tcat\thigh\n")
    first, second = read_events(path)
    assert (first.category, first.probability, first.mean_probability) == ("ANIMAL", 0.25, 0.25)
    assert (second.category, second.probability, second.mean_probability) == ("cat", 1.0, 1.0)


@pytest.mark.parametrize("column", ["Species", "species_code", "Common Name", "Annotation", "TAG"])
def test_selection_tables_of_any_tool(read, column):
    rows = "1\tWaveform 1\t1\t1.5\t2\t0\t100\t{0}\n1\tSpectrogram 1\t1\t1.5\t2\t0\t100\t{0}\n"
    text = RAVEN.format(column) + rows.format("a dog")
    expected = [("rec", 1.5, 2.0, "a dog")]
    assert read(text, "rec.Table.1.selections.txt") == expected
    # labelled in one of its views only
    assert read(RAVEN.format(column) + rows.format("").replace("\t\n", "\ta dog\n", 1)) == expected
    # two selections, though they span the same
    twice = RAVEN.format(column) + "".join(
        f"{n}\tSpectrogram 1\t1\t1.5\t2\t0\t100\ta dog\n" for n in (1, 2)
    )
    assert read(twice) == expected * 2


def test_a_column_of_labels_that_nobody_knows_is_named_by_argument(read):
    text = RAVEN.format("Ruf") + "1\tSpectrogram 1\t1\t1.5\t2\t0\t100\ta dog\n"
    with pytest.raises(SoundxError, match=r"rec\.txt: which of its columns.*ruf.*label_column"):
        read(text)
    assert read(text, label_column="Ruf") == [("rec", 1.5, 2.0, "a dog")]
    with pytest.raises(SoundxError, match="no column 'Rufe' among selection, view"):
        read(text, label_column="Rufe")


def test_selections_in_several_recordings_are_told_apart(read):
    columns = "Begin Time (s)\tEnd Time (s)\tSpecies\tBegin Path"
    rows = "\n2\t3\tdog\tC:\\a.wav{}\n62\t63.5\tdog\tC:\\b.wav{}\n"
    text = f"{columns}\tFile Offset (s){rows}".format("\t2", "\t2")
    assert read(text) == [("C:\\a.wav", 2.0, 3.0, "dog"), ("C:\\b.wav", 2.0, 3.5, "dog")]
    with pytest.raises(SoundxError, match=r"Add the column 'File Offset \(s\)'"):
        read((columns + rows).format("", ""))


def test_tables_of_birdnet_and_kaleidoscope(read):
    text = "Start (s),End (s),Scientific name,Common name,Confidence,File\n0,3,Turdus merula,Eurasian Blackbird,0.8,/d/a.wav\n"  # noqa: E501
    assert read(text, "a.BirdNET.results.csv") == [("/d/a.wav", 0.0, 3.0, "Eurasian Blackbird")]
    assert read(text, label_column="Scientific name")[0][3] == "Turdus merula"
    text = "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,MANUAL ID\n/d,x,a.wav,1.1,3,noise,bat\n/d,,b.wav,1,1,noise,\n"  # noqa: E501
    assert read(text) == [("/d/b.wav", 1.0, 2.0, "noise"), ("/d/x/a.wav", 1.1, 4.1, "bat")]


def test_a_folder_is_many_recordings(tmp_path):
    for name, text in {
        "a/rec.txt": "1\t2\tdog\n",
        "b/rec.Table.2.selections.txt": "Begin Time (s)\tEnd Time (s)\tTag\n1\t2\tcat\n",
        "b/x.wav.txt": "1\t2\tcat\n",
        "empty.txt": "",
        "rec.wav": "RIFF",
        ".hidden.txt": "no events",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert [(e.file, e.label) for e in read_events(tmp_path)] == [
        *(("a/rec", "dog"), ("b/rec", "cat"), ("b/x.wav", "cat"))
    ]
    with pytest.raises(SoundxError, match="they cannot all be 'rec'"):
        read_events(tmp_path, file="rec")
    (tmp_path / "a/rec.selections.txt").write_text("1\t2\tdog\n")
    with pytest.raises(SoundxError, match=r"rec\.selections\.txt and .*rec\.txt are both about"):
        read_events(tmp_path)


def test_a_folder_without_events_or_with_something_else_is_named(tmp_path):
    with pytest.raises(SoundxError, match="has no file of events"):
        read_events(tmp_path)
    (tmp_path / "README.txt").write_text("Recorded in May.\nBy hand.")
    with pytest.raises(SoundxError, match=r"README\.txt: its first line \('Recorded in May\.'\)"):
        read_events(tmp_path)


def test_the_recording_is_what_one_says(read):
    assert read("1\t2\tdog\n", file="/d/x.wav") == [("/d/x.wav", 1.0, 2.0, "dog")]
    assert read("a.wav\t1\t2\tdog\n", file="x.wav") == [("x.wav", 1.0, 2.0, "dog")]
    with pytest.raises(SoundxError, match=r"about 2 recordings \(a\.wav, b\.wav"):
        read("a.wav\t1\t2\tdog\nb.wav\t1\t2\tdog\n", file="x.wav")
    assert read("", file="x.wav") == []


OURS = "file,onset_s,offset_s,label,starts_at\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"1\t2\tdog\n1\t2\tch\xe2ne\n", r"line 2: not UTF-8 \(byte 0xe2\)\. Save it as UTF-8"),
        ("1\t2\tdog\n".encode("utf-16"), "UTF-16 or no text"),
        (b"1\t2\tdog\0", "UTF-16 or no text"),
        ("1\t2\tdog\n1\t2\n", "line 2: 2 columns where there should be 3"),
        ("1\t2\tdog\n1\t2\ta\tb\n", "line 2: 4 columns where there should be 3"),
        (OURS + "a.wav,1,2\n", "line 2: 3 columns where there should be 5"),
        ("1\t2\tdog\n\n3\t2.5\tdog\n", "line 3: 'dog' would end at 2.5 s and begin at 3 s"),
        ("-1\t2\tdog\n", "line 1: an event cannot begin at -1 s"),
        ("1\tnan\tdog\n", "line 1: 'nan' is no time in seconds"),
        ("1\tinf\tdog\n", "line 1: 'inf' is no time in seconds"),
        ("1\t2\tdog\n1_0\t2_0\tdog\n", "line 2: '1_0' is no time in seconds"),
        ("1\t2\tdog\n0:01\t0:02\tdog\n", "line 2: '0:01' is no time in seconds"),
        (OURS + f'a.wav,"1{FORGED}",2,dog,\n', r"1x\\x1b.* is no time in seconds"),
        ("1\t2\t \n", "line 1: there is no label"),
        (OURS + "a.wav,1,2,dog,yesterday\n", "line 2: 'yesterday' is no time"),
        ("filename\tevent_labels\na.wav\tdog\n", "begins no list of events"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(read, content, said):
    with pytest.raises(SoundxError, match=rf"rec\.txt.*{said}") as told:
        read(content)
    assert str(told.value).isprintable()


def test_a_file_that_is_not_there_or_too_large_is_named(tmp_path, monkeypatch, read):
    with pytest.raises(SoundxError, match=r"gone\.txt is not there"):
        read_events(tmp_path / "gone.txt")
    monkeypatch.setattr(truth, "MAX_BYTES", 10)
    with pytest.raises(SoundxError, match="no list of events is as long"):
        read("1\t2\ta long label\n")


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=60)
    | st.text(alphabet='\t,;\n\r"\\01.5a-', max_size=60)
    | st.binary(max_size=40)
)
def test_whatever_is_in_a_file_it_is_read_or_named(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "rec.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = str(path)
    try:
        events = read_events(path)
    except SoundxError as error:
        events, said = [], str(error)
    assert str(path) in said
    assert all(0 <= e.onset_s <= e.offset_s and e.label for e in events)
