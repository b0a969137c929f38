"""A run prints its own lines alone, and loses no error of those it calls."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys

import pytest

from soundx.running.quiet import GREETINGS
from tests.conftest import ROOT

GREETING = "I0000 00:00:1795546334.993351   25167 port.cc:153] oneDNN custom operations are on.\n"

# where a test goes on, fds 1 and 2 are those of a run
BEGINNING = """
import ctypes, faulthandler, os, subprocess, sys
from soundx.running.quiet import greetings_withheld
libc = ctypes.CDLL(None)
"""


def start(body: str, *, level: str = "3", **streams: object) -> subprocess.Popen:
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return subprocess.Popen(
        [sys.executable, "-c", f"{BEGINNING}with greetings_withheld():\n{lines}sys.exit('over')"],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": level, "PYTHONPATH": str(ROOT / "src")},
        **{"stderr": subprocess.PIPE, "text": True, **streams},
    )


def said(body: str, **options: str) -> str:
    """Return what arrives on standard error, after which the script says that it is over."""
    return start(body, **options).communicate()[1]


@pytest.mark.parametrize("greeting", [*(g.decode() + " ...\n" for g in GREETINGS), GREETING])
def test_greetings_are_withheld_and_their_neighbours_are_not(greeting):
    content = f"before\n{greeting}after\n".encode()
    assert said(f"os.write(2, {content!r})") == "before\nafter\nover\n"


def test_a_greeting_in_pieces_is_one():
    body = "\n".join(f"os.write(2, {bytes([byte])!r})" for byte in GREETING.encode())
    assert said(body) == "over\n"


@pytest.mark.parametrize(
    "line",
    [
        "E0000 00:00:1.2 3 cuda.cc] out of memory\n",
        "WARNING: disk full\n",
        "I\n",
        "INFO: no\n",
        "W",
    ],
)
def test_what_only_resembles_a_greeting_arrives(line):
    assert said(f"os.write(2, {line.encode()!r})") == f"{line}over\n"
    assert said(f"os.write(2, {line.encode()!r}); os._exit(1)") == line


def test_who_wants_tensorflows_notes_gets_them():
    assert said(f"os.write(2, {GREETING.encode()!r})", level="0") == f"{GREETING}over\n"


def test_an_error_of_c_code_arrives_in_its_place():
    body = """
        print("first", file=sys.stderr)
        ctypes.set_errno(0); libc.perror(b"third party")
    """.replace("        ", "")
    first, second, last = said(body).splitlines()
    assert (first, second.partition(":")[0], last) == ("first", "third party", "over")


def test_a_traceback_arrives_whole():
    told = said("1 / 0")
    assert told.startswith("Traceback")
    assert told.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("os.abort()", "terminate called"),
        ("os._exit(1)", "terminate called"),
        ("os.kill(os.getpid(), 9)", "terminate called"),
        ("faulthandler.enable(); ctypes.string_at(0)", "Segmentation fault"),
        ("faulthandler.enable(file=2); ctypes.string_at(0)", "Segmentation fault"),
    ],
)
def test_last_words_of_a_crash_arrive(end, message):
    run = start(f"os.write(2, b'terminate called'); {end}")
    assert message in run.communicate()[1]
    assert run.returncode != 0


def test_what_a_process_of_the_run_says_arrives():
    assert said("subprocess.run(['sh', '-c', 'echo no such file >&2'])") == "no such file\nover\n"


def test_a_process_that_is_left_behind_keeps_nobody_waiting_and_is_heard():
    run = start("subprocess.Popen(['sh', '-c', 'read x; echo late >&2'])", stdin=subprocess.PIPE)
    assert run.wait(timeout=60) == 1
    assert run.communicate("go on\n")[1] == "over\nlate\n"


def test_at_a_terminal_python_still_sees_one():
    ours, terminal = pty.openpty()
    run = start("print(sys.stderr.isatty(), file=sys.stderr)", stderr=terminal)
    os.close(terminal)
    run.wait(timeout=60)
    assert os.read(ours, 100) == b"True\r\nover\r\n"
    os.close(ours)


# a log line, what goes on from the line above (as the summary does), a progress bar, a heading
OURS = re.compile(
    r"\[\S+ \S+\] (INFO|WARNING) +\S| +\S"
    r"|.{28} [━╸╺ ]+ \d+/\d+ \d:\d\d:\d\d (\d:\d\d:\d\d|-:--:--)\s*$|─+ soundx ─+$"
)


@pytest.mark.slow
def test_a_run_prints_no_line_that_is_not_ours(demo, tmp_path):
    shutil.copytree(demo, tmp_path / "data")
    params = f"data_root={tmp_path / 'data'},embedder=logmel,training.max_epochs=2"
    names = "--pipelines=training,evaluation"
    done = subprocess.run(
        [sys.executable, "-m", "kedro", "run", "--env=demo", names, f"--params={params}"],
        cwd=ROOT,
        # as at a terminal: no level that a test has asked for
        env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
        | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.strip() and not OURS.match(line)] == []
    assert any("Training (ridge) on" in line for line in lines)
    assert "accuracy" in done.stdout
