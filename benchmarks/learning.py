"""Time and measure learning from stored frames, each in a process of its own.

    python benchmarks/learning.py [CASE ...]

Cases: cross_validation (2,000 clips of 50 labels, ten frames each, all of the pipeline), heads (the
final model of the same clips), many (100,000 clips of one frame each; memory). Frames are drawn at
random, as wide as YAMNet's with its layers: what they say does not matter here. Results go to
benchmarks/results_learning.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results_learning.json"


def stored(folder: Path, n_clips: int, n_labels: int, n_frames: int) -> tuple[Any, pd.DataFrame]:
    """Return a store of made frames, and a manifest of the clips."""
    from soundx.embedders import EmbedderInfo
    from soundx.embedders.yamnet import YamnetEmbedder
    from soundx.embeddings.missing import EmbeddingOptions
    from soundx.embeddings.store import EmbeddingStore
    from soundx.storage.folder import Folder

    plain = YamnetEmbedder(layers=EmbeddingOptions().layers)
    info = EmbedderInfo("made", "made-1", plain.dim, 0.96, 0.48, parts=plain.parts)
    store = EmbeddingStore(Folder(str(folder)))
    rng = np.random.default_rng(7)
    centres = rng.random((n_labels, plain.dim), np.float32)
    ids = [f"{number:064x}" for number in range(n_clips)]
    for first in range(0, n_clips, 1000):
        clips = {}
        for number in range(first, min(first + 1000, n_clips)):
            noise = rng.random((n_frames, plain.dim), np.float32)
            clips[ids[number]] = 0.1 * centres[number % n_labels] + noise
        store.of(info).add_shard(clips)
    store.set_current(info)
    manifest = pd.DataFrame({"clip_id": ids, "path": ids})
    manifest["label"] = [f"L{number % n_labels:02d}" for number in range(n_clips)]
    manifest["category"], manifest["group"] = manifest["label"], manifest["clip_id"]
    manifest["fold"] = pd.array([pd.NA] * n_clips, "Int64")
    manifest["duration_s"], manifest["evaluation_only"] = 5.0, False
    return store, manifest


def cross_validation(folder: Path) -> dict[str, Any]:
    """Cross-validate 2,000 clips of 50 labels, with all that it reports."""
    from soundx.modelling.folds import CrossValidationOptions
    from soundx.modelling.heads import TrainingOptions
    from soundx.modelling.rejection import RejectionOptions
    from soundx.pipelines.cross_validation import nodes

    store, manifest = stored(folder, 2000, 50, 10)
    begin = time.perf_counter()
    folds = nodes.deal_folds(manifest, store, CrossValidationOptions())
    table = nodes.predict_out_of_fold(folds, store, TrainingOptions(learn_noise=False))
    nodes.score_cross_validation(
        table, manifest, store, TrainingOptions(learn_noise=False), RejectionOptions()
    )
    return {"seconds": time.perf_counter() - begin}


def heads(folder: Path, n_clips: int = 2000, n_frames: int = 10) -> dict[str, Any]:
    """Train the final model."""
    from soundx.modelling.heads import TrainingOptions
    from soundx.modelling.rejection import RejectionOptions
    from soundx.pipelines.preprocessing.nodes import build_model_input
    from soundx.pipelines.training.nodes import train_heads

    store, manifest = stored(folder, n_clips, 50, n_frames)
    splits = manifest[["clip_id", "group"]].assign(split="train")
    splits.loc[::7, "split"], splits.loc[3::7, "split"] = "validation", "test"
    tables, _ = build_model_input(manifest, splits, store)
    import keras  # noqa: F401  its start-up is not what is timed

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begin = time.perf_counter()
    train_heads(tables, store, TrainingOptions(learn_noise=False), RejectionOptions())
    return {"seconds": time.perf_counter() - begin, "before_mib": before}


def many(folder: Path) -> dict[str, Any]:
    """Train on 100,000 clips of one frame each."""
    return heads(folder, 100_000, 1)


CASES = {"cross_validation": cross_validation, "heads": heads, "many": many}


def main() -> None:
    """Run the cases, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        with tempfile.TemporaryDirectory() as folder:
            figures = CASES[options.child](Path(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**figures, "peak_mib": peak}))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for case in options.cases:
        command = [sys.executable, __file__, "--child", case]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        results[case] = json.loads(done.stdout.strip().splitlines()[-1])
        print(case, {name: round(value, 1) for name, value in results[case].items()})
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
