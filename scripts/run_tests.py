"""The tests of ``make test``, all but the slow ones.

    python scripts/run_tests.py                    in two processes side by side
    python scripts/run_tests.py tests/modelling    what pytest is told, in one

The two halves are the tests of some rooms and of the one run of the demo (tests/conftest.py), told
as they come, and all others, told when both are over.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence

PYTEST = [sys.executable, "-m", "pytest", "-m", "not slow"]


def main(arguments: Sequence[str]) -> int:
    """Run them; return 0 where all passed."""
    if arguments:
        return subprocess.run([*PYTEST, *arguments], check=False).returncode
    others = [*PYTEST, "--half=others", "-o", "cache_dir=.pytest_cache/others"]
    with (
        tempfile.TemporaryFile("w+", prefix="soundx-") as told,
        subprocess.Popen(others, stdout=told, stderr=subprocess.STDOUT) as running,
    ):
        here = subprocess.run([*PYTEST, "--half=demo"], check=False).returncode
        print("The other half:", flush=True)
        there = running.wait()
        told.seek(0)
        print(told.read(), flush=True)
    return here or there


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
