"""No file that was tampered with brings soundx down: what was found before, and some mutants."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.fuzz import mutants
from tests.fuzz.cases import CASES, FINDINGS, SLOW
from tests.fuzz.driver import Finding, judge_files, judge_mutants
from tests.fuzz.seeds import FAMILIES, seeds

# all but those that a process of ffmpeg's own decodes
QUICK = tuple(family for family in FAMILIES[:10] if family != "caf")
KEPT = sorted(path for path in FINDINGS.glob("*.*"))
PATIENT_S = 120.0
"""Other tests want to compute as well: what takes 5 s of processor time may take a minute."""

MUTANTS = [
    (1, 150),
    pytest.param(2, 5000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finding]:
    """What becomes of each case, and of each kept finding, by its name."""
    files = {path.name: path for path in KEPT}
    for name, (make, _) in CASES.items():
        if name not in SLOW:
            files[name] = make(tmp_path_factory.mktemp(name))
    return dict(zip(files, judge_files(files.values(), processes=2, max_s=PATIENT_S), strict=True))


def check(name: str, said: Finding) -> None:
    assert not said.kind, said
    _, outcome = CASES[name]
    if outcome:
        assert said.more.startswith("refused") == (outcome == "refused"), said


@pytest.mark.parametrize("name", sorted(CASES.keys() - SLOW))
def test_what_was_found_before_is_borne(judged, name):
    check(name, judged[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SLOW))
def test_what_takes_its_time_is_borne(tmp_path, name):
    make, _ = CASES[name]
    (said,) = judge_files([make(tmp_path)], max_s=PATIENT_S)
    check(name, said)


@pytest.mark.parametrize("name", [path.name for path in KEPT])
def test_what_was_kept_is_borne(judged, name):
    assert not judged[name].kind, judged[name]


@pytest.mark.parametrize(("seed", "count"), MUTANTS)
def test_mutants_are_borne(seed, count):
    families = FAMILIES if count > 1000 and shutil.which("ffmpeg") else QUICK

    def found(numbers):
        return list(judge_mutants(seed, numbers, families, processes=2, max_s=PATIENT_S))

    # limits are on time and memory, and other tests want both: what is wrong is wrong again
    once = found(range(count))
    assert not [each for each in once if found(range(each.number, each.number + 1))], once


@pytest.mark.slow
def test_the_harness_finds_every_fault_that_it_is_there_for(tmp_path):
    faults = {
        "good": "",
        "crash": "dies of signal SIGSEGV",
        "exit": "dies of exit code 3",
        "hang": "hangs for 7 s",
        "grow": "over 1 GB",
        "peak": "over 1 GB",
        "print": "prints on the terminal",
        "complain": "prints on the terminal",
        "differ": "samples that are not finite",
        "good too": "",
    }
    found = judge_files(
        [tmp_path / f"{name}.wav" for name in faults],
        processes=2,
        judge="tests.fuzz.planted",
        max_s=7.0,  # a busy machine takes seconds to hand out a gigabyte
    )
    assert {name: said.kind for name, said in zip(faults, found, strict=True)} == faults


def test_a_mutant_is_known_by_its_seed_and_number():
    code = (
        "from tests.fuzz.mutants import mutant; import hashlib;"
        f"made = [mutant(7, n, {QUICK!r}) for n in range(60)];"
        "print(hashlib.sha256(b''.join(m.content + m.suffix.encode() for m in made)).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    made = [mutants.mutant(7, number, QUICK) for number in range(60)]
    here = hashlib.sha256(b"".join(m.content + m.suffix.encode() for m in made)).hexdigest()
    assert there.stdout.strip() == here
    assert len({m.content for m in made}) > 50


def test_what_mutants_are_made_of_is_whole(tmp_path):
    files = []
    for number, seed in enumerate(seeds(QUICK)):
        files.append(tmp_path / f"{number}.{seed.suffix}")
        files[-1].write_bytes(seed.content)
    for seed, said in zip(
        seeds(QUICK), judge_files(files, processes=2, max_s=PATIENT_S), strict=True
    ):
        assert not said.kind, (seed.name, said)
        assert said.more.startswith("ClipInfo"), (seed.name, said)


def test_everything_kept_is_small():
    assert all(Path(path).stat().st_size < 12_000 for path in KEPT)
    assert np.sum([path.stat().st_size for path in KEPT]) < 200_000
