"""When a recording began: what its header tells, or else its name.

Recorders write the time as GUANO metadata, as AudioMoth's comment, or into the name of the file.
Headers are strangers' and may lie: a few are looked at, little of them is read, and what makes no
sense is as good as nothing.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import IO

_YEARS = range(1900, 2101)
_MOST_CHUNKS = 100
_MOST_TEXT_BYTES = 2**20
_HEAD = struct.Struct("<4sI")
_IN_DS64 = 0xFFFFFFFF  # the size of a chunk that does not fit in four bytes
_LONGEST_TIME = 40

# GUANO Metadata Specification 1.0: ISO 8601, date and time of day
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}.*")
# day before month: only AudioMoth is known to mean that
_AUDIOMOTH = re.compile(
    r"Recorded at ([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,6})? "
    r"([0-9]{2})/([0-9]{2})/([0-9]{4})"
    r"(?: \((UTC)(?:([+-])([0-9]{1,2})(?::([0-9]{2}))?)?\))? (?:by \w{0,9}Moth\b|during deployment)"
)
# looked for at every place, so that a date that is none does not hide the one after it
_IN_NAME = re.compile(
    r"(?<![0-9])(?=([0-9]{4})([-_]?)([0-9]{2})\2([0-9]{2})"
    r"([Tt _-])([0-9]{2})([-_:]?)([0-9]{2})\7([0-9]{2})(?![0-9])"
    r"(?:(Z)(?![A-Za-z0-9])|([+-])([01][0-9])(00|15|30|45)(?![0-9]))?)"
)
_HEXADECIMAL = re.compile(r"(?=[0-9]*[A-F])[0-9A-F]{8}")
_HEXADECIMAL_YEARS = range(2010, 2101)


def starts_at(path: Path) -> datetime | None:
    """Return when a recording began, None where neither its header nor its name tells.

    The header goes before the name: GUANO's ``Timestamp``, then AudioMoth's comment. No more than
    1 MiB is read, however long the file is or says to be. A file that is broken, or cannot be
    read, has its name alone to tell; nothing is raised.

    Args:
        path: The file; it need not be there.

    Returns:
        With the zone where one is told, naive where none is. Years are from 1900 to 2100: what
        lies outside comes of a clock that was never set.
    """
    return _time_in_header(path) or _time_in_name(path.stem)


def _time_in_header(path: Path) -> datetime | None:
    guano = comment = None
    try:
        # a pipe would keep us waiting for somebody to write
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            for name, content in _texts(file):
                text = content.decode("utf-8", "replace")
                if name == b"guan":
                    guano = guano or _time_in_guano(text)
                else:
                    comment = comment or _time_in_comment(text)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        pass
    return guano or comment


def _texts(file: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of a RIFF file that may tell the time, with their names."""
    start = file.read(12)
    if start[:4] not in (b"RIFF", b"RF64", b"BW64") or start[8:] != b"WAVE":
        return
    size_bytes = os.fstat(file.fileno()).st_size
    position, left, n_data = len(start), _MOST_TEXT_BYTES, 0
    for _ in range(_MOST_CHUNKS):
        # sizes may lie, and seeking further than a disk can be long is an error
        if position + _HEAD.size > size_bytes:
            return
        file.seek(position)
        name, size = _HEAD.unpack(file.read(_HEAD.size))
        position += _HEAD.size
        if name == b"ds64":
            n_data = int.from_bytes(file.read(min(size, 16))[8:], "little")
        elif name == b"guan" or (name == b"LIST" and file.read(4) == b"INFO"):
            file.seek(position)
            content = file.read(min(size, left))
            left -= len(content)
            yield from [(name, content)] if name == b"guan" else _comments(content)
        elif name == b"data" and size == _IN_DS64:
            size = n_data or size
        position += size + size % 2


def _comments(info: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 4
    for _ in range(_MOST_CHUNKS):
        if position + _HEAD.size > len(info):
            return
        name, size = _HEAD.unpack_from(info, position)
        position += _HEAD.size
        if name == b"ICMT":
            yield name, info[position : position + size]
        position += size + size % 2


def _time_in_guano(text: str) -> datetime | None:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        value = value.strip(" \t\0")
        if name.strip() == "Timestamp" and len(value) <= _LONGEST_TIME and _ISO.fullmatch(value):
            try:
                return _likely(datetime.fromisoformat(value))
            except ValueError:
                return None
    return None


def _time_in_comment(text: str) -> datetime | None:
    found = _AUDIOMOTH.search(text)
    if found is None:
        return None
    hour, minute, second, day, month, year, utc, *offset = found.groups()
    try:
        zone = _zone(*offset) if utc else None
        return _likely(_time(year, month, day, hour, minute, second, zone))
    except ValueError:
        return None


def _time_in_name(stem: str) -> datetime | None:
    for found in _IN_NAME.finditer(stem):
        year, _, month, day, between, hour, _, minute, second, utc, *offset = found.groups()
        # after anything but ISO 8601's T, a sign and four digits are the number of a part
        has_zone = utc or (offset[0] and between in "Tt")
        try:
            zone = _zone(*offset) if has_zone else None
            time = _likely(_time(year, month, day, hour, minute, second, zone))
        except ValueError:
            continue
        if time is not None:
            return time
    # AudioMoth's first firmware counted seconds since 1970
    if _HEXADECIMAL.fullmatch(stem):
        time = datetime.fromtimestamp(int(stem, 16), UTC)
        return time if time.year in _HEXADECIMAL_YEARS else None
    return None


def _time(
    year: str, month: str, day: str, hour: str, minute: str, second: str, zone: tzinfo | None
) -> datetime:
    return datetime(
        int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=zone
    )


def _zone(sign: str | None, hours: str | None, minutes: str | None) -> tzinfo:
    """Return the zone so far from UTC.

    Raises:
        ValueError: It is a day away or more.
    """
    if sign is None:
        return UTC
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    return timezone(-offset if sign == "-" else offset)


def _likely(time: datetime) -> datetime | None:
    return time if time.year in _YEARS else None
