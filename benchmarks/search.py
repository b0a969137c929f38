"""A million windows searched, and heads that learn from answers: times and memory.

    python benchmarks/search.py [--windows 1000000] [--clips 2000] [--answers 500]

Vectors are drawn at random, as long as real ones; each measure is the median of several rounds, in
one process that has just opened the index. Figures go to benchmarks/results_search.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from datetime import time as clock
from pathlib import Path
from typing import Any

import numpy as np

from soundx.embedders.base import EmbedderInfo, Part
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.noise import NoiseFrames
from soundx.modelling.pooling import pooled_widths
from soundx.modelling.ridge import Standardiser
from soundx.modelling.vectors import Vectors
from soundx.review.learning import Clips, Examples, learn
from soundx.search.index import (
    _FORMAT,
    DIMS,
    IndexedRecording,
    Projection,
    WindowIndex,
    _State,
    _write_projection,
)
from soundx.search.query import Filter, search

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results_search.json"
ROUNDS = 7
LABELS = 20
PARTS = (
    Part("embedding", 1024, ("mean", "max"), root=True),
    *(Part(f"layer_24_{name}", 1024, ("max",), root=True) for name in ("mean", "std")),
    *(Part(f"layer_14_{name}", 512, ("max",), root=True) for name in ("mean", "std")),
    *(Part(f"layer_9_{name}", 256, ("max",), root=True) for name in ("mean", "std")),
)
INFO = EmbedderInfo("YAMNet", "yamnet-0", 4608, 0.96, 0.48, parts=PARTS)


def median_s(work: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Return the median time of some work, in seconds."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def peak_mib() -> float:
    """Return the most memory that was ever resident, files that were mapped among it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def own_mib() -> float:
    """Return memory that is the process's own: mapped files are the system's to take back."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("RssAnon:")[2].split()[0]) / 1024


def make_index(folder: Path, n_windows: int, rng: np.random.Generator) -> None:
    """Write an index of random windows, as of recordings of an hour."""
    basis = np.linalg.qr(rng.standard_normal((5632, DIMS)))[0].astype(np.float32)
    standardise = Standardiser(np.zeros(5632, np.float32), np.ones(5632, np.float32))
    per_recording = 3750
    recordings = []
    folder.mkdir()
    with (folder / "vectors.f32").open("wb") as file:
        for number, first in enumerate(range(0, n_windows, per_recording)):
            n = min(per_recording, n_windows - first)
            content = rng.standard_normal((n, DIMS), dtype=np.float32).tobytes()
            file.write(content)
            clock = f"2024-05-{1 + number // 24 % 28:02d}T{number % 24:02d}:00:00"
            checksum = zlib.crc32(content)
            facts = (f"{number:064x}", f"/nights/{number}.wav", clock, 3600.0, 2 * n + 1, 6)
            recordings.append(IndexedRecording(*facts, first, n, checksum))
    projection = Projection(standardise, basis)
    fields = {
        "format": _FORMAT, "fingerprint": INFO.fingerprint, "window_frames": 3, "stride_frames": 2,
        "window_s": 1.92, "hop_s": 0.48, "n_clips": 0, "n_frames": 2 * n_windows,
        "projection": _write_projection(folder, projection),
    }  # fmt: skip
    _State(fields, projection, recordings).write(folder)


def learning(n_clips: int, n_answers: int, rng: np.random.Generator) -> dict[str, float]:
    """Time heads that learn clips and answers whose vectors were read before."""
    dim = sum(pooled_widths(PARTS))
    centres = rng.standard_normal((LABELS, dim), dtype=np.float32)

    def examples(n: int, groups: int) -> Examples:
        targets = rng.integers(0, LABELS, n)
        whole = 0.3 * centres[targets] + rng.standard_normal((n, dim), dtype=np.float32)
        owners = np.repeat(np.arange(n), 2)
        windows = whole[owners] + 0.1 * rng.standard_normal((2 * n, dim), dtype=np.float32)
        names = tuple(f"label_{target}" for target in targets)
        return Examples(
            Vectors(np.arange(n), whole, owners, windows), names,
            tuple(f"{groups}-{i % groups}" for i in range(n)),
        )  # fmt: skip

    known = examples(n_clips, n_clips // 3)
    categories = {label: label for label in known.labels}
    frames = np.abs(rng.standard_normal((37, 10, 4608), dtype=np.float32))
    clips = Clips(INFO, known, categories, NoiseFrames("yamnet-0", frames), TrainingOptions())
    answered = examples(n_answers, 20)
    return {"learn_s": median_s(lambda: learn(clips, answered), 5)}


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description="Search and learning: times and memory.")
    parser.add_argument("--windows", type=int, default=1_000_000)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--answers", type=int, default=500)
    options = parser.parse_args()
    rng = np.random.default_rng(7)
    found: dict[str, float] = {"windows": options.windows}
    with tempfile.TemporaryDirectory(prefix="soundx-bench-", dir=ROOT / "build") as scratch:
        folder = Path(scratch) / "windows"
        make_index(folder, options.windows, rng)
        before = own_mib()
        begin = time.perf_counter()
        index = WindowIndex(folder)
        _ = index.lengths
        found["open_s"] = time.perf_counter() - begin
        question = index.vectors([7])
        night = Filter(hours=(clock(22), clock(4)), leave_out=range(0, 5000, 10))
        found["search_s"] = median_s(lambda: search(index, question, n=50))
        found["filtered_s"] = median_s(lambda: search(index, question, n=50, where=night))
        like, unlike = index.vectors(range(40)), index.vectors(range(100, 110))
        found["more_less_s"] = median_s(lambda: search(index, like, unlike=unlike, n=50))
        weights = rng.standard_normal((DIMS, LABELS), dtype=np.float32)
        found["score_heads_s"] = median_s(lambda: index.scores(weights), 3)
        found["own_memory_mib"] = own_mib() - before
        found["index_file_mib"] = (folder / "vectors.f32").stat().st_size / 2**20
    found |= {"clips": options.clips, "answers": options.answers}
    found |= learning(options.clips, options.answers, rng)
    for name, value in found.items():
        print(f"{name:16} {value:12,.3f}")
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
