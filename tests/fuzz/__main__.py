"""Tamper with sound files and see what soundx makes of them.

    make fuzz ARGS="--mutants 100000 --seed 1 --formats wav,flac"

Prints how fast it goes and what was found, by kind; each finding is kept in build/fuzz, with its
mutant. The same seed makes the same mutants, as long as the libraries that write sounds stay.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import sys
import time
from pathlib import Path

from tests.fuzz.driver import ROOT, judge_mutants
from tests.fuzz.mutants import mutant
from tests.fuzz.seeds import FAMILIES, seeds

_KEPT_OF_A_KIND = 20


def main() -> int:
    """Return 0 where nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--mutants", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--formats", default=",".join(FAMILIES), help="of " + ", ".join(FAMILIES))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "fuzz")
    options = parser.parse_args()
    families = tuple(options.formats.split(","))
    if unknown := set(families) - set(FAMILIES):
        parser.error(f"no such formats: {', '.join(unknown)}")
    missing = [family for family in families if not seeds((family,))]
    families = tuple(family for family in families if family not in missing)
    if missing:
        print(f"left out, for want of ffmpeg: {', '.join(missing)}")
    print(f"seed {options.seed}, {options.mutants:,} mutants of {', '.join(families)}", flush=True)
    options.keep.mkdir(parents=True, exist_ok=True)
    counts: collections.Counter[str] = collections.Counter()
    begin = time.perf_counter()
    numbers = range(options.first, options.first + options.mutants)
    for finding in judge_mutants(options.seed, numbers, families, processes=options.processes):
        counts[finding.kind] += 1
        if counts[finding.kind] > _KEPT_OF_A_KIND:
            continue
        made = mutant(options.seed, finding.number, families)
        name = f"{options.seed}-{finding.number}"
        (options.keep / f"{name}.{made.suffix}").write_bytes(made.content)
        facts = {
            "kind": finding.kind, "more": finding.more, "made": made.name, "seed": options.seed,
            "number": finding.number, "formats": families,
        }  # fmt: skip
        (options.keep / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")
        print(f"  {finding.number}: {finding.kind} ({made.name}, .{made.suffix})", flush=True)
    seconds = time.perf_counter() - begin
    print(
        f"{options.mutants:,} mutants in {seconds:.0f} s, {options.mutants / seconds:.0f} a second"
    )
    for kind, count in counts.most_common():
        print(f"{count:6d}  {kind}")
    print(f"{counts.total()} findings" + (f", kept in {options.keep}" if counts else ""))
    return 1 if counts else 0


if __name__ == "__main__":
    sys.exit(main())
