"""Files that soundx did not bear once, each made by code; ``findings/`` holds those kept as files.

A case writes what it needs into a folder and returns the file that is to be judged.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.fuzz.seeds import sound, through_ffmpeg, written
from tests.fuzz.structure import ogg_pages, ogg_with_many_pages, ogg_with_sums

FINDINGS = Path(__file__).parent / "findings"

Case = Callable[[Path], Path]
CASES: dict[str, tuple[Case, str]] = {}
"""Cases by name, with what is to become of them: refused, heard, or either (empty)."""


SLOW: set[str] = set()
"""Those that end by a limit on processor time, or take a while to be refused."""


def case(outcome: str = "", *, slow: bool = False) -> Callable[[Case], Case]:
    """Make a function a case, under its own name."""

    def named(make: Case) -> Case:
        CASES[make.__name__] = (make, outcome)
        if slow:
            SLOW.add(make.__name__)
        return make

    return named


def _file(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


# --- FLAC ---------------------------------------------------------------------------------


def _flac_at(rate_hz: int, seconds: float = 25.0) -> bytes:
    content = bytearray(written("FLAC", "PCM_16", samples=np.zeros((int(seconds * 16_000), 1))))
    word = int.from_bytes(content[18:21], "big")
    content[18:21] = ((rate_hz << 4) | (word & 15)).to_bytes(3, "big")
    return bytes(content)


@case("refused")
def flac_at_1_hz(folder: Path) -> Path:
    """Five days, says the header, and the resampler believes it: 4.6 GiB."""
    return _file(folder, "a.flac", _flac_at(1))


@case("refused")
def flac_at_3_hz(folder: Path) -> Path:
    return _file(folder, "a.flac", _flac_at(3))


@case("refused")
def flac_whose_comment_is_long(folder: Path) -> Path:
    content = written("FLAC", "PCM_16")
    comment = struct.pack("<I", 1_300_000_000) + b"long"
    block = bytes([4]) + len(comment).to_bytes(3, "big") + comment
    return _file(folder, "a.flac", content[:42] + block + content[42:])


@case()
def flac_of_the_largest_blocks(folder: Path) -> Path:
    content = bytearray(written("FLAC", "PCM_16"))
    content[8:12] = b"\xff" * 4
    content[18:26] = (16_000 << 44 | 7 << 41 | 31 << 36 | 2**36 - 1).to_bytes(8, "big")
    return _file(folder, "a.flac", bytes(content))


# --- Opus and Vorbis ----------------------------------------------------------------------


def _opus(granules: Callable[[int, int], int], *, without: int | None = None) -> bytes:
    """Return an Opus file whose pages say what a function of number and granule gives."""
    content = ogg_with_many_pages(written("OGG", "OPUS", seconds=0.6, rate_hz=48_000))
    for number, (start, _) in enumerate(ogg_pages(content)):
        granule = struct.unpack_from("<q", content, start + 6)[0]
        if number >= 2:
            struct.pack_into("<q", content, start + 6, granules(number, granule))
    spans = list(ogg_pages(content))
    pages = [content[start:end] for n, (start, end) in enumerate(spans) if n != without]
    return bytes(ogg_with_sums(b"".join(pages)))


@case("refused", slow=True)
def opus_that_never_ends(folder: Path) -> Path:
    """The first page of sound has the granule -1: libsndfile gives 960 frames again and again."""
    content = ogg_with_many_pages(written("OGG", "OPUS", channels=2, seconds=1.2))
    first = list(ogg_pages(content))[2][0]
    struct.pack_into("<q", content, first + 6, -1)
    return _file(folder, "a.opus", bytes(ogg_with_sums(content)))


@case()
def opus_that_lasts_for_centuries(folder: Path) -> Path:
    """A page is missing, and the next says that ages have gone by."""
    return _file(folder, "a.opus", _opus(lambda n, g: g + (n > 6) * 2**48, without=6))


@case()
def opus_whose_end_is_before_its_beginning(folder: Path) -> Path:
    """The last granule is below what is to be skipped: a negative length."""
    return _file(folder, "a.opus", _opus(lambda n, granule: granule if n < 17 else 100))


@case()
def opus_before_the_beginning_of_time(folder: Path) -> Path:
    return _file(folder, "a.opus", _opus(lambda _, granule: granule - 2**40))


@case("refused")
def vorbis_whose_comment_is_long(folder: Path) -> Path:
    content = bytearray(written("OGG", "VORBIS", seconds=0.3))
    at = content.index(b"\x03vorbis") + 7
    struct.pack_into("<I", content, at, 1_300_000_000)
    return _file(folder, "a.ogg", bytes(ogg_with_sums(content)))


class _Bits:
    """Bits as Vorbis packs them, the lowest first."""

    def __init__(self) -> None:
        self._value, self._n_bits = 0, 0

    def put(self, value: int, n_bits: int) -> None:
        self._value |= value << self._n_bits
        self._n_bits += n_bits

    def content(self) -> bytes:
        return self._value.to_bytes((self._n_bits + 7) // 8, "little")


def _pages(packets: list[bytes]) -> Iterator[bytes]:
    """Yield each packet of an Ogg stream on pages of its own."""
    number = 0
    for packet in packets:
        lengths = [255] * (len(packet) // 255) + [len(packet) % 255]
        at = 0
        for first in range(0, len(lengths), 255):
            some = lengths[first : first + 255]
            body = packet[at : at + sum(some)]
            at += len(body)
            flags = 2 * (number == 0) + (first > 0)
            head = struct.pack("<4sBBqIII", b"OggS", 0, flags, 0, 1, number, 0)
            yield head + bytes([len(some), *some]) + body
            number += 1


@case("refused", slow=True)
def vorbis_of_large_codebooks(folder: Path) -> Path:
    """Codebooks of eight million words of one length: a dozen bytes each ask for 64 MiB."""
    entries = 2**23 - 1
    bits = _Bits()
    bits.put(255, 8)
    for _ in range(256):
        bits.put(0x564342, 24)
        bits.put(1, 16)
        bits.put(entries, 24)
        bits.put(1, 1)  # in the order of their lengths
        bits.put(22, 5)
        bits.put(entries, 23)
        bits.put(0, 4)
    first = b"\x01vorbis" + struct.pack("<IBIiiiBB", 0, 1, 16_000, 0, 0, 0, 0xB8, 1)
    comment = b"\x03vorbis" + struct.pack("<II", 0, 0) + b"\x01"
    pages = _pages([first, comment, b"\x05vorbis" + bits.content()])
    return _file(folder, "a.ogg", bytes(ogg_with_sums(b"".join(pages))))


# --- WAV and AIFF -------------------------------------------------------------------------


def _riff(chunks: list[tuple[bytes, bytes]], data: bytes, data_said: int) -> bytes:
    body = b"".join(name + struct.pack("<I", len(each)) + each for name, each in chunks)
    body += b"data" + struct.pack("<I", data_said) + data
    return b"RIFF" + struct.pack("<I", min(len(body) + 4 + data_said, 2**32 - 1)) + b"WAVE" + body


@case()
def wav_of_four_hours_in_a_hundred_bytes(folder: Path) -> Path:
    """384 kHz, 64 channels, 24 bits: 1,061 GB, says the header; what is there costs nothing."""
    form = struct.pack("<HHIIHH", 1, 64, 384_000, 384_000 * 192, 192, 24)
    return _file(folder, "a.wav", _riff([(b"fmt ", form)], bytes(100), 2**32 - 60))


@case()
def wav_of_large_adpcm_blocks(folder: Path) -> Path:
    form = struct.pack("<HHIIHHHH", 17, 2, 16_000, 16_000, 65_535, 4, 2, 65_521)
    return _file(folder, "a.wav", _riff([(b"fmt ", form)], bytes(200), 2**31))


@case()
def wav_of_1024_channels(folder: Path) -> Path:
    form = struct.pack("<HHIIHH", 3, 1024, 16_000, 16_000 * 4096, 4096, 32)
    return _file(folder, "a.wav", _riff([(b"fmt ", form)], bytes(8192), 2**32 - 60))


@case()
def aiff_of_1024_channels_in_ima4(folder: Path) -> Path:
    content = bytearray(written("AIFF", "IMA_ADPCM"))
    at = content.index(b"COMM") + 8
    struct.pack_into(">HI", content, at, 1024, 2**31 - 1)
    return _file(folder, "a.aiff", bytes(content))


@case("heard")
def wav_with_one_frame_at_3e38(folder: Path) -> Path:
    """Two channels whose sum is more than 32 bits can hold."""
    samples = sound(0.5, 16_000, 2)
    samples[4000] = 3e38
    return _file(folder, "a.wav", written("WAV", "FLOAT", samples=samples))


@case("heard")
def wav_with_alternating_3e38(folder: Path) -> Path:
    samples = np.full((8000, 2), 3.4e38)
    samples[1::2] *= -1
    return _file(folder, "a.wav", written("WAV", "FLOAT", samples=samples))


@case("heard")
def wav_of_double_beyond_float(folder: Path) -> Path:
    samples = sound(0.5, 16_000, 1)
    samples[4000] = 1e300
    return _file(folder, "a.wav", written("WAV", "DOUBLE", samples=samples))


# --- what cannot be gone back in ----------------------------------------------------------


@case("heard")
def wav_in_gsm_which_cannot_seek(folder: Path) -> Path:
    return _file(folder, "a.wav", written("WAV", "GSM610", seconds=0.5))


@case("heard")
def au_in_g721_which_cannot_seek(folder: Path) -> Path:
    return _file(folder, "a.au", written("AU", "G721_32", seconds=0.5))


@case("heard")
def xi_which_cannot_seek(folder: Path) -> Path:
    return _file(folder, "a.xi", written("XI", "DPCM_16", seconds=0.5))


# --- MP3 ----------------------------------------------------------------------------------


@case("heard")
def mp3_that_is_whole(folder: Path) -> Path:
    """Read a second time it began with other samples."""
    return _file(folder, "a.mp3", written("MP3", "MPEG_LAYER_III", seconds=0.4))


@case()
def mp3_of_which_much_is_told(folder: Path) -> Path:
    """A frame, some noise, a frame, some noise: libmpg123 has a line for each."""
    frames = written("MP3", "MPEG_LAYER_III", seconds=0.4)
    some, noise = frames[-1500:], bytes(range(1, 254)) * 2
    return _file(folder, "a.mp3", frames + (noise + some) * 300)


@case("heard")
def mp3_after_mp3(folder: Path) -> Path:
    return _file(folder, "a.mp3", written("MP3", "MPEG_LAYER_III", seconds=0.4) * 50)


@case()
def mp3_of_nothing_but_marks(folder: Path) -> Path:
    """Each byte might begin a frame."""
    return _file(folder, "a.mp3", b"\xff\xfb" * 100_000)


@case("heard", slow=True)
def mp3_before_very_many_marks(folder: Path) -> Path:
    """To look for another MP3 in all of them took longer than anybody waits."""
    content = written("MP3", "MPEG_LAYER_III", seconds=0.4)
    return _file(folder, "a.mp3", content + b"\xff" * 100_000_000)


# --- joined files -------------------------------------------------------------------------


@case("heard")
def flac_after_flac(folder: Path) -> Path:
    return _file(folder, "a.flac", written("FLAC", "PCM_16") * 50)


@case("heard")
def vorbis_after_vorbis(folder: Path) -> Path:
    return _file(folder, "a.ogg", written("OGG", "VORBIS", seconds=0.3) * 50)


# --- what a name makes of it --------------------------------------------------------------


@case("refused")
def text_named_au(folder: Path) -> Path:
    return _file(folder, "a.au", b"notes from the field\n" * 100)


@case("refused")
def nothing_named_vox(folder: Path) -> Path:
    return _file(folder, "a.vox", bytes(5000))


# --- through ffmpeg -----------------------------------------------------------------------


@case("refused")
def ffconcat_named_m4a(folder: Path) -> Path:
    """A text that names another file, which ffmpeg would open."""
    _file(folder, "secret.wav", written("WAV", "PCM_16"))
    return _file(folder, "a.m4a", b"ffconcat version 1.0\nfile secret.wav\n")


@case("refused")
def playlist_named_webm(folder: Path) -> Path:
    secret = _file(folder, "secret.wav", written("WAV", "PCM_16"))
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    return _file(folder, "a.webm", text.encode())


@case(slow=True)
def aac_of_much_silence(folder: Path) -> Path:
    """Eighty minutes in 2 MB: as 32-bit floats 920 MB."""
    if shutil.which("ffmpeg") is None:
        return _file(folder, "a.aac", bytes(1000))
    content = through_ffmpeg(np.zeros((48_000, 1)), 48_000, "aac", "adts", "-b:a", "8k")
    frames, at = [], 0
    while at + 7 <= len(content):
        length = (content[at + 3] & 3) << 11 | content[at + 4] << 3 | content[at + 5] >> 5
        frames.append(content[at : at + length])
        at += length
    return _file(folder, "a.aac", b"".join(frames[:2]) + min(frames, key=len) * 225_000)
