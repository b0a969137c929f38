from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from soundx.audio.decoding import decode_clip
from soundx.clips.raw import RawClips
from soundx.clips.waveforms import ClipWaveforms
from soundx.datasets.clips import WaveformsDataset
from soundx.datasets.tables import ParquetDataset
from tests.conftest import every_byte


@pytest.fixture
def manifest(write_clip, tmp_path):
    paths = ["A/1.wav", "A/2.flac"]
    files = [write_clip(f"01_raw/{path}", rate_hz=22_050) for path in paths]
    ids = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    table = pd.DataFrame({"clip_id": ids, "path": paths})
    file = str(tmp_path / "manifest.parquet")
    ParquetDataset(filepath=file).save(table)
    return {"filepath": file}


def test_waveforms_are_there_in_a_run_that_did_not_make_them(manifest, tmp_path):
    before = every_byte(tmp_path)
    waveforms = WaveformsDataset(path=str(tmp_path / "01_raw"), manifest=manifest)
    assert waveforms.exists()
    loaded = waveforms.load()
    assert list(loaded) == ["A/1.wav", "A/2.flac"]
    for path in loaded:
        np.testing.assert_array_equal(loaded[path](), decode_clip(tmp_path / "01_raw" / path))
    assert every_byte(tmp_path) == before


def test_what_a_node_made_is_handed_on_until_it_is_released(manifest, tmp_path):
    dataset = WaveformsDataset(path=str(tmp_path / "01_raw"), manifest=manifest)
    of_one = pd.DataFrame({"clip_id": ["2"], "path": ["A/2.flac"]})
    before = every_byte(tmp_path)
    dataset.save(ClipWaveforms(RawClips(tmp_path / "01_raw"), of_one))
    assert list(dataset.load()) == ["A/2.flac"]
    assert every_byte(tmp_path) == before
    dataset.release()
    assert len(dataset.load()) == 2


def test_without_a_manifest_there_are_no_waveforms(tmp_path):
    missing = {"filepath": str(tmp_path / "none.parquet")}
    assert not WaveformsDataset(path=str(tmp_path), manifest=missing).exists()
