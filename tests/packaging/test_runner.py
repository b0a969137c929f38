"""``soundx.pyz`` on a machine that has NumPy, soundfile, soxr and LiteRT, and no soundx."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import soundfile
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from soundx.audio.decoding import decode_clip
from soundx.classifier.bundle import Classifier
from soundx.classifier.export import export_classifier
from soundx.embedders import load_embedder
from tests.classifier.test_export import NESTED, untrained
from tests.conftest import ROOT
from tests.packaging.conftest import plain_environment, run
from tests.packaging.locks import applies, installed, part_of

LOCK = ROOT / "requirements.lock"
NEEDED = ("numpy", "soundfile", "soxr", "ai-edge-litert")


def with_what_they_need(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield canonicalize_name(name)
        asked = map(Requirement, distribution(name).requires or [])
        yield from with_what_they_need([r.name for r in asked if applies(r, {})])


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Python of an environment that holds what is needed, in the versions of the lock."""
    folder = tmp_path_factory.mktemp("device")
    lock = part_of(LOCK, with_what_they_need(NEEDED))
    with plain_environment(folder / "env", lock) as python:
        yield python


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a classifier."""
    folder = tmp_path_factory.mktemp("model")
    embedder = load_embedder("logmel")
    for name, content in export_classifier(embedder, untrained(embedder, NESTED)).files.items():
        (folder / name).write_bytes(content)
    return folder


def test_nothing_else_is_installed(python: Path) -> None:
    found = installed(python.parents[1]).keys() - {"setuptools"}
    assert found == set(with_what_they_need(NEEDED))


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels"),
    [("clip.wav", 16_000, 1), ("clip é.flac", 44_100, 2), ("clip.ogg", 48_000, 1)],
)
def test_it_gives_the_label_that_soundx_gives(
    python: Path, model: Path, tmp_path: Path, name: str, rate_hz: int, channels: int
) -> None:
    rng = np.random.default_rng(7)
    n_samples = int(2.3 * rate_hz)
    fading = np.linspace(0, 0.3, n_samples)[:, None]
    soundfile.write(tmp_path / name, fading * rng.standard_normal((n_samples, channels)), rate_hz)
    waveform = decode_clip(tmp_path / name)
    classifier = Classifier.of_folder(model)
    label, probability = classifier.answer(waveform)
    done = run(python, model / "soundx.pyz", "predict", name, cwd=tmp_path, PYTHONUTF8="1")
    assert done.stdout.split("\t")[:3] == [name, label, f"{probability:.3f}"]
    with (tmp_path / "soundx-results/predictions.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["answer"] == label == classifier.labels[classifier.predict(waveform).argmax()]
    assert float(row["probability"]) == pytest.approx(probability, abs=1e-4)


def test_it_says_how_it_is_used(python: Path, model: Path, tmp_path: Path) -> None:
    done = run(python, model / "soundx.pyz", "--help", cwd=tmp_path)
    for command in ("predict", "listen", "evaluate"):
        assert command in done.stdout
