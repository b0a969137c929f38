"""A process that reads sound files for another, and may die of them.

It is asked by lines of JSON on its standard input, and answers on its standard output with
messages: a letter, the length of what follows, and that many bytes. Samples come as they are
decoded (``S``, float32), the first of them, as far as there is room, in memory that both share
(``M``, no bytes follow); then what was found, or nothing (``.``, JSON), or why the file cannot
be used (``E``, JSON). The kernel holds it to limits on memory and on processor time; who asks
keeps an eye on the clock.

    python -m soundx.audio.worker [DESCRIPTOR]    of the memory that is shared
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import resource
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from soundx.audio import Float32
from soundx.audio.reading import inspect_file, read_stretch, read_waveform
from soundx.errors import AudioError

HEADER = struct.Struct("<cI")
"""Letter and length of a message."""

MEMORY_BYTES = 768 * 2**20
"""What decoding may take beyond what the process began with."""

CPU_S, BYTES_PER_CPU_S = 5, 100_000
"""Processor time that a file may take: so much, and a second more for so many bytes."""

_MESSAGE_SAMPLES = 1 << 18

SHARED_BYTES = 4 * _MESSAGE_SAMPLES
"""Memory shared with who asks: 16 seconds of samples."""

_COMPLAINTS_BYTES = 2**20


def main() -> None:
    """Answer until nobody asks any more."""
    # what libraries print is for nobody; a message must not be torn apart by it
    answers = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    _limit_memory()
    _soft_limit(resource.RLIMIT_CORE, 0)
    _soft_limit(resource.RLIMIT_FSIZE, _COMPLAINTS_BYTES)
    shared = map_shared(int(sys.argv[1])) if len(sys.argv) > 1 else np.empty(0, np.float32)
    _tell(answers, b".", None)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        try:
            _limit_cpu(cpu_limit_s(asked["path"]))
            _answer(asked, answers, shared)
        except BrokenPipeError:  # who asked is gone
            return
        except AudioError as error:
            _tell(answers, b"E", {"kind": type(error).__name__, "reason": str(error)})
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
            _tell(answers, b"E", {"kind": "AudioError", "reason": reason})
        except MemoryError:
            reason = f"decoding it takes more than {MEMORY_BYTES >> 20} MiB of memory"
            _tell(answers, b"E", {"kind": "DecoderLostError", "reason": reason})
        # whatever a library makes of a broken file, it is the file that is broken
        except Exception as error:
            reason = f"broken inside: {type(error).__name__}: {error}"
            _tell(answers, b"E", {"kind": "AudioError", "reason": reason})


def cpu_limit_s(path: str) -> int:
    """Return how much processor time a file may take, by its size."""
    with contextlib.suppress(OSError):
        return CPU_S + os.stat(path).st_size // BYTES_PER_CPU_S
    return CPU_S


def map_shared(descriptor: int) -> Float32:
    """Return shared memory as samples [shape=(SHARED_BYTES / 4,), dtype=float32]."""
    return np.frombuffer(mmap.mmap(descriptor, SHARED_BYTES), np.float32)


def _answer(asked: dict[str, Any], answers: int, shared: Float32) -> None:
    path = Path(asked["path"])
    if asked["do"] == "inspect":
        _tell(answers, b".", asdict(inspect_file(path, ffmpeg=asked["ffmpeg"])))
        return
    pieces: Iterable[Float32]
    if asked["do"] == "stretch":
        begin_s, end_s = asked["stretch_s"]
        pieces = [read_stretch(path, begin_s, end_s, ffmpeg=asked["ffmpeg"])]
    else:
        pieces = read_waveform(
            path, ffmpeg=asked["ffmpeg"], sha256=asked["sha256"], max_s=asked["max_s"]
        )
    told = b""  # together with what comes next: each message wakes who waits for it
    for piece in _up_to(pieces, asked["max_samples"]):
        for start in range(0, len(piece), _MESSAGE_SAMPLES):
            samples = piece[start : start + _MESSAGE_SAMPLES]
            if len(samples) <= len(shared):
                shared[: len(samples)] = samples
                shared = shared[len(samples) :]
                told += HEADER.pack(b"M", samples.nbytes)
            else:
                _write(answers, told + HEADER.pack(b"S", samples.nbytes), samples.data.cast("B"))
                told = b""
    _write(answers, told + HEADER.pack(b".", 0), memoryview(b""))


def _up_to(pieces: Iterable[Float32], max_samples: int | None) -> Iterator[Float32]:
    """Yield pieces until there is one sample more than the limit, which tells that there is."""
    left = math.inf if max_samples is None else max_samples + 1
    for piece in pieces:
        yield piece[: int(min(left, len(piece)))]
        left -= len(piece)
        if left <= 0:
            return


def _tell(answers: int, letter: bytes, content: Any) -> None:
    text = json.dumps(content).encode()
    _write(answers, HEADER.pack(letter, len(text)), memoryview(text))


def _write(answers: int, header: bytes, content: memoryview) -> None:
    written = os.writev(answers, [header, content]) - len(header)
    while written < len(content):
        written += os.write(answers, content[written:])


def _limit_memory() -> None:
    held = 0
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        held = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
    _soft_limit(resource.RLIMIT_DATA, held + MEMORY_BYTES)


def _limit_cpu(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _soft_limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + seconds)


def _soft_limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(ValueError, OSError):  # a system that does not know it
        resource.setrlimit(which, (value, hard))


if __name__ == "__main__":
    main()
