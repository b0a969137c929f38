"""From clips to embeddings, splits and what the heads learn from, with an embedder that counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from soundx.clips.manifest import IngestionOptions, scan_clips
from soundx.clips.raw import RawClips
from soundx.datasets.models import (
    EmbeddingsDataset,
    EmbeddingShardsDataset,
    NetworksDataset,
    NoiseFramesDataset,
)
from soundx.embedders import Calibrated, Embedder, FrameModel
from soundx.embedders.base import Network
from soundx.embeddings.map import MapOptions
from soundx.embeddings.missing import EmbeddingOptions
from soundx.embeddings.on_dask import DaskOptions
from soundx.errors import SoundxError
from soundx.modelling.noise import noise_clips
from soundx.modelling.splitting import SplitOptions
from soundx.pipelines.preprocessing import create_pipeline
from tests.pipelines.runs import run, steps


class Loudness(Embedder):
    """Two numbers a frame, one frame for each half second begun."""

    name, dim, window_s, hop_s = "loudness", 2, 0.96, 0.48

    def _identity(self):
        return "1"

    def _model(self):
        def embed(waveforms):
            return [
                np.tile(np.float32([np.abs(w).max(), w.std()]), (1 + len(w) // 8000, 1))
                for w in waveforms
            ]

        return FrameModel(embed)


class Tuned(Loudness, Calibrated):
    """An embedder that has to hear clips of the project first."""

    def __init__(self):
        super().__init__()
        self.heard = []

    @property
    def is_calibrated(self):
        return bool(self.heard)

    def calibrate(self, waveforms):
        self.heard = [len(waveform) for waveform in waveforms]
        return Network("tuned.tflite", b"network")


@pytest.fixture
def inputs(tmp_path, write_clip):
    """Twelve clips of each label, no two of one length, and two from the field."""
    names = [f"{label}/{n}.wav" for label in ("A_1", "A_2", "B") for n in range(12)]
    names += [f":TEST_field/B/{n}.wav" for n in range(2)]
    for number, name in enumerate(names):
        write_clip(f"clips/{name}", seconds=0.3 + 0.02 * number)
    clips = RawClips(tmp_path / "clips")
    manifest, _ = scan_clips(clips, IngestionOptions())
    embeddings = str(tmp_path / "embeddings")
    return {
        "raw_clips": clips,
        "clip_manifest": manifest,
        "embedder": Loudness(),
        "embedder_networks": NetworksDataset(path=str(tmp_path / "networks")),
        "embedding_cache": EmbeddingShardsDataset(path=embeddings),
        "embedding_shards": EmbeddingShardsDataset(path=embeddings),
        "embeddings": EmbeddingsDataset(path=embeddings),
        "noise_cache": NoiseFramesDataset(path=str(tmp_path / "noise")),
        "noise_frames": NoiseFramesDataset(path=str(tmp_path / "noise")),
        "params:embedding": EmbeddingOptions(clips_per_shard=10, calibration_clips=5),
        "params:dask": DaskOptions(),
        "params:embedding_map": MapOptions(neighbours=3),
        "params:splits": SplitOptions(),
    }


def test_every_clip_is_embedded_once(inputs):
    made = run(create_pipeline(), inputs)
    ids = inputs["clip_manifest"]["clip_id"]
    stored = made["embeddings"].current
    assert stored.info == inputs["embedder"].info
    assert stored.holds(ids).all()
    assert stored.n_frames(ids).sum() > len(ids)
    report = made["embedding_report"]
    assert (report["clips"], report["embedded"], report["rejected"]) == (38, 38, {})
    again = run(create_pipeline(), {**inputs, "params:splits": SplitOptions(seed=8)})
    assert (again["embedding_report"]["embedded"], again["embedding_report"]["cache_hits"]) == (
        0,
        38,
    )
    assert (again["splits"]["split"] != made["splits"]["split"]).any()
    assert again["model_input_state"]["digest"] != made["model_input_state"]["digest"]


def test_noise_is_embedded_once_by_each_embedder(inputs, monkeypatch):
    made = run(create_pipeline(), inputs)["noise_frames"]
    assert made.fingerprint == inputs["embedder"].fingerprint
    assert len(made.frames) == len(noise_clips())
    monkeypatch.setattr("soundx.pipelines.preprocessing.nodes.noise_clips", None)
    again = run(create_pipeline(), inputs)["noise_frames"]
    np.testing.assert_array_equal(again.frames, made.frames)
    monkeypatch.undo()
    inputs["embedder"] = Loudness(level_dbfs=-20)
    other = run(create_pipeline(), inputs)["noise_frames"]
    assert other.fingerprint == inputs["embedder"].fingerprint != made.fingerprint
    assert (other.frames != made.frames).any()


def test_each_head_has_a_table_of_its_clips(inputs):
    made = run(create_pipeline(), inputs)
    splits, tables = made["splits"], made["model_input"]
    assert list(splits.columns) == ["clip_id", "split", "group", "fold"]
    assert splits["split"].value_counts()["field"] == 2
    assert {head: len(table) for head, table in tables.items()} == {"general": 36, "A": 24}
    for head, classes in (("general", ["A", "B"]), ("A", ["A_1", "A_2"])):
        table = tables[head]
        assert table.columns.tolist() == [
            "clip_id", "label", "category", "split", "group", "n_frames", "target", "weight",
            "embedder",
        ]  # fmt: skip
        named = table["category" if head == "general" else "label"]
        assert [classes[target] for target in table["target"]] == named.tolist()
        assert set(table["split"]) == {"train", "validation", "test"}
        # on each side every class weighs the same
        weight = (table["weight"] * table["n_frames"]).groupby([table["split"], table["target"]])
        by_class = weight.sum().unstack()
        np.testing.assert_allclose(by_class[0], by_class[1], rtol=1e-5)
        assert set(table["embedder"]) == {inputs["embedder"].fingerprint}


def test_clips_are_mapped_with_their_neighbours(inputs):
    table = run(create_pipeline(), inputs)["embedding_map"]
    assert set(table["clip_id"]) == set(inputs["clip_manifest"]["clip_id"])
    assert {"x", "y", "neighbours", "similarities"} < set(table.columns)
    assert {len(near) for near in table["neighbours"]} == {3}


def test_an_embedder_is_calibrated_once_and_on_training_clips_alone(inputs):
    embedder = Tuned()
    made = run(create_pipeline(), {**inputs, "embedder": embedder})
    clips = inputs["clip_manifest"].merge(made["splits"][["clip_id", "split"]], on="clip_id")
    train = clips.loc[clips["split"] == "train", "duration_s"] * 16_000
    assert len(embedder.heard) == 5
    assert set(embedder.heard) <= set(train.round().astype(int))
    assert made["embedder_networks"].read("tuned.tflite") == b"network"
    heard, embedder.calibrate = embedder.heard, None
    run(create_pipeline(), {**inputs, "embedder": embedder})
    assert embedder.heard == heard


def test_a_head_without_clips_to_stop_by_is_named(inputs):
    manifest = inputs["clip_manifest"]
    few = manifest[manifest["category"] != "A"]
    lonely = manifest[manifest["category"] == "A"].groupby("label").head(1)
    inputs["clip_manifest"] = pd.concat([few, lonely], ignore_index=True)
    with pytest.raises(SoundxError, match="Head 'A' has no clip for validation"):
        run(create_pipeline(), inputs)


def test_its_steps_are_these():
    assert sorted(steps(create_pipeline())) == [
        "preprocessing.build_model_input",
        "preprocessing.calibrate_embedder",
        "preprocessing.compact_embeddings",
        "preprocessing.decode_clips",
        "preprocessing.embed_clips",
        "preprocessing.embed_noise",
        "preprocessing.map_embeddings",
        "preprocessing.split_clips",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.assign(
                category=t["category"].where(
                    t["label"].duplicated(keep="last") | (t["label"] != "B"), "C"
                )
            ),
            "two categories",
        ),
        (lambda t: t.assign(category=t["category"].replace({"A": "general"})), "may not be called"),
    ],
)
def test_labels_that_cannot_be_learnt_are_told_before_anything_is_embedded(
    inputs, monkeypatch, change, said
):
    monkeypatch.setattr("soundx.pipelines.preprocessing.nodes.embed_missing", None)
    with pytest.raises(SoundxError, match=said):
        run(create_pipeline(), {**inputs, "clip_manifest": change(inputs["clip_manifest"])})
