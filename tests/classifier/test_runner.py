"""``soundx.pyz``: one file beside the model that listens, where nothing of soundx is installed."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import soundfile
from packaging.requirements import Requirement

from soundx.audio.decoding import decode_clip
from soundx.classifier.bundle import Classifier
from soundx.classifier.runner import RUNNER, runner
from soundx.embedders import load_embedder
from tests.conftest import ROOT

from .test_export import NESTED, untrained

NEEDED = ("numpy", "soundfile", "soxr", "ai-edge-litert")
HEAVY = {
    "boto3", "fsspec", "h5py", "kedro", "keras", "librosa", "matplotlib", "pandas", "plotly",
    "pyarrow", "pydantic", "rich", "s3fs", "scipy", "sklearn", "streamlit", "tensorflow",
}  # fmt: skip
THEN_TELL = """
import json, os, sys
sys.argv[0] = sys.argv[1]
del sys.argv[1]
sys.path.insert(0, sys.argv[0])
from soundx.listening.command import main
code = main()
names = {name: getattr(module, "__file__", "") for name, module in sys.modules.items()}
open(os.environ["TELL"], "w").write(json.dumps(names))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A folder as it is copied to another machine: model, labels, and what listens."""
    from soundx.classifier.export import export_classifier

    folder = tmp_path_factory.mktemp("shipped") / "model ü"
    folder.mkdir()
    embedder = load_embedder("logmel")
    for name, content in export_classifier(embedder, untrained(embedder, NESTED)).files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    rng = np.random.default_rng(7)
    samples = 0.1 * rng.standard_normal((70_000, 2)) * np.linspace(0, 1, 70_000)[:, None]
    path = tmp_path_factory.mktemp("clips") / "clip é.wav"
    soundfile.write(path, samples, 44_100)
    return path


def with_what_it_needs(names: tuple[str, ...]) -> Iterator[str]:
    """Yield distributions, and those that they ask for in their turn."""
    for name in names:
        yield name
        asked = map(Requirement, distribution(name).requires or [])
        here = [r.name for r in asked if r.marker is None or r.marker.evaluate({"extra": ""})]
        yield from with_what_it_needs(tuple(here))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Packages of an environment in which NumPy, soundfile, soxr and LiteRT are, and no others."""
    folder = tmp_path_factory.mktemp("site")
    for name in dict.fromkeys(with_what_it_needs(NEEDED)):
        for file in distribution(name).files or []:
            first = file.parts[0]
            place = Path(str(distribution(name).locate_file(first)))
            if first not in {"..", "__pycache__"} and not (folder / first).exists():
                (folder / first).symlink_to(place)
    assert not HEAVY & {path.name for path in folder.iterdir()}
    return folder


@pytest.fixture
def bare(site, tmp_path):
    """Run Python without what this environment holds, in a folder with nothing in it."""

    def run(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(site), "PYTHONUTF8": "1"}
        return subprocess.run(
            [sys.executable, "-S", "-P", *map(str, arguments)],
            cwd=tmp_path,
            env=variables | more,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def answer_of(model: Path, clip: Path) -> tuple[str, float]:
    return Classifier.of_folder(model).answer(decode_clip(clip))


def test_it_answers_where_soundx_is_not_installed(bare, model, clip, tmp_path):
    assert bare("-c", "import soundx").returncode == 1
    label, probability = answer_of(model, clip)
    for place in (["--model", model], []):  # named, or that beside it
        done = bare(model / RUNNER, "predict", clip, *place, "--output", "out")
        assert done.returncode == 0, done.stderr
        assert done.stdout.split("\t")[:3] == [str(clip), label, f"{probability:.3f}"]
    with (tmp_path / "out/predictions.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["answer"] == label
    assert float(row["probability"]) == pytest.approx(probability, abs=1e-4)
    assert float(row["duration_s"]) == pytest.approx(70_000 / 44_100, abs=1e-3)


def test_what_it_loads_is_its_own_and_nothing_of_training(bare, model, clip, tmp_path):
    tell = tmp_path / "modules.json"
    command = ("predict", clip, "--quiet", "--windows", "--segments", "cut")
    formats = ("--format", "csv,audacity,raven,kaleidoscope,birdnet,dcase")
    done = bare("-c", THEN_TELL, model / RUNNER, *command, *formats, TELL=str(tell))
    assert done.returncode == 0, done.stderr
    loaded = json.loads(tell.read_text())
    ours = {name: file for name, file in loaded.items() if name.split(".")[0] == "soundx"}
    assert "soundx.listening.segments" in ours
    assert {Path(file).is_relative_to(model / RUNNER) for file in ours.values()} == {True}
    assert not HEAVY & {name.split(".")[0] for name in loaded}


def test_with_all_installed_no_more_of_soundx_is_loaded_and_nothing_heavy(model, clip, tmp_path):
    """In this environment anything could be imported, by a slip."""
    tell = tmp_path / "modules.json"
    command = [model / RUNNER, "predict", clip, "--quiet", "--output", tmp_path / "out"]
    # the folder takes the place of the file: its path comes first
    code = THEN_TELL.replace("sys.path.insert(0, sys.argv[0])", f"sys.path.insert(0, '{ROOT}/src')")
    subprocess.run(
        [sys.executable, "-c", code, *command], env={**os.environ, "TELL": str(tell)}, check=True
    )
    loaded = json.loads(tell.read_text())
    ours = {name for name in loaded if name.split(".")[0] == "soundx"}
    assert {Path(loaded[name]).is_relative_to(ROOT / "src") for name in ours} == {True}
    assert ours <= modules().keys()
    assert not HEAVY & {name.split(".")[0] for name in loaded}


def modules() -> dict[str, bytes]:
    """Return the source of each module in the file, by name."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(runner())) as archive:
        for name in archive.namelist():
            if name.startswith("soundx/"):
                parts = Path(name).with_suffix("").parts
                found[".".join(p for p in parts if p != "__init__")] = archive.read(name)
    return found


def imports_of(source: bytes) -> Iterator[str]:
    """Yield modules that a source imports anywhere but for type checkers."""
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def test_whatever_its_modules_import_is_in_it():
    """Also what is imported late, in some function that no test calls."""
    held = modules()
    for name, source in held.items():
        for wanted in imports_of(source):
            if wanted.split(".")[0] != "soundx" or wanted in held:
                continue
            assert wanted.rpartition(".")[0] in held, f"{name} imports {wanted}"
            path = ROOT / "src" / Path(*wanted.split("."))
            missing = path.with_suffix(".py").exists() or path.is_dir()
            assert not missing, f"{name} imports {wanted}, which is left out"


def test_what_it_imports_at_its_start_is_in_the_standard_library_or_needed():
    known = {"numpy", "soundfile", "soxr", "ai_edge_litert", "_soundfile"}
    # for URLs (the first three), of training, for microphones
    late = {"fsspec", "botocore", "urllib3", "rich", "sounddevice"}
    found = {wanted.split(".")[0] for source in modules().values() for wanted in imports_of(source)}
    assert found - sys.stdlib_module_names - {"soundx"} <= known | late


def test_the_same_modules_are_the_same_bytes():
    first = runner()
    runner.cache_clear()
    assert runner() == first
    assert first.startswith(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.testzip() is None
        assert "__main__.py" in archive.namelist()
        assert not [name for name in archive.namelist() if "__pycache__" in name]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["predict", "s3://bucket/nights/"], "fsspec"),
        (["listen"], "sounddevice"),
        (["predict", "nowhere.wav"], "nowhere.wav"),
    ],
)
def test_what_is_not_there_is_said_in_words(bare, model, command, said):
    done = bare(model / RUNNER, *command)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_model_beside_it_it_says_what_to_name(bare, model, clip, tmp_path):
    alone = tmp_path / "alone.pyz"
    alone.write_bytes((model / RUNNER).read_bytes())
    done = bare(alone, "predict", clip)
    assert done.returncode == 1
    assert "--model" in done.stderr
    assert "Traceback" not in done.stderr
