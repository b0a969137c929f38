from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from soundx.classifier.bundle import Classifier, head_files
from soundx.classifier.options import ExportOptions, window_frames
from soundx.embedders import EmbedderSettings, load_embedder
from soundx.errors import BrokenFileError, Setting, SoundxError
from soundx.labels import GENERAL, LabelTree
from soundx.modelling.heads import TrainingOptions, build_head, clip_probabilities
from soundx.modelling.joint import TrainedHeads

NESTED = [("A_1", "A"), ("A_2", "A"), ("B", "B"), ("C_1", "C"), ("C_2", "C"), ("C_3", "C")]
FLAT = [("cat", "cat"), ("dog", "dog")]


def untrained(embedder, pairs) -> TrainedHeads:
    import keras

    keras.utils.set_random_seed(7)
    tree = LabelTree.build(pairs)
    mean, variance = np.zeros(embedder.dim, np.float32), np.full(embedder.dim, 9.0, np.float32)
    models = {
        head: build_head(
            embedder.dim, len(classes), TrainingOptions(), mean=mean, variance=variance
        )
        for head, classes in tree.heads.items()
    }
    return TrainedHeads(
        tree, models, embedder.info, {}, {}, np.zeros(0, np.uint64), {}, version="v1"
    )


def check(embedder, heads, rng, *, head_files=False):
    from soundx.classifier.export import export_classifier

    classifier = export_classifier(embedder, heads, ExportOptions(heads=head_files))
    n_files = sum(name.endswith(".tflite") for name in classifier.files)
    assert n_files == (1 + len(heads.tree.heads) if head_files else 1)
    for entry in classifier.info["heads"].values():
        assert entry.get("file", "soundx.tflite") in classifier.files
    assert classifier.version == "v1"
    assert classifier.labels == heads.tree.labels
    for n_samples in (1, 800, 15_600, 15_601, 50_000, 800):
        clip = (0.1 * rng.standard_normal(n_samples)).astype(np.float32)
        frames = embedder.embed([clip])[0]
        expected = heads.predict(frames, np.array([len(frames)]))[0]
        found = classifier.predict(clip)
        np.testing.assert_allclose(found, expected, atol=1e-3)
        heard = classifier.hear(clip)
        np.testing.assert_array_equal(heard.labels, found)
        assert heard.windows.shape == (len(frames), len(classifier.labels))
        np.testing.assert_allclose(heard.frames, frames, atol=2e-3)
        assert found.sum() == pytest.approx(1.0, abs=1e-5)
        for head, model in heads.models.items():
            expected = clip_probabilities(model, frames, np.array([len(frames)]))[0]
            np.testing.assert_allclose(classifier.predict_head(head, clip), expected, atol=1e-3)
    return classifier


@pytest.fixture(scope="module")
def exported():
    """Heads that no test alters, and what they were exported to."""
    from soundx.classifier.export import export_classifier

    embedder = load_embedder("logmel")
    heads = untrained(embedder, NESTED)
    return heads, export_classifier(embedder, heads, ExportOptions(heads=True))


@pytest.mark.parametrize(
    ("pairs", "head_files"),
    [
        pytest.param(NESTED, True, marks=pytest.mark.slow),
        (FLAT, False),
        pytest.param(NESTED, False, marks=pytest.mark.slow),
    ],
)
def test_tflite_gives_the_keras_answer_at_any_length(rng, pairs, head_files):
    embedder = load_embedder("logmel")
    classifier = check(embedder, untrained(embedder, pairs), rng, head_files=head_files)
    assert classifier.predict([]).shape == (len(pairs),)
    with pytest.raises(SoundxError, match="one dimension"):
        classifier.predict(np.zeros((2, 2)))
    with pytest.raises(SoundxError, match="no head"):
        classifier.predict_head("nope", np.zeros(5))


def test_a_level_is_part_of_what_is_served(rng):
    embedder = load_embedder("logmel", EmbedderSettings(level_dbfs=-23))
    classifier = check(embedder, untrained(embedder, FLAT), rng)
    clip = (0.2 * rng.standard_normal(20_000)).astype(np.float32).clip(-1, 1)
    np.testing.assert_allclose(classifier.predict(clip), classifier.predict(clip / 10), atol=1e-4)


@pytest.mark.yamnet
def test_yamnet_is_served_as_it_was_trained_on(rng, yamnet_folder):
    embedder = load_embedder("yamnet", EmbedderSettings(yamnet_handle=yamnet_folder))
    check(embedder, untrained(embedder, NESTED), rng)


def test_heads_of_another_embedder_are_refused():
    from soundx.classifier.export import export_classifier

    embedder = load_embedder("logmel")
    heads = untrained(embedder, FLAT)
    other = dataclasses.replace(heads, embedder=dataclasses.replace(embedder.info, fingerprint="x"))
    with pytest.raises(SoundxError, match="embeddings are by"):
        export_classifier(embedder, other)


@pytest.mark.parametrize("window_s", [0.96, 1.44, 1.92, 3.36, 9.6])
def test_a_window_is_of_as_many_frames_as_span_it(window_s):
    info = load_embedder("logmel").info
    n_frames = window_frames(info, ExportOptions(window_s=window_s))
    assert info.window_s + (n_frames - 1) * info.hop_s == pytest.approx(window_s)


@pytest.mark.parametrize(("window_s", "nearest"), [(2.0, "1.92"), (1.7, "1.92"), (0.1, "0.96")])
def test_a_window_that_no_number_of_frames_spans_is_refused_with_the_nearest(window_s, nearest):
    info = load_embedder("logmel").info
    with pytest.raises(SoundxError, match=rf"spans {window_s} s; the nearest is {nearest}") as told:
        window_frames(info, ExportOptions(window_s=window_s))
    assert told.value.remedy == Setting("export.window_s", nearest)
    assert window_frames(info, ExportOptions(window_s=float(told.value.remedy.value))) >= 1


def test_windows_of_another_length_are_exported_and_told(rng):
    from soundx.classifier.export import export_classifier

    embedder = load_embedder("logmel")
    heads = untrained(embedder, FLAT)
    classifier = export_classifier(embedder, heads, ExportOptions(window_s=0.96))
    assert classifier.windowing.frames == 1
    clip = (0.1 * rng.standard_normal(50_000)).astype(np.float32)
    heard = classifier.hear(clip)
    expected = heads.predict(heard.frames, np.ones(len(heard.frames), np.int64))
    np.testing.assert_allclose(heard.windows, expected, atol=1e-4)


def test_many_threads_may_ask_one_classifier(rng, exported):
    """As the viewer's sessions do: each gets the answer to its own clip."""
    _, classifier = exported
    lengths = [4000 * (1 + n % 7) for n in range(200)]
    clips = [(0.3 * rng.standard_normal(n)).astype(np.float32) for n in lengths]
    expected = [classifier.predict(clip) for clip in clips]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(classifier.predict, clips))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("head", [GENERAL, "C"])
def test_a_head_s_own_file_in_place_of_another_s_is_refused(exported, head):
    _, classifier = exported
    own = head_files(classifier.tree.heads)
    other = {GENERAL: "C", "C": GENERAL}[head]  # of as many classes
    with pytest.raises(BrokenFileError, match=rf"{own[head]} is broken.*checksum"):
        Classifier({**classifier.files, own[head]: classifier.files[own[other]]})


def test_half_a_classifier_is_refused():
    with pytest.raises(SoundxError, match=r"labels\.json missing"):
        Classifier({"soundx.tflite": b""})
