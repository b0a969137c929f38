"""How well events are found: test clips of a project, planted at known times in noise.

A world is some recordings of ten minutes: pink noise, and, where the project has background clips
of its own, those that nothing was learnt from, end to end. A test clip is planted every twenty
seconds or so, so loud that its sound lies 10 or 0 dB above the bed; the truth is where it sounds.
Beside that an hour of pink noise with nothing in it, at several levels.

    python benchmarks/events.py data [--recordings 3] [--window-s ...]

The project (its data root) has to be trained and evaluated. Figures go to
benchmarks/results_events.json, each project replacing its own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.audio.decoding import decode_clip
from soundx.classifier.bundle import Classifier
from soundx.listening.events import Event
from soundx.listening.listen import Listener, event_rules
from soundx.listening.recordings import find_recordings
from soundx.listening.scores import score_events
from soundx.modelling.noise import coloured_noise

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results_events.json"
MINUTES = 10
EVERY_S = (15.0, 25.0)
BED_DBFS = -35.0
SNRS_DB = (10, 0)
NOISE_DBFS = (-60, -40, -30, -20)


def test_clips(root: Path, *, background: bool) -> list[tuple[str, Path]]:
    """Return label and file of the test clips, or of background that nothing was learnt from."""
    manifest = pd.read_parquet(root / "02_intermediate" / "clip_manifest.parquet")
    splits = pd.read_parquet(root / "05_model_input" / "splits.parquet")
    table = manifest.merge(splits[["clip_id", "split"]], on="clip_id")
    chosen = table[(table["split"] == "test") & ((table["label"] == "") == background)]
    return [(label, root / "01_raw" / path) for label, path in chosen[["label", "path"]].values]


def sounding(clip: Float32) -> Float32:
    """Return a clip from its first to its last sound: within 40 dB of its loudest 50 ms."""
    n = SAMPLE_RATE_HZ // 20
    blocks = clip[: len(clip) // n * n].reshape(-1, n)
    if not len(blocks):
        return clip
    power = np.square(blocks).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 1e-4)
    return clip[loud[0] * n : (loud[-1] + 1) * n]


def rms(samples: Float32) -> float:
    """Return the root mean square, never 0."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) or 1e-9


def plant(
    bed: Float32, clips: list[tuple[str, Path]], snr_db: float, name: str, rng: np.random.Generator
) -> tuple[Float32, list[Event]]:
    """Return a bed with clips in it, and where they are."""
    mixed = bed.copy()
    events: list[Event] = []
    at_s = rng.uniform(3.0, 8.0)
    while True:
        label, path = clips[rng.integers(len(clips))]
        clip = sounding(decode_clip(path))
        first = int(at_s * SAMPLE_RATE_HZ)
        if first + len(clip) > len(bed) - SAMPLE_RATE_HZ:
            return mixed, events
        under = bed[first : first + len(clip)]
        gain = 10 ** (snr_db / 20) * rms(under) / rms(clip)
        mixed[first : first + len(clip)] += np.float32(gain) * clip
        end_s = (first + len(clip)) / SAMPLE_RATE_HZ
        events.append(Event(name, first / SAMPLE_RATE_HZ, end_s, label, label, 1.0, 1.0))
        at_s = end_s + rng.uniform(*EVERY_S)


def beds(root: Path, n_samples: int, rng: np.random.Generator) -> dict[str, Float32]:
    """Return what clips are planted in."""
    level = np.float32(10 ** (BED_DBFS / 20))
    found = {"pink noise": level * coloured_noise(n_samples, 1.0, rng)}
    held_out = [decode_clip(path) for _, path in test_clips(root, background=True)]
    if held_out:
        joined = np.concatenate([clip * (level / rms(clip)) for clip in held_out])
        found["held-out background"] = np.resize(joined, n_samples).astype(np.float32)
    return found


def listen(
    classifier: Classifier, folder: Path, **rules: float
) -> tuple[list[Event], dict[str, float]]:
    """Return the events of all recordings in a folder, and how long each recording is."""
    listener = Listener(classifier, folder / ".heard", event_rules(classifier, **rules))
    found: list[Event] = []
    durations_s = {}
    for prediction in listener.listen(find_recordings([str(folder)])):
        found += prediction.events
        durations_s[prediction.recording.file] = prediction.recording.duration_s
    return found, durations_s


def main() -> None:
    """Make the worlds, listen to them, tell how well."""
    parser = argparse.ArgumentParser(description="How well events are found.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--recordings", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--off-share", type=float, nargs="*", default=[])
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    classifier = Classifier.of_folder(options.root / "06_models" / "classifier", threads=1)
    clips = test_clips(options.root, background=False)
    n_samples = MINUTES * 60 * SAMPLE_RATE_HZ
    results: dict[str, Any] = {
        "labels": len(classifier.labels),
        "window_s": classifier.windowing.window_s,
    }
    with tempfile.TemporaryDirectory(prefix="soundx-bench-") as scratch:
        for bed in beds(options.root, n_samples, rng):
            for snr_db in SNRS_DB:
                folder = Path(scratch) / f"{bed} {snr_db}"
                folder.mkdir()
                truth: list[Event] = []
                for number in range(options.recordings):
                    path = folder / f"{number}.wav"
                    under = beds(options.root, n_samples, rng)[bed]
                    mixed, events = plant(under, clips, snr_db, str(path), rng)
                    soundfile.write(path, np.clip(mixed, -1, 1), SAMPLE_RATE_HZ, "PCM_16")
                    truth += events
                found, durations_s = listen(classifier, folder)
                scores = score_events(found, truth, durations_s)
                results[f"{bed}, {snr_db} dB"] = tell(f"{bed}, {snr_db} dB", scores)
                for share in options.off_share:
                    ends = {
                        label: share * p for label, p in classifier.info["events"]["on"].items()
                    }
                    classifier.info["events"]["off"] = ends
                    again, _ = listen(classifier, folder)
                    tell(f"  off at {share:g} of on", score_events(again, truth, durations_s))
        folder = Path(scratch) / "nothing"
        folder.mkdir()
        for level in NOISE_DBFS:
            noise = coloured_noise(15 * 60 * SAMPLE_RATE_HZ, 1.0, rng)
            loud = np.clip(noise * np.float32(10 ** (level / 20)), -1, 1)
            soundfile.write(folder / f"{-level}.wav", loud, SAMPLE_RATE_HZ, "PCM_16")
        found, durations_s = listen(classifier, folder)
        hours = sum(durations_s.values()) / 3600
        results["false alarms in an hour of pink noise"] = len(found) / hours
        print(f"{len(found)} false alarms in {hours:g} h of pink noise at {NOISE_DBFS} dBFS")
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[options.root.name] = results
    RESULTS.write_text(json.dumps(known, indent=2) + "\n")


def tell(what: str, scores: dict[str, Any]) -> dict[str, float]:
    """Print a line of figures, and return them."""
    figures = {
        "event_f1": scores["event"]["f1"],
        "segment_f1": scores["segment"]["f1"],
        "intersection_f1": scores["intersection"]["f1"],
        "intersection_precision": scores["intersection"]["precision"],
        "intersection_recall": scores["intersection"]["recall"],
        "false_alarms_per_hour": scores["false_alarms_per_hour"],
        "n_true": scores["n_true"],
        "n_found": scores["n_found"],
    }
    print(what, "  ".join(f"{name} {value:.3f}" for name, value in figures.items()), flush=True)
    return figures


if __name__ == "__main__":
    main()
