from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from soundx.audio import framing
from soundx.embedders import load_embedder
from soundx.embedders.yamnet import DEFAULT_HANDLE, available_offline, locate
from soundx.errors import EmbedderUnavailableError


def saved_model(folder: Path) -> Path:
    """Files that look like a SavedModel from outside."""
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(b"weights")
    return folder


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    return tmp_path / "hub" / hashlib.sha1(DEFAULT_HANDLE.encode()).hexdigest()


def test_without_network_and_cache_the_error_names_the_ways_out(hub_cache):
    handle = "http://127.0.0.1:9/yamnet"  # nothing listens on the discard port
    with pytest.raises(EmbedderUnavailableError) as caught:
        locate(handle)
    for word in (handle, str(hub_cache.parent), "SOUNDX_YAMNET", "embedder=logmel", "network"):
        assert word in str(caught.value)


def test_a_whole_cached_copy_needs_no_network_and_is_known_as_such(hub_cache):
    assert not available_offline()
    saved_model(hub_cache)
    assert available_offline()
    assert locate(DEFAULT_HANDLE) == hub_cache


@pytest.mark.parametrize("lost", ["saved_model.pb", "variables/variables.index", "variables"])
def test_half_a_cached_copy_is_noticed_and_fetched_again(hub_cache, monkeypatch, lost):
    saved_model(hub_cache)
    gone = hub_cache / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert not available_offline()
    import tensorflow_hub

    # TF-Hub's server cannot be reached from a test: what it does is imitated
    monkeypatch.setattr(tensorflow_hub, "resolve", lambda handle: str(saved_model(hub_cache)))
    assert (locate(DEFAULT_HANDLE) / lost).exists()


def test_a_folder_without_a_model_is_said(tmp_path):
    with pytest.raises(EmbedderUnavailableError, match="no whole SavedModel"):
        locate(str(tmp_path))
    with pytest.raises(EmbedderUnavailableError, match="not a folder"):
        locate(str(tmp_path / "nowhere"))


def test_a_model_at_a_url_is_copied_once_and_again_when_it_changes(tmp_path, monkeypatch):
    import fsspec

    monkeypatch.setenv("SOUNDX_CACHE", str(tmp_path / "cache"))
    bucket = fsspec.filesystem("memory")
    bucket.put(str(saved_model(tmp_path / "model")), "/weights/yamnet", recursive=True)
    first = locate("memory://weights/yamnet")
    assert (first / "saved_model.pb").read_bytes() == b"graph"
    assert locate("memory://weights/yamnet") == first
    bucket.pipe("/weights/yamnet/saved_model.pb", b"a larger graph")
    second = locate("memory://weights/yamnet")
    assert (second / "saved_model.pb").read_bytes() == b"a larger graph"
    with pytest.raises(EmbedderUnavailableError, match="nothing under that address"):
        locate("memory://weights/nothing")


def test_auto_takes_what_needs_no_download(hub_cache, tmp_path):
    assert load_embedder("auto").name == "logmel"
    folder = saved_model(tmp_path / "model")
    assert load_embedder("auto", yamnet_handle=str(folder)).name == "YAMNet"


@pytest.mark.yamnet
@pytest.mark.parametrize("n_samples", [0, 1, 1600, 15_600, 15_616, 23_040, 80_000])
def test_frames_are_those_of_the_saved_model(rng, yamnet_folder, n_samples):
    import tensorflow_hub as hub

    clip = (0.1 * rng.standard_normal(n_samples)).astype(np.float32)
    frames = load_embedder("yamnet", yamnet_handle=yamnet_folder).embed([clip])[0]
    assert frames.shape == (framing.n_patches(n_samples), 1024)
    _, expected, spectrogram = hub.load(yamnet_folder)(clip)
    np.testing.assert_allclose(frames, expected.numpy(), atol=2e-3)
    ours = framing.log_mel(framing.pad_to_patches(clip))
    np.testing.assert_allclose(ours, spectrogram.numpy(), atol=1e-3)


@pytest.mark.yamnet
def test_a_model_that_is_not_yamnet_is_refused(tmp_path):
    import tensorflow as tf

    class Other(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def __call__(self, waveform):
            return waveform, waveform[None, :3], waveform

    module = Other()
    module.unused = tf.Variable(1.0)  # a SavedModel with weights, or it has no variables/
    tf.saved_model.save(module, str(tmp_path / "other"))
    embedder = load_embedder("yamnet", yamnet_handle=str(tmp_path / "other"))
    with pytest.raises(EmbedderUnavailableError, match=r"shape \(1, 3\)"):
        embedder.embed([np.zeros(10, np.float32)])
