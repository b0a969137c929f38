"""Time listening, beside the way soundx replaces and the network alone; ratios within one run.

    SOUNDX_YAMNET=DIR python benchmarks/listening.py data [--rounds 7] [--minutes 120]

The project (its data root) has to be trained on YAMNet's embeddings. Warm: milliseconds for a
second of sound, the ways in turn, medians. Whole process: ``soundx predict`` on one clip of five
seconds and on a WAV of two hours, with its peak memory, decoding workers included. The seed's way
is the general head's TFLite file and then the specific one, each with its own YAMNet. Figures go
to benchmarks/results_listening.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from soundx.audio import SAMPLE_RATE_HZ, framing
from soundx.classifier.bundle import Classifier, head_files
from soundx.classifier.options import ExportOptions
from soundx.embedders import EmbedderSettings, load_embedder
from soundx.embedders.base import with_layers_of
from soundx.labels import GENERAL
from soundx.listening.windows import PIECE_ROWS, hear

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results_listening.json"
CLIP_S, PIECES = 5, 8
BIRDNET_TIMES_REAL_TIME = 147  # published by BirdNET-Analyzer


def exported_with_heads(root: Path) -> Classifier:
    """Return the project's newest heads, exported with a file for each."""
    from soundx.classifier.export import export_classifier
    from soundx.datasets.models import KerasHeadsDataset

    heads = KerasHeadsDataset(path=str(root / "06_models" / "heads")).load()
    handle = os.environ.get("SOUNDX_YAMNET", "")
    embedder = load_embedder("yamnet", EmbedderSettings(yamnet_handle=handle))
    embedder = with_layers_of(embedder, heads.embedder)
    return export_classifier(embedder, heads, ExportOptions(heads=True))


def warm(root: Path, rounds: int) -> dict[str, float]:
    """Return milliseconds for a second of sound of each way."""
    files = exported_with_heads(root).files
    one, two = Classifier(files, threads=1), Classifier(files, threads=2)
    names = [GENERAL, next((h for h in one.tree.heads if h != GENERAL), GENERAL)]
    assert all(head_files(one.tree.heads)[name] in files for name in names)
    rng = np.random.default_rng(7)
    clip = (0.1 * rng.standard_normal(CLIP_S * SAMPLE_RATE_HZ)).astype(np.float32)
    n_samples = (PIECES * PIECE_ROWS - 1) * framing.HOP_SAMPLES + framing.MIN_SAMPLES
    long = (0.1 * rng.standard_normal(n_samples)).astype(np.float32)
    embedder: Any = load_embedder(
        "yamnet", EmbedderSettings(yamnet_handle=os.environ.get("SOUNDX_YAMNET", ""))
    )
    patches = np.tile(framing.patches(clip), (16, 1, 1))  # whole batches
    network = embedder.with_layers(one.info["embedder"]["layers"])._network()

    def seed(classifier: Classifier) -> None:
        for name in names:
            classifier.predict_head(name, clip)

    def recording(workers: int) -> None:
        with ThreadPoolExecutor(workers) as threads:
            list(hear([long], one, threads))

    long_s = n_samples / SAMPLE_RATE_HZ
    ways: dict[str, tuple[Callable[[], Any], float]] = {
        "clip, one file, 1 thread": (lambda: one.predict(clip), CLIP_S),
        "clip, the seed's two files, 1 thread": (lambda: seed(one), CLIP_S),
        "clip, one file, 2 threads": (lambda: two.predict(clip), CLIP_S),
        "clip, the seed's two files, 2 threads": (lambda: seed(two), CLIP_S),
        "clip, network alone, 1 thread": (lambda: network(patches), 16 * CLIP_S),
        "recording, 1 at once": (lambda: recording(1), long_s),
        "recording, 2 at once": (lambda: recording(2), long_s),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, (work, seconds) in ways.items():
            repeats = 5 if seconds == CLIP_S else 1
            begin = time.perf_counter()
            for _ in range(repeats):
                work()
            ms = (time.perf_counter() - begin) / repeats * 1000
            if number:  # the first is for warming up
                times[name].append(ms / seconds)
    figures = {name: statistics.median(values) for name, values in times.items()}
    for threads in (1, 2):
        end = f"{threads} thread{'s' if threads > 1 else ''}"
        pairs = zip(
            times[f"clip, the seed's two files, {end}"],
            times[f"clip, one file, {end}"],
            strict=True,
        )
        figures[f"times the seed's way, {end}"] = statistics.median(a / b for a, b in pairs)
    return figures


def peak_mib(process: subprocess.Popen[bytes]) -> float:
    """Return the most memory that a process and what it started held, in MiB, until it ends."""
    most = 0.0
    page = os.sysconf("SC_PAGE_SIZE") / 2**20
    while process.poll() is None:
        held = 0.0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                if int(folder.name) == process.pid or int(fields[1]) == process.pid:
                    held += int((folder / "statm").read_text().split()[1]) * page
            except (OSError, IndexError):
                continue
        most = max(most, held)
        time.sleep(0.05)
    return most


def whole(root: Path, file: Path) -> tuple[float, float]:
    """Return seconds and MiB of ``soundx predict`` on a file, from start to end."""
    with tempfile.TemporaryDirectory(prefix="soundx-bench-") as output:
        command = [sys.executable, "-m", "soundx.listening.command", "predict", str(file)]
        command += ["--model", str(root), "--output", output, "--quiet"]
        begin = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        found: list[float] = []
        watch = threading.Thread(target=lambda: found.append(peak_mib(process)))
        watch.start()
        if process.wait() != 0:
            sys.exit("soundx predict failed")
        seconds = time.perf_counter() - begin
        watch.join()
        return seconds, found[0]


def write(path: Path, seconds: float, rate_hz: int = 44_100) -> Path:
    """Write a WAV of soft noise, piece by piece."""
    rng = np.random.default_rng(7)
    with soundfile.SoundFile(path, "w", rate_hz, 1, "PCM_16") as file:
        left = int(seconds * rate_hz)
        while left:
            n = min(left, 60 * rate_hz)
            file.write(0.05 * rng.standard_normal(n))
            left -= n
    return path


def main() -> None:
    """Time all, print it and keep it."""
    parser = argparse.ArgumentParser(description="Time listening.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=120.0)
    options = parser.parse_args()
    figures: dict[str, float] = warm(options.root, options.rounds)
    for name, value in figures.items():
        print(f"{name:44} {value:8.3f}{'' if 'times' in name else ' ms a second'}", flush=True)
    speed = 1000 / figures["recording, 2 at once"]
    print(f"{speed:.0f} times real time, warm; BirdNET-Analyzer tells {BIRDNET_TIMES_REAL_TIME}")
    with tempfile.TemporaryDirectory(prefix="soundx-bench-") as scratch:
        clip = write(Path(scratch) / "clip.wav", CLIP_S)
        cold = [whole(options.root, clip)[0] for _ in range(5)]
        figures["cold, a clip of 5 s, whole process, s"] = statistics.median(cold)
        long = write(Path(scratch) / "long.wav", 60 * options.minutes)
        seconds, mib = whole(options.root, long)
        figures[f"a WAV of {options.minutes:g} minutes, whole process, s"] = seconds
        figures[f"a WAV of {options.minutes:g} minutes, peak MiB"] = mib
        figures["times real time, whole process"] = 60 * options.minutes / seconds
    for name in list(figures)[-4:]:
        print(f"{name:44} {figures[name]:8.2f}")
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
