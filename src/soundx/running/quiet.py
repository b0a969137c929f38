"""Keep the greetings of TensorFlow's C++ code from the terminal, and nothing else.

They are written to file descriptor 2 before any setting of theirs is read. While a run lasts,
that descriptor is a pipe to a small process which passes everything on at once, except lines
that begin as a greeting does. It is a process and not a thread, so that the last words of a
run that crashes still arrive. Python's own ``sys.stderr`` goes around it.

This file is also what that process executes: it needs the standard library alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

GREETINGS = (
    b"WARNING: All log messages before absl::InitializeLog() is called",
    b"I0000 00:00:",  # absl's, of the level INFO, before it has read which levels are wanted
    b"INFO: Created TensorFlow Lite ",
)
"""How the lines begin that are not for the people who run soundx."""

_SILENT = "3"  # of TF_CPP_MIN_LOG_LEVEL
_STDERR = 2
_CHUNK_BYTES = 65_536
_END = b"\0"
"""Asks whether all has been passed on; the answer is the same."""


@contextmanager
def greetings_withheld() -> Iterator[None]:
    """Withhold greetings from standard error; where TensorFlow's notes are wanted, nothing."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != _SILENT or not _is_descriptor_2(sys.stderr):
        yield
        return
    python_stderr, terminal = sys.stderr, os.dup(_STDERR)
    reader, writer = os.pipe()
    answer, answering = os.pipe()
    # in a session of its own: Ctrl-C is for the run, and what it says then is still passed on
    passing_on = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__],
        stdin=reader,
        stdout=answering,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(reader)
    os.close(answering)
    python_stderr.flush()
    sys.stderr = os.fdopen(
        os.dup(terminal),
        "w",
        encoding=python_stderr.encoding,
        errors=python_stderr.errors,
        buffering=1,
    )
    os.dup2(writer, _STDERR)
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = python_stderr
        os.dup2(terminal, _STDERR)
        # not until it ends: a process that the run leaves behind may hold the pipe for longer
        with suppress(BrokenPipeError):
            os.write(writer, _END)
            os.read(answer, len(_END))
        for descriptor in (terminal, writer, answer):
            os.close(descriptor)
        passing_on.poll()


def _is_descriptor_2(stream: object) -> bool:
    try:
        return stream.fileno() == _STDERR  # type: ignore[attr-defined, no-any-return]
    except (AttributeError, OSError, ValueError):
        return False


def pass_on(source: int, target: int, answering: int) -> None:
    """Copy one descriptor to another until its end, without greetings.

    The beginning of a line waits while it may still become a greeting; all else is passed on
    as it comes.

    Args:
        source: What to read.
        target: Where to write it.
        answering: Where to tell, when asked, that all has been passed on.
    """
    undecided = b""
    is_passed = False  # whether the beginning of the line we are in was passed on
    while chunk := os.read(source, _CHUNK_BYTES):
        passed = b""
        for line in (undecided + chunk.replace(_END, b"")).splitlines(keepends=True):
            ends = line.endswith((b"\n", b"\r"))
            if is_passed or not _may_greet(line):
                passed += line
                is_passed, undecided = not ends, b""
            else:
                undecided = b"" if ends else line
        if _END in chunk:  # nothing will make a greeting of it
            passed += undecided
            is_passed, undecided = is_passed or bool(undecided), b""
        _write(target, passed)
        if _END in chunk:
            _write(answering, _END)
    if not undecided.startswith(GREETINGS):
        _write(target, undecided)


def _may_greet(line: bytes) -> bool:
    """Tell whether a line, or what has come of it, begins as a greeting does."""
    return any(line.startswith(greeting[: len(line)]) for greeting in GREETINGS)


def _write(target: int, content: bytes) -> None:
    while content:
        content = content[os.write(target, content) :]


if __name__ == "__main__":
    pass_on(sys.stdin.fileno(), sys.stderr.fileno(), sys.stdout.fileno())
