"""Judges many files in processes that may die, hang or grow, and tells of which file they did."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.worker import AT, MAX_BYTES, NOBODY, family_of

ROOT = Path(__file__).parents[2]
MAX_S = 10.0
_LOOK_EVERY_S = 0.05
_MUTANTS_AT_ONCE = 50


@dataclass(frozen=True)
class Finding:
    """What became of a file.

    Attributes:
        number: Which one.
        kind: What soundx did not bear, in words that like findings share; empty where it did.
        more: What else is known.
    """

    number: int
    kind: str
    more: str


def judge_files(
    files: Iterable[Path],
    *,
    processes: int = 1,
    judge: str = "tests.fuzz.judge",
    max_s: float = MAX_S,
) -> list[Finding]:
    """Judge files; return what became of each, in order.

    Args:
        files: The files.
        processes: How many to judge at once.
        judge: The module whose ``judge`` does it.
        max_s: How long a way to decode one may take.
    """
    paths = [str(file) for file in files]
    said = {"files": paths, "judge": judge, "max_s": max_s}
    jobs = [{**said, "first": n, "last": n + 1} for n in range(len(paths))]
    return sorted(_judge(jobs, processes), key=lambda finding: finding.number)


def judge_mutants(
    seed: int,
    numbers: range,
    families: tuple[str, ...],
    *,
    processes: int = 1,
    max_s: float = MAX_S,
) -> Iterator[Finding]:
    """Judge mutants; yield findings as they come."""
    said = {"seed": seed, "families": families, "max_s": max_s}
    jobs = [
        {**said, "first": n, "last": min(n + _MUTANTS_AT_ONCE, numbers.stop)}
        for n in range(numbers.start, numbers.stop, _MUTANTS_AT_ONCE)
    ]
    return _judge(jobs, processes)


def _judge(jobs: list[dict[str, Any]], processes: int) -> Iterator[Finding]:
    todo: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for job in jobs:
        todo.put(job)
    found: queue.SimpleQueue[Finding | BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            while not todo.empty():
                with contextlib.suppress(queue.Empty), _Process() as process:
                    while True:
                        for finding in process.carry_out(todo.get_nowait(), todo):
                            found.put(finding)
                        if process.is_dead:
                            break
        except BaseException as error:  # told where it is waited for
            found.put(error)
        finally:
            found.put(None)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(processes)]
    for thread in threads:
        thread.start()
    n_ended = 0
    while n_ended < processes:
        finding = found.get()
        if isinstance(finding, BaseException):
            raise finding
        if finding is None:
            n_ended += 1
        else:
            yield finding


class _Process:
    """One worker in a folder of its own, in memory where the system has one."""

    def __init__(self) -> None:
        shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(prefix="soundx-fuzz-", dir=shared)
        folder = Path(self._folder.name)
        (folder / "at").write_bytes(AT.pack(NOBODY, 0.0))
        with (folder / "at").open("rb") as file:
            self._at = mmap.mmap(file.fileno(), AT.size, prot=mmap.PROT_READ)
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder),
        }
        self._told = folder / "told"
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.worker", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=ROOT, env=environment, text=True, start_new_session=True,
        )  # fmt: skip
        self._why_killed = ""
        self._max_s = MAX_S
        self._is_over = threading.Event()
        if not self._process.stdout.readline():
            raise RuntimeError(f"no worker: {self._process.stderr.read()}")
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._watch.join()
        self._kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self._folder.cleanup()

    @property
    def is_dead(self) -> bool:
        return self._process.poll() is not None

    def carry_out(
        self, job: dict[str, Any], todo: queue.SimpleQueue[dict[str, Any]]
    ) -> Iterator[Finding]:
        """Yield what is found; where the worker dies, put back what is left of the job."""
        self._max_s = job.get("max_s", MAX_S)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        for line in self._process.stdout:
            answer = json.loads(line)
            if "done" in answer:
                return
            yield Finding(**answer)
        code = self._process.wait()
        number, _ = AT.unpack(self._at[:])
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        said = self._told.read_text(errors="replace")[-600:]
        yield Finding(
            number, self._why_killed or f"dies of {how}", "" if self._why_killed else said
        )
        if number == NOBODY:
            raise RuntimeError(f"a worker died between two files ({how}): {said}")
        if number + 1 < job["last"]:
            todo.put({**job, "first": number + 1})

    def _look(self) -> None:
        """Kill a worker that hangs or grows."""
        while not self._is_over.wait(_LOOK_EVERY_S):
            number, since = AT.unpack(self._at[:])
            if number == NOBODY or self.is_dead:
                continue
            if sum(map(_resident_bytes, family_of(self._process.pid))) > MAX_BYTES:
                self._kill("over 1 GB")
            elif time.monotonic() - since > self._max_s:
                self._kill(f"hangs for {self._max_s:g} s")

    def _kill(self, why: str = "") -> None:
        self._why_killed = self._why_killed or why
        # the worker before its decoder: it must not go on to the next file
        for each in family_of(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)


def _resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
