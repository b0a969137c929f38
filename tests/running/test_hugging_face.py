"""A run as a Hugging Face data set: what the files say, readable without PyTorch."""

from __future__ import annotations

import io
import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile
from kedro.io import DataCatalog, MemoryDataset

from soundx.audio import SAMPLE_RATE_HZ
from soundx.audio.decoding import decode_clip
from soundx.datasets.clips import RawClipsDataset
from soundx.errors import Remedy, SoundxError
from soundx.running.catalog import open_catalog
from soundx.running.hugging_face import clips_and_predictions
from soundx.running.messages import message_for_people

TABLES = ("clip_manifest", "splits", "test_predictions", "confusion_matrix")


@pytest.fixture(scope="module")
def catalog(demo_project):
    return open_catalog(demo_project, "demo")


@pytest.fixture
def tables(catalog):
    return {name: catalog.load(name) for name in TABLES}


@pytest.fixture
def of_tables(catalog, tables):
    """Make the data set of tables that a test has changed."""

    def make(**others):
        entries = {name: MemoryDataset(data) for name, data in tables.items()}
        return clips_and_predictions(
            DataCatalog({**entries, "raw_clips": catalog["raw_clips"], **others})
        )

    return make


def test_every_clip_is_there_and_the_scores_come_out_again(catalog, demo):
    dataset = clips_and_predictions(catalog)
    manifest = pd.read_parquet(demo / "02_intermediate/clip_manifest.parquet")
    names = dataset.features["label"]
    assert dataset["path"][:] == manifest["path"].tolist()
    said = [names.int2str(label) if label is not None else "" for label in dataset["label"][:]]
    assert said == manifest["label"].tolist()
    assert "" not in names.names
    assert dataset.features["predicted_label"] == names
    test = dataset.filter(lambda row: row["split"] == "test" and row["label"] is not None)
    metrics = json.loads((demo / "08_reporting/metrics.json").read_text())
    assert len(test) == metrics["n_test_clips"]
    truth, said = np.array(test["label"][:]), np.array(test["predicted_label"][:])
    probabilities = np.array(test["probabilities"][:])
    assert (truth == said).mean() == pytest.approx(metrics["accuracy"])
    np.testing.assert_array_equal(probabilities.argmax(axis=1), said)
    rows = np.arange(len(test))
    np.testing.assert_allclose(probabilities[rows, truth], test["certainty"][:], atol=1e-6)
    train = dataset.filter(lambda row: row["split"] == "train")
    assert set(train["predicted_label"][:]) == {None}


def test_clips_are_heard_here_and_after_they_were_sent_away(catalog, tmp_path):
    from datasets import load_from_disk

    few = clips_and_predictions(catalog).select(range(3))
    for row in few:
        waveform = decode_clip(row["audio"]["path"])
        assert len(waveform) / SAMPLE_RATE_HZ == pytest.approx(row["duration_s"], abs=1e-3)
    few.save_to_disk(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    for row, original in zip(load_from_disk(tmp_path / "there"), few, strict=True):
        samples, rate_hz = soundfile.read(io.BytesIO(row["audio"]["bytes"]))
        assert len(samples) / rate_hz == pytest.approx(original["duration_s"], abs=1e-3)


def test_labels_the_model_does_not_know_come_last(of_tables, tables):
    known = list(tables["confusion_matrix"].columns)
    row = tables["clip_manifest"].index[0]
    tables["clip_manifest"].loc[row, "label"] = "ALARM_AARDVARK"
    dataset = of_tables()
    assert dataset.features["label"].names == [*known, "ALARM_AARDVARK"]
    assert dataset[0]["label"] == len(known)
    assert dataset.features["probabilities"].length == len(known)


def test_a_mirror_of_a_bucket_is_read_from_the_cache(of_tables, demo, tmp_path, monkeypatch):
    monkeypatch.setenv("SOUNDX_CACHE", str(tmp_path))
    mirror = RawClipsDataset(path="s3://bucket/data/01_raw")
    with pytest.raises(SoundxError, match="396 of 396 sound files") as caught:
        of_tables(raw_clips=mirror)
    assert caught.value.remedy is Remedy.INGEST
    mirror.load().root.parent.mkdir(parents=True)
    mirror.load().root.symlink_to(demo / "01_raw")
    path = of_tables(raw_clips=mirror)[0]["audio"]["path"]
    assert path.startswith(str(tmp_path))
    assert len(decode_clip(path)) > 0


def test_other_splits_than_the_predictions_are_refused(of_tables, tables):
    tables["splits"]["split"] = tables["splits"]["split"].replace("test", "train")
    with pytest.raises(SoundxError, match="another side of the split now"):
        of_tables()


def test_before_a_run_it_is_said_what_to_run(demo_project):
    with pytest.raises(SoundxError, match="No model") as caught:
        clips_and_predictions(open_catalog(demo_project))
    assert message_for_people(caught.value).endswith("Run: kedro run")


def test_without_the_extra_it_is_said_what_to_install(catalog, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SoundxError, match=r"pip install 'soundx\[datasets\]'"):
        clips_and_predictions(catalog)
