"""Time and measure the embedding, beside the way soundx replaces; ratios are taken in one run.

Every figure comes from a process of its own, the ways in turn, several rounds; medians. The
clips are ESC-10's where they lie in ../shared (or --clips), else synthesised; YAMNet is where
SOUNDX_YAMNET says.

    SOUNDX_YAMNET=DIR python benchmarks/embedding.py [CASE ...] [--rounds 5]

Cases: speed, formats, layers, accuracy, again, scale, long, rows, dask, startup. Results go to
benchmarks/results.json, each case replacing its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
ESC10 = ROOT.parent / "shared" / "audio" / "esc10"
YAMNET = os.environ.get("SOUNDX_YAMNET", "")
RATE_HZ = 44_100
WAYS = ("seed", "yamnet", "yamnet-int8")
LAYERED = "yamnet, layers"


# --- clips ------------------------------------------------------------------------------


def source_clips(n_clips: int, esc10: Path) -> list[np.ndarray]:
    """Return five-second clips at 44.1 kHz as 16-bit integers."""
    from soundx.clips.demo import SynthesisedSource

    found = sorted(esc10.glob("*/*.ogg"))[:n_clips]
    if not found:
        print("(no ESC-10 here: synthesised clips)")
        with tempfile.TemporaryDirectory() as folder:
            source = SynthesisedSource(clips_per_label=n_clips // 12 + 1)
            keys = [item.key for item in source.list_objects() if item.key.endswith(".wav")]
            for number, key in enumerate(keys[:n_clips]):
                source.fetch(key, Path(folder) / f"{number}.wav")
            found = sorted(Path(folder).glob("*.wav"))
            return [_five_seconds(path) for path in found]
    return [_five_seconds(path) for path in found]


def _five_seconds(path: Path) -> np.ndarray:
    import soxr

    samples, rate_hz = soundfile.read(path, dtype="int16", always_2d=True)
    mono = soxr.resample(samples[:, 0], rate_hz, RATE_HZ)
    return np.resize(mono, 5 * RATE_HZ)


def write_clips(folder: Path, clips: list[np.ndarray], n_clips: int, suffix: str = "wav") -> None:
    """Write clips as files; those beyond the first round are altered by one sample."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n_clips):
        samples = clips[number % len(clips)].copy()
        samples[number // len(clips)] ^= number >= len(clips)
        soundfile.write(folder / f"{number:06d}.{suffix}", samples, RATE_HZ)


# --- what runs in a process of its own, and prints its figures as JSON --------------------


def seed_way(folder: Path, scratch: Path) -> None:
    """The scripts that soundx replaces: librosa, a wav at 16 kHz, YAMNet clip by clip."""
    import librosa
    import tensorflow as tf
    import tensorflow_hub as hub

    yamnet = hub.load(YAMNET)
    scratch.mkdir()

    @tf.function  # type: ignore[untyped-decorator]
    def load(path: tf.Tensor) -> tf.Tensor:
        samples, _ = tf.audio.decode_wav(tf.io.read_file(path), desired_channels=1)
        return tf.squeeze(samples, axis=-1)

    def embed(files: list[Path]) -> int:
        paths = []
        for file in files:
            samples, _ = librosa.load(file, sr=16_000)
            paths.append(str(scratch / f"{file.stem}.wav"))
            soundfile.write(paths[-1], samples, 16_000)
        clips = tf.data.Dataset.from_tensor_slices(paths).map(load).map(lambda w: yamnet(w)[1])
        return sum(len(frames.numpy()) for frames in clips)

    files = sorted(folder.iterdir())
    embed(files[:16])
    tell(took(lambda: embed(files)))


def soundx_way(folder: Path, scratch: Path, embedder: str) -> None:
    """Decode, embed and store, once the network is there."""
    files = sorted(folder.iterdir())
    loaded = load(embedder, scratch)
    fill_store(files[:16], scratch / "warm-up", loaded)
    tell(fill_store(files, scratch, loaded))


def scale(folder: Path, scratch: Path) -> None:
    """The same without a warm-up on other clips: how time and memory grow."""
    files = sorted(folder.iterdir())
    loaded = load("yamnet", scratch)
    _ = loaded.model
    tell(fill_store(files, scratch, loaded))


def dask(folder: Path, scratch: Path) -> None:
    """The same on a local Dask cluster of two workers, its start included."""
    files = sorted(folder.iterdir())
    loaded = load("yamnet", scratch)
    _ = loaded.model
    tell(fill_store(files, scratch, loaded, on_dask=True))


def again(folder: Path, scratch: Path) -> None:
    """Scan and embed: for the first time, with nothing changed, with 1 % new clips."""
    from soundx.clips.manifest import IngestionOptions, scan_clips
    from soundx.clips.raw import RawClips

    clips = scratch / "clips" / "LABEL"
    files = sorted(folder.iterdir())
    new = files[:: max(len(files) * 101 // (100 * (len(files) // 100 + 1)), 1)][: len(files) // 100]
    shutil.copytree(folder, clips, ignore=lambda *_: {file.name for file in new})
    loaded = load("yamnet", scratch)
    _ = loaded.model

    def run() -> None:
        manifest, _ = scan_clips(RawClips(clips.parent), IngestionOptions())
        fill_table(manifest, RawClips(clips.parent), scratch / "store", loaded)

    figures = {"first": took(run), "unchanged": took(run)}
    for file in new:
        shutil.copy(file, clips)
    figures["one_per_cent_new"] = took(run)
    tell(figures["first"], **figures)


def rows(folder: Path, scratch: Path, n_clips: str) -> None:
    """A project of so many clips, all embedded: nothing new, split, model input, an epoch."""
    import hashlib

    import pandas as pd

    from soundx.clips.manifest import MANIFEST_DTYPES
    from soundx.clips.raw import RawClips
    from soundx.embedders.base import Embedder
    from soundx.embeddings.store import EmbeddingStore
    from soundx.modelling.heads import TrainingOptions
    from soundx.modelling.rejection import RejectionOptions
    from soundx.modelling.splitting import SplitOptions
    from soundx.pipelines.preprocessing.nodes import build_model_input, split_clips
    from soundx.pipelines.training.nodes import train_heads
    from soundx.storage.folder import Folder

    class Small(Embedder):
        name, dim, window_s, hop_s = "small", 8, 0.96, 0.48

        def _identity(self) -> str:
            return "1"

        def _model(self) -> Any:
            raise AssertionError("everything is embedded")

    count = int(n_clips)
    ids = pd.Series([hashlib.sha256(str(n).encode()).hexdigest() for n in range(count)])
    labels = pd.Series(np.arange(count) % 12).map(lambda n: f"{'ABC'[n % 3]}_{n}")
    manifest = pd.DataFrame({"clip_id": ids, "path": labels + "/" + ids.str[:12] + ".wav"})
    manifest["label"], manifest["category"] = labels, labels.str[0]
    manifest["group"], manifest["fold"], manifest["duration_s"] = ids, pd.NA, 0.9
    manifest["sample_rate_hz"], manifest["channels"], manifest["size_bytes"] = 16_000, 1, 28_844
    manifest["format"], manifest["evaluation_only"], manifest["note"] = "WAV/PCM_16", False, ""
    manifest = manifest.astype(MANIFEST_DTYPES)
    store = EmbeddingStore(Folder(str(scratch)))
    kept = store.of(Small().info)
    frame = np.zeros((1, 8), np.float32)
    for start in range(0, count, 65_536):
        kept.add_shard(dict.fromkeys(ids[start : start + 65_536], frame))
    del ids, labels, kept
    figures = {
        "nothing_new": took(lambda: fill_table(manifest, RawClips(folder), scratch, Small())),
        "split": took(lambda: split_clips(manifest, SplitOptions())),
    }
    splits = split_clips(manifest, SplitOptions())
    begin = time.perf_counter()
    tables, _ = build_model_input(manifest, splits, store)
    figures["model_input"] = time.perf_counter() - begin
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    options = TrainingOptions(max_epochs=1, hidden_units=(8,), batch_size=4096, learn_noise=False)
    figures["train_an_epoch"] = took(
        lambda: train_heads(tables, store, options, RejectionOptions())
    )
    tell(sum(figures.values()), before_training_mib=before, **figures)


def load(name: str, scratch: Path) -> Any:
    """Return an embedder that keeps networks beside its store; layered ones as by default."""
    from soundx.embedders import EmbedderSettings, load_embedder
    from soundx.embeddings.missing import EmbeddingOptions
    from soundx.storage.folder import Folder

    networks = Folder(f"{scratch}/networks")
    if name == LAYERED:
        return load("yamnet", scratch).with_layers(EmbeddingOptions().layers)
    return load_embedder(name, EmbedderSettings(yamnet_handle=YAMNET, networks=networks))


def table_of(files: list[Path]) -> Any:
    """Return what a manifest says of files that were not scanned."""
    import pandas as pd

    ids = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    seconds = soundfile.info(str(files[0])).duration
    names = [file.name for file in files]
    return pd.DataFrame({"clip_id": ids, "path": names, "duration_s": seconds})


def fill_store(files: list[Path], scratch: Path, embedder: Any, *, on_dask: bool = False) -> float:
    """Fill a store from files; return how many seconds that takes."""
    from soundx.clips.raw import RawClips

    table, clips = table_of(files), RawClips(files[0].parent)
    return took(lambda: fill_table(table, clips, scratch, embedder, on_dask=on_dask))


def fill_table(
    table: Any, clips: Any, scratch: Path, embedder: Any, *, on_dask: bool = False
) -> None:
    """Fill a store as ``kedro run --pipelines=preprocessing`` does."""
    from soundx.clips.waveforms import ClipWaveforms
    from soundx.embedders import Calibrated
    from soundx.embeddings.missing import EmbeddingOptions, compact, embed_missing
    from soundx.embeddings.on_dask import DaskOptions
    from soundx.embeddings.store import EmbeddingStore
    from soundx.storage.folder import Folder

    store, options = EmbeddingStore(Folder(str(scratch))), EmbeddingOptions()
    waveforms = ClipWaveforms(clips, table)
    if isinstance(embedder, Calibrated) and not embedder.is_calibrated:
        network = embedder.calibrate(waveforms[path]() for path in table["path"][::7][:64])
        store.folder.sub("networks").write(network.name, network.content)
    on = DaskOptions(enabled=on_dask, workers=2)
    for shard, _ in embed_missing(store, table, waveforms, embedder, options, on):
        store.save(shard)
    store.set_current(compact(store, embedder.fingerprint, table["clip_id"], options).info)


def took(work: Callable[[], Any]) -> float:
    """Return how many seconds something takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def tell(seconds: float, **more: float) -> None:
    """Print what the parent reads."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak, **more}), flush=True)


def child(function: str, *arguments: object) -> dict[str, float]:
    """Run one of the functions above in a process and a scratch folder of its own."""
    with tempfile.TemporaryDirectory(prefix="soundx-bench-") as folder:
        first, *rest = map(str, arguments)
        command = [sys.executable, __file__, "--child", function, first, f"{folder}/scratch", *rest]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{function} failed:\n{done.stderr.decode()[-2000:]}")
        return dict(json.loads(done.stdout.splitlines()[-1]))


# --- cases --------------------------------------------------------------------------------


class Bench:
    """The cases, over one set of clips.

    Args:
        folder: Where clips are written.
        options: The command line's.
    """

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.rounds = options.rounds
        self.esc10 = options.clips
        self._clips: list[np.ndarray] = []

    def files(self, n_clips: int, suffix: str = "wav") -> Path:
        """Return a folder of so many clips."""
        folder = self.folder / f"{n_clips}-{suffix}"
        if not folder.exists():
            self._clips = self._clips or source_clips(400, self.esc10)
            write_clips(folder, self._clips, n_clips, suffix)
        return folder

    def speed(self, suffix: str = "wav") -> dict[str, Any]:
        """400 clips: the seed's way, float32 and int8, in turn."""
        folder = self.files(400, suffix)
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(self.rounds):
            for way in WAYS:
                call = ("seed_way", folder) if way == "seed" else ("soundx_way", folder, way)
                rates[way].append(400 / child(*call)["seconds"])
            line = "  ".join(f"{way} {rates[way][-1]:6.1f}" for way in WAYS)
            print(f"{suffix} round {number + 1}, clips/s: {line}", flush=True)
        ratios = {
            way: statistics.median(a / b for a, b in zip(rates[way], rates["seed"], strict=True))
            for way in WAYS[1:]
        }
        print(f"{suffix}: times the seed's way: {ratios}")
        return {
            "clips_per_s": {way: statistics.median(r) for way, r in rates.items()},
            "times_seed": ratios,
        }

    def formats(self) -> dict[str, Any]:
        """The same for Ogg and MP3."""
        return {suffix: self.speed(suffix) for suffix in ("ogg", "mp3")}

    def layers(self) -> dict[str, Any]:
        """Frames that carry the default layers against frames without, in turn."""
        folder = self.files(400)
        ways = ("yamnet", LAYERED)
        runs = [[child("soundx_way", folder, way) for way in ways] for _ in range(self.rounds)]
        found = {
            "clips_per_s": {
                way: statistics.median(400 / run[number]["seconds"] for run in runs)
                for number, way in enumerate(ways)
            },
            "times_without": statistics.median(a["seconds"] / b["seconds"] for a, b in runs),
        }
        print(f"layers: {found}")
        return found

    def again(self) -> dict[str, Any]:
        """Nothing changed, and 1 % new, as shares of the first time."""
        folder = self.files(400)
        runs = [child("again", folder) for _ in range(self.rounds)]
        shares = {
            name: statistics.median(run[name] / run["first"] for run in runs)
            for name in ("unchanged", "one_per_cent_new")
        }
        print(f"again, share of the first time: {shares}")
        return {"first_s": statistics.median(run["first"] for run in runs), **shares}

    def scale(self) -> dict[str, Any]:
        """10,000 clips against 1,000."""
        small, large = self.files(1000), self.files(10_000)
        runs = [(child("scale", small), child("scale", large)) for _ in range(min(self.rounds, 3))]
        found = {
            "time_per_clip": statistics.median(b["seconds"] / a["seconds"] / 10 for a, b in runs),
            "peak_memory": statistics.median(b["peak_mib"] / a["peak_mib"] for a, b in runs),
            "peak_mib": statistics.median(b["peak_mib"] for _, b in runs),
            "clips_per_s": statistics.median(10_000 / b["seconds"] for _, b in runs),
        }
        print(f"10,000 clips against 1,000: {found}")
        return found

    def long(self) -> dict[str, Any]:
        """A 3-hour WAV at 44.1 kHz in stereo."""
        folder = self.folder / "long"
        folder.mkdir()
        rng = np.random.default_rng(7)
        with soundfile.SoundFile(folder / "long.wav", "w", RATE_HZ, 2) as file:
            for _ in range(180):
                file.write((0.1 * rng.standard_normal((60 * RATE_HZ, 2))).astype(np.float32))
        found = child("scale", folder)
        shutil.rmtree(folder)
        print(f"3 hours: {found}")
        return {**found, "times_real_time": 3 * 3600 / found["seconds"]}

    def dask(self) -> dict[str, Any]:
        """4,000 clips on two local Dask workers against the local engine."""
        folder = self.files(4000)
        runs = [(child("scale", folder), child("dask", folder)) for _ in range(min(self.rounds, 3))]
        ratio = statistics.median(b["seconds"] / a["seconds"] for a, b in runs)
        found = {
            "local_s": statistics.median(a["seconds"] for a, _ in runs),
            "dask_s": statistics.median(b["seconds"] for _, b in runs),
            "times_local": ratio,
        }
        print(f"Dask, 4,000 clips: {found}")
        return found

    def rows(self) -> dict[str, Any]:
        """A manifest of 1,000,000 rows beside one of 100,000."""
        found = {n: child("rows", self.folder, n) for n in (100_000, 1_000_000)}
        for n, figures in found.items():
            print(f"{n} rows: {figures}")
        return {str(n): figures for n, figures in found.items()}

    def startup(self) -> dict[str, Any]:
        """``kedro run`` of all of it, 400 clips, everything cached: seconds to training."""
        root = self.folder / "project"
        clips = root / "clips"
        for number, file in enumerate(sorted(self.files(400).iterdir())):
            target = clips / f"LABEL_{'ABCD'[number // 40 % 4]}"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        kedro = [
            sys.executable,
            "-m",
            "kedro",
            "run",
            f"--params=source={clips},data_root={root}/data",
        ]
        subprocess.run(
            [*kedro, "--pipelines=ingestion,preprocessing"],
            check=True, capture_output=True, cwd=ROOT,
        )  # fmt: skip
        times = []
        for _ in range(self.rounds):
            begin = time.perf_counter()
            with subprocess.Popen(
                kedro, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT
            ) as run:
                assert run.stdout is not None
                for line in run.stdout:
                    if b"Training" in line:
                        times.append(time.perf_counter() - begin)
                        break
                run.kill()
        print(f"everything cached, to training: {statistics.median(times):.1f} s")
        return {"seconds": statistics.median(times)}

    def accuracy(self) -> dict[str, Any]:
        """ESC-10 on its official folds: accuracy with float32 and with int8 embeddings."""
        found = {}
        for embedder in WAYS[1:]:
            right = total = 0
            for fold in range(1, 6):
                root = self.folder / f"folds-{embedder}"
                params = [
                    f"source={self.esc10}", f"data_root={root}", f"embedder={embedder}",
                    "splits.by=fold", f"splits.test_folds=[{fold}]",
                    f"splits.validation_folds=[{fold % 5 + 1}]",
                ]  # fmt: skip
                command = [sys.executable, "-m", "kedro", "run", "--params=" + ",".join(params)]
                subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
                metrics = json.loads((root / "08_reporting" / "metrics.json").read_text())
                right += round(metrics["accuracy"] * metrics["n_test_clips"])
                total += metrics["n_test_clips"]
            found[embedder] = right / total
            print(f"ESC-10, five folds, {embedder}: {right} of {total} right", flush=True)
        return {**found, "points_lost": 100 * (found["yamnet"] - found["yamnet-int8"])}


CASES = (
    "speed",
    "formats",
    "layers",
    "accuracy",
    "again",
    "scale",
    "long",
    "rows",
    "dask",
    "startup",
)


def main() -> None:
    """Run cases, print and keep what they found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=Path, default=ESC10, help="folder of ESC-10")
    options = parser.parse_args()
    if not YAMNET:
        sys.exit("Set SOUNDX_YAMNET to the folder of YAMNet's SavedModel.")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory(prefix="soundx-bench-") as folder:
        bench = Bench(Path(folder), options)
        for case in options.cases or CASES:
            results[case] = {"rounds": options.rounds, **getattr(bench, case)()}
            RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        function, *paths = sys.argv[2:]
        globals()[function](Path(paths[0]), Path(paths[1]), *paths[2:])
    else:
        main()
