from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from soundx.embedders import EmbedderSettings, load_embedder
from soundx.embedders.weights import DEFAULT_HANDLE, available_offline, locate
from soundx.errors import EmbedderUnavailableError, Remedy


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
    for word in (handle, str(hub_cache.parent)):
        assert word in str(caught.value)
    assert caught.value.remedy is Remedy.GET_YAMNET


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


def test_a_model_at_a_url_writes_nothing_beside_its_copy(tmp_path, monkeypatch):
    import fsspec

    monkeypatch.setenv("SOUNDX_CACHE", str(tmp_path / "cache"))
    bucket = fsspec.filesystem("memory")
    bucket.put(str(saved_model(tmp_path / "model")), "/hostile/yamnet", recursive=True)
    bucket.pipe("/hostile/yamnet/../../../written.txt", b"by the bucket's owner")
    with pytest.raises(EmbedderUnavailableError, match="leads out of"):
        locate("memory://hostile/yamnet")
    assert not list(tmp_path.rglob("written.txt"))
    assert not list((tmp_path / "cache").rglob("*.pb"))


def test_auto_takes_what_needs_no_download(hub_cache, tmp_path):
    assert load_embedder("auto").name == "logmel"
    folder = saved_model(tmp_path / "model")
    assert load_embedder("auto", EmbedderSettings(yamnet_handle=str(folder))).name == "YAMNet"
