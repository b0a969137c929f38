"""How many answers it takes: an oracle answers what each order asks, and the model is tested.

A world is two hours of background with clips of a data set in it, 0 to 10 dB above the bed, whose
labels the oracle alone knows, and an hour of other recordings with other clips, to be tested on.
Nothing is labelled in the beginning. After every ten answers the heads are trained as the review
page does, and tell what windows of the other recordings hold: balanced accuracy over the labels
and background.

    SOUNDX_YAMNET=DIR python benchmarks/review.py CLIPS [--seeds 5] [--background LABEL ...]

CLIPS is a folder of label folders, with groups in metadata.csv where it has one. Figures go to
benchmarks/results_review.json, each data set replacing its own; the picture to docs/images.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from events import rms, sounding

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.audio.decoding import decode_clip
from soundx.embedders import EmbedderSettings, load_embedder
from soundx.embedders.base import with_layers
from soundx.embeddings.missing import EmbeddingOptions, embed_missing
from soundx.embeddings.on_dask import DaskOptions
from soundx.embeddings.store import EmbeddingStore
from soundx.errors import AudioError
from soundx.labels import BACKGROUND
from soundx.listening.recordings import find_recordings
from soundx.modelling.noise import NoiseFrames, coloured_noise, noise_clips
from soundx.review.answers import UNSURE, Answer
from soundx.review.learning import AnswerVectors, Clips, Taught, learn
from soundx.review.queue import Known, Order, Queue, candidates
from soundx.search.index import WindowIndex, build_index
from soundx.search.recordings import RecordingParts, parts_of, scan_recordings
from soundx.storage.folder import Folder

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results_review.json"
PICTURE = ROOT / "docs" / "images" / "review-orders.png"
WINDOW_FRAMES = 3
BATCH = 10
ORDERS: tuple[Order, ...] = ("random", "uncertain", "best", "usual")
NAMES = {
    "random": "random",
    "uncertain": "most uncertain (margin)",
    "best": "best first, label by label",
    "usual": "the usual order",
}
COLOURS = {"random": "#777777", "uncertain": "#e07a2f", "best": "#5a9367", "usual": "#2a6f97"}
BED_DBFS = -35.0
HEARD_S = 0.5  # of a sound inside a window, for the oracle to hear it


@dataclass(frozen=True)
class World:
    """Recordings with known contents.

    Attributes:
        index: Their windows.
        stored: Their frames.
        truth: Onset, offset and label of what was planted, by file.
    """

    index: WindowIndex
    stored: Any
    truth: dict[str, list[tuple[float, float, str]]]

    def label(self, number: int) -> str:
        """Return what the oracle answers about a window."""
        window = self.index.window(number)
        best, longest = BACKGROUND, 0.0
        for onset_s, offset_s, label in self.truth[window.recording.file]:
            inside = min(offset_s, window.offset_s) - max(onset_s, window.onset_s)
            heard = inside >= min(HEARD_S, 0.8 * (offset_s - onset_s))
            if inside > longest:
                best, longest = (label if heard else UNSURE), inside
        return best


def clips_of(folder: Path) -> pd.DataFrame:
    """Return ``path``, ``label`` and ``group`` of every clip in a folder of label folders."""
    table = folder / "metadata.csv"
    group = {}
    if table.exists():
        known = pd.read_csv(table, dtype=str)
        if "group" in known:
            group = dict(zip(known["filename"], known["group"], strict=True))
    rows = []
    for path in sorted(folder.glob("*/*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in (".ogg", ".wav", ".mp3", ".flac") and is_sound(path):
            rows.append((path, path.parent.name, group.get(name) or name))
    return pd.DataFrame(rows, columns=["path", "label", "group"])


def is_sound(path: Path) -> bool:
    """Tell whether a clip can be decoded: data sets have empty files, too."""
    try:
        return len(decode_clip(path)) > 0
    except AudioError:
        return False


def bed(n_samples: int, background: list[Float32], rng: np.random.Generator) -> Float32:
    """Return background: noise whose level drifts, and clips of it end to end."""
    level = np.float32(10 ** (BED_DBFS / 20))
    noise = level * coloured_noise(n_samples, rng.uniform(0.5, 1.5), rng)
    drift_db = np.interp(
        np.arange(n_samples), np.linspace(0, n_samples, 20), rng.uniform(-6, 3, 20)
    )
    noise *= (10 ** (drift_db / 20)).astype(np.float32)
    if background:
        order = rng.permutation(len(background))
        joined = np.concatenate([background[i] * (level / rms(background[i])) for i in order])
        noise += np.resize(joined, n_samples) * np.float32(rng.uniform(0.5, 1.5))
    return noise


def write_recording(
    path: Path, minutes: float, clips: pd.DataFrame, background: list[Float32],
    rng: np.random.Generator,
) -> list[tuple[float, float, str]]:  # fmt: skip
    """Write a recording with clips in it; return what is where."""
    samples = bed(int(minutes * 60 * SAMPLE_RATE_HZ), background, rng)
    # some labels are much rarer than others, as in the field
    labels = sorted(set(clips["label"]))
    shares = 0.6 ** rng.permutation(len(labels))
    events = []
    at_s = rng.uniform(3.0, 20.0)
    while True:
        label = labels[rng.choice(len(labels), p=shares / shares.sum())]
        mine = clips[clips["label"] == label]
        clip = sounding(decode_clip(mine["path"].iloc[rng.integers(len(mine))]))
        clip = clip[: 6 * SAMPLE_RATE_HZ]
        first = int(at_s * SAMPLE_RATE_HZ)
        if first + len(clip) > len(samples) - SAMPLE_RATE_HZ:
            break
        under = samples[first : first + len(clip)]
        gain = 10 ** (rng.uniform(0, 10) / 20) * rms(under) / rms(clip)
        samples[first : first + len(clip)] += np.float32(gain) * clip
        end_s = (first + len(clip)) / SAMPLE_RATE_HZ
        events.append((at_s, end_s, label))
        at_s = end_s + rng.exponential(25.0) + 2.0
    soundfile.write(path, np.clip(samples, -1, 1), SAMPLE_RATE_HZ, "PCM_16")
    return events


def make_world(
    folder: Path, minutes: list[float], clips: pd.DataFrame, background: list[Float32],
    embedder: Any, rng: np.random.Generator,
) -> World:  # fmt: skip
    """Write recordings, embed them as the pipeline does, and index their windows."""
    (folder / "recordings").mkdir(parents=True)
    truth = {}
    for number, length in enumerate(minutes):
        path = folder / "recordings" / f"20240501_{number:02d}0000.wav"
        truth[str(path)] = write_recording(path, length, clips, background, rng)
    sources = find_recordings([str(folder / "recordings")])
    manifest = scan_recordings(sources, pd.DataFrame())
    parts = parts_of(manifest, embedder.info)
    store = EmbeddingStore(Folder(str(folder / "store")))
    waveforms = RecordingParts(parts, sources, embedder)
    made = embed_missing(store, parts, waveforms, embedder, EmbeddingOptions(), DaskOptions())
    for shard, _ in made:
        store.save(shard)
    stored = store.of(embedder.info)
    index = build_index(folder / "windows", manifest, stored, WINDOW_FRAMES)
    return World(index, stored, truth)


def review(
    order: Order, world: World, held_out: tuple[Any, np.ndarray], noise: NoiseFrames,
    n_answers: int, seed: int,
) -> list[float]:  # fmt: skip
    """Answer what an order asks; return the figure after every ten answers."""
    clips = Clips.none(world.stored.info, noise)
    vectors = AnswerVectors(world.index, world.stored, clips.options)
    answered: list[int] = []
    labels: list[str] = []
    taught: Taught | None = None
    figures = []
    while len(answered) < n_answers:
        known = Known(
            world.index,
            taught.classes if taught else (),
            taught.of_windows(world.index) if taught else None,
            answered,
            labels,
        )
        queue = Queue(world.index, ask(known, order, seed))
        for _ in range(BATCH):
            window = queue.next(answered)
            if window is None:
                break
            answered.append(window)
            labels.append(world.label(window))
        taught = learn(clips, vectors.examples(as_answers(world, answered, labels)))
        figures.append(balanced(taught, *held_out))
    return figures


def ask(known: Known, order: Order, seed: int) -> list[int]:
    """Return candidates; best first takes the labels in turn, random where no model is."""
    if known.probabilities is None and order != "usual":
        return candidates(known, "random", seed=seed)
    if order != "best":
        return candidates(known, order, seed=seed, n=60)
    names = [name for name in known.classes if name != BACKGROUND]
    lists = [candidates(known, "best", label=name, n=30) for name in names]
    return [window for row in zip(*lists, strict=False) for window in row]


def as_answers(world: World, answered: list[int], labels: list[str]) -> list[Answer]:
    """Return windows and labels as answers."""
    found = []
    for number, label in zip(answered, labels, strict=True):
        window = world.index.window(number)
        found.append(Answer(window.recording.file, window.onset_s, window.offset_s, label))
    return found


def balanced(taught: Taught | None, pooled: Float32, truth: np.ndarray) -> float:
    """Return the mean share that is right, over labels and background."""
    classes = list(dict.fromkeys(truth))
    if taught is None:
        return 1 / len(classes)  # all are background
    said = np.array(taught.classes)[taught.probabilities(pooled).argmax(axis=1)]
    return float(np.mean([(said[truth == name] == name).mean() for name in classes]))


def pooled_windows(world: World) -> tuple[Float32, np.ndarray]:
    """Return exact pooled vectors and labels of windows that do not overlap; unclear ones not."""
    numbers = [int(i) for i in world.index.apart()]
    labels = [world.label(i) for i in numbers]
    clear = [i for i, label in zip(numbers, labels, strict=True) if label != UNSURE]
    # as many of background as of everything else: it is one class of several
    answers = as_answers(world, clear, [world.label(i) for i in clear])
    vectors = AnswerVectors(world.index, world.stored, Clips.none(world.stored.info).options)
    examples = vectors.examples(answers)
    return examples.vectors.whole, np.array(examples.labels)


def needed(figures: np.ndarray, level: float) -> int | None:
    """Return after how many answers a mean curve first reaches a level; None for never."""
    above = np.flatnonzero(figures.mean(axis=0) >= level)
    return int(above[0] + 1) * BATCH if len(above) else None


def main() -> None:
    """Make the worlds, answer, and tell."""
    parser = argparse.ArgumentParser(description="How many answers each order needs.")
    parser.add_argument("clips", type=Path)
    parser.add_argument("--background", nargs="*", default=None, help="labels that make the bed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--answers", type=int, default=300)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--orders", nargs="*", default=list(ORDERS))
    parser.add_argument("--keep", type=Path, help="where worlds are kept, for another try")
    options = parser.parse_args()
    settings = EmbedderSettings(yamnet_handle=os.environ.get("SOUNDX_YAMNET", ""))
    embedder: Any = load_embedder("auto", settings)
    embedder = with_layers(embedder, EmbeddingOptions().layers)
    noise = NoiseFrames(embedder.fingerprint, np.stack(embedder.embed(noise_clips())))
    table = clips_of(options.clips)
    beds = options.background
    if beds is None:
        beds = [label for label in sorted(set(table["label"])) if label.startswith("NATURE")]
    curves: dict[str, list[list[float]]] = {order: [] for order in options.orders}
    with tempfile.TemporaryDirectory(prefix="soundx-bench-") as scratch:
        for seed in range(options.seeds):
            worlds = two_worlds(
                (options.keep or Path(scratch)) / f"{options.clips.name}-{seed}",
                table, beds, embedder, seed, options.hours,
            )  # fmt: skip
            held_out = pooled_windows(worlds[1])
            for order in options.orders:
                figures = review(order, worlds[0], held_out, noise, options.answers, seed)
                curves[order].append(figures)
                print(f"seed {seed}, {order:9}", " ".join(f"{x:.2f}" for x in figures[::3]))
    tell(options.clips.name, embedder.name, {k: np.array(v) for k, v in curves.items()})


def two_worlds(
    folder: Path, table: pd.DataFrame, beds: list[str], embedder: Any, seed: int, hours: float
) -> tuple[World, World]:
    """Return a world to review and one to test on: no recording of a clip is in both."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(sorted(set(table["group"])))
    first = set(groups[: len(groups) * 6 // 10])
    worlds = []
    for name, mine, length in (
        ("reviewed", table["group"].isin(first), hours),
        ("held out", ~table["group"].isin(first), hours / 2),
    ):
        clips = table[mine & ~table["label"].isin(beds)]
        background = [decode_clip(path) for path in table[mine & table["label"].isin(beds)]["path"]]
        minutes = [15.0] * round(length * 4)
        kept = folder / f"{name}.json"
        if kept.exists():
            truth = {k: [tuple(e) for e in v] for k, v in json.loads(kept.read_text()).items()}
            stored = EmbeddingStore(Folder(str(folder / name / "store"))).of(embedder.info)
            worlds.append(World(WindowIndex(folder / name / "windows"), stored, truth))
            continue
        worlds.append(make_world(folder / name, minutes, clips, background, embedder, rng))
        kept.write_text(json.dumps(worlds[-1].truth))
    return worlds[0], worlds[1]


def tell(name: str, embedder: str, curves: dict[str, np.ndarray]) -> None:
    """Print and keep the figures."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    facts: dict[str, Any] = {"embedder": embedder, "answers": {}, "needed": {}}
    for order, figures in curves.items():
        facts["answers"][order] = {
            "mean": [round(float(x), 4) for x in figures.mean(axis=0)],
            "lowest": [round(float(x), 4) for x in figures.min(axis=0)],
            "highest": [round(float(x), 4) for x in figures.max(axis=0)],
        }
    if "random" in curves:
        n = curves["random"].shape[1]
        for answers in (n // 3, 2 * n // 3, n):
            level = float(curves["random"].mean(axis=0)[answers - 1])
            facts["needed"][str(answers * BATCH)] = {
                "balanced_accuracy": round(level, 4),
                **{order: needed(figures, level) for order, figures in curves.items()},
            }
    results[name] = facts
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    draw(results)
    for answers, one in facts["needed"].items():
        print(f"balanced accuracy {one['balanced_accuracy']:.3f}, random after {answers}:",
              ", ".join(f"{o} {one[o]}" for o in curves))  # fmt: skip
    for order, figures in curves.items():
        print(f"{NAMES.get(order, order):30} {figures[:, -1].mean():.3f} at the end")


def draw(results: dict[str, Any]) -> None:
    """Draw the curves of every data set that was measured: the mean, and from worst to best."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(results), figsize=(6 * len(results), 4.2), squeeze=False, sharey=True
    )
    for panel, (name, facts) in zip(panels[0], sorted(results.items()), strict=True):
        for order, curve in facts["answers"].items():
            x = BATCH * np.arange(1, len(curve["mean"]) + 1)
            (line,) = panel.plot(x, curve["mean"], color=COLOURS[order], label=NAMES[order])
            panel.fill_between(
                x, curve["lowest"], curve["highest"], color=line.get_color(), alpha=0.12, lw=0
            )
        panel.set(title=f"{name}, {facts['embedder']}", xlabel="answers", ylim=(0, 1))
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("balanced accuracy on other recordings")
    panels[0][0].legend(loc="lower right", frameon=False)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
