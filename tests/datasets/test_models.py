from __future__ import annotations

import json

import pandas as pd
import pytest
from kedro.io import DatasetError

from soundx.classifier.bundle import Classifier
from soundx.classifier.versions import Evaluation
from soundx.datasets.models import ClassifierDataset, ModelCardDataset, ModelVersionsDataset
from soundx.pipelines.training import create_pipeline
from tests.conftest import every_byte


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
    kept.save(make_classifier("v1"))
    kept.save(make_classifier("v2"))
    kept.save(make_evaluation("v1"))
    versions = ModelVersionsDataset(path=str(tmp_path)).load()
    assert [versions[version].is_evaluated for version in versions] == [True, False]
    assert versions["v1"].metrics == {"accuracy": 0.9}
    assert versions["v1"].classifier.files["model_card.md"] == b"with figures"
    assert versions["v2"].classifier.files["model_card.md"] == b"the card of v2"
    with pytest.raises(DatasetError, match="no model of version v3"):
        kept.save(make_evaluation("v3"))


def test_a_model_is_kept_before_it_becomes_the_newest():
    # Kedro saves in this order: killed between, the newest is the one before, and whole
    node = next(node for node in create_pipeline().nodes if node.short_name == "export_heads")
    assert node.outputs == ["trained_versions", "heads", "classifier"]


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
