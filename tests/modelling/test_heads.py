from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from soundx.modelling.heads import Frames, TrainingOptions, clip_probabilities, train_head

OPTIONS = TrainingOptions(hidden_units=(16,), max_epochs=60, patience_epochs=3, learning_rate=0.01)


def blobs(rng, per_class=(200, 60, 20), spread=0.5, dim=8):
    centres = np.eye(3, dim) * 3
    targets = np.repeat(np.arange(3), per_class)
    x = centres[targets] + spread * rng.standard_normal((len(targets), dim))
    return Frames(x.astype(np.float32), targets, np.ones(len(targets), np.float32))


def test_a_head_learns_stops_early_and_keeps_its_best_epoch(rng):
    validation = blobs(rng, spread=1.5)
    head, history = train_head(blobs(rng, spread=1.5), validation, 3, OPTIONS)
    assert len(history.loss) < OPTIONS.max_epochs
    assert history.best_epoch == np.argmin(history.val_loss) + 1
    kept = head.evaluate(validation.embeddings, validation.targets, verbose=0)[0]
    assert kept == pytest.approx(min(history.val_loss), rel=1e-3)
    assert [layer.name for layer in head.layers if "dropout" not in layer.name] == [
        "standardise",
        "hidden_1",
        "logits",
    ]


@pytest.mark.slow
def test_same_frames_same_head(rng):
    train, validation = blobs(rng), blobs(rng)
    answers = [
        np.asarray(train_head(train, validation, 3, OPTIONS)[0](validation.embeddings))
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*answers)


def test_a_dimension_that_never_moved_in_training_is_not_blown_up(rng):
    train, validation = blobs(rng), blobs(rng)
    train.embeddings[:, -1] = 0.0
    validation.embeddings[:, -1] = 0.0
    head, _ = train_head(train, validation, 3, OPTIONS)
    strange = validation.embeddings[:1].copy()
    strange[:, -1] = 1.0
    change = np.asarray(head(strange)) - np.asarray(head(validation.embeddings[:1]))
    assert np.abs(change).max() < 10


def test_a_clip_is_the_softmax_of_the_mean_of_its_logits():
    import keras

    head = keras.Sequential([keras.Input((2,)), keras.layers.Identity()])
    frames = np.array([[0, 2], [2, 0], [5, 0]], np.float32)
    probabilities = clip_probabilities(head, frames, np.array([2, 1]))
    np.testing.assert_allclose(probabilities[0], [0.5, 0.5])
    np.testing.assert_allclose(probabilities[1], np.exp([5, 0]) / np.exp([5, 0]).sum())


@pytest.mark.parametrize(
    "values", [{"dropout": 1.0}, {"max_epochs": 0}, {"learning_rate": "fast"}, {"layers": 3}]
)
def test_options_are_checked(values):
    with pytest.raises(ValidationError):
        TrainingOptions(**values)
