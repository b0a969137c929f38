from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundx.errors import SoundxError
from soundx.listening.events import Recording
from soundx.listening.formats import FORMATS, names_of, write_events
from soundx.listening.truth import read_events
from soundx.markup import guarded, unguarded
from tests.listening.events import EVENTS, RECORDINGS, event

HOSTILE = [
    *("a\tb", "a\nb", "a\r\nb", "a\rb", 'say "x"', '"open', "a,b;c"),
    *("=1+1", "@SUM(A1)", "-x", "'=1"),
    *("élan", "鳥", "a\u2028b", "a\x85b", "\\1\t2", "x\x00y", "+", "''", " padded ", "NA", "nan"),
]  # fmt: skip
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


def write(folder, texts):
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
    return folder


def told(events):
    """What every format tells: times and label."""
    return [(e.onset_s, e.offset_s, e.label) for e in events]


def test_our_table_holds_all_that_is_known():
    (text,) = write_events("csv", RECORDINGS, EVENTS).values()
    assert text.replace("\r\n", "\n") == (
        "file,onset_s,offset_s,label,category,probability,mean_probability,starts_at\n"
        "site1/rec.wav,0.240,1.500,ANIMAL_dog,ANIMAL,0.9123,0.7500,2024-05-01T04:30:00.240+00:00\n"
        "site1/rec.wav,10.000,59.900,siren,siren,0.5000,0.5000,\n"
        "site2/rec.wav,2.000,3.000,ANIMAL_dog,ANIMAL,1.0000,1.0000,\n"
    )


def test_a_label_track_a_recording_in_its_folder():
    assert write_events("audacity", RECORDINGS, EVENTS) == {
        "site1/rec.txt": "0.240\t1.500\tANIMAL_dog\n10.000\t59.900\tsiren\n",
        "site2/rec.txt": "2.000\t3.000\tANIMAL_dog\n",
        "site2/silence.txt": "",
    }


def test_selection_tables_apart_and_as_one():
    header = (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\t"
        "Label\tCategory\tConfidence\tBegin Path\tFile Offset (s)\n"
    )
    first = "\tSpectrogram 1\t1\t2.000\t3.000\t0.0\t8000.0\tANIMAL_dog\tANIMAL\t1.0000\tsite2/rec.wav\t2.000\n"  # noqa: E501
    apart = write_events("raven", RECORDINGS, EVENTS)
    assert apart["site2/rec.selections.txt"] == header + "1" + first
    assert apart["site2/silence.selections.txt"] == header
    (one,) = write_events("raven", RECORDINGS, EVENTS, combined=True).values()
    # the first recording lasts a minute
    assert one.splitlines()[3] == "3" + first.rstrip().replace("\t2.000\t3.000", "\t62.000\t63.000")
    assert write_events("raven", [], [], combined=True) == {"events.selections.txt": header}


def test_tables_as_birdnet_kaleidoscope_and_dcase_have_them():
    birdnet = write_events("birdnet", RECORDINGS, EVENTS)["site2/rec.BirdNET.results.csv"]
    assert birdnet.splitlines() == [
        "Start (s),End (s),Scientific name,Common name,Confidence,File",
        "2.000,3.000,ANIMAL_dog,ANIMAL_dog,1.0000,site2/rec.wav",
    ]
    kaleidoscope = write_events("kaleidoscope", RECORDINGS, EVENTS)["kaleidoscope.csv"]
    assert kaleidoscope.splitlines()[:2] == [
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,scientific_name,confidence",
        ",site1,rec.wav,0.240,1.260,ANIMAL_dog,ANIMAL_dog,0.9123",
    ]
    dcase = write_events("dcase", RECORDINGS, EVENTS)["dcase.tsv"]
    assert dcase.splitlines()[:2] == [
        "filename\tonset\toffset\tevent_label",
        "site1/rec.wav\t0.240\t1.500\tANIMAL_dog",
    ]


@pytest.mark.parametrize(
    ("format", "combined"),
    [*((format, False) for format in FORMATS), ("raven", True), ("birdnet", True)],
)
def test_what_is_written_is_read_back(tmp_path, format, combined):
    folder = write(tmp_path, write_events(format, RECORDINGS, EVENTS, combined=combined))
    read = read_events(folder)
    assert told(read) == told(EVENTS)
    suffix = "" if format == "audacity" else ".wav"
    assert [e.file for e in read] == [f"site{n}/rec{suffix}" for n in (1, 1, 2)]
    if format == "csv":
        assert read == [replace(EVENTS[0], probability=0.9123), *EVENTS[1:]]


def test_label_tracks_as_one_are_refused():
    with pytest.raises(SoundxError, match="which recording"):
        write_events("audacity", RECORDINGS, EVENTS, combined=True)


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(SoundxError, match=r"no format of events.*csv, audacity"):
        write_events("elan", RECORDINGS, EVENTS)
    with pytest.raises(SoundxError, match=r"'other\.wav', which was not listened to"):
        write_events("csv", RECORDINGS, [event("other.wav", 0, 1)])


@pytest.mark.parametrize("format", FORMATS)
def test_hostile_names_tear_no_table(tmp_path, format):
    recordings = [Recording(f"dir/{name}.wav", 9.0) for name in HOSTILE]
    events = [
        event(recording.file, 1.0, 2.0, label)
        for recording, label in zip(recordings, HOSTILE, strict=True)
    ]
    texts = write_events(format, recordings, events)
    read = read_events(write(tmp_path, texts))
    assert len(read) == len(HOSTILE)
    assert {(e.onset_s, e.offset_s) for e in read} == {(1.0, 2.0)}
    if format == "csv":
        whole = {label.replace("\0", "?") for label in HOSTILE}
        assert {e.label for e in read} == whole
        assert {e.file for e in read} == {f"dir/{name}.wav" for name in whole}
    elif format in ("audacity", "raven", "dcase"):
        for text in texts.values():
            widths = {line.count("\t") for line in text.splitlines()}
            assert len(widths) == 1
            assert '"' not in text


@pytest.mark.parametrize("format", ["csv", "birdnet", "kaleidoscope"])
def test_a_spreadsheet_finds_no_formula(format):
    events = [event("=x.wav", 1.0, 2.0, label) for label in HOSTILE]
    (text,) = write_events(format, [Recording("=x.wav", 9.0)], events).values()
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert not [cell for cell in cells if re.match("[=+@\t\r\n-]", cell)]


@given(st.text(max_size=6) | st.text(alphabet="'=+-@\t\r\n a", max_size=6))
def test_what_is_guarded_comes_back(text):
    assert unguarded(guarded(text)) == text


@settings(max_examples=60, deadline=None)
@given(st.lists(names, min_size=1, max_size=8, unique=True))
def test_no_file_overwrites_another_or_leaves_the_folder(tmp_path_factory, files):
    tracks = write_events("audacity", [Recording(file, 1.0) for file in files], [])
    assert len(tracks) == len(files)
    folder = tmp_path_factory.mktemp("out")
    write(folder, tracks)
    assert len([path for path in folder.rglob("*") if path.is_file()]) == len(files)
    assert len({name.casefold() for name in tracks}) == len(files)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["/data/a/rec.wav"], ["rec"]),
        (["/data/a/rec.wav", "/data/b/rec.wav"], ["a/rec", "b/rec"]),
        (["a/rec.wav", "a/rec.mp3", "a/REC.wav"], ["rec.wav", "rec.mp3", "REC.wav (2)"]),
        (["../../etc/passwd", "../x.wav"], ["etc/passwd", "x"]),
        (["s3://bucket/k/a.wav?X-Amz-Signature=1", "s3://bucket/b.wav"], ["k/a", "b"]),
        (["x.txt/rec.wav", "x.wav"], ["x.txt/rec", "x (2)"]),
        (["CON.wav", "nul", "a:b?.wav", "dots..."], ["_CON", "_nul", "a_b_", "dots_"]),
        (["20240501.0600.wav", "a\\b\\c.wav"], ["20240501.0600", "a/b/c"]),
    ],
)
def test_names_of_files_say_which_recording_they_are_about(files, expected):
    assert names_of([Recording(file, 1.0) for file in files]) == expected


def test_long_names_and_names_that_are_no_text_are_written(tmp_path):
    files = [f"{'鳥' * 80}_{n}.wav" for n in (1, 2)]
    files.append(b"caf\xe9.wav".decode(errors="surrogateescape"))
    recordings = [Recording(file, 1.0) for file in files]
    for format in FORMATS:
        texts = write_events(format, recordings, [event(file, 0.0, 1.0) for file in files])
        assert len(read_events(write(tmp_path / format, texts))) == 3
