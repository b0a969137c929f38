"""What sound files are made of: their parts, the fields that can lie, and their check sums.

A mutant whose check sums are wrong is mostly thrown away by the first test it meets. So sums are
made right again after most mutations, and what lies behind the test is reached.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

Content = bytes | bytearray
Span = tuple[int, int]


class Field(NamedTuple):
    """A number inside a file: ``struct`` format and place; what it counts, for fitting lies."""

    format: str
    at: int
    kind: str = "length"


def _sum_table(polynomial: int, bits: int) -> tuple[int, ...]:
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = ((value << 1) ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return tuple(table)


_OGG, _FLAC_8, _FLAC_16 = _sum_table(0x04C11DB7, 32), _sum_table(0x07, 8), _sum_table(0x8005, 16)


def _sum_8(content: Content) -> int:
    value = 0
    for byte in content:
        value = _FLAC_8[value ^ byte]
    return value


def _sum_16(content: Content) -> int:
    value = 0
    for byte in content:
        value = ((value << 8) & 0xFFFF) ^ _FLAC_16[(value >> 8) ^ byte]
    return value


def _sum_32(content: Content) -> int:
    value = 0
    for byte in content:
        value = ((value << 8) & 0xFFFFFFFF) ^ _OGG[(value >> 24) ^ byte]
    return value


# --- Ogg ----------------------------------------------------------------------------------


def ogg_pages(content: Content) -> Iterator[Span]:
    """Yield where each page begins and ends."""
    at = 0
    while (at := content.find(b"OggS", at)) >= 0 and at + 27 <= len(content):
        n_lengths = content[at + 26]
        body = at + 27 + n_lengths
        end = min(body + sum(content[at + 27 : body]), len(content))
        yield at, end
        at = max(end, at + 4)


def ogg_with_sums(content: Content) -> bytearray:
    """Return the same pages, each with the check sum it should have."""
    content = bytearray(content)
    for start, end in ogg_pages(content):
        content[start + 22 : start + 26] = bytes(4)
        struct.pack_into("<I", content, start + 22, _sum_32(content[start:end]))
    return content


def _ogg_page(
    page: Content, body: Content, lengths: Content, granule: int, number: int, *, is_last: bool
) -> bytes:
    """Return a page like another one with other packets; it still lacks its check sum."""
    flags = page[5] & 0b010 if number == 0 else 0b100 * is_last
    head = page[:5] + bytes([flags]) + struct.pack("<q", granule) + page[14:18]
    return bytes(head + struct.pack("<IIB", number, 0, len(lengths)) + lengths + body)


def ogg_with_many_pages(content: Content) -> bytearray:
    """Return the same packets, two on a page behind the headers."""
    is_opus = b"OpusHead" in content[:64]
    pages: list[bytes] = []
    before = 0
    for start, end in ogg_pages(content):
        page = bytes(content[start:end])
        lengths, body = page[27 : 27 + page[26]], page[27 + page[26] :]
        granule = struct.unpack_from("<q", page, 6)[0]
        if granule <= 0:
            pages.append(_ogg_page(page, body, lengths, granule, len(pages), is_last=False))
            continue
        ends = [n + 1 for n, length in enumerate(lengths) if length < 255]
        cuts = [0, *ends[1:-1:2], len(lengths)]
        at = 0
        for first, last in itertools.pairwise(cuts):
            size = sum(lengths[first:last])
            n_ended = sum(each <= last for each in ends)
            here = before + (granule - before) * n_ended // max(len(ends), 1)
            if is_opus:  # of 20 ms each; the last granule says where to cut
                here = min(before + 960 * n_ended, granule)
            packets = body[at : at + size], lengths[first:last]
            is_last = end == len(content) and last == len(lengths)
            pages.append(_ogg_page(page, *packets, here, len(pages), is_last=is_last))
            at += size
        before = granule
    return ogg_with_sums(b"".join(pages))


def _ogg_fields(content: Content) -> Iterator[Field]:
    for start, end in ogg_pages(content):
        yield Field("<q", start + 6, "granule")
        yield Field("<I", start + 14, "serial")
        yield Field("<I", start + 18, "serial")
        yield Field("B", start + 4, "byte")
        yield Field("B", start + 5, "byte")
        yield Field("B", start + 26, "byte")
        body = start + 27 + content[start + 26]
        packet = bytes(content[body : min(body + 19, end)])
        if packet[:8] == b"OpusHead":
            yield Field("B", body + 9, "channels")
            yield Field("<H", body + 10, "length")
            yield Field("<I", body + 12, "rate")
            yield Field("<h", body + 16, "length")
            yield Field("B", body + 18, "byte")
        elif packet[:7] == b"\x01vorbis":
            yield Field("B", body + 11, "channels")
            yield Field("<I", body + 12, "rate")
            yield Field("B", body + 28, "byte")
        elif packet[:8] == b"OpusTags" or packet[:7] == b"\x03vorbis":
            first = body + (8 if packet[:1] == b"O" else 7)
            yield Field("<I", first, "length")
            n_vendor = int.from_bytes(content[first : first + 4], "little")
            for skip in (4, 8):
                if first + skip + n_vendor + 4 <= len(content):
                    yield Field("<I", first + skip + n_vendor, "length")


# --- chunks: RIFF, AIFF, W64, CAF, MP4 ----------------------------------------------------

_HOLDS_ATOMS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"udta", b"edts", b"dinf"}


def _chunks(
    content: Content, first: int, header: int, length_at: int, form: str, pad: int, *, whole: bool
) -> Iterator[tuple[Span, Field]]:
    at = first
    while at + header <= len(content):
        field = Field(form, at + length_at)
        length = struct.unpack_from(form, content, field.at)[0]
        end = at + length if whole else at + header + length
        end += -end % pad
        if not at + header <= end <= len(content):
            end = len(content)
        yield (at, end), field
        at = end


def _riff(content: Content) -> Iterator[tuple[Span, Field]]:
    return _chunks(content, 12, 8, 4, "<I", 2, whole=False)


def _aiff(content: Content) -> Iterator[tuple[Span, Field]]:
    return _chunks(content, 12, 8, 4, ">I", 2, whole=False)


def _w64(content: Content) -> Iterator[tuple[Span, Field]]:
    return _chunks(content, 40, 24, 16, "<Q", 8, whole=True)


def _caf(content: Content) -> Iterator[tuple[Span, Field]]:
    return _chunks(content, 8, 12, 4, ">Q", 1, whole=False)


def _mp4(content: Content, first: int = 0, last: int | None = None) -> Iterator[tuple[Span, Field]]:
    inside = content[:last]
    for (start, end), field in _chunks(inside, first, 8, 0, ">I", 1, whole=True):
        yield (start, end), field
        if bytes(content[start + 4 : start + 8]) in _HOLDS_ATOMS:
            yield from _mp4(content, start + 8, end)


def _riff_fields(content: Content) -> Iterator[Field]:
    yield Field("<I", 4)
    for (start, end), length in _riff(content):
        yield length
        if content[start : start + 4] == b"fmt " and end - start >= 24:
            yield from _wave_format(start + 8)
            if end - start >= 28:
                yield Field("<H", start + 26)
        elif content[start : start + 4] == b"fact":
            yield Field("<I", start + 8)
        elif content[start : start + 4] == b"ds64":
            for skip in (8, 16, 24):
                yield Field("<Q", start + skip)


def _wave_format(at: int) -> Iterator[Field]:
    yield Field("<H", at, "coding")
    yield Field("<H", at + 2, "channels")
    yield Field("<I", at + 4, "rate")
    yield Field("<I", at + 8, "rate")
    yield Field("<H", at + 12, "align")
    yield Field("<H", at + 14, "bits")


def _aiff_fields(content: Content) -> Iterator[Field]:
    yield Field(">I", 4)
    for (start, end), length in _aiff(content):
        yield length
        if content[start : start + 4] == b"COMM" and end - start >= 26:
            yield Field(">H", start + 8, "channels")
            yield Field(">I", start + 10)
            yield Field(">H", start + 14, "bits")
            yield Field(">H", start + 16, "exponent")
            yield Field(">Q", start + 18, "length")
        elif content[start : start + 4] == b"SSND":
            yield Field(">I", start + 8)
            yield Field(">I", start + 12)


def _w64_fields(content: Content) -> Iterator[Field]:
    yield Field("<Q", 16)
    for (start, _), length in _w64(content):
        yield length
        if content[start : start + 4] == b"fmt ":
            yield from _wave_format(start + 24)


def _caf_fields(content: Content) -> Iterator[Field]:
    for (start, _), length in _caf(content):
        yield length
        if content[start : start + 4] == b"desc":
            yield Field(">d", start + 12, "rate")
            for skip, kind in ((28, "align"), (32, "length"), (36, "channels"), (40, "bits")):
                yield Field(">I", start + skip, kind)
        elif content[start : start + 4] == b"pakt":
            yield Field(">q", start + 12)
            yield Field(">q", start + 20)


def _mp4_fields(content: Content) -> Iterator[Field]:
    for (start, end), length in _mp4(content):
        yield length
        name = bytes(content[start + 4 : start + 8])
        if name in (b"mdhd", b"mvhd"):
            yield Field(">I", start + 20, "rate")
            yield Field(">I", start + 24)
        elif name in (b"stts", b"stsz", b"stsc", b"stco", b"stsd"):
            for skip in range(12, min(end - start, 40) - 3, 4):
                yield Field(">I", start + skip)


def _au_fields(_: Content) -> Iterator[Field]:
    for at, kind in ((4, "length"), (8, "length"), (12, "coding"), (16, "rate"), (20, "channels")):
        yield Field(">I", at, kind)


# --- FLAC ---------------------------------------------------------------------------------


def _flac_blocks(content: Content) -> list[Span]:
    blocks, at, is_last = [], 4, False
    while not is_last and at + 4 <= len(content):
        is_last = bool(content[at] & 0x80)
        end = min(at + 4 + int.from_bytes(content[at + 1 : at + 4], "big"), len(content))
        blocks.append((at, end))
        at = end
    return blocks


def _flac_header(content: Content, at: int) -> int:
    """Return where a frame's header, check sum included, ends; 0 where there is no frame."""
    if at + 6 > len(content) or content[at] != 0xFF or content[at + 1] & 0xFC != 0xF8:
        return 0
    size, rate = content[at + 2] >> 4, content[at + 2] & 15
    lead = content[at + 4]
    n_number = 1
    while n_number < 8 and lead & (0x80 >> n_number) and lead & 0x80:
        n_number += 1
    end = at + 4 + n_number + {6: 1, 7: 2}.get(size, 0) + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    return end + 1 if end < len(content) and _sum_8(content[at:end]) == content[end] else 0


def _flac_frames(content: Content) -> list[Span]:
    blocks = _flac_blocks(content)
    at = blocks[-1][1] if blocks else 4
    starts = []
    while (at := content.find(b"\xff", at)) >= 0:
        if _flac_header(content, at):
            starts.append(at)
        at += 1
    return list(itertools.pairwise([*starts, len(content)]))


def _flac_parts(content: Content) -> Iterator[Span]:
    yield from _flac_blocks(content)
    yield from _flac_frames(content)


def _flac_fields(content: Content) -> Iterator[Field]:
    for start, end in _flac_blocks(content):
        yield Field(">I", start)
        if start == 4:
            yield Field(">H", start + 4, "length")
            yield Field(">H", start + 6, "length")
            yield Field(">I", start + 14, "flac rate")
            yield Field(">Q", start + 14, "length")
        elif content[start] & 0x7F == 3:
            for skip in range(4, end - start - 17, 18):
                yield Field(">Q", start + skip)
                yield Field(">Q", start + skip + 8)
        elif content[start] & 0x7F == 4:
            yield Field("<I", start + 4)
    for start, _ in _flac_frames(content):
        for skip in (1, 2, 3, 4):
            yield Field("B", start + skip, "byte")


def _flac_with_sums(before: Content, after: bytearray) -> bytearray:
    """Mend the sums of frames that are still where they were."""
    if len(before) != len(after):
        return after
    for start, end in _flac_frames(before):
        if before[start:end] == after[start:end]:
            continue
        header = _flac_header(before, start)
        after[header - 1] = _sum_8(after[start : header - 1])
        after[end - 2 : end] = _sum_16(after[start : end - 2]).to_bytes(2, "big")
    return after


# --- MP3 ----------------------------------------------------------------------------------


def _mp3_frames(content: Content) -> Iterator[Span]:
    starts = []
    at = 0
    while (at := content.find(b"\xff", at)) >= 0 and at + 4 <= len(content):
        # all frames of a seed begin alike
        if content[at + 1] & 0xE0 == 0xE0 and content[at + 1 : at + 2] == content[1:2]:
            starts.append(at)
            at += 23
        at += 1
    yield from itertools.pairwise([*starts, len(content)])


def _mp3_fields(content: Content) -> Iterator[Field]:
    for start, _ in _mp3_frames(content):
        for skip in (1, 2, 3):
            yield Field("B", start + skip, "byte")
    for name in (b"Xing", b"Info"):
        at = content.find(name)
        if at >= 0 and at + 16 <= len(content):
            yield Field(">I", at + 8)
            yield Field(">I", at + 12)


# --- all together -------------------------------------------------------------------------


class Structure(NamedTuple):
    """How to see a family's files: parts, fields, and how sums are mended after a mutation."""

    parts: Callable[[Content], Iterator[Span]]
    fields: Callable[[Content], Iterator[Field]]
    mended: Callable[[Content, bytearray], bytearray] = lambda _, after: after


def _spans(chunks: Callable[[Content], Iterator[tuple[Span, Field]]]) -> Callable:
    return lambda content: (span for span, _ in chunks(content))


def _eighths(content: Content) -> Iterator[Span]:
    step = max(len(content) // 8, 1)
    yield from ((at, min(at + step, len(content))) for at in range(0, len(content), step))


def _header_words(content: Content) -> Iterator[Field]:
    for at in range(0, min(len(content) - 4, 128), 4):
        yield Field("<I", at, "length")
        yield Field(">I", at, "length")


_ogg = Structure(ogg_pages, _ogg_fields, lambda _, after: ogg_with_sums(after))
_mp4_like = Structure(_spans(_mp4), _mp4_fields)
_plain = Structure(_eighths, _header_words)

STRUCTURES = {
    "wav": Structure(_spans(_riff), _riff_fields),
    "aiff": Structure(_spans(_aiff), _aiff_fields),
    "au": Structure(_eighths, _au_fields),
    "w64": Structure(_spans(_w64), _w64_fields),
    "caf": Structure(_spans(_caf), _caf_fields),
    "flac": Structure(_flac_parts, _flac_fields, _flac_with_sums),
    "ogg": _ogg,
    "opus": _ogg,
    "mp3": Structure(_mp3_frames, _mp3_fields),
    "m4a": _mp4_like,
    "3gp": _mp4_like,
    "aac": _plain,
    "webm": _plain,
    "other": _plain,
}
