"""Decode any sound file to the one waveform soundx works with: 16 kHz, mono, float32.

``inspect_clip`` tells what is in a file; ``decode_clip`` returns its waveform, ``decode_blocks``
the same waveform piece by piece, for files too long to hold, and ``decode_start`` the first
seconds of it. What is done to a file stands in ``soundx.audio.reading``.

It is done in worker processes, with limits on time, memory and samples: a file that crashes its
decoder, hangs it or makes it ask for memory without end is refused like any other that cannot
be used, with ``AudioError`` and a reason for people. A worker serves one thread at a time, starts
when it is first needed, and is used again.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.audio.reading import DEMUXERS, LIBC, ClipInfo, standardise
from soundx.audio.worker import HEADER, SHARED_BYTES, cpu_limit_s, map_shared
from soundx.errors import AudioError, ClipChangedError, DecoderLostError, SoundxError
from soundx.parallel import n_workers

__all__ = [
    "FFMPEG_SUFFIXES",
    "MAX_WHOLE_S",
    "ClipInfo",
    "decode_blocks",
    "decode_clip",
    "decode_start",
    "decode_stretch",
    "inspect_clip",
    "standardise",
    "start_ahead",
]

FFMPEG_SUFFIXES = frozenset(DEMUXERS)
"""Containers libsndfile cannot open; decoded through ffmpeg where it is installed."""

MAX_WHOLE_S = 2 * 3600.0
"""Longer files are too much for one array: a small file may hold days of silence."""

_START_S = 60.0
_PATIENCE = 4  # seconds on the clock for one of processor time: others want to compute as well
_SETTINGS = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # glibc gives a clip's memory back and asks for it again: a third of the time of decoding it
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**26),
}
# nothing else of the environment, with its keys and passwords, is for who reads strangers' files
_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONHOME")
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_Bytes = npt.NDArray[np.uint8]
_PIPE_BYTES = 2**20
_KINDS = {kind.__name__: kind for kind in (AudioError, ClipChangedError, DecoderLostError)}


def inspect_clip(path: Path) -> ClipInfo:
    """Decode a file from end to end without keeping it, and tell what is in it.

    Memory does not grow with the length of the file.

    Raises:
        AudioError: The file is empty, not a sound, of no length, or broken inside.
        DecoderLostError: It took its decoder down.
    """
    with _lend_worker() as worker:
        ((_, content),) = worker.ask(path, do="inspect")
    return ClipInfo(**json.loads(content.tobytes()))


def decode_clip(path: Path, *, sha256: str | None = None, max_s: float = MAX_WHOLE_S) -> Float32:
    """Decode a file to the waveform soundx works with.

    Args:
        path: A sound file of any sample rate and number of channels.
        sha256: Hash that its bytes must have; None where any will do.
        max_s: Longer files are refused, and decoded no further than that.

    Returns:
        Samples at 16 kHz, mono, without offset, within [-1, 1],
        [shape=(n_samples,), dtype=float32].

    Raises:
        AudioError: The file is empty, not a sound, of no length, broken inside, or too long.
        ClipChangedError: Its bytes have another hash.
        DecoderLostError: It took its decoder down.
    """
    return _joined(path, sha256=sha256, max_s=max_s)


def decode_blocks(path: Path, *, sha256: str | None = None) -> Iterator[Float32]:
    """Decode a file as ``decode_clip`` does, piece by piece; memory does not grow with length.

    Args:
        path: A sound file of any sample rate and number of channels.
        sha256: Hash that its bytes must have; None where any will do.

    Yields:
        Consecutive samples at 16 kHz [shape=(n_samples,), dtype=float32], up to a quarter of a
        minute at a time.

    Raises:
        AudioError: The file is empty, not a sound, of no length, or broken inside.
        ClipChangedError: Its bytes have another hash.
        DecoderLostError: It took its decoder down.
    """
    return _pieces(path, sha256=sha256)


def decode_start(path: Path, *, max_s: float) -> tuple[Float32, bool]:
    """Decode the beginning of a file, however long the rest of it is.

    Args:
        path: A sound file of any sample rate and number of channels.
        max_s: How much of it, in seconds.

    Returns:
        The first samples of what ``decode_clip`` returns [shape=(n_samples,), dtype=float32],
        and whether there are more.

    Raises:
        AudioError: The file is empty, not a sound, of no length, or broken inside.
        DecoderLostError: It took its decoder down.
    """
    wanted = int(max_s * SAMPLE_RATE_HZ)
    waveform = _joined(path, max_samples=wanted)
    return waveform[:wanted], len(waveform) > wanted


def decode_stretch(path: Path, begin_s: float, end_s: float) -> Float32:
    """Decode a stretch of a file to be heard, without what lies before it.

    Args:
        path: A sound file of any sample rate and number of channels.
        begin_s: Where it begins, in seconds.
        end_s: Where it ends; what lies beyond the file's end is not there.

    Returns:
        Samples at 16 kHz, mono [shape=(n_samples,), dtype=float32]; see ``read_stretch``.

    Raises:
        AudioError: There is no sound there.
        DecoderLostError: It took its decoder down.
    """
    with _lend_worker() as worker:
        asked = worker.ask(path, do="stretch", stretch_s=(begin_s, end_s))
        pieces = [content.view(np.float32) for letter, content in asked if letter == b"S"]
    return np.concatenate(pieces) if len(pieces) != 1 else pieces[0]


def _joined(path: Path, **asked: Any) -> Float32:
    pieces = list(_pieces(path, **asked))
    # most clips are of one piece, which need not be copied
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _pieces(path: Path, **asked: Any) -> Iterator[Float32]:
    with _lend_worker() as worker:
        for letter, content in worker.ask(path, do="decode", **asked):
            if letter == b"S":
                yield content.view(np.float32)


class _Worker:
    """A process that reads files for one thread at a time (``soundx.audio.worker``)."""

    def __init__(self) -> None:
        self.is_idle = True
        self._processor: int | None = None
        self._start()

    def _start(self) -> None:
        known = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        paths = [str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]
        known["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        with (
            tempfile.TemporaryFile(prefix="soundx-") as complaints,
            _shared_memory() as (descriptors, self._shared),
        ):
            # a session of its own: Ctrl-C is for this process, which then stops asking
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "soundx.audio.worker", *map(str, descriptors)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                bufsize=0,
                env=known | _SETTINGS,
                pass_fds=descriptors,
                start_new_session=True,
            )
            assert self._process.stdout is not None
            self._answers = self._process.stdout.fileno()
            self._waiting = select.poll()
            self._waiting.register(self._answers, select.POLLIN)
            with contextlib.suppress(AttributeError, OSError):  # a clip of some seconds at once
                fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            self._patience_s = _START_S
            try:
                self._receive(self._shared)
            except (EOFError, TimeoutError):
                self.stop()
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip().splitlines()
                raise SoundxError(
                    "The process that reads sound files does not start"
                    + (f": {said[-1]}" if said else ".")
                ) from None

    def ask(
        self,
        path: Path,
        *,
        do: str,
        sha256: str | None = None,
        max_s: float | None = None,
        max_samples: int | None = None,
        stretch_s: tuple[float, float] | None = None,
    ) -> Iterator[tuple[bytes, _Bytes]]:
        """Yield what it answers: samples (``S``) as they come, then what was found (``.``).

        Raises:
            AudioError: The file cannot be used.
        """
        path = Path(path)
        needs_ffmpeg = path.suffix.lower() in FFMPEG_SUFFIXES
        asked = {
            "do": do,
            "path": os.path.abspath(path),
            "ffmpeg": shutil.which("ffmpeg") if needs_ffmpeg else None,
            "sha256": sha256,
            "max_s": max_s,
            "max_samples": max_samples,
            "stretch_s": stretch_s,
        }
        cpu_s = cpu_limit_s(str(path))
        self._patience_s = _PATIENCE * cpu_s
        self.is_idle = False
        try:
            self._send(asked)
            unread = self._shared
            while True:
                letter, content = self._receive(unread)
                if letter == b"E":
                    self.is_idle = True
                    told = json.loads(content.tobytes())
                    raise _KINDS[told["kind"]](told["reason"])
                if letter == b"M":
                    letter, unread = b"S", unread[len(content) :]
                self.is_idle = letter == b"."
                yield letter, content
                if self.is_idle:
                    return
        except TimeoutError:
            reason = f"decoding it takes longer than {_PATIENCE * cpu_s} s"
            raise DecoderLostError(reason) from None
        except (EOFError, BrokenPipeError):
            raise DecoderLostError(self._why_gone(cpu_s)) from None

    def stop(self) -> None:
        """End the process, and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _send(self, asked: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        # where the thread runs that is about to wait: put behind another thread's network, with
        # this processor idle, it cost the embedding 6 % of its speed
        processor = _this_processor()
        if processor not in (None, self._processor):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(self._process.pid, {processor})
            self._processor = processor
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")

    def _receive(self, unread: _Bytes) -> tuple[bytes, _Bytes]:
        letter, length = HEADER.unpack(self._read(HEADER.size).tobytes())
        # what is shared is the next file's as soon as this one is done with
        return letter, unread[:length].copy() if letter == b"M" else self._read(length)

    def _read(self, n_bytes: int) -> _Bytes:
        content = np.empty(n_bytes, np.uint8)
        rest = content.data
        while rest:
            begin = time.monotonic()
            if not self._waiting.poll(max(self._patience_s, 0) * 1000):
                raise TimeoutError
            self._patience_s -= time.monotonic() - begin
            n_read = os.readv(self._answers, [rest])
            if n_read == 0:
                raise EOFError
            rest = rest[n_read:]
        return content

    def _why_gone(self, cpu_s: int) -> str:
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return f"decoding it takes more than {cpu_s} s of processor time"
        if code < 0:
            return f"its decoder crashed ({signal.Signals(-code).name})"
        return f"its decoder ended (exit code {code})"


@contextlib.contextmanager
def _shared_memory() -> Iterator[tuple[list[int], _Bytes]]:
    """Yield descriptors of memory to be shared, and that memory; none where there is no such."""
    if not hasattr(os, "memfd_create"):
        yield [], np.empty(0, np.uint8)
        return
    # through a pipe, samples are copied by the kernel, page by page: 1 % of embedding's time
    descriptor = os.memfd_create("soundx")
    try:
        os.truncate(descriptor, SHARED_BYTES)
        yield [descriptor], map_shared(descriptor).view(np.uint8)
    finally:
        os.close(descriptor)


def _this_processor() -> int | None:
    """Return the processor that this thread runs on, None where the system does not tell."""
    return LIBC.sched_getcpu() if hasattr(LIBC, "sched_getcpu") else None


_idle: list[_Worker] = []
_ahead: threading.Thread | None = None


def start_ahead() -> None:
    """Start a worker before it is needed, while whoever needs it does something else."""
    global _ahead  # noqa: PLW0603  one for the process
    _ahead = threading.Thread(target=_start_idle, daemon=True)
    _ahead.start()


def _start_idle() -> None:
    with contextlib.suppress(SoundxError):  # it is told when one is needed
        _idle.append(_Worker())


@contextlib.contextmanager
def _lend_worker() -> Iterator[_Worker]:
    """Yield a worker that nobody else has until the block ends."""
    if _ahead is not None:
        _ahead.join()
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
    try:
        yield worker
    finally:
        # one that has not said all is of no use to others; nor are more than can work at once
        if worker.is_idle and len(_idle) < n_workers():
            _idle.append(worker)
        else:
            worker.stop()


def _stop_idle() -> None:
    while _idle:
        _idle.pop().stop()


atexit.register(_stop_idle)
# a copy of this process must not talk into the original's pipes
os.register_at_fork(after_in_child=_idle.clear)
