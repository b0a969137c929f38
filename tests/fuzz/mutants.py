"""Mutants: sound files that were tampered with, each known by a seed and a number."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.fuzz.seeds import SoundFile, seeds
from tests.fuzz.structure import STRUCTURES, Field, Structure

MAX_BYTES = 30_000

_RARE = ("m4a", "aac", "3gp", "webm", "caf")
"""Decoded by a process of ffmpeg's own, which costs as much as ten others."""
_SUFFIXES = ("wav", "flac", "ogg", "opus", "mp3", "aiff", "au", "w64", "caf", "m4a", "raw", "txt")
_ODD = (0, 1, 2, 3, 7, 8, 63, 64, 127, 128, 254, 255, 256, 1023, 1024, 1025, 32_767, 32_768, 65_535,
        65_536, 2**24 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**62, 2**63 - 1,
        2**63, 2**64 - 1)  # fmt: skip
_LIES: dict[str, Sequence[float]] = {
    "rate": (0, 1, 2, 3, 7, 100, 999, 1000, 4000, 192_000, 384_000, 655_350, 2**31 - 1, 2**31),
    "channels": (0, 1, 2, 3, 8, 9, 63, 64, 255, 256, 1024, 1025, 65_535),
    "bits": (0, 1, 7, 8, 9, 12, 16, 20, 24, 31, 32, 33, 64, 255, 65_535),
    "align": (0, 1, 2, 3, 4, 7, 255, 256, 512, 1024, 32_767, 32_768, 65_535),
    "coding": (0, 1, 2, 3, 6, 7, 8, 16, 17, 20, 23, 26, 49, 64, 80, 85, 0xFFFE, 0xFFFF),
    "granule": (-(2**63), -(2**40), -2, -1, 0, 1, 311, 312, 959, 2**31, 2**40, 2**62, 2**63 - 1),
    "serial": (0, 1, 2, 3, 2**31, 2**32 - 1),
    "exponent": (0, 16_383, 16_384, 16_397, 16_414, 16_446, 32_767, 65_535),
    # rate, channels and bits share a word: small rates of one channel, and of eight
    "flac rate": (0x10F0, 0x20F0, 0x30F0, 0x1EF0, 0x000F_00F0, 0xA000_F0F0, 0xFFFF_F0F0),
}


def mutant(seed: int, number: int, families: tuple[str, ...]) -> SoundFile:
    """Return the mutant of that number."""
    rng = random.Random(f"{seed}:{number}")
    files = seeds(families)
    weights = [1 if file.family in _RARE else 8 for file in files]
    # each family alike, however many codings it has
    sizes = {family: sum(f.family == family for f in files) for family in families}
    file = rng.choices(files, [w / sizes[f.family] for w, f in zip(weights, files, strict=True)])[0]
    structure = STRUCTURES[file.family]
    content = bytearray(file.content)
    names = []
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        change = rng.choice(_MUTATORS)
        before = bytes(content)
        try:
            content = change(rng, content, structure, files)
        except (struct.error, IndexError, ValueError, OverflowError):
            continue  # an earlier change left nothing of the kind
        if rng.random() < 0.85:
            content = structure.mended(before, content)
        content = content[:MAX_BYTES]
        names.append(change.__name__.strip("_"))
    suffix = file.suffix if rng.random() < 0.95 else rng.choice(_SUFFIXES)
    return replace(
        file, name=f"{file.name}: {', '.join(names)}", suffix=suffix, content=bytes(content)
    )


Mutator = Callable[[random.Random, bytearray, Structure, Sequence[SoundFile]], bytearray]


def _place(rng: random.Random, content: bytearray) -> int:
    """Return a place, more often one near the beginning."""
    end = len(content) if rng.random() < 0.4 else min(len(content), 256)
    return rng.randrange(end)


def _put(content: bytearray, field: Field, value: float) -> None:
    if field.format.endswith("d"):
        struct.pack_into(field.format, content, field.at, float(value))
        return
    size = struct.calcsize(field.format)
    order = "big" if field.format.startswith(">") else "little"
    content[field.at : field.at + size] = (int(value) % 2 ** (8 * size)).to_bytes(size, order)


def _flips(rng: random.Random, content: bytearray, *_: object) -> bytearray:
    for _ in range(rng.choice((1, 2, 4, 16))):
        content[_place(rng, content)] ^= 1 << rng.randrange(8)
    return content


def _odd_number(rng: random.Random, content: bytearray, *_: object) -> bytearray:
    form = rng.choice("BHIQ")
    field = Field(rng.choice("<>") + form, _place(rng, content))
    end = field.at + struct.calcsize(field.format)
    if end <= len(content):
        _put(content, field, rng.choice(_ODD))
    return content


def _lie(rng: random.Random, content: bytearray, structure: Structure, _: object) -> bytearray:
    fields = list(structure.fields(content))
    for field in rng.sample(fields, min(len(fields), rng.choice((1, 1, 1, 2, 4)))):
        old = struct.unpack_from(field.format, content, field.at)[0]
        near = (old + rng.choice((-8, -1, 1, 8, 1000)), old * 2, old // 2, -old)
        choices = (_LIES.get(field.kind, _ODD), _LIES.get(field.kind, _ODD), _ODD, near)
        value = rng.choice(rng.choice(choices)) if field.kind != "byte" else rng.randrange(256)
        _put(content, field, value)
    return content


def _truncate(rng: random.Random, content: bytearray, structure: Structure, _: object) -> bytearray:
    if rng.random() < 0.5:
        return content[: rng.choice(list(structure.parts(content)))[rng.randrange(2)]]
    return content[: rng.randrange(len(content))]


def _parts(rng: random.Random, content: bytearray, structure: Structure, _: object) -> bytearray:
    """Drop, repeat, swap or move parts, or make a bomb of one."""
    spans = list(structure.parts(content))
    first, second = sorted((rng.randrange(len(spans)), rng.randrange(len(spans))))
    (a, b), (c, d) = spans[first], spans[second]
    match rng.randrange(5):
        case 0:
            return content[:a] + content[b:]
        case 1:
            return content[:b] + content[a:b] * rng.choice((1, 2, 10, 200)) + content[b:]
        case 2:
            return content[:c] + content[a:b] + content[c:]
        case 3 if b <= c:
            return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]
        case _:
            return content[: rng.randrange(a, b)] + content[c:]


def _bomb(rng: random.Random, content: bytearray, structure: Structure, _: object) -> bytearray:
    """Put a great many empty chunks, nested lists or much metadata in front of a part."""
    at = rng.choice(list(structure.parts(content)))[0]
    kind = rng.choice((b"LIST", b"JUNK", b"bext", b"cue ", b"smpl", b"inst", b"APPL", b"free",
                       b"COMT", b"MARK", b"ID3 ", b"data", b"PEAK", b"chan", b"info"))  # fmt: skip
    size = rng.choice((0, 0, 1, 4, 8, 2**31 - 1, 2**32 - 1))
    chunk = kind + struct.pack(rng.choice("<>") + "I", size)
    return content[:at] + chunk * rng.choice((1, 10, 1000, 3000)) + content[at:]


def _metadata(rng: random.Random, content: bytearray, *_: object) -> bytearray:
    """Put an ID3 tag in front, whose length may lie."""
    length = rng.choice((0, 10, 2000, 2000, 2**28 - 1))
    said = bytes((length >> shift) & 0x7F for shift in (21, 14, 7, 0))
    body = rng.choice((b"TIT2", b"APIC", b"PRIV")) + struct.pack(">I", rng.choice(_ODD) % 2**32)
    tag = b"ID3" + bytes((rng.choice((2, 3, 4, 255)), 0, rng.choice((0, 0x10, 0xFF)))) + said
    return bytearray(tag + (body + bytes(2000))[: min(length, 2000)]) + content


def _noise(rng: random.Random, content: bytearray, *_: object) -> bytearray:
    at, n = _place(rng, content), rng.choice((1, 2, 3, 16, 400))
    new = rng.choice((bytes(n), b"\xff" * n, rng.randbytes(n)))
    return content[:at] + new + content[at + rng.choice((0, n)) :]


def _cut_out(rng: random.Random, content: bytearray, *_: object) -> bytearray:
    at = _place(rng, content)
    return content[:at] + content[at + rng.choice((1, 2, 4, 8, 100, 1000)) :]


def _splice(
    rng: random.Random, content: bytearray, _: object, files: Sequence[SoundFile]
) -> bytearray:
    other = rng.choice(files).content
    return content[: rng.randrange(len(content))] + other[rng.randrange(len(other)) :]


def _join(
    rng: random.Random, content: bytearray, _: object, files: Sequence[SoundFile]
) -> bytearray:
    other = bytearray(rng.choice((content, rng.choice(files).content)))
    return content + other if rng.random() < 0.5 else other + content


_MUTATORS: tuple[Mutator, ...] = (
    _flips, _odd_number, _lie, _lie, _lie, _lie, _truncate, _parts, _parts, _bomb, _metadata,
    _noise, _cut_out, _splice, _join,
)  # fmt: skip
