"""A small model that listens, and recordings to listen to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from soundx.classifier.bundle import Classifier


def planted(seconds: float, *, seed: int = 7, every_s: float = 12.0) -> np.ndarray:
    """Return soft noise with a tone of a second or two every so often, at 16 kHz."""
    rng = np.random.default_rng(seed)
    samples = 0.003 * rng.standard_normal(int(seconds * 16_000))
    for at_s in np.arange(4.0, seconds - 3, every_s):
        n = int(rng.uniform(1.0, 2.0) * 16_000)
        tone = 0.4 * np.sin(2 * np.pi * rng.uniform(500, 3000) * np.arange(n) / 16_000)
        first = int(at_s * 16_000)
        samples[first : first + n] += tone
    return samples.astype(np.float32)


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A classifier's folder: an untrained head, whose answers change from window to window."""
    from soundx.classifier.export import export_classifier
    from soundx.embedders import load_embedder
    from tests.classifier.test_export import NESTED, untrained

    embedder = load_embedder("logmel")
    heads = untrained(embedder, NESTED)
    folder = tmp_path_factory.mktemp("model")
    thresholds = dict.fromkeys(heads.tree.labels, 0.25)
    object.__setattr__(heads, "thresholds", thresholds)
    for name, content in export_classifier(embedder, heads).files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def classifier(model: Path) -> Classifier:
    return Classifier.of_folder(model, threads=1)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two nights and a file that is none."""
    folder = tmp_path / "nights"
    (folder / "site 1").mkdir(parents=True)
    soundfile.write(folder / "site 1" / "20240501_213000.wav", planted(70), 16_000)
    soundfile.write(folder / "other.flac", planted(20, seed=8), 16_000)
    (folder / "broken.mp3").write_bytes(b"<html>not found</html>")
    return folder
