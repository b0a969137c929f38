"""Learning from answers: what it learns, from which frames, and how well it says it does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from soundx.embeddings.store import EmbeddingSet, EmbeddingStore
from soundx.errors import SoundxError
from soundx.labels import BACKGROUND
from soundx.listening.recordings import find_recordings
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.noise import NoiseFrames, noise_clips
from soundx.modelling.pooling import pool_frames
from soundx.modelling.rejection import RejectionOptions
from soundx.modelling.vectors import draw_stretches
from soundx.review.answers import UNSURE, Answer
from soundx.review.learning import AnswerVectors, Clips, changes, frames_of, learn
from soundx.search import index as index_module
from soundx.search import recordings
from soundx.search.index import WindowIndex, build_index
from soundx.search.recordings import scan_recordings
from soundx.storage.folder import Folder
from tests.search.test_index import INFO, Kept, identity
from tests.search.test_recordings import LOGMEL, NOTHING, keep

RATE_HZ = 16_000
TONES_HZ = {"TONE_low": 500, "TONE_high": 3000}
EVERY_S, LONG_S = 4.8, 1.92
"""A tone fills every fifth window; the windows beside it hold half of it."""


@dataclass(frozen=True)
class World:
    """Recordings whose contents are known.

    Attributes:
        index: Their windows.
        stored: Their frames.
        tones: What is heard from each onset on, by file.
    """

    index: WindowIndex
    stored: EmbeddingSet
    tones: dict[str, dict[float, str]]

    def label(self, number):
        """Return what somebody who knows says of a window."""
        window = self.index.window(number)
        for onset_s, label in self.tones[window.recording.file].items():
            away_s = abs(onset_s - window.onset_s)
            if away_s < LONG_S - 0.01:
                return label if away_s < 0.01 else UNSURE
        return BACKGROUND

    def answer(self, number, label=None, person="Ann"):
        window = self.index.window(number)
        label = self.label(number) if label is None else label
        return Answer(window.recording.file, window.onset_s, window.offset_s, label, person)

    def sure(self, *files):
        """Return the windows of some recordings that hold a whole tone, or nothing of one."""
        mine = [file for file in self.tones if Path(file).stem in files]
        return [
            number
            for number in range(len(self.index))
            if self.index.window(number).recording.file in mine and self.label(number) != UNSURE
        ]

    def pooled(self, numbers):
        """Return exact pooled vectors of windows."""
        found = []
        for number in numbers:
            places = self.index.frames_place(self.index.window(number))
            frames = np.concatenate(self.stored.stretches(places))
            found.append(pool_frames(frames, np.array([len(frames)]), self.stored.info.parts)[0])
        return np.stack(found)


def tone(hz, seconds=LONG_S, level=0.3):
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)


def make_world(folder, names="abcd", seconds=30.0):
    """Write recordings of noise with tones in turns, keep their frames and index their windows."""
    (folder / "nights").mkdir(parents=True)
    tones = {}
    for place, name in enumerate(names):
        draw = np.random.default_rng([7, place])
        samples = 0.01 * draw.standard_normal(round(seconds * RATE_HZ))
        path = folder / "nights" / f"{name}.wav"
        onsets_s = [round(EVERY_S * n, 2) for n in range(1, int(seconds / EVERY_S) - 1)]
        tones[str(path)] = dict(zip(onsets_s, list(TONES_HZ) * len(onsets_s), strict=False))
        for onset_s, label in tones[str(path)].items():
            first = round(onset_s * RATE_HZ)
            sound = tone(TONES_HZ[label] * draw.uniform(0.98, 1.02), level=draw.uniform(0.1, 0.4))
            samples[first : first + len(sound)] += sound
        soundfile.write(path, samples, RATE_HZ)
    sources = find_recordings([str(folder / "nights")])
    manifest = scan_recordings(sources, NOTHING)
    _, stored = keep(EmbeddingStore(Folder(str(folder / "store"))), sources, manifest)
    return World(build_index(folder / "windows", manifest, stored, 3), stored, tones)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def noise():
    frames = np.stack(LOGMEL.embed(noise_clips()[::6]))
    return NoiseFrames(LOGMEL.fingerprint, frames)


@pytest.fixture
def vectors(world):
    return AnswerVectors(world.index, world.stored, TrainingOptions())


def answers_about(world, *files):
    return [world.answer(number) for number in world.sure(*files)]


def share_right(taught, world, *files):
    numbers = world.sure(*files)
    said = taught.probabilities(world.pooled(numbers)).argmax(axis=1)
    truth = [world.label(number) for number in numbers]
    return np.mean([taught.classes[i] == label for i, label in zip(said, truth, strict=True)])


def test_answers_alone_teach_labels(world, vectors):
    given = answers_about(world, "a", "b", "c")
    taught = learn(Clips.none(LOGMEL.info), vectors.examples(given))
    assert taught.classes == ("TONE_high", "TONE_low", BACKGROUND)
    assert taught.n_answers == len(given)
    # in a recording that nobody answered about
    assert share_right(taught, world, "d") == 1.0
    assert taught.balanced_accuracy == 1.0
    counts = [sum(one.label == label for one in given) for label in taught.classes]
    assert [taught.figures[label].n_answers for label in taught.classes] == counts
    assert {figures.n_recordings for figures in taught.figures.values()} == {3}
    assert {figures.n_clips for figures in taught.figures.values()} == {0}
    assert all(0.5 <= limit <= 1 for limit in taught.thresholds.values())
    assert taught.thresholds.keys() == TONES_HZ.keys()


def embed_clips(folder, sounds):
    """Keep the frames of some sounds as clips."""
    clips = EmbeddingStore(Folder(str(folder))).of(LOGMEL.info)
    clips.add_shard(dict(zip(sounds, LOGMEL.embed(list(sounds.values())), strict=True)))
    return clips


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips of another tone, and of noise; the tone is put under a category of its own."""
    draw = np.random.default_rng(7)
    sounds, rows = {}, []
    for number in range(8):
        hiss = 0.01 * draw.standard_normal(3 * RATE_HZ)
        high = number % 2 == 0
        sound = hiss + (tone(1500 * draw.uniform(0.98, 1.02), 3.0) if high else 0.0)
        clip_id = f"{number:064d}"
        sounds[clip_id] = sound.astype(np.float32)
        label = "middle" if high else BACKGROUND
        rows.append((clip_id, label, "PITCH" if high else "", f"group {number // 2}"))
    table = pd.DataFrame(rows, columns=["clip_id", "label", "category", "group"])
    embedded = embed_clips(tmp_path_factory.mktemp("clips"), sounds)
    return Clips.of(table, embedded, None, TrainingOptions(), RejectionOptions())


def test_answers_teach_a_new_label_beside_those_of_clips(world, vectors, clips):
    before = learn(clips, vectors.examples([]))
    assert before.classes == ("middle", BACKGROUND)
    given = answers_about(world, "a", "b")
    taught = learn(clips, vectors.examples(given))
    # the category of a label is what its clips say, or what its name does
    assert dict(taught.tree.category_by_label) == {
        "middle": "PITCH", "TONE_high": "TONE", "TONE_low": "TONE",
    }  # fmt: skip
    assert share_right(taught, world, "c", "d") == 1.0
    said = taught.probabilities(clips.examples.vectors.whole).argmax(axis=1)
    assert [taught.classes[i] for i in said] == list(clips.examples.labels)
    assert (taught.figures["middle"].n_clips, taught.figures["middle"].n_answers) == (4, 0)
    assert taught.figures["TONE_low"].n_clips == 0
    rows = {row["label"]: row for row in changes(before, taught)}
    assert set(rows) == set(taught.classes)
    assert rows["middle"]["recall_before"] == before.figures["middle"].recall
    assert rows["TONE_low"]["recall_before"] is None
    assert rows["TONE_low"]["recall"] == taught.figures["TONE_low"].recall
    assert rows["TONE_low"]["recordings"] == 2
    assert [row["recall_before"] for row in changes(None, taught)] == [None] * 4


def test_an_answer_about_a_label_of_clips_is_learnt_as_that(world, vectors, clips):
    number = next(n for n in world.sure("a") if world.label(n) == "TONE_low")
    given = [world.answer(number, "middle"), *answers_about(world, "b")]
    taught = learn(clips, vectors.examples(given))
    assert dict(taught.tree.category_by_label)["middle"] == "PITCH"
    assert (taught.figures["middle"].n_clips, taught.figures["middle"].n_answers) == (4, 1)
    assert taught.figures["middle"].n_recordings == 5


def test_recall_is_of_recordings_that_were_left_out(world, vectors):
    """Who calls it the other way round in the second recording is wrong about the first."""
    right = answers_about(world, "a")
    other = {"TONE_low": "TONE_high", "TONE_high": "TONE_low"}
    wrong = [
        replace(one, label=other.get(one.label, one.label)) for one in answers_about(world, "b")
    ]
    taught = learn(Clips.none(LOGMEL.info), vectors.examples([*right, *wrong]))
    for label in TONES_HZ:
        assert taught.figures[label].recall < 0.2
    assert taught.figures[BACKGROUND].recall > 0.9
    assert taught.balanced_accuracy < 0.2
    # by chance of what it has heard it would be half of them
    agreed = learn(Clips.none(LOGMEL.info), vectors.examples([*right, *answers_about(world, "b")]))
    assert agreed.balanced_accuracy == 1.0


def test_windows_have_the_probabilities_of_their_frames(world, vectors, noise):
    """Directions found by all windows drop no dimension of these."""
    given = answers_about(world, "a", "b")
    for clips in (Clips.none(LOGMEL.info), Clips.none(LOGMEL.info, noise)):
        taught = learn(clips, vectors.examples(given))
        exact = taught.probabilities(world.pooled(range(len(world.index))))
        found = taught.of_windows(world.index)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, exact, atol=2e-3)
        np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)


def test_a_window_that_was_answered_is_learnt_from_its_own_frames(world, vectors):
    """Not from others, for whatever is rounded on the way; but for what lies beyond the end."""
    numbers = [
        number
        for number in range(len(world.index))
        if world.index.window(number).offset_s < world.index.window(number).recording.duration_s
    ]
    examples = vectors.examples([world.answer(n, "siren") for n in numbers])
    np.testing.assert_array_equal(examples.vectors.whole, world.pooled(numbers))
    assert examples.groups == tuple(world.index.window(n).recording.file for n in numbers)


def test_what_nobody_is_sure_of_and_what_is_not_ours_is_left_out(world, vectors):
    good = answers_about(world, "a")
    known = [*good, replace(good[0], recording="elsewhere.wav"), replace(good[1], label=UNSURE)]
    examples = vectors.examples(known)
    assert examples.labels == tuple(one.label for one in good)
    np.testing.assert_array_equal(examples.vectors.whole, vectors.examples(good).vectors.whole)
    nothing = vectors.examples(known[-2:])
    assert len(nothing) == 0
    assert learn(Clips.none(LOGMEL.info), nothing) is None


def test_frames_are_read_once(world, vectors, monkeypatch):
    read = []
    original = EmbeddingSet.stretches

    def counting(stored, places):
        read.extend(places)
        return original(stored, places)

    monkeypatch.setattr(EmbeddingSet, "stretches", counting)
    given = answers_about(world, "a")
    first = vectors.examples(given[:5])
    assert len(read) == 5
    again = vectors.examples(given[:6])
    assert len(read) == 6
    np.testing.assert_array_equal(again.vectors.whole[:5], first.vectors.whole)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(recordings, "PART_FRAMES", 7)
    monkeypatch.setattr(index_module, "PART_FRAMES", 7)


@pytest.mark.parametrize(
    ("onset_s", "offset_s", "first", "n_frames"),
    [
        (0.0, 1.92, 0, 3),
        (2.88, 4.8, 6, 3),  # over the end of a part
        (0.0, 12.0, 0, 24),  # over several, and of all the recording
        (9.6, 30.0, 20, 5),  # and beyond its end
        (0.0, 0.1, 0, 1),  # less than a frame
        (0.25, 1.3, 1, 1),
        (0.2, 1.65, 0, 2),
        (500.0, 501.0, 24, 1),
        (6.7201, 8.6399, 14, 3),  # whatever rounding does
    ],
)
def test_frames_of_a_stretch_are_read_wherever_they_lie(
    tmp_path, small_parts, onset_s, offset_s, first, n_frames
):
    kept = Kept(tmp_path).add("a.wav", 25)
    index = kept.build()
    options = TrainingOptions(windows_per_clip=3)
    given = Answer("a.wav", onset_s, offset_s, "siren")
    assert frames_of(index.recordings[0], given, INFO) == (first, n_frames)
    examples = AnswerVectors(index, kept.stored, options).examples([given])
    frames = kept.frames["a.wav"][first : first + n_frames]
    expected = pool_frames(frames, np.array([n_frames]), INFO.parts)
    np.testing.assert_array_equal(examples.vectors.whole, expected)
    # stretches are drawn from it as from a clip
    name = f"{identity('a.wav')}{first:08d}"[-32:]
    zeros = np.zeros(1, np.int64)
    rows, counts, _ = draw_stretches(zeros, np.array([n_frames]), zeros, [name], 3, options.seed)
    assert len(examples.vectors.owners) == (3 if n_frames > 1 else 0)
    np.testing.assert_array_equal(
        examples.vectors.windows, pool_frames(frames[rows], counts, INFO.parts)
    )


def test_stretches_belong_to_whose_they_are(world, vectors, clips):
    """Of clips and answers together, each has the stretches that it has alone."""
    given = answers_about(world, "a")
    answered = vectors.examples(given)
    both = clips.examples + answered
    assert len(both) == len(clips.examples) + len(answered)
    n = len(clips.examples)
    for place in (0, n - 1, n, n + 3, len(both) - 1):
        part, alone = (clips.examples, place) if place < n else (answered, place - n)
        mine, own = both.vectors, part.vectors
        assert both.labels[place] == part.labels[alone]
        np.testing.assert_array_equal(mine.whole[place], own.whole[alone])
        found = mine.windows[mine.owners == place]
        assert len(found) == 2
        np.testing.assert_array_equal(found, own.windows[own.owners == alone])


def test_one_label_is_not_enough_without_background(world, vectors, noise):
    low = [one for one in answers_about(world, "a", "b") if one.label == "TONE_low"]
    nothing = [one for one in answers_about(world, "a") if one.label == BACKGROUND]
    none = Clips.none(LOGMEL.info)
    assert learn(none, vectors.examples([])) is None
    assert learn(none, vectors.examples(low)) is None
    assert learn(none, vectors.examples(nothing)) is None
    assert learn(Clips.none(LOGMEL.info, noise), vectors.examples(nothing)) is None
    assert learn(none, vectors.examples([*low, *nothing])).classes == ("TONE_low", BACKGROUND)
    # with noise as background it is: the model tells it from hiss
    taught = learn(Clips.none(LOGMEL.info, noise), vectors.examples(low))
    assert taught.classes == ("TONE_low", BACKGROUND)
    assert taught.figures[BACKGROUND].recall is None
    numbers = world.sure("c", "d")
    column = taught.probabilities(world.pooled(numbers))[:, 0]
    holds = np.array([world.label(number) == "TONE_low" for number in numbers])
    assert column[holds].min() > column[[world.label(n) == BACKGROUND for n in numbers]].max()


@pytest.mark.parametrize("n", [2, 3])
def test_two_or_three_answers_are_enough_to_begin_with(world, vectors, n):
    """In one recording, so that none can be left out with its recording."""
    numbers = world.sure("a")
    labels = [world.label(number) for number in numbers]
    kinds = ["TONE_low", "TONE_high", BACKGROUND][:n]
    given = [world.answer(numbers[labels.index(kind)]) for kind in kinds]
    taught = learn(Clips.none(LOGMEL.info), vectors.examples(given))
    assert set(taught.classes) == set(kinds)
    probabilities = taught.of_windows(world.index)
    assert np.isfinite(probabilities).all()


def test_the_same_answers_give_the_same_model(world, vectors, noise, rng):
    given = answers_about(world, "a", "b")
    clips = Clips.none(LOGMEL.info, noise)
    first = learn(clips, vectors.examples(given))
    fresh = AnswerVectors(world.index, world.stored, TrainingOptions())
    again = learn(clips, fresh.examples(given))
    np.testing.assert_array_equal(again.ridge.weights, first.ridge.weights)
    np.testing.assert_array_equal(again.ridge.bias, first.ridge.bias)
    assert (again.figures, again.thresholds) == (first.figures, first.thresholds)
    # in another order, but for rounding
    rng.shuffle(given)
    shuffled = learn(clips, fresh.examples(given))
    assert shuffled.figures == first.figures
    some = world.pooled(range(20))
    np.testing.assert_allclose(shuffled.probabilities(some), first.probabilities(some), atol=1e-3)


def test_labels_that_do_not_go_together_are_said(world, vectors):
    numbers = world.sure("a")[:4]
    labels = ["general_a", "general_b", "TONE_a", "TONE_b"]
    given = [world.answer(n, label) for n, label in zip(numbers, labels, strict=True)]
    with pytest.raises(SoundxError, match="may not be called 'general'"):
        learn(Clips.none(LOGMEL.info), vectors.examples(given))
    # by another separator they do
    taught = learn(Clips.none(LOGMEL.info), vectors.examples(given), separator="-")
    assert taught.tree.is_flat
