from __future__ import annotations

import fcntl
import os
import select
import sys
from pathlib import Path

import pytest

PATIENCE_S = 120

# counting.py is also run as a script, and its class found by workers, under that name
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def pipe(tmp_path):
    """A pipe's path and a file to read it: nobody has to wait or to look again.

    It holds a page, so whoever tells of clips comes no more than 16 of them ahead of us.
    """
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        pytest.skip("needs Linux's pipes")
    path = tmp_path / "pipe"
    os.mkfifo(path)
    # opened for writing too, so that it never ends
    with os.fdopen(os.open(path, os.O_RDWR), "rb", buffering=0) as file:
        fcntl.fcntl(file, fcntl.F_SETPIPE_SZ, 4096)
        yield str(path), Lines(file)


class Lines:
    def __init__(self, file):
        self.file = file
        self.rest = b""

    def take(self):
        """Return (process, samples) of the next clip that was embedded."""
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.file], [], [], PATIENCE_S)
            assert ready, "nobody tells of clips any more"
            self.rest += os.read(self.file.fileno(), 4096)
        line, self.rest = self.rest.split(b"\n", 1)
        return tuple(map(int, line.split()))

    def widen(self):
        """Let the teller go on without us: the pipe now holds 4000 lines."""
        fcntl.fcntl(self.file, fcntl.F_SETPIPE_SZ, 2**20)

    def take_what_is_there(self):
        os.set_blocking(self.file.fileno(), False)
        try:
            while chunk := os.read(self.file.fileno(), 65_536):
                self.rest += chunk
        except BlockingIOError:
            pass
        os.set_blocking(self.file.fileno(), True)
        lines, self.rest = self.rest.splitlines(), b""
        return [tuple(map(int, line.split())) for line in lines]
