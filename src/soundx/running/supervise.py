"""Run one command for the viewer and note how it ended.

The viewer starts ``python -m soundx.running.supervise FOLDER LOCK`` in a session of its own,
so that a run outlives the server that started it. The lock that stands for the run is open
in this process and in the command alike: it is free when both are gone, however they went.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from soundx.storage.whole import whole_file

RUN, PROCESS, END = "run.json", "process.json", "end.json"
"""What was started, which process it is, how it ended: files of a run's folder."""


def supervise(folder: Path, lock: int) -> None:
    """Run the command of ``run.json``, wait for it, write ``end.json``.

    Args:
        folder: The run's folder.
        lock: Descriptor of the lock, which the command is to hold too.
    """
    # ignored in what a shell put into the background, and then in all it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = json.loads((folder / RUN).read_text())["command"]
    # a group of its own: it is stopped whole, and this process lives to tell
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0, pass_fds=[lock])
    write_json(folder / PROCESS, {"pid": process.pid, "birth": birth_of(process.pid)})
    exit_code = process.wait()
    write_json(folder / END, {"exit_code": exit_code, "ended": datetime.now(UTC).isoformat()})


def birth_of(pid: int) -> str | None:
    """Return when a process began, in the system's own terms, or None where there is none.

    A process id is used again; together with this it stands for one process.
    """
    if Path("/proc/self/stat").exists():
        try:
            # the name, in parentheses, may hold anything
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        except (FileNotFoundError, ProcessLookupError):
            return None
    listed = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout.strip() or None


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    supervise(Path(sys.argv[1]), int(sys.argv[2]))
