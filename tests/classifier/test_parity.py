"""The gate: what may not be saved is not, and the file and the clip are named."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from soundx.classifier.bundle import LABELS, Classifier, head_files
from soundx.classifier.options import ExportOptions
from soundx.classifier.parity import ParityClip, check_parity, edge_clips
from soundx.embedders import load_embedder
from soundx.errors import SoundxError
from soundx.labels import GENERAL

from .test_export import NESTED, untrained

EXACT = ExportOptions(heads=True)


@pytest.fixture(scope="module")
def exported():
    from soundx.classifier.export import export_classifier

    embedder = load_embedder("logmel")
    heads = untrained(embedder, NESTED)
    return embedder, heads, export_classifier(embedder, heads, EXACT)


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(7)
    noise = [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in (9_000, 40_000, 64_321)]
    return [
        ParityClip(f"A_1/{number}.wav", lambda clip=clip: clip, "A_1")
        for number, clip in enumerate(noise)
    ]


@pytest.fixture(autouse=True)
def ten_minutes(monkeypatch):
    monkeypatch.setattr("soundx.classifier.parity._TEN_MINUTES_S", 600)


@pytest.fixture
def no_edges(monkeypatch):
    monkeypatch.setattr("soundx.classifier.parity.edge_clips", list)


def otherwise(classifier: Classifier, **files: bytes) -> Classifier:
    """Return a classifier with other files, its checksums left out."""
    changed = {**classifier.files, **files}
    changed[LABELS] = json.dumps({**classifier.info, "files": {}}).encode()
    return Classifier(changed)


def with_one_weight_changed(content: bytes) -> bytes:
    """Return a TFLite file in which one number of its largest float table is another."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    tensors = [t for t in model.subgraphs[0].tensors if model.buffers[t.buffer].data is not None]
    weights = [t for t in tensors if list(t.shape)[:1] == [512] and t.type == 0]
    buffer = model.buffers[max(weights, key=lambda t: len(model.buffers[t.buffer].data)).buffer]
    numbers = np.frombuffer(bytes(buffer.data), "<f4").copy()
    numbers[7] += 1e3
    buffer.data = np.frombuffer(numbers.tobytes(), np.uint8)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_what_is_exact_passes_on_test_clips_and_edge_clips(exported, clips):
    embedder, heads, classifier = exported
    found = check_parity(classifier, heads, embedder, clips, EXACT)
    assert found["max_difference"] < 1e-3
    assert found["changed_top1"] == 0
    assert found["edge_clips"] == [
        "silence", "one sample", "half a second", "full-scale square wave", "ten minutes",
    ]  # fmt: skip
    assert set(found["files"]) == {n for n in classifier.files if n.endswith(".tflite")}
    assert {"serving_default", "window"} <= set(found["files"]["soundx.tflite"])
    assert found["accuracy"]["keras"] == found["accuracy"]["exported"]


def test_edge_clips_are_what_they_are_called():
    lengths = {clip.name.removeprefix("edge clip: "): len(clip.load()) for clip in edge_clips()}
    assert lengths["one sample"] == 1
    assert lengths["half a second"] == 8_000
    assert lengths["ten minutes"] == 600 * 16_000
    square = next(c for c in edge_clips() if "square" in c.name).load()
    assert set(np.unique(square)) == {-1.0, 1.0}


def test_one_weight_that_changed_is_stopped(exported, clips, no_edges):
    embedder, heads, classifier = exported
    broken = otherwise(
        classifier, **{"soundx.tflite": with_one_weight_changed(classifier.files["soundx.tflite"])}
    )
    with pytest.raises(SoundxError, match=r"soundx\.tflite \(.*A_1/\d\.wav.*not saved"):
        check_parity(broken, heads, embedder, clips, EXACT)


@pytest.mark.parametrize("head", [GENERAL, "C"])
def test_a_head_s_own_file_that_answers_otherwise_is_stopped(exported, clips, no_edges, head):
    embedder, heads, classifier = exported
    own = head_files(heads.tree.heads)
    other = {GENERAL: "C", "C": GENERAL}[head]  # of as many classes
    broken = otherwise(classifier, **{own[head]: classifier.files[own[other]]})
    with pytest.raises(SoundxError, match=rf"{own[head]} .*strays by"):
        check_parity(broken, heads, embedder, clips, EXACT)


def test_nan_is_stopped(clips, no_edges):
    from soundx.classifier.export import export_classifier

    embedder = load_embedder("logmel")
    heads = untrained(embedder, NESTED)
    for model in heads.models.values():
        model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    classifier = export_classifier(embedder, heads)
    with pytest.raises(SoundxError, match=r"answers with NaN, on A_1/0\.wav"):
        check_parity(classifier, heads, embedder, clips, ExportOptions())


def test_another_label_first_is_stopped_however_near(exported, clips, no_edges):
    """Two labels nearly as probable as each other, exchanged: no probability strays far."""
    from soundx.classifier.parity import _Tally

    tally = _Tally("soundx.tflite", "window", exact=True)
    with pytest.raises(SoundxError, match="another label first"):
        tally.add("a.wav", np.array([[0.5004, 0.4996]]), np.array([[0.4999, 0.5001]]))
    tied = _Tally("soundx.tflite", "window", exact=True)
    tied.add("a.wav", np.array([[0.5, 0.499999]]), np.array([[0.499999, 0.5]]))
    assert tied.report()["changed_top1"] == 0


@pytest.mark.parametrize(
    "precision",
    ["float16", *(pytest.param(name, marks=pytest.mark.slow) for name in ("dynamic", "int8"))],
)
def test_what_is_smaller_may_lose_a_little_and_is_told(exported, clips, no_edges, precision):
    from soundx.classifier.export import export_classifier

    embedder, heads, plain = exported
    options = ExportOptions(precision=precision, max_accuracy_drop=0.0)
    waveforms = [clip.load() for clip in clips]
    classifier = export_classifier(embedder, heads, options, calibration=waveforms)
    # here heads and front end are nearly all of it, and those stay float
    assert len(classifier.files["soundx.tflite"]) < 1.01 * len(plain.files["soundx.tflite"])
    assert classifier.info["precision"] == precision
    found = check_parity(classifier, heads, embedder, clips, options)
    assert found["precision"] == precision
    assert 0 < found["max_difference"] < 0.2


def test_losing_more_than_allowed_is_stopped(exported, clips, no_edges):
    """Clips whose label is what the Keras model says, and a file that says another."""
    embedder, heads, _ = exported
    frames = embedder.embed([clip.load() for clip in clips])
    said = [heads.predict(f, np.array([len(f)]))[0].argmax() for f in frames]
    known = [
        dataclasses.replace(clip, label=heads.tree.labels[n])
        for clip, n in zip(clips, said, strict=True)
    ]
    other = untrained(embedder, NESTED)
    for model in other.models.values():
        model.set_weights([-w if w.ndim == 2 else w for w in model.get_weights()])
    from soundx.classifier.export import export_classifier

    smaller = ExportOptions(precision="float16", max_accuracy_drop=0.1)
    broken = export_classifier(embedder, other, smaller)
    with pytest.raises(SoundxError, match=r"max_accuracy_drop \(0\.1\)"):
        check_parity(broken, heads, embedder, known, smaller)
