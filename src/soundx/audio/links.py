"""Where the sound in a file begins, and where it goes on after what its decoder takes for the end.

Files are joined with ``cat``, radio stations chain Ogg streams, and of an MP3 libsndfile reads no
further than a header says, or than it reckons from the first few frames.
"""

from __future__ import annotations

import os
import struct
from mmap import mmap
from pathlib import Path
from typing import Any

LINKED = frozenset({"MP3", "OGG", "FLAC"})
"""Formats that go on so, as libsndfile calls them."""

_FLAC_BEGINS = b"fLaC\0\0\0\x22"  # its mark, and the head of the block that always comes first
_FLAC_AHEAD = 1 << 18  # far more than libFLAC reads before it is needed
_OGG_PAGE_HEAD = struct.Struct("<4sxB20xB")  # its mark, flags, and number of segments
_OGG_BEGINS = 2

_TELLS_FRAMES = 1
_WITHOUT_END = 2**30  # frames: a year of sound
_MOST_BEFORE = 2**16  # bytes of something else, as libmpg123 has it
_MOST_BETWEEN = 2**20  # of an APE tag, say; to look through gigabytes takes minutes
_IN_A_ROW = 4  # frames: fewer come about by chance, or are what an encoder filled up with
_MPEG_1 = 3
_MONO = 3
_RATES_HZ = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}
_KBPS_MPEG_1 = {
    1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_KBPS_MPEG_2 = {
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


class Link:
    """A file from some byte on, for libsndfile to read as if there were nothing before it.

    Args:
        path: The file.
        start: Where it begins, in bytes.
        ahead: Bytes to be read ahead of those.
    """

    def __init__(self, path: Path, start: int, ahead: bytes = b"") -> None:
        self._file = path.open("rb")
        self.start = start
        self._ahead = ahead
        self._n_bytes = os.fstat(self._file.fileno()).st_size - start + len(ahead)
        self._at = 0
        self.seek(0)

    def close(self) -> None:
        self._file.close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (0, self._at if whence else 0, self._n_bytes)[whence]
        self._file.seek(max(self.start + self._at - len(self._ahead), 0))
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at < len(self._ahead):
            some = self._ahead[self._at : self._at + len(buffer)]
            buffer[: len(some)] = some
            n_read = len(some)
        else:
            n_read = self._file.readinto(buffer)
        self._at += n_read
        return n_read

    @property
    def read_until(self) -> int:
        """Which byte of the file comes next."""
        return self.start + max(self._at - len(self._ahead), 0)


def next_link(content: mmap, kind: str, start: int, read_until: int) -> tuple[int, bytes] | None:
    """Find where a file goes on that its decoder has read to what it takes for the end.

    Args:
        content: The file.
        kind: Its format, as libsndfile calls it.
        start: Where what was read begins, in bytes.
        read_until: Which byte the decoder would read next; 0 where it is only to begin.

    Returns:
        Where it goes on, and what is to be read ahead of that; None where it does not.
    """
    match kind:
        case "MP3":
            if read_until:
                return _next_mp3(content, max(read_until, start + 1), _MOST_BETWEEN)
            return _next_mp3(content, 0, _MOST_BEFORE)
        case "OGG":
            return _next_ogg(content, start)
        case "FLAC":
            itself = content.find(_FLAC_BEGINS, start)  # a tag may stand before it
            found = content.find(_FLAC_BEGINS, max(itself + 1, read_until - _FLAC_AHEAD))
            return (found, b"") if found >= 0 else None
    return None


def _next_mp3(content: mmap, start: int, most_between: int) -> tuple[int, bytes] | None:
    # pictures in tags hold what looks like frames
    while len(tag := content[start : start + 10]) == 10 and tag.startswith(b"ID3"):  # noqa: PLR2004
        start += 10 + sum((tag[6 + n] & 127) << 7 * (3 - n) for n in range(4))
    last = start + most_between
    while (start := content.find(b"\xff", start, last)) >= 0:
        first, at = content[start : start + 4], start
        for _ in range(_IN_A_ROW):
            size = _frame_bytes(content[at : at + 4], first)
            at += size
            if not size or at > len(content):
                break
        else:
            return start, _ahead_of(content[start : start + 64])
        start += 1
    return None


def _frame_bytes(head: bytes, first: bytes) -> int:
    """Return the length of an MPEG audio frame, 0 where it is none, or not of the same stream."""
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:  # noqa: PLR2004
        return 0
    # version and layer, rate
    if head[1] & 0x1E != first[1] & 0x1E or head[2] & 0x0C != first[2] & 0x0C:
        return 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate, bits = head[2] >> 2 & 3, head[2] >> 4
    if version not in _RATES_HZ or layer > 3 or rate > 2 or not 0 < bits < 15:  # noqa: PLR2004
        return 0
    rate_hz = _RATES_HZ[version][rate]
    bps = 1000 * (_KBPS_MPEG_1 if version == _MPEG_1 else _KBPS_MPEG_2)[layer][bits - 1]
    padded = head[2] >> 1 & 1
    if layer == 1:
        return 4 * (12 * bps // rate_hz + padded)
    return (72 if layer == 3 and version != _MPEG_1 else 144) * bps // rate_hz + padded  # noqa: PLR2004


def _ahead_of(frame: bytes) -> bytes:
    """Return what makes libmpg123 read on to the end: a Xing header, of a length without end.

    Where there is one, its length holds, with what encoders add at both ends taken off. Else it
    would be reckoned from the bit rate of the first frame, and that may vary.
    """
    is_mpeg_1, is_mono = frame[1] >> 3 & 3 == _MPEG_1, frame[3] >> 6 == _MONO
    side_bytes = (9, 17, 32)[is_mpeg_1 + (not is_mono)]
    if frame[1] & 6 != 2:  # layer 3 alone has such headers  # noqa: PLR2004
        return b""
    at = 4 + side_bytes
    if frame[at : at + 4] in (b"Xing", b"Info") and frame[at + 7] & _TELLS_FRAMES:
        return b""
    # without a checksum, of a middling bit rate
    head = bytes([frame[0], frame[1] | 1, frame[2] & 0x0C | 0x90, frame[3]])
    told = b"Xing" + struct.pack(">II", _TELLS_FRAMES, _WITHOUT_END)
    return (head + bytes(side_bytes) + told).ljust(_frame_bytes(head, head), b"\0")


def _next_ogg(content: mmap, start: int) -> tuple[int, bytes] | None:
    has_begun = False
    while len(head := content[start : start + _OGG_PAGE_HEAD.size]) == _OGG_PAGE_HEAD.size:
        mark, flags, n_segments = _OGG_PAGE_HEAD.unpack(head)
        if mark != b"OggS":
            start = content.find(b"OggS", start + 1)
            if start < 0:
                break
        elif has_begun and flags & _OGG_BEGINS:
            return start, b""
        else:
            has_begun |= not flags & _OGG_BEGINS  # several may begin together
            first = start + _OGG_PAGE_HEAD.size
            start = first + n_segments + sum(content[first : first + n_segments])
    return None
