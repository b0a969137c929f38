"""``soundx.tflite`` in MediaPipe Tasks, as an app on a phone opens it.

In an environment of its own, of what ``mediapipe.lock`` names; there MediaPipe brings a TFLite of
its own with it, which is not the one that we test with.

To make the lock again: ``uv pip compile -c requirements.lock --universal --python-version 3.11
--generate-hashes --no-header --no-annotate`` of mediapipe.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from soundx.audio import Float32
from soundx.classifier.bundle import JOINT_MODEL, Classifier
from soundx.classifier.export import export_classifier
from soundx.classifier.options import ExportOptions
from soundx.embedders import load_embedder
from soundx.labels import LabelTree
from tests.classifier.test_export import NESTED, untrained
from tests.packaging.conftest import plain_environment, run
from tests.packaging.locks import installed, pinned

LOCK = Path(__file__).with_name("mediapipe.lock")
ODD = [(name, name) for name in ("Ölsäge, rot", 'cat "Tom"', "カラス", "b\\n", "x" * 300)]
WINDOW = 15_600

HEAR = """
import json, sys
import numpy as np
from mediapipe.tasks import python
from mediapipe.tasks.python import audio
from mediapipe.tasks.python.components import containers

base = python.BaseOptions(model_asset_path=sys.argv[1])
found = []
with audio.AudioClassifier.create_from_options(
    audio.AudioClassifierOptions(base_options=base)
) as classifier:
    samples = np.load(sys.argv[2])
    for piece in classifier.classify(containers.AudioData.create_from_array(samples, 16000)):
        heads = {}
        for head in piece.classifications:
            heads[head.head_name] = [[c.index, c.category_name, c.score] for c in head.categories]
        found.append([piece.timestamp_ms, heads])
print(json.dumps(found))
"""

Hear = Callable[[Classifier, Float32], list[tuple[int, dict[str, list[list[Any]]]]]]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Python of an environment in which MediaPipe is."""
    folder = tmp_path_factory.mktemp("mediapipe")
    with plain_environment(folder / "env", LOCK.read_text()) as python:
        yield python


@pytest.fixture
def hear(python: Path, tmp_path: Path) -> Hear:
    """Return what MediaPipe says of a waveform, piece by piece: each head's classes."""

    def hear(classifier: Classifier, samples: Float32) -> Any:
        (tmp_path / JOINT_MODEL).write_bytes(classifier.files[JOINT_MODEL])
        np.save(tmp_path / "samples.npy", samples)
        arguments = (tmp_path / JOINT_MODEL, tmp_path / "samples.npy")
        done = run(python, "-c", HEAR, *arguments, cwd=tmp_path, PYTHONUTF8="1")
        return json.loads(done.stdout.splitlines()[-1])

    return hear


def exported(pairs: list[tuple[str, str]], precision: str = "float32") -> Classifier:
    rng = np.random.default_rng(7)
    clips = [(0.1 * rng.standard_normal(20_000)).astype(np.float32) for _ in range(4)]
    embedder = load_embedder("logmel")
    options = ExportOptions.model_validate({"precision": precision})
    return export_classifier(embedder, untrained(embedder, pairs), options, calibration=clips)


def in_order(classes: list[list[Any]]) -> tuple[list[str], list[float]]:
    """Return names and scores in the order of the columns: MediaPipe's is that of the scores."""
    ordered = sorted(classes)
    assert [index for index, _, _ in ordered] == list(range(len(ordered)))
    return [name for _, name, _ in ordered], [score for _, _, score in ordered]


def test_what_is_installed_is_the_lock(python: Path) -> None:
    found = installed(python.parents[1])
    found.pop("setuptools", None)  # some Pythons put it into every environment
    assert {name: one.version for name, one in found.items()} == pinned(LOCK)


@pytest.mark.parametrize("pairs", [NESTED, ODD], ids=["with categories", "odd names"])
def test_it_names_the_labels_and_scores_them_as_litert_does(
    hear: Hear, pairs: list[tuple[str, str]]
) -> None:
    classifier = exported(pairs)
    rng = np.random.default_rng(7)
    for loudness in (0.0, 0.01, 0.3):
        samples = (loudness * rng.standard_normal(WINDOW)).astype(np.float32).clip(-1, 1)
        ((_, heads),) = hear(classifier, samples)
        expected = classifier.signature("window", samples)
        # the first is what AudioClassifier's examples show
        assert next(iter(heads)) == "label_probabilities"
        names, scores = in_order(heads["label_probabilities"])
        assert names == classifier.info["labels"]
        np.testing.assert_allclose(scores, expected["label_probabilities"][0], atol=1e-5)
        names, scores = in_order(heads["category_probabilities"])
        assert names == list(LabelTree.build(pairs).categories)
        np.testing.assert_allclose(scores, expected["category_probabilities"][0], atol=1e-5)


def test_a_longer_clip_is_cut_into_windows(hear: Hear) -> None:
    classifier = exported(NESTED)
    rng = np.random.default_rng(8)
    samples = (0.1 * rng.standard_normal(3 * WINDOW)).astype(np.float32)
    pieces = hear(classifier, samples)
    assert [timestamp_ms for timestamp_ms, _ in pieces] == [0, 975, 1950]
    for number, (_, heads) in enumerate(pieces):
        window = samples[number * WINDOW : (number + 1) * WINDOW]
        expected = classifier.signature("window", window)["label_probabilities"][0]
        _, scores = in_order(heads["label_probabilities"])
        np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize("precision", ["float16", "dynamic", "int8"])
def test_smaller_files_are_opened_as_well(hear: Hear, precision: str) -> None:
    classifier = exported(NESTED, precision)
    rng = np.random.default_rng(7)
    samples = (0.1 * rng.standard_normal(WINDOW)).astype(np.float32)
    ((_, heads),) = hear(classifier, samples)
    names, scores = in_order(heads["label_probabilities"])
    assert names == classifier.info["labels"]
    expected = classifier.signature("window", samples)["label_probabilities"][0]
    # another TFLite computes: of numbers in 8 bits one may be rounded the other way
    np.testing.assert_allclose(scores, expected, atol=5e-3)
