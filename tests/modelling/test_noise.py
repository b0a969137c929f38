"""Noise: the same everywhere, of the colours and levels it says, learnt as none of the labels."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from soundx.audio import SAMPLE_RATE_HZ
from soundx.embedders.base import EmbedderInfo, Part
from soundx.embedders.logmel import LogMelEmbedder
from soundx.embeddings.store import EmbeddingStore
from soundx.errors import Remedy, SoundxError
from soundx.modelling import training
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.noise import (
    COLOURS,
    LEVELS_DBFS,
    SECONDS,
    STRETCHES,
    NoiseFrames,
    are_silent,
    coloured_noise,
    noise_clips,
    noise_of,
)
from soundx.modelling.vectors import Vectors
from soundx.storage.folder import Folder

PITCHES_HZ = {"low": 250, "middle": 900, "high": 3000}
BACKGROUND = len(PITCHES_HZ)
AS_EVERYWHERE = np.array(
    [
        [-0.30284, 0.33849, -0.54752],
        [-0.31623, 0.11055, 0.57057],
        [0.32196, 0.30862, 0.36683],
        [0.18416, 0.15951, 0.17989],
    ]
)


@pytest.fixture(scope="module")
def clips():
    """Silence, and each colour at each level, in this order."""
    return noise_clips()


@pytest.fixture(scope="module")
def embedder():
    return LogMelEmbedder()


@pytest.fixture(scope="module")
def noise(embedder, clips):
    return NoiseFrames(embedder.fingerprint, np.stack(embedder.embed(clips)))


def by_colour_and_level():
    return [(slope, level_dbfs) for slope in COLOURS.values() for level_dbfs in LEVELS_DBFS]


def power_slope(noise: np.ndarray) -> float:
    """Return how fast power falls with frequency, by a line through octaves of the spectrum."""
    power = np.square(np.abs(np.fft.rfft(noise)))
    frequencies = np.fft.rfftfreq(len(noise), 1 / SAMPLE_RATE_HZ)
    edges = 125 * 2.0 ** np.arange(7)  # 125 Hz to 8 kHz
    octaves = [power[(frequencies >= low) & (frequencies < 2 * low)].mean() for low in edges[:-1]]
    return -float(np.polyfit(np.log2(edges[:-1]), np.log2(octaves), 1)[0])


def test_noise_is_the_same_everywhere(clips):
    again = noise_clips()
    assert all(np.array_equal(one, other) for one, other in zip(clips, again, strict=True))
    # here and on any other machine: of its Fourier transform last bits alone may differ
    loudest = np.stack(clips[len(LEVELS_DBFS) :: len(LEVELS_DBFS)])
    np.testing.assert_allclose(loudest[:, 1000:1003], AS_EVERYWHERE, atol=2e-5)
    assert {clip.dtype for clip in clips} == {np.dtype(np.float32)}


def test_noise_is_silence_and_four_colours_at_nine_levels(clips):
    assert len(clips) == 1 + len(COLOURS) * len(LEVELS_DBFS) == 37
    assert {clip.shape for clip in clips} == {(int(SECONDS * SAMPLE_RATE_HZ),)}
    assert not clips[0].any()
    for clip, (slope, level_dbfs) in zip(clips[1:], by_colour_and_level(), strict=True):
        assert np.abs(clip).max() <= 1
        found_dbfs = 20 * np.log10(np.sqrt(np.mean(np.square(clip, dtype=np.float64))))
        # the loudest lose a little where they are cut at full scale
        assert found_dbfs == pytest.approx(level_dbfs, abs=0.2)
        assert power_slope(clip) == pytest.approx(slope, abs=0.15)
    assert len({hashlib.sha256(clip.tobytes()).digest() for clip in clips}) == len(clips)


@pytest.mark.parametrize("slope", [-1.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("n_samples", [2_000, 80_000, 80_001])
def test_coloured_noise_has_the_strength_of_one_and_no_offset(rng, slope, n_samples):
    noise = coloured_noise(n_samples, slope, rng)
    assert noise.shape == (n_samples,)
    assert np.sqrt(np.mean(np.square(noise))) == pytest.approx(1, abs=1e-4)
    assert noise.mean() == pytest.approx(0, abs=1e-4)


def test_stretches_of_noise_are_of_the_clip_they_are_said_to_be_of():
    n_clips, n_frames = 6, 10
    frames = np.repeat(np.arange(n_clips, dtype=np.float32)[:, None], n_frames, axis=1)[..., None]
    noise = NoiseFrames("test-1", frames)
    parts = (Part("a", 1, ("mean", "max")),)
    whole, stretches, owners = noise.vectors(parts, seed=7)
    assert whole.tolist() == [[n, n] for n in range(n_clips)]
    assert owners.tolist() == np.repeat(range(n_clips), STRETCHES).tolist()
    assert stretches.tolist() == [[n, n] for n in owners]
    _, again, _ = noise.vectors(parts, seed=7)
    np.testing.assert_array_equal(stretches, again)


def test_stretches_are_of_one_to_five_frames_wherever_they_fit():
    frames = np.arange(12, dtype=np.float32).reshape(1, 12, 1).repeat(30, axis=0)
    parts = (Part("a", 1, ("mean", "max")),)
    _, stretches, _ = NoiseFrames("test-1", frames).vectors(parts, seed=7)
    half = stretches[:, 1] - stretches[:, 0]  # of what is between first and last
    assert set(1 + 2 * half) == {1, 2, 3, 4, 5}
    assert stretches[:, 1].max() == 11
    assert (stretches[:, 0] - half).min() == 0
    short = NoiseFrames("test-1", frames[:, :2])
    _, stretches, _ = short.vectors(parts, seed=7)
    assert set(map(tuple, stretches)) == {(0, 0), (1, 1), (0.5, 1)}


def test_noise_that_is_missing_or_of_another_embedder_is_an_error():
    info = EmbedderInfo("test", "test-1", 2, 0.96, 0.48)
    mine = NoiseFrames("test-1", np.zeros((1, 1, 2), np.float32))
    assert noise_of(info, mine) is mine
    for other in (NoiseFrames("test-2", mine.frames), None):
        with pytest.raises(SoundxError, match="no frames of it by test-1") as caught:
            noise_of(info, other)
        assert caught.value.remedy is Remedy.PREPROCESS


def test_stretches_of_digital_silence_are_told_apart(embedder, clips):
    """From those as quiet as nothing any recorder makes, too."""
    silence = embedder.embed([clips[0]])[0].mean(axis=0)
    as_stored = silence.astype(np.float16).astype(np.float32)
    quietest = embedder.embed([clips[1 + 9]])[0].mean(axis=0)  # white noise at -80 dBFS
    vectors = np.stack([silence, as_stored, quietest])
    assert are_silent(vectors, silence).tolist() == [True, True, False]
    assert are_silent(vectors[:0], silence).tolist() == []


def test_what_is_silent_of_a_clip_belongs_to_background():
    n, dim, n_classes = 3, 4, 3
    noise = NoiseFrames("test-1", np.stack([np.full((6, dim), v, np.float32) for v in (0, 9)]))
    windows = np.array([[1] * dim, [0] * dim, [2] * dim, [0.001] * dim], np.float32)
    whole = np.ones((n, dim), np.float32)
    vectors = Vectors(np.arange(n), whole, np.array([0, 0, 1, 2]), windows)
    options = TrainingOptions()
    found, targets, groups = training.with_noise(
        vectors,
        np.array([0, 1, 1]),
        np.array([0, 0, 1]),
        noise,
        [Part("a", dim, ("mean",))],
        options,
        n_classes,
    )
    assert targets.tolist() == [0, 1, 1, 2, 2]
    assert targets[found.owners].tolist() == [0, 2, 1, 2] + [2] * 2 * STRETCHES
    assert groups.tolist() == [0, 0, 1, 2, 3]  # no two of one recording
    assert found.whole.shape == (5, dim)
    assert found.windows.shape == (4 + 2 * STRETCHES, dim)
    same = training.with_noise(
        vectors, targets[:3], groups[:3], None, [Part("a", dim, ("mean",))], options, n_classes
    )
    assert same[0] is vectors


@pytest.fixture(scope="module")
def half_silent(embedder, tmp_path_factory):
    """Tones of three labels, embedded: each clip's second half is filled up with zeros."""
    rng = np.random.default_rng(7)
    rows, waveforms = [], []
    for target, (label, pitch_hz) in enumerate(PITCHES_HZ.items()):
        for number in range(12):
            angle = np.arange(32_000) * 2 * np.pi * pitch_hz * rng.uniform(0.9, 1.1) / 16_000
            tone = 0.3 * np.sin(angle) + 0.003 * rng.standard_normal(32_000)
            waveforms.append(np.append(tone, np.zeros(32_000)).astype(np.float32))
            clip_id = hashlib.sha256(f"{label} {number}".encode()).hexdigest()
            rows.append((clip_id, target, clip_id, "validation" if number % 4 == 3 else "train"))
    store = EmbeddingStore(Folder(str(tmp_path_factory.mktemp("embeddings"))))
    table = pd.DataFrame(rows, columns=["clip_id", "target", "group", "split"])
    store.of(embedder.info).add_shard(
        dict(zip(table["clip_id"], embedder.embed(waveforms), strict=True))
    )
    store.set_current(embedder.info)
    return table.assign(weight=np.float32(1)), store.current


def answers_of(trained, embedder, waveforms):
    model = trained.models["labels"]
    logits = [
        model(frames[None], training=False).numpy()[0] for frames in embedder.embed(waveforms)
    ]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def fresh_noise():
    """Noise that nothing was learnt from, at levels between those that were."""
    rng = np.random.default_rng(99)
    clips = {"silence": np.zeros(24_000, np.float32)}
    for colour in ("pink", "white", "brown"):
        for level_dbfs in (-70, -48, -27, -13):
            noise = coloured_noise(48_000, COLOURS[colour], rng) * 10 ** (level_dbfs / 20)
            clips[f"{colour} at {level_dbfs} dBFS"] = noise.clip(-1, 1).astype(np.float32)
    return clips


@pytest.mark.parametrize("in_memory", [True, False], ids=["at once", "in blocks"])
def test_a_ridge_that_learnt_noise_says_background_to_noise_it_never_heard(
    embedder, noise, half_silent, monkeypatch, in_memory
):
    if not in_memory:
        monkeypatch.setattr(training, "VECTORS_IN_MEMORY", 0)
    table, embedded = half_silent
    options = TrainingOptions()
    trained = training.train_labels(table, embedded, BACKGROUND + 1, options, noise)
    clips = fresh_noise()
    answers = answers_of(trained, embedder, list(clips.values()))
    labels = dict(zip(clips, answers.argmax(axis=1), strict=True))
    assert labels == dict.fromkeys(clips, BACKGROUND)
    # and the labels are still known
    for target, pitch_hz in enumerate(PITCHES_HZ.values()):
        tone = 0.3 * np.sin(np.arange(32_000) * 2 * np.pi * pitch_hz / 16_000)
        (answer,) = answers_of(trained, embedder, [tone.astype(np.float32)])
        assert answer.argmax() == target


def test_without_noise_each_of_them_is_some_label(embedder, half_silent):
    """What learning it is for: the model has no other answer."""
    table, embedded = half_silent
    trained = training.train_labels(table, embedded, BACKGROUND, TrainingOptions())
    answers = answers_of(trained, embedder, list(fresh_noise().values()))
    assert answers.shape[1] == BACKGROUND
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)


def test_predictions_of_recordings_left_out_are_of_clips_alone(noise, half_silent):
    table, embedded = half_silent
    trained = training.train_labels(table, embedded, BACKGROUND + 1, TrainingOptions(), noise)
    clips, probabilities = trained.left_out
    assert sorted(clips) == list(range(len(table)))
    assert probabilities.shape == (len(table), BACKGROUND + 1)
    right = probabilities.argmax(axis=1) == table["target"].to_numpy()[clips]
    assert right.mean() > 0.9
