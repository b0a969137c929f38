from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from soundx.audio import framing
from soundx.embedders import EmbedderSettings, load_embedder
from soundx.embedders.network import BATCH, TensorFlowNetwork, build_network, load_saved_model
from soundx.embeddings.engine import Clip, embed_clips
from soundx.errors import EmbedderUnavailableError, SoundxError
from soundx.storage.folder import Folder

pytestmark = pytest.mark.yamnet

LENGTHS = [0, 1, 1600, 15_600, 15_616, 23_040, 80_000]


@pytest.fixture(scope="module")
def saved_model(yamnet_folder):
    return load_saved_model(yamnet_folder)


@pytest.fixture(scope="module")
def embedder(yamnet_folder):
    return load_embedder("yamnet", EmbedderSettings(yamnet_handle=yamnet_folder))


def noise(rng, n_samples):
    """Noise that swells and fades, as a waveform."""
    swell = np.sin(np.linspace(0, 9, n_samples)) ** 2
    return (0.3 * swell * rng.standard_normal(n_samples)).clip(-1, 1).astype(np.float32)


def assert_alike(frames, expected):
    assert frames.shape == expected.shape
    assert np.abs(frames - expected).max() <= 2e-3
    norms = np.linalg.norm(frames, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((frames * expected).sum(axis=1) / norms).min() >= 0.9999


@pytest.mark.parametrize("n_samples", LENGTHS)
def test_frames_are_those_of_the_saved_model(rng, saved_model, embedder, n_samples):
    clip = noise(rng, n_samples)
    _, expected, spectrogram = saved_model(clip)
    frames = embedder.embed([clip])[0]
    assert len(frames) == framing.n_patches(n_samples)
    assert_alike(frames, expected.numpy())
    ours = framing.log_mel(framing.pad_to_patches(clip))
    np.testing.assert_allclose(ours, spectrogram.numpy(), atol=1e-3)


class Samples:
    """A waveform that is there already, given in blocks of odd lengths."""

    def __init__(self, waveform):
        self.waveform = waveform

    def __call__(self):
        return self.waveform

    def blocks(self):
        yield from np.array_split(self.waveform, 37)


def test_ten_minutes_piece_by_piece_are_those_of_the_saved_model(rng, saved_model, embedder):
    clip = noise(rng, 600 * 16_000)
    pieces = list(embed_clips([Clip("a", "a.wav", 600.0, Samples(clip))], embedder, rejected={}))
    assert len(pieces) > 10
    assert_alike(np.concatenate([frames for _, frames in pieces]), saved_model(clip)[1].numpy())


def test_frames_do_not_depend_on_neighbours_or_threads(rng, embedder):
    clips = [noise(rng, n) for n in LENGTHS * 3]
    together = embedder.embed(clips)
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda clip: embedder.embed([clip])[0], clips))
    for frames, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(frames, expected)
    assert embedder.embed([]) == []


def test_the_network_for_a_gpu_gives_the_same_on_a_processor(rng, saved_model, embedder):
    """No GPU here: TensorFlow runs the same function on the processor."""
    patches = framing.patches(noise(rng, 80_000))
    network = TensorFlowNetwork(saved_model)
    assert network.engine == "TensorFlow float32, CPU"
    assert_alike(network(patches), embedder._network()(patches))


def test_a_network_is_built_once(yamnet_folder, tmp_path, monkeypatch, embedder):
    _ = embedder.model  # built by now
    monkeypatch.setattr("soundx.embedders.yamnet.build_network", None)
    again = load_embedder("yamnet", EmbedderSettings(yamnet_handle=yamnet_folder))
    assert again.model.engine == "LiteRT float32"
    assert again.embed([np.zeros(10, np.float32)])[0].shape == (1, 1024)


def test_int8_is_near_and_has_a_store_of_its_own(rng, yamnet_folder, tmp_path, embedder):
    networks = Folder(str(tmp_path))
    settings = EmbedderSettings(yamnet_handle=yamnet_folder, networks=networks)
    quantised = load_embedder("yamnet-int8", settings)
    clips = [noise(rng, 80_000) for _ in range(2 * BATCH)]
    assert not quantised.is_calibrated
    with pytest.raises(SoundxError, match="has to be calibrated"):
        _ = quantised.fingerprint
    network = quantised.calibrate(clips)
    networks.write(network.name, network.content)
    assert quantised.fingerprint != embedder.fingerprint
    assert quantised.model.engine == "LiteRT int8"
    frames, exact = quantised.embed(clips[:1])[0], embedder.embed(clips[:1])[0]
    cosine = (frames * exact).sum() / np.linalg.norm(frames) / np.linalg.norm(exact)
    assert 0.9 < cosine < 0.99999
    assert quantised.shipped.fingerprint == embedder.fingerprint
    # calibrated once: what the project keeps is used again, whatever clips it has by then
    again = load_embedder("yamnet-int8", settings)
    assert again.is_calibrated
    assert again.fingerprint == quantised.fingerprint


@pytest.fixture
def odd_model(tmp_path):
    """SavedModels that answer somewhat like YAMNet."""
    import tensorflow as tf

    def save(dim: int) -> str:
        class Odd(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
            def __call__(self, waveform):
                n = tf.maximum(1, tf.shape(waveform)[0] // 15_600)
                loudness = tf.reduce_max(tf.concat([tf.abs(waveform), [0.0]], 0))
                return waveform, tf.fill([n, dim], loudness), waveform

        module = Odd()
        module.unused = tf.Variable(float(dim))  # without weights there is no variables/
        folder = str(tmp_path / f"odd-{dim}")
        tf.saved_model.save(module, folder)
        return folder

    return save


def test_a_model_built_otherwise_is_asked_clip_by_clip(odd_model, caplog, rng):
    folder = odd_model(1024)
    embedder = load_embedder("yamnet", EmbedderSettings(yamnet_handle=folder))
    assert embedder.model.engine == "SavedModel, clip by clip"
    assert "not built like YAMNet" in caplog.text
    clip = noise(rng, 200 * 16_000)
    pieces = list(embed_clips([Clip("a", "a.wav", 200.0, Samples(clip))], embedder, rejected={}))
    assert [(clip_id, frames.shape) for clip_id, frames in pieces] == [("a", (205, 1024))]
    assert pieces[0][1].max() == np.abs(clip).max()


def test_a_model_that_is_not_yamnet_is_refused(odd_model):
    embedder = load_embedder("yamnet", EmbedderSettings(yamnet_handle=odd_model(3)))
    with pytest.raises(EmbedderUnavailableError, match=r"shape \(1, 3\)"):
        embedder.embed([np.zeros(10, np.float32)])


def test_a_network_cannot_be_built_from_nothing(tmp_path):
    with pytest.raises(SoundxError, match="cannot be converted"):
        build_network(tmp_path)
