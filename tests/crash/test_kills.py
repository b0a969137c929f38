"""Runs killed at random moments: what the next run leaves is what an undisturbed one leaves.

``SOUNDX_KILLS`` says how many kills a pipeline (``make crash KILLS=50``), ``SOUNDX_CRASH_SEED``
repeats a run of this test.
"""

from __future__ import annotations

import os
import random
import shutil
import sys

import pytest

from tests.crash.harness import PIPELINES, state_of

KILLS = int(os.environ.get("SOUNDX_KILLS", "3"))
SEED = int(os.environ.get("SOUNDX_CRASH_SEED", random.SystemRandom().randrange(10_000)))


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    names = sorted(found.keys() | expected.keys())
    return [name for name in names if found.get(name) != expected.get(name)]


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_after_a_kill_the_next_run_leaves_what_an_undisturbed_one_leaves(
    runs, stages, tmp_path, pipeline
):
    known = stages.up_to(pipeline)
    draw = random.Random(f"{SEED} {pipeline}")
    killed = 0
    for number in range(KILLS):
        root = tmp_path / f"{number}"
        shutil.copytree(known.before[pipeline], root)
        after_s = draw.uniform(0.0, known.seconds[pipeline])
        how = f"SOUNDX_CRASH_SEED={SEED}, {pipeline}, kill {number} after {after_s:.3f} s"
        ended = runs.run(pipeline, root, kill_after_s=after_s)
        assert ended.status in (0, -9), f"{how}: {ended.said}"
        killed += ended.status == -9
        again = runs.run(pipeline, root)
        assert again.status == 0, f"{how}: {again.said}"
        assert differences(state_of(root), known.after[pipeline]) == [], how
        shutil.rmtree(root)
    # shown by pytest -s, as make crash calls it
    sys.stdout.write(f"{pipeline}: {killed} of {KILLS} runs killed, SOUNDX_CRASH_SEED={SEED}\n")
