"""A process that judges files one after another, and may die of one: ``tests.fuzz.driver`` watches.

    python -m tests.fuzz.worker FOLDER < JOBS

A line on stdin, as JSON, says which files to judge; a line on stdout what was found; ``FOLDER/at``
holds the number of the file that is being judged, and since when.
"""

from __future__ import annotations

import functools
import importlib
import json
import mmap
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

AT = struct.Struct("<qd")
NOBODY = -1
MAX_BYTES = 1 << 30


def peak_bytes(pid: int) -> int:
    """Return the largest memory of a process and its children since it was last asked."""
    largest = 0
    for each in family_of(pid):
        try:
            status = Path(f"/proc/{each}/status").read_text()
            largest += 1024 * int(status.partition("VmHWM:")[2].split()[0])
            Path(f"/proc/{each}/clear_refs").write_text("5")
        except (OSError, IndexError):
            continue  # it has ended
    return largest


def family_of(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    for each in found:
        try:
            for children in Path(f"/proc/{each}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        except OSError:
            continue
    return found


def main(folder: Path) -> None:
    """Judge what stdin names."""
    from tests.fuzz import mutants

    told = (folder / "told").open("w+b")
    answers = os.fdopen(os.dup(1), "w")
    for descriptor in (1, 2):  # what libraries print
        os.dup2(told.fileno(), descriptor)
    with (folder / "at").open("r+b") as file:
        at = mmap.mmap(file.fileno(), AT.size)

    def begin(number: int) -> None:
        # who watches may read in between: at worst a number with the time of another, which is not
        # long ago; pack_into would write zeros first
        at[:] = AT.pack(number, time.monotonic())

    begin(NOBODY)
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        judge = importlib.import_module(job.get("judge", "tests.fuzz.judge"))
        for number in range(job["first"], job["last"]):
            if "files" in job:
                path = Path(job["files"][number])
            else:
                made = mutants.mutant(job["seed"], number, tuple(job["families"]))
                path = folder / f"{number}.{made.suffix}"
                path.write_bytes(made.content)
            kind, more = judge.judge(path, functools.partial(begin, number))
            begin(NOBODY)
            peak = peak_bytes(os.getpid())
            if not kind and peak > MAX_BYTES:
                kind, more = "over 1 GB", f"{peak / 2**30:.1f} GiB"
            n_told = os.fstat(2).st_size
            if n_told:
                said = os.pread(2, 300, 0).decode(errors="replace").strip()
                os.ftruncate(2, 0)
                os.lseek(2, 0, os.SEEK_SET)
                if not kind:
                    kind, more = "prints on the terminal", f"{n_told} bytes: {said}"
            if kind or "files" in job:
                found: dict[str, Any] = {"number": number, "kind": kind, "more": more[:400]}
                print(json.dumps(found), file=answers, flush=True)
            if "files" not in job:
                path.unlink(missing_ok=True)
        print(json.dumps({"done": job["last"]}), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
