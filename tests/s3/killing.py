"""A program, killed at random moments of the time it takes, however fast the machine is."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT


class RandomKills:
    """Runs a program that says when it is ready, and kills it, mostly, before it has ended.

    The moments are drawn from 0 to a little more than the time it takes. That is learnt: by runs
    that end, and by runs that are killed, which say that it takes longer. So neither can
    crowd the other out for ever.

    Parameters
    ----------
    program
        Python source that prints ``ready`` in a line of its own before it begins its work.
    seed
        Of the draws.

    """

    def __init__(self, program: str, seed: int) -> None:
        self.program = program
        self.n_killed = 0
        self._draw = random.Random(seed)
        self._takes_s = 0.5

    def run(self, *arguments: str | Path) -> bool:
        """Run it once with these arguments; tell whether it was killed."""
        with subprocess.Popen(
            [sys.executable, "-c", self.program, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            began = time.monotonic()
            try:
                process.wait(self._draw.uniform(0.0, 1.2) * self._takes_s)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                self._takes_s *= 1.2
                self.n_killed += 1
                return True
            assert process.returncode == 0, process.stderr.read().decode() if process.stderr else ""
            self._takes_s = time.monotonic() - began
            return False
