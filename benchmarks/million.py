"""A million clips, simulated: seconds and memory of all that grows with their number.

    python benchmarks/million.py [--clips 10000 100000 1000000] [--stages NAME ...] [--dim 64]

What depends on sound is made up: files are looked at without decoding them (``scan``; ``files``
looks at real ones, tiny, up to 100,000), frames are drawn, one a clip, in two parts of --dim
numbers together. All else is what the pipelines do. Each stage is a process of its own, which
leaves to the next what a run would leave on the disk; what is made up before is not timed, and its
memory is told apart. Results go to benchmarks/results_million.json.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results_million.json"
LABELS = 50
CLIPS_A_RECORDING = 5
MOST_FILES = 100_000
MOST_GIB = 4.0

Work = tuple[Callable[[], Any], Callable[[Any], None] | None]
"""What is timed, and what is done with its result afterwards."""


class Run:
    """The folder that the stages of one run share, and what they read and write there."""

    def __init__(self, folder: Path, n_clips: int, dim: int) -> None:
        self.folder = folder
        self.n_clips = n_clips
        self.dim = dim

    def load(self, name: str) -> Any:
        """Return a table."""
        return pd.read_parquet(self.folder / f"{name}.parquet")

    def save(self, name: str, table: pd.DataFrame) -> None:
        """Write a table."""
        table.to_parquet(self.folder / f"{name}.parquet")

    @property
    def store(self) -> Any:
        """The store of embeddings."""
        from soundx.embeddings.store import EmbeddingStore
        from soundx.storage.folder import Folder

        return EmbeddingStore(Folder(str(self.folder / "embeddings")))

    @property
    def info(self) -> Any:
        """The embedder that made them up."""
        from soundx.embedders import EmbedderInfo
        from soundx.embedders.base import Part

        parts = (Part("embedding", self.dim // 2), Part("layer", self.dim - self.dim // 2))
        return EmbedderInfo("made", "made-1", self.dim, 0.96, 0.48, parts=parts)

    @property
    def embedder(self) -> Any:
        """What is asked of an embedder that never embeds."""
        info, engine = self.info, SimpleNamespace(engine="made up")
        names = {name: getattr(info, name) for name in ("name", "dim", "window_s", "hop_s")}
        return SimpleNamespace(info=info, fingerprint=info.fingerprint, model=engine, **names)

    @property
    def heads(self) -> Any:
        """Where trained heads are."""
        from soundx.datasets.models import KerasHeadsDataset

        return KerasHeadsDataset(path=str(self.folder / "heads"))

    def names(self) -> Iterator[str]:
        """Yield the path of each clip: labels in folders, as files are listed."""
        per_label = self.n_clips // LABELS
        for label in range(LABELS):
            for number in range(per_label):
                yield f"{'ABCDE'[label % 5]}_{label:02d}/{number:07d}.wav"


# --- stages -------------------------------------------------------------------------------


def files(run: Run) -> Work:
    """Scan real files, each a few samples long."""
    import soundfile

    from soundx.clips.manifest import IngestionOptions, scan_clips
    from soundx.clips.raw import RawClips

    root = run.folder / "files"
    for number, name in enumerate(run.names()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.array([number % 1000, number // 1000] * 8, np.int16), 16_000)
    return lambda: scan_clips(RawClips(root), IngestionOptions()), lambda _: shutil.rmtree(root)


def scan(run: Run) -> Work:
    """Scan files that are named and not read, metadata.csv beside them."""
    from soundx.audio.decoding import ClipInfo
    from soundx.clips import manifest
    from soundx.clips.metadata import METADATA
    from soundx.clips.raw import RawClips

    root = run.folder / "named"
    root.mkdir()
    names = list(run.names())
    metadata = pd.DataFrame({"filename": names})
    metadata["group"] = [f"r{number // CLIPS_A_RECORDING}" for number in range(len(names))]
    metadata["licence"] = "CC0"
    metadata.to_csv(root / METADATA, index=False)
    del metadata, names

    def inspected(path: Path) -> ClipInfo:
        sha256 = hashlib.sha256(str(path).encode()).hexdigest()
        return ClipInfo(sha256, 0.96, 16_000, 1, "WAV/PCM_16", "")

    class Named(type(root)):  # type: ignore[misc]  # Path's own class
        def stat(self, **_: Any) -> os.stat_result:
            return os.stat(root / METADATA)

    class Clips(RawClips):
        def entries(self) -> Iterator[tuple[str, str]]:
            yield from ((name, "") for name in run.names())

        def path(self, name: str) -> Path:
            return Named(root, name)

    scanning: Any = manifest
    scanning.inspect_clip = inspected

    def keep(found: Any) -> None:
        run.save("manifest", found[0])

    return lambda: manifest.scan_clips(Clips(root), manifest.IngestionOptions()), keep


def split(run: Run) -> Work:
    """Put clips on sides."""
    from soundx.modelling.splitting import SplitOptions
    from soundx.pipelines.preprocessing.nodes import split_clips

    manifest = run.load("manifest")
    return lambda: split_clips(manifest, SplitOptions()), lambda table: run.save("splits", table)


def embed(run: Run) -> Work:
    """Write frames shard by shard, as they are made."""
    from soundx.embeddings import missing
    from soundx.embeddings.on_dask import DaskOptions
    from soundx.embeddings.store import Shard

    run.store.set_current(run.info)
    manifest = run.load("manifest")
    centres = np.random.default_rng(7).random((LABELS, run.dim), np.float32)
    label_of = dict(zip(manifest["clip_id"], pd.factorize(manifest["label"])[0], strict=True))

    def embed_here(_: Any, shards: Any, tick: Any) -> Iterator[Shard]:
        rng = np.random.default_rng(7)
        for clips in shards:
            frames = [
                0.6 * centres[label_of[clip.clip_id]][None] + rng.random((1, run.dim), np.float32)
                for clip in clips
            ]
            pieces = list(zip((clip.clip_id for clip in clips), frames, strict=True))
            yield Shard(run.info, [(c, 1) for c, _ in pieces], "made up", lambda p=pieces: p)  # type: ignore[misc]
            tick(len(clips))

    embedding: Any = missing
    embedding._embed_here = embed_here
    waveforms: Any = dict.fromkeys(manifest["path"])
    options, dask = missing.EmbeddingOptions(), DaskOptions()

    def work() -> None:
        for shard, _ in missing.embed_missing(
            run.store,
            manifest,
            waveforms,
            run.embedder,
            options,
            dask,
        ):
            run.store.save(shard)

    return work, None


def index(run: Run) -> Work:
    """Open the store as it is after that, and find every clip."""
    ids = run.load("manifest")["clip_id"]
    return lambda: run.store.current.n_frames(ids), None


def compact(run: Run) -> Work:
    """Merge the shards, and find every clip."""
    from soundx.embeddings.missing import EmbeddingOptions
    from soundx.embeddings.missing import compact as merge

    ids = run.load("manifest")["clip_id"]

    def work() -> None:
        merge(run.store, run.info.fingerprint, ids, EmbeddingOptions())
        run.store.current.n_frames(ids)

    return work, None


def nothing_new(run: Run) -> Work:
    """Find that everything is embedded."""
    from soundx.embeddings import missing
    from soundx.embeddings.on_dask import DaskOptions

    manifest = run.load("manifest")

    arguments = (missing.EmbeddingOptions(), DaskOptions())
    return lambda: list(
        missing.embed_missing(run.store, manifest, {}, run.embedder, *arguments)
    ), None


def model_input(run: Run) -> Work:
    """List what each head learns from."""
    from soundx.datasets.tables import TableFolderDataset
    from soundx.pipelines.preprocessing.nodes import build_model_input

    manifest, splits = run.load("manifest"), run.load("splits")
    dataset = TableFolderDataset(path=str(run.folder / "model_input"))
    return lambda: dataset.save(build_model_input(manifest, splits, run.store)[0]), None


def map_of_clips(run: Run) -> Work:
    """Draw the map."""
    from soundx.embeddings.map import MapOptions
    from soundx.pipelines.preprocessing.nodes import map_embeddings

    manifest = run.load("manifest")
    return (
        lambda: map_embeddings(manifest, run.store, MapOptions()),
        lambda table: run.save("embedding_map", table),
    )


def cross_validation(run: Run) -> Work:
    """Leave every clip of 20,000 drawn out once, and report."""
    from soundx.modelling.folds import CrossValidationOptions
    from soundx.modelling.heads import TrainingOptions
    from soundx.modelling.rejection import RejectionOptions
    from soundx.pipelines.cross_validation import nodes

    manifest = run.load("manifest")

    def work() -> None:
        folds = nodes.deal_folds(manifest, run.store, CrossValidationOptions())
        table = nodes.predict_out_of_fold(folds, run.store, TrainingOptions(learn_noise=False))
        nodes.score_cross_validation(
            table, manifest, run.store, TrainingOptions(learn_noise=False), RejectionOptions()
        )

    return work, None


def training(run: Run) -> Work:
    """Learn from all clips of two sides."""
    import keras  # noqa: F401  its start is not what is timed

    from soundx.datasets.tables import TableFolderDataset
    from soundx.modelling.heads import TrainingOptions
    from soundx.modelling.rejection import RejectionOptions
    from soundx.pipelines.training.nodes import train_heads

    dataset = TableFolderDataset(path=str(run.folder / "model_input"))
    return (
        lambda: train_heads(
            dataset.load(), run.store, TrainingOptions(learn_noise=False), RejectionOptions()
        ),
        run.heads.save,
    )


def evaluation(run: Run) -> Work:
    """Predict the test clips."""
    import keras  # noqa: F401

    from soundx.pipelines.evaluation.nodes import predict_test_clips

    heads, manifest, splits = run.heads.load(), run.load("manifest"), run.load("splits")
    classifier: Any = SimpleNamespace(version=heads.version)
    none = pd.DataFrame()
    return (
        lambda: predict_test_clips(heads, manifest, splits, run.store, none, classifier),
        lambda table: run.save("test_predictions", table),
    )


def reports(run: Run) -> Work:
    """Score, plot, and write card and tables."""
    from soundx.classifier.card import clip_facts, model_card
    from soundx.pipelines.evaluation import nodes

    heads, manifest, splits = run.heads.load(), run.load("manifest"), run.load("splits")
    predictions = run.load("test_predictions")

    def work() -> None:
        metrics, per_class, confusion, bins = nodes.score_predictions(
            predictions, heads, manifest, splits, run.store, {}
        )
        nodes.plot_confusion(confusion)
        nodes.plot_reliability(bins)
        model_card(heads, clips=clip_facts(manifest), metrics=metrics, per_class=per_class)

    return work, None


def viewer(run: Run) -> Work:
    """Show the pages of data set and evaluation, each twice."""
    import librosa
    import plotly.express  # noqa: F401
    from streamlit.testing.v1 import AppTest
    from viewer import PAGE, make_project  # beside this file

    root = run.folder / "project"
    root.mkdir()
    make_project(root, 1000)
    data = root / "data"
    shutil.copy(run.folder / "manifest.parquet", data / "02_intermediate/clip_manifest.parquet")
    shutil.copy(run.folder / "splits.parquet", data / "05_model_input/splits.parquet")
    shutil.copy(run.folder / "embedding_map.parquet", data / "08_reporting/embedding_map.parquet")
    for kept in (data / "06_models/versions").glob("*/test_predictions.parquet"):
        few = pd.read_parquet(kept)
        n_clips = run.n_clips // 5
        pd.concat([few] * (n_clips // len(few) + 1)).head(n_clips).to_parquet(kept)
    # as the app does in a thread when it starts
    librosa.feature.melspectrogram(y=np.zeros(2048, np.float32), sr=16_000)

    def work() -> None:
        os.chdir(root)
        for name in ("dataset", "evaluation"):
            page = AppTest.from_string(PAGE.format(name=name), default_timeout=300)
            for _ in range(2):
                page.run()
                assert not page.exception, page.exception

    return work, None


STAGES: dict[str, Callable[[Run], Work]] = {
    "files": files,
    "scan": scan,
    "split": split,
    "embed": embed,
    "index": index,
    "compact": compact,
    "nothing_new": nothing_new,
    "model_input": model_input,
    "map": map_of_clips,
    "cross_validation": cross_validation,
    "training": training,
    "evaluation": evaluation,
    "reports": reports,
    "viewer": viewer,
}


def child(stage: str, run: Run) -> None:
    """Carry out a stage, and print what the parent reads."""
    work, keep = STAGES[stage](run)
    before = peak_mib()
    Path("/proc/self/clear_refs").write_text("5")  # from here on memory is what the stage takes
    begin = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib(), "before_mib": before}))
    sys.stdout.flush()
    if keep is not None:
        keep(result)


def peak_mib() -> float:
    """Return the largest memory since it was last cleared."""
    status = Path("/proc/self/status").read_text()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(int(status.partition("VmHWM:")[2].split()[0]), children) / 1024


def main() -> None:
    """Carry out the stages at every size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--dim", type=int, default=64, help="numbers of a frame")
    parser.add_argument("--folder", type=Path, help="where to work, and to leave what was made")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, Run(options.folder, options.clips[0], options.dim))
        return
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    for n_clips in options.clips:
        with tempfile.TemporaryDirectory(prefix="soundx-bench-") as scratch:
            folder = options.folder / str(n_clips) if options.folder else Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            for stage in options.stages:
                if stage == "files" and n_clips > MOST_FILES:
                    continue
                command = [
                    sys.executable, __file__, "--child", stage, "--folder", str(folder),
                    "--clips", str(n_clips), "--dim", str(options.dim),
                ]  # fmt: skip
                environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, env=environment
                )
                if done.returncode != 0:
                    sys.exit(f"{stage} failed:\n{done.stdout[-500:]}\n{done.stderr[-3000:]}")
                figures = json.loads(
                    next(line for line in done.stdout.splitlines() if line.startswith("{"))
                )
                results.setdefault(stage, {})[str(n_clips)] = figures
                print(
                    f"{n_clips:9,} {stage:<17} {figures['seconds']:8.1f} s "
                    f"{figures['peak_mib']:7.0f} MiB",
                    flush=True,
                )
                options.results.write_text(json.dumps(results, indent=2) + "\n")
    tell_what_grows(results)


def tell_what_grows(results: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print where time grows faster than the clips, or memory is over the bound."""
    for stage, by_size in results.items():
        sizes = sorted(by_size, key=int)
        for few, many in itertools.pairwise(sizes):
            ratio = by_size[many]["seconds"] / max(by_size[few]["seconds"], 0.1)
            if ratio > 1.4 * int(many) / int(few):
                print(f"{stage}: {int(many) / int(few):.0f} times the clips, {ratio:.1f} the time")
            if by_size[many]["peak_mib"] > MOST_GIB * 1024:
                print(f"{stage}: {by_size[many]['peak_mib']:.0f} MiB at {many}")


if __name__ == "__main__":
    main()
