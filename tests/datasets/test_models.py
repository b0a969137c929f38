from __future__ import annotations

import dataclasses
import io
import json
import random

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from soundx.classifier.bundle import Classifier
from soundx.classifier.versions import Evaluation
from soundx.datasets.models import (
    ClassifierDataset,
    KerasHeadsDataset,
    ModelCardDataset,
    ModelVersionsDataset,
    NoiseFramesDataset,
)
from soundx.embedders import EmbedderInfo
from soundx.errors import BrokenFileError
from soundx.labels import LabelTree
from soundx.modelling.noise import NoiseFrames
from soundx.pipelines.training import create_pipeline
from soundx.running.messages import message_for_people
from tests.conftest import every_byte
from tests.pipelines.runs import heads_that_repeat


def make_classifier(version):
    labels = {"version": version, "categories": {"A": "A"}}
    card = f"the card of {version}".encode()
    return Classifier(
        {
            "soundx.tflite": version.encode(),
            "labels.json": json.dumps(labels).encode(),
            "model_card.md": card,
        }
    )


V1, V2, V3 = (f"2026-01-0{day}T00.00.00.000Z" for day in (1, 2, 3))


def make_evaluation(version):
    table = pd.DataFrame({"label": ["A"]})
    return Evaluation(version, {"accuracy": 0.9}, table, table, table, table, "with figures")


def test_the_newest_classifier_is_saved_to_its_own_folder_alone(tmp_path):
    newest = ClassifierDataset(path=str(tmp_path / "models/classifier"))
    for version in ("v1", "v2"):
        newest.save(make_classifier(version))
        assert newest.load().version == version
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["classifier"]


def test_every_model_is_kept_and_gets_its_evaluation(tmp_path):
    kept = ModelVersionsDataset(path=str(tmp_path))
    kept.save(make_classifier(V1))
    kept.save(make_classifier(V2))
    kept.save(make_evaluation(V1))
    versions = ModelVersionsDataset(path=str(tmp_path)).load()
    assert [versions[version].is_evaluated for version in versions] == [True, False]
    assert versions[V1].metrics == {"accuracy": 0.9}
    assert versions[V1].classifier.files["model_card.md"] == b"with figures"
    assert versions[V2].classifier.files["model_card.md"] == f"the card of {V2}".encode()
    with pytest.raises(DatasetError, match=f"no model of version {V3}"):
        kept.save(make_evaluation(V3))


EVALUATED = {
    "per_class": "per_class_metrics.csv",
    "predictions": "test_predictions.parquet",
    "confusion": "confusion_matrix.csv",
    "reliability": "reliability.csv",
}


@pytest.mark.parametrize("garble", [lambda content: content.replace(b"A", b"B", 1), None])
@pytest.mark.parametrize(("table", "name"), EVALUATED.items())
def test_a_broken_table_of_an_evaluation_is_named(tmp_path, table, name, garble):
    kept = ModelVersionsDataset(path=str(tmp_path))
    kept.save(make_classifier(V1))
    kept.save(make_evaluation(V1))
    path = tmp_path / V1 / name
    assert getattr(kept.load()[V1], table)["label"].tolist() == ["A"]
    if garble is None:
        path.unlink()
    else:
        path.write_bytes(garble(path.read_bytes()))
    with pytest.raises(BrokenFileError) as caught:
        getattr(kept.load()[V1], table)
    said = message_for_people(caught.value)
    assert f"{path} is broken" in said
    assert "kedro run --pipelines=evaluation" in said


@pytest.mark.parametrize("table", ["per_class", "predictions", "confusion"])
def test_tables_from_before_there_were_checksums_are_named_where_they_cannot_be_read(
    tmp_path, table
):
    kept = ModelVersionsDataset(path=str(tmp_path))
    kept.save(make_classifier(V1))
    kept.save(make_evaluation(V1))
    (tmp_path / V1 / "metrics.json").write_text('{"accuracy": 0.9}')
    assert len(getattr(kept.load()[V1], table)) == 1
    path = tmp_path / V1 / EVALUATED[table]
    path.write_bytes(b"label,\xff\n\xff,1\n")
    with pytest.raises(BrokenFileError, match="is broken") as caught:
        getattr(kept.load()[V1], table)
    assert caught.value.name == str(path)


def test_a_model_is_kept_before_it_becomes_the_newest():
    # Kedro saves in this order: killed between, the newest is the one before, and whole
    node = next(node for node in create_pipeline().nodes if node.short_name == "check_export")
    assert node.outputs == ["parity", "trained_versions", "heads", "classifier"]


def test_a_card_is_of_a_classifier_that_is_there(tmp_path):
    folder = tmp_path / "classifier"
    card = ModelCardDataset(filepath=str(folder / "model_card.md"))
    before = every_byte(tmp_path)
    with pytest.raises(DatasetError, match="no classifier"):
        card.save("a card alone")
    assert every_byte(tmp_path) == before
    newest = ClassifierDataset(path=str(folder))
    newest.save(make_classifier("v1"))
    assert card.load() == "the card of v1"
    card.save("with figures")
    assert newest.load().files["model_card.md"] == b"with figures"
    newest.save(make_classifier("v2"))  # not evaluated: it does not keep the figures of another
    assert card.load() == "the card of v2"


@pytest.fixture
def saved_heads(tmp_path):
    heads = heads_that_repeat(
        EmbedderInfo("test", "test-1", 2, 0.96, 0.48), LabelTree.build([("a", "a"), ("b", "b")])
    )
    dataset = KerasHeadsDataset(path=str(tmp_path / "heads"))
    dataset.save(heads)
    return dataset


@pytest.mark.parametrize("name", ["heads.json", "general.keras", "seen_clips.npy"])
@pytest.mark.parametrize("garble", [lambda c: c[:-9], lambda c: c[:50] + b"?" * 9 + c[59:], None])
def test_broken_heads_are_named(saved_heads, tmp_path, name, garble):
    path = tmp_path / "heads" / name
    path.write_bytes(garble(path.read_bytes())) if garble else path.unlink()
    with pytest.raises(DatasetError) as caught:
        saved_heads.load()
    said = message_for_people(caught.value)
    assert "kedro run --pipelines=training" in said
    assert garble is None or f"{path} is broken" in said


def test_heads_of_version_0_1_are_read(saved_heads, tmp_path):
    path = tmp_path / "heads/heads.json"
    index = json.loads(path.read_text())
    del index["checksum"], index["files"]
    path.write_text(json.dumps({**index, "models": list(index["models"])}))
    assert list(saved_heads.load().models) == ["general"]


@pytest.mark.parametrize("name", ["soundx.tflite", "labels.json"])
def test_a_broken_classifier_is_named(tmp_path, name):
    dataset = ClassifierDataset(path=str(tmp_path))
    dataset.save(make_classifier("v1").with_checksums())
    assert dataset.load().version == "v1"
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content.replace(b"v1", b"v2"))
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    said = message_for_people(caught.value)
    assert f"The classifier's {name} is broken" in said
    assert "kedro run --pipelines=training" in said


def test_what_is_no_version_stands_beside_the_versions(saved_heads, tmp_path):
    versions = tmp_path / "versions"
    for name in (V1, "backup", "zz"):
        (versions / name).mkdir(parents=True)
    (versions / "old.zip").write_bytes(b"")
    candidate = KerasHeadsDataset(path=str(tmp_path / "new"), versions={"path": str(versions)})
    candidate.save(dataclasses.replace(saved_heads.load(), version=""))
    assert candidate.load().version > V1
    assert list(ModelVersionsDataset(path=str(versions)).load()) == [V1]


def test_a_file_where_versions_are_kept_is_named(saved_heads, tmp_path):
    versions = tmp_path / "versions"
    versions.write_bytes(b"")
    candidate = KerasHeadsDataset(path=str(tmp_path / "new"), versions={"path": str(versions)})
    candidate.save(dataclasses.replace(saved_heads.load(), version=""))
    with pytest.raises(NotADirectoryError) as caught:
        ModelVersionsDataset(path=str(versions)).save(make_classifier(V1))
    assert f"A file stands where a folder is needed ({versions})" in message_for_people(
        caught.value
    )


def test_a_version_comes_after_all_others_whatever_the_clock_says(saved_heads, tmp_path):
    versions = tmp_path / "versions"
    (versions / "2999-12-31T23.59.59.999Z").mkdir(parents=True)
    candidate = KerasHeadsDataset(path=str(tmp_path / "new"), versions={"path": str(versions)})
    candidate.save(dataclasses.replace(saved_heads.load(), version=""))
    assert candidate.load().version == "3000-01-01T00.00.00.000Z"


@pytest.fixture
def noise_file(tmp_path, rng):
    """A dataset of noise frames, and its file."""
    dataset = NoiseFramesDataset(path=str(tmp_path / "noise"))
    frames = rng.standard_normal((3, 4, 2)).astype(np.float16).astype(np.float32)
    dataset.save(NoiseFrames("test-1", frames))
    return dataset, frames, tmp_path / "noise/noise.npz"


def test_noise_frames_are_read_as_they_were_saved(noise_file, tmp_path):
    dataset, frames, path = noise_file
    found = dataset.load()
    assert found.fingerprint == "test-1"
    assert found.frames.dtype == np.float32
    np.testing.assert_array_equal(found.frames, frames)
    assert [each.name for each in path.parent.iterdir()] == ["noise.npz"]
    content = path.read_bytes()
    dataset.save(found)
    assert path.read_bytes() == content
    assert NoiseFramesDataset(path=str(tmp_path / "none")).load() is None
    assert not NoiseFramesDataset(path=str(tmp_path / "none")).exists()


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        npy(np.zeros(3)),
        npz(frames=np.zeros((1, 1, 1))),
        npz(fingerprint=np.array("x")),
        npz(fingerprint=np.array("x"), frames=np.zeros(3)),
        npz(fingerprint=np.array("x"), frames=np.array([[["a"]]])),
        npz(fingerprint=np.array("x"), frames=np.array([[[object()]]])),
    ],
    ids=["empty", "text", "an array", "no name", "no frames", "flat", "texts", "objects"],
)
def test_a_broken_file_of_noise_is_told_and_not_used(noise_file, caplog, content):
    dataset, _, path = noise_file
    path.write_bytes(content)
    assert dataset.load() is None
    assert f"{path} is not used" in caplog.text
    dataset.save(NoiseFrames("test-1", np.ones((1, 1, 1), np.float32)))
    assert dataset.load().frames.tolist() == [[[1.0]]]


def test_noise_that_was_damaged_anywhere_is_whole_or_not_used(noise_file):
    dataset, frames, path = noise_file
    content = path.read_bytes()
    draw = random.Random(7)
    damaged = [content[:end] for end in range(0, len(content), 7)]
    for _ in range(400):
        some = bytearray(content)
        for _ in range(draw.randint(1, 3)):
            some[draw.randrange(len(some))] = draw.randrange(256)
        damaged.append(bytes(some))
    used = 0
    for one in damaged:
        path.write_bytes(one)
        found = dataset.load()
        if found is not None:
            used += 1
            np.testing.assert_array_equal(found.frames, frames)
    assert used < len(damaged) / 2
