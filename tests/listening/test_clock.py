from __future__ import annotations

import os
import struct
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from soundx.listening.clock import starts_at

NAIVE = datetime(2024, 5, 1, 21, 30)
AUDIOMOTH = "Recorded at 21:30:00 01/05/2024 ({}) by AudioMoth 24A04F085FDF2793 at gain setting 2"
FORMAT = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)

times = st.datetimes(datetime(1900, 1, 1), datetime(2100, 12, 31)).map(
    lambda time: time.replace(microsecond=0)
)


def chunk(name, content, size=None):
    size = len(content) if size is None else size
    return name + struct.pack("<I", size) + content + b"\0" * (len(content) % 2)


def riff(*chunks, kind=b"RIFF"):
    content = b"WAVE" + b"".join(chunks)
    return kind + struct.pack("<I", len(content)) + content


def guano(value):
    return chunk(b"guan", f"GUANO|Version: 1.0\r\nMake: X\nTimestamp: {value}\nNote: :".encode())


def info(comment):
    software = chunk(b"ISFT", b"odd")
    return chunk(b"LIST", b"INFO" + software + chunk(b"ICMT", comment.encode() + b"\0"))


SOUND = (chunk(b"fmt ", FORMAT), chunk(b"data", b"\1\2" * 500))


@pytest.fixture
def told(tmp_path):
    """What is told of a file with such bytes and such a name."""

    def tell(content: bytes, name="x.wav"):
        path = tmp_path / name
        path.write_bytes(content)
        return starts_at(path)

    return tell


def hours(number):
    return timezone(timedelta(hours=number))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-05-01T21:30:00", NAIVE),
        ("2024-05-01 21:30:00.250", NAIVE.replace(microsecond=250_000)),
        ("2024-05-01T21:30:00Z", NAIVE.replace(tzinfo=UTC)),
        ("2024-05-01T21:30:00+02:00", NAIVE.replace(tzinfo=hours(2))),
        ("2024-05-01T21:30:00-03:30", NAIVE.replace(tzinfo=hours(-3.5))),
        ("2024-05-01", None),
        ("2024-13-01T21:30:00", None),
        ("2024-05-01T25:30:00", None),
        ("0001-01-01T00:00:00", None),
        ("2024-05-01T21:30:00+99:00", None),
        ("yesterday", None),
    ],
)
def test_guano_tells_before_and_after_the_samples(told, value, expected):
    odd = chunk(b"junk", b"odd")
    for content in (riff(odd, guano(value), *SOUND), riff(*SOUND, guano(value))):
        found = told(content)
        assert found == expected
        assert expected is None or found.utcoffset() == expected.utcoffset()


@pytest.mark.parametrize(
    ("zone", "offset"),
    [("UTC", 0), ("UTC+2", 2), ("UTC-3:30", -3.5), ("UTC+05:45", 5.75), ("UTC+99", None)],
)
def test_audiomoths_comment_tells_with_its_zone(told, zone, offset):
    expected = None if offset is None else NAIVE.replace(tzinfo=hours(offset))
    found = told(riff(SOUND[0], info(AUDIOMOTH.format(zone)), SOUND[1]))
    assert found == expected


def test_audiomoths_other_words(told):
    assert told(riff(info("Recorded at 21:30:00 01/05/2024 by AudioMoth 1"))) == NAIVE
    deployed = "Recorded at 21:30:00.500 01/05/2024 (UTC) during deployment 0123456789ABCDEF"
    assert told(riff(info(deployed))) == NAIVE.replace(tzinfo=UTC)
    # day and month might be the other way round
    assert told(riff(info("Recorded at 21:30:00 01/05/2024 by my telephone"))) is None
    assert told(riff(info(AUDIOMOTH.format("UTC").replace("01/05", "31/04")))) is None


def test_a_files_own_sound_does_not_matter_and_its_header_goes_before_its_name(tmp_path):
    path = tmp_path / "20200101_000000.wav"
    soundfile.write(path, [0.0] * 999, 16_000)
    assert starts_at(path) == datetime(2020, 1, 1)
    with path.open("ab") as file:
        file.write(info(AUDIOMOTH.format("UTC")))
    assert starts_at(path) == NAIVE.replace(tzinfo=UTC)
    with path.open("ab") as file:
        file.write(guano("2021-01-01T00:00:00"))
    assert starts_at(path) == datetime(2021, 1, 1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("20240501_213000.wav", NAIVE),
        ("SITE_20240501_213000.wav", NAIVE),
        ("S4A01234_20240501_213000.wav", NAIVE),
        ("20240501_213000_000.wav", NAIVE),
        ("20240501_213000T.WAV", NAIVE),
        ("2024-05-01T21-30-00", NAIVE),
        ("2024-05-01 21:30:00.flac", NAIVE),
        ("a-2024_05_01-21_30_00-b.wav", NAIVE),
        ("20240501T213000Z.wav", NAIVE.replace(tzinfo=UTC)),
        ("20240501T213000+1000_REC.wav", NAIVE.replace(tzinfo=hours(10))),
        ("20240501_213000-0100.wav", NAIVE),
        ("20241301_213000_20240501_213000.wav", NAIVE),
        ("20240501_213000_20240501_223000.wav", NAIVE),
        ("5CC9A8F0.WAV", datetime(2019, 5, 1, 14, 10, 56, tzinfo=UTC)),
        ("5cc9a8f0.wav", None),
        ("55599810.WAV", None),
        ("1CC9A8F0.WAV", None),
        ("FFC9A8F0.WAV", None),
        ("X5CC9A8F0.WAV", None),
        ("5CC9A8F0_1.WAV", None),
        ("5CC9A8F0-1.WAV", None),
        ("20241301_213000.wav", None),
        ("20240230_213000.wav", None),
        ("20240501_253000.wav", None),
        ("00010101_213000.wav", None),
        ("20240501.wav", None),
        ("120240501_213000.wav", None),
        ("20240501_2130001.wav", None),
        ("2024-0501_213000.wav", None),
        ("nothing.wav", None),
        ("", None),
        ("\0.wav", None),
    ],
)
def test_names_tell(name, expected):
    found = starts_at(Path("/nowhere") / name)
    assert found == expected
    assert expected is None or found.utcoffset() == expected.utcoffset()


@given(times, st.sampled_from(["%Y%m%d_%H%M%S", "%Y-%m-%dT%H-%M-%S", "%Y%m%dT%H%M%S"]))
@settings(max_examples=50, deadline=None)
def test_every_time_is_read_from_a_name_as_it_was_written(time, form):
    # strftime does not pad years below 1000 alike everywhere; there are none
    assert starts_at(Path(f"SITE1_{time.strftime(form)}_000.wav")) == time


@given(st.text(st.sampled_from("0123456789_-T.ABCZ+/ é\n"), max_size=40))
@settings(max_examples=200, deadline=None)
def test_no_name_is_an_error(name):
    found = starts_at(Path("/nowhere") / name)
    assert found is None or 1900 <= found.year <= 2100


WHOLE = riff(
    chunk(b"ds64", struct.pack("<QQQI", 0, 1000, 500, 0)),
    *SOUND,
    info(AUDIOMOTH.format("UTC+2")),
    guano("2024-05-01T21:30:00"),
    kind=b"RF64",
)


@given(
    st.integers(0, len(WHOLE)),
    st.dictionaries(st.integers(0, len(WHOLE) - 1), st.integers(0, 255), max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_no_header_is_an_error(tmp_path_factory, length, changed):
    content = bytearray(WHOLE)
    for place, byte in changed.items():
        content[place] = byte
    path = tmp_path_factory.getbasetemp() / "x.wav"
    path.write_bytes(content[:length])
    found = starts_at(path)
    assert found is None or 1900 <= found.year <= 2100


@pytest.mark.parametrize(
    "content",
    [b"", b"RIFF", b"\0" * 5000, b"fLaC" + WHOLE[4:], b"RIFF\0\0\0\0AVI " + WHOLE[12:]],
)
def test_what_is_no_wav_tells_nothing(told, content):
    assert told(content) is None
    assert told(content, "20240501_213000.wav") == NAIVE


@pytest.mark.parametrize("size", [2, 10**6, 2**31, 2**32 - 1])
def test_sizes_that_lie_are_survived(told, size):
    assert told(riff(chunk(b"data", b"12", size))) is None
    # the last chunk is read as far as it goes
    cut = chunk(b"guan", b"Timestamp: 2024-05-01T21:30:00", max(size, 40))
    assert told(riff(cut)) == NAIVE
    assert told(riff(chunk(b"LIST", b"INFO" + chunk(b"ICMT", b"x", size)))) is None


@pytest.mark.parametrize("size", [2**32, 2**63, 2**64 - 1])
def test_what_is_too_long_for_a_disk_is_survived(told, size):
    ds64 = chunk(b"ds64", struct.pack("<QQQI", size, size, size, 0))
    assert told(riff(ds64, chunk(b"data", b"12", 2**32 - 1), kind=b"RF64")) is None


def test_what_stands_behind_gigabytes_is_found_without_reading_them(tmp_path):
    n_bytes = 5 * 2**30
    path = tmp_path / "x.wav"
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, n_bytes, 0, 0))
    with path.open("wb") as file:
        file.write(riff(ds64, chunk(b"data", b"", 2**32 - 1), kind=b"RF64"))
        file.seek(n_bytes, os.SEEK_CUR)  # a hole: it takes no room
        file.write(guano("2024-05-01T21:30:00"))
    assert starts_at(path) == NAIVE


def test_little_is_read_however_much_text_there_is(tmp_path):
    path = tmp_path / "x.wav"
    with path.open("wb") as file:
        file.write(riff(chunk(b"guan", b"Make: X\n", 2**31)))
        file.truncate(2**31)
    tracemalloc.start()
    assert starts_at(path) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_few_chunks_are_looked_at(told):
    assert told(riff(*[chunk(b"junk", b"")] * 50, guano("2024-05-01T21:30:00"))) == NAIVE
    assert told(riff(*[chunk(b"junk", b"")] * 10**5, guano("2024-05-01T21:30:00"))) is None


def test_long_lists_of_other_things_do_not_use_up_what_is_read(told):
    marks = chunk(b"LIST", b"adtl" + bytes(2 * 2**20))
    assert told(riff(marks, guano("2024-05-01T21:30:00"))) == NAIVE


def test_pipes_and_folders_do_not_keep_it_waiting(tmp_path):
    pipe = tmp_path / "20240501_213000.wav"
    os.mkfifo(pipe)
    assert starts_at(pipe) == NAIVE
    assert starts_at(tmp_path) is None
