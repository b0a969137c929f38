"""Cross-validate ridge, dense and seed side by side, on stored embeddings.

    SOUNDX_YAMNET=DIR python benchmarks/heads.py                 # ../shared/audio, or else the demo
    SOUNDX_YAMNET=DIR python benchmarks/heads.py NAME=CLIPS ...  # sets of yours

Each set is embedded once, below ``build/heads``. Each result is kept in
``benchmarks/results_heads.json`` as soon as it is there, so a run that was killed goes on; what was
measured on other embeddings or with other options is measured anew. ``--print`` only prints.

``joint``, ``routed`` and ``flat`` are three ways to the label: the most probable one, the best one
of the most probable category, and that of heads that know no categories. ``ridge`` and ``dense``
have one model over all labels, so joint and flat are one; of ``seed`` flat is trained beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared/audio"
RESULTS = ROOT / "benchmarks/results_heads.json"
HEADS = ("ridge", "dense", "seed")
FIRST_SEED = 7
STRETCHES = {"0.96 s": 1, "2.4 s": 4}
"""Frames of YAMNet in so much sound."""


def stored(name: str, clips: str, scratch: Path) -> Any:
    """Embed a set once and return its catalog."""
    from soundx.running.catalog import open_catalog

    data = scratch / name
    env = ["--env=demo"] if clips == "demo" else []
    source = "" if clips == "demo" else f",source={Path(clips).resolve()}"
    command = [sys.executable, "-m", "kedro", "run", "--pipelines=ingestion,preprocessing", *env]
    command.append(f"--params=data_root={data.resolve()}{source}")
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    conf = scratch / f".conf-{name}"
    (conf / "conf/local").mkdir(parents=True, exist_ok=True)
    if not (conf / "conf/base").exists():
        (conf / "conf/base").symlink_to(ROOT / "conf/base")
    (conf / "conf/local/globals.yml").write_text(f"data_root: {data.resolve()}\n")
    return open_catalog(conf)


def cross_validate(folds: pd.DataFrame, embedded: Any, options: Any, *, flat: bool) -> Any:
    """Return figures of one head on one way to deal out the folds."""
    from soundx.labels import BACKGROUND
    from soundx.metrics import expected_calibration_error
    from soundx.modelling.cross_validation import Labelled, probabilities_by, train_without

    folds = folds[folds["label"] != BACKGROUND].reset_index(drop=True)
    begun = time.perf_counter()
    known = Labelled.of(folds)
    asked = {"whole": 0, **STRETCHES}
    said = {name: np.zeros((len(folds), known.n_classes)) for name in asked}
    without_tree = np.zeros(len(folds), np.int64)
    trained_s = 0.0
    for fold in np.unique(known.folds):
        held_out = known.folds == fold
        clips = folds.loc[held_out, "clip_id"].tolist()
        frames, counts = embedded.frames(clips), embedded.n_frames(clips)
        start = time.perf_counter()
        trained = train_without(folds, known, embedded, options, held_out)
        trained_s += time.perf_counter() - start
        for name, length in asked.items():
            rows, lengths = _stretches(counts, length, seed=int(fold))
            said[name][held_out] = probabilities_by(
                trained, known, embedded.info.plain_width, frames[rows], lengths
            )
        if flat and options.head == "seed" and not known.tree.is_flat:
            alone = folds.assign(category=folds["label"])
            known_alone = Labelled.of(alone)
            trained = train_without(alone, known_alone, embedded, options, held_out)
            found = probabilities_by(
                trained, known_alone, embedded.info.plain_width, frames, counts
            )
            # labels stand in another order there
            order = [known.tree.labels.index(label) for label in known_alone.tree.labels]
            without_tree[held_out] = np.array(order)[found.argmax(axis=1)]
    right = said["whole"].argmax(axis=1) == known.targets
    sets = {name: float((p.argmax(axis=1) == known.targets).mean()) for name, p in said.items()}
    result: dict[str, Any] = {
        "joint": _over_folds(right, known.folds),
        "routed": _over_folds(known.tree.hard_routed(said["whole"]) == known.targets, known.folds),
        **{name: sets[name] for name in STRETCHES},
        "calibration_error": expected_calibration_error(said["whole"].max(axis=1), right),
        "train_s": trained_s,
        "seconds": time.perf_counter() - begun,
    }
    if options.head != "seed" or known.tree.is_flat:
        result["flat"] = result["joint"]
    elif flat:
        result["flat"] = _over_folds(without_tree == known.targets, known.folds)
    return result


def _over_folds(right: np.ndarray, folds: np.ndarray) -> float:
    return float(np.mean([right[folds == fold].mean() for fold in np.unique(folds)]))


def _stretches(counts: np.ndarray, length: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of a stretch drawn from each clip, and their lengths; 0 for whole clips."""
    if not length:
        return np.arange(int(counts.sum())), counts
    rng = np.random.default_rng(seed)
    lengths = np.minimum(counts, length)
    starts = np.cumsum(counts) - counts + rng.integers(0, counts - lengths + 1)
    rows = [np.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)]
    return np.concatenate(rows), lengths


def measure(
    sets: Mapping[str, str], heads: list[str], seeds: int, scratch: Path, *, flat: bool
) -> None:
    """Measure what is not known yet, the quick first, and keep it."""
    from soundx.modelling.folds import CrossValidationOptions, assign_folds
    from soundx.modelling.heads import TrainingOptions
    from soundx.running.catalog import read_parameters

    logging.getLogger("soundx").setLevel(logging.ERROR)
    conf = read_parameters(ROOT)
    jobs = []
    loaded = {}
    for name, clips in sets.items():
        catalog = stored(name, clips, scratch)
        embedded, manifest = catalog.load("embeddings").current, catalog.load("clip_manifest")
        manifest = manifest[~manifest["clip_id"].isin(list(embedded.rejected))]
        loaded[name] = (embedded, manifest)
        official = bool(manifest.loc[~manifest["evaluation_only"], "fold"].notna().all())
        for head in heads:
            jobs += [(head, "official", FIRST_SEED, name)] * official
            # a fold of this head takes a minute: official folds alone, where there are
            n_seeds = (0 if official else 1) if head == "seed" else seeds
            jobs += [(head, "grouped", FIRST_SEED + n, name) for n in range(n_seeds)]
    # what takes long last, what is drawn once first: a run that is killed has most of the table
    jobs.sort(key=lambda job: (job[0] == "seed", job[1] == "grouped", job[2], heads.index(job[0])))
    for head, way, seed, name in jobs:
        embedded, manifest = loaded[name]
        options = TrainingOptions.model_validate({**conf["training"], "head": head, "seed": seed})
        digest = hashlib.sha256(
            f"{embedded.info.fingerprint} {options.model_dump_json()} {flat}".encode()
        ).hexdigest()[:12]
        place = f"{name}/{head}/{way}/{seed}"
        if read_results().get(place, {}).get("of") == digest:
            continue
        folds = assign_folds(
            manifest,
            CrossValidationOptions.model_validate({"folds": way, "seed": seed}),
        )
        print(f"{place} ...", file=sys.stderr, flush=True)
        with contextlib.redirect_stdout(io.StringIO()):  # progress bars
            found = cross_validate(folds, embedded, options, flat=flat)
        about = {"of": digest, "embedder": embedded.info.name, "n_clips": len(folds)}
        known = {**read_results(), place: {**about, **found}}
        partial = RESULTS.with_suffix(".partial")
        partial.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        partial.replace(RESULTS)


def read_results() -> dict[str, Any]:
    """Return what was measured so far."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def table(sets: Sequence[str] = (), heads: Sequence[str] = HEADS) -> Iterator[str]:
    """Yield the lines of the table of what was measured so far; of every set, if none is named."""
    known = read_results()
    sets = sets or list(dict.fromkeys(place.split("/")[0] for place in known))
    columns = ("joint", "flat", "routed", *STRETCHES, "calibration_error", "train_s")
    titles = ["set", "head", "folds", "joint", "flat", "hard-routed", *STRETCHES]
    titles += ["calibration error", "training, s"]
    yield f"| {' | '.join(titles)} |"
    yield "| --- " * len(titles) + "|"
    for name in sets:
        for head in heads:
            for way in ("official", "grouped"):
                prefix = f"{name}/{head}/{way}/"
                rows = [row for place, row in known.items() if place.startswith(prefix)]
                if not rows:
                    continue
                n = "" if way == "official" else f", {len(rows)} seed{'s'[: len(rows) > 1]}"
                cells = [_cell([row.get(column) for row in rows], column) for column in columns]
                yield f"| {name} | `{head}` | {way}{n} | {' | '.join(cells)} |"


def _cell(values: list[float | None], column: str) -> str:
    found = [value for value in values if value is not None]
    if not found:
        return ""
    places = 1 if column == "train_s" else 3
    mean = f"{statistics.mean(found):.{places}f}"
    spread = f" ± {statistics.stdev(found):.3f}" if len(found) > 1 and column == "joint" else ""
    return mean + spread


def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="NAME=CLIPS", help="folders of labelled clips")
    parser.add_argument("--heads", default=",".join(HEADS), help="which, with commas")
    parser.add_argument("--seeds", type=int, default=3, help="ways to deal out grouped folds")
    parser.add_argument("--flat", action="store_true", help="train seed without categories too")
    parser.add_argument("--scratch", type=Path, default=ROOT / "build/heads")
    parser.add_argument("--print", action="store_true", help="only print what is known")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    given = dict(pair.split("=", 1) for pair in options.sets)
    shared = {name: str(SHARED / name) for name in ("esc10", "philharmonia", "digits")}
    sets = given or {name: clips for name, clips in shared.items() if Path(clips).is_dir()}
    sets = sets or {"demo": "demo"}
    heads = options.heads.split(",")
    if not options.print:
        measure(sets, heads, options.seeds, options.scratch, flat=options.flat)
    print("\n".join(table(list(sets), heads)))


if __name__ == "__main__":
    main()
