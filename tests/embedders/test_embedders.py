from __future__ import annotations

import numpy as np
import pytest

from soundx.audio import framing
from soundx.embedders import Embedder, EmbedderSettings, FrameModel, load_embedder
from soundx.errors import SoundxError

LENGTHS = [0, 1, 1600, 15_599, 15_600, 15_601, 23_040, 80_000]


class Constant(Embedder):
    """An embedder of a user's own: ten lines."""

    name, dim, window_s, hop_s = "constant", 2, 0.96, 0.48

    def _identity(self):
        return "1"

    def _model(self):
        return FrameModel(
            lambda waveforms: [np.full((1, 2), w.max(initial=0), np.float32) for w in waveforms]
        )


def test_an_embedder_of_ones_own_is_named_by_its_class():
    embedder = load_embedder(f"{__name__}.Constant")
    assert embedder.embed([np.ones(3, np.float32)])[0].tolist() == [[1, 1]]


@pytest.mark.parametrize("name", ["nope", "no.such.module", "soundx.labels.LabelTree", ""])
def test_an_unknown_embedder_is_said(name):
    with pytest.raises(SoundxError, match=f"'{name}'"):
        load_embedder(name)


@pytest.mark.parametrize("n_samples", LENGTHS)
def test_frames_of_a_clip(rng, n_samples):
    clip = (0.1 * rng.standard_normal(n_samples)).astype(np.float32)
    frames = load_embedder("logmel").embed([clip])[0]
    assert frames.dtype == np.float32
    assert frames.shape == (framing.n_patches(n_samples), 1594)
    assert np.isfinite(frames).all()


def test_a_clip_does_not_depend_on_its_neighbours(rng):
    clips = [rng.standard_normal(n).astype(np.float32) * 0.1 for n in (5000, 40_000, 80_000)]
    embedder = load_embedder("logmel")
    together = embedder.embed(clips)
    for clip, frames in zip(clips, together, strict=True):
        np.testing.assert_array_equal(embedder.embed([clip])[0], frames)


@pytest.mark.parametrize("n_samples", LENGTHS)
def test_the_served_graph_gives_the_same_embeddings(rng, n_samples):
    import tensorflow as tf

    clip = (0.1 * rng.standard_normal(n_samples)).astype(np.float32)
    embedder = load_embedder("logmel")
    served = embedder.graph()(tf.constant(clip)).numpy()
    np.testing.assert_allclose(served, embedder.embed([clip])[0], atol=2e-3)


def test_the_mel_matrix_is_tensorflows():
    import tensorflow as tf

    expected = tf.signal.linear_to_mel_weight_matrix(64, 257, 16_000, 125.0, 7500.0).numpy()
    np.testing.assert_allclose(framing.mel_matrix(), expected, atol=2e-5)


def test_level_is_part_of_the_embedder(rng):
    clip = (0.3 * rng.standard_normal(32_000)).clip(-1, 1).astype(np.float32)
    plain = load_embedder("logmel")
    levelled = load_embedder("logmel", EmbedderSettings(level_dbfs=-23))
    assert plain.fingerprint != levelled.fingerprint
    np.testing.assert_allclose(
        levelled.embed([clip])[0], levelled.embed([clip / 4])[0], rtol=1e-3, atol=1e-3
    )
    with pytest.raises(SoundxError, match="below full scale"):
        load_embedder("logmel", EmbedderSettings(level_dbfs=3))


def test_the_fingerprint_is_stable():
    assert load_embedder("logmel").fingerprint == load_embedder("logmel").fingerprint
