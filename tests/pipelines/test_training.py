"""From embeddings to heads, and from heads to a classifier that answers as they do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from soundx.classifier.options import ExportOptions
from soundx.classifier.parity import TOLERANCE
from soundx.clips.waveforms import ClipFile
from soundx.datasets.models import ClassifierDataset, KerasHeadsDataset, ModelVersionsDataset
from soundx.embedders.logmel import LogMelEmbedder
from soundx.embeddings.missing import EmbeddingOptions
from soundx.embeddings.store import EmbeddingStore
from soundx.errors import Remedy, SoundxError
from soundx.labels import LabelTree
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.provenance import manifest_digest
from soundx.modelling.rejection import RejectionOptions
from soundx.pipelines.preprocessing.nodes import embed_noise
from soundx.pipelines.training import create_pipeline, nodes
from soundx.storage.folder import Folder
from tests.conftest import every_byte
from tests.pipelines.runs import run, steps

GONE = ClipFile(Path("no/such/clip.wav"))
LABELS = {"A_low": 200, "A_high": 3000, "B": 900}
TREE = LabelTree.build([(label, label.split("_")[0]) for label in LABELS])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Six tones of each label, embedded; tables for the heads as preprocessing makes them."""
    rng = np.random.default_rng(7)
    embedder = LogMelEmbedder()
    rows, waveforms = [], {}
    for label, pitch_hz in LABELS.items():
        for number in range(6):
            path = f"{label}/{number}.wav"
            angle = np.arange(16_000) * 2 * np.pi * pitch_hz * rng.uniform(0.9, 1.1) / 16_000
            tone = 0.3 * np.sin(angle) + 0.01 * rng.standard_normal(16_000)
            waveforms[path] = tone.astype(np.float32)
            split = ("train", "train", "train", "validation", "validation", "test")[number]
            rows.append((path, path, label, label.split("_")[0], split))
    store = EmbeddingStore(Folder(str(tmp_path_factory.mktemp("embeddings"))))
    frames = dict(zip(waveforms, embedder.embed(list(waveforms.values())), strict=True))
    store.of(embedder.info).add_shard(frames)
    store.set_current(embedder.info)
    clips = pd.DataFrame(rows, columns=["clip_id", "path", "label", "category", "split"])
    clips["group"] = clips["clip_id"]
    clips["n_frames"] = [len(frames[clip_id]) for clip_id in clips["clip_id"]]
    tables = {}
    for head in TREE.heads:
        target = clips["label"].map({label: TREE.target(head, label) for label in LABELS})
        mine = clips[target.notna()].assign(weight=np.float32(1))
        mine["target"] = target.dropna().astype(np.int64)
        tables[head] = mine.assign(embedder=embedder.info.fingerprint)
    return {
        "model_input": tables,
        "embeddings": store,
        "embedder": embedder,
        "waveforms": {path: lambda samples=samples: samples for path, samples in waveforms.items()},
        "clip_manifest": clips[["clip_id", "path", "label", "category", "group"]].assign(
            duration_s=1.0, evaluation_only=False, licence="CC0"
        ),
        "splits": clips[["clip_id", "split", "group"]],
        "model_input_state": {"digest": manifest_digest(clips)},
        "noise_frames": None,
        "params:rejection": RejectionOptions(),
        "params:export": ExportOptions(),
        "params:training": TrainingOptions(
            hidden_units=(16,),
            max_epochs=30,
            learning_rate=0.01,
            batch_size=8,
            learn_noise=False,
        ),
    }


@pytest.fixture(scope="module")
def made(inputs):
    return run(create_pipeline(), inputs)


@pytest.fixture(scope="module")
def noise():
    return embed_noise(LogMelEmbedder(), {"fingerprint": ""}, None, EmbeddingOptions())


def test_one_model_learns_all_labels_from_train_and_validation(made, inputs):
    heads = made["heads"]
    assert heads.tree == TREE
    assert {name: model.output_shape[-1] for name, model in heads.models.items()} == {"labels": 3}
    assert dict(heads.histories) == {}
    assert heads.clips_per_split == {"train": 9, "validation": 6, "test": 3}
    assert len(heads.seen_clips) == 15
    assert heads.training["head"] == "ridge"
    assert heads.training["temperature"] > 1
    assert heads.embedder == inputs["embedder"].info


@pytest.mark.parametrize(
    ("head", "models"),
    [pytest.param("seed", ["general", "A"], marks=pytest.mark.slow), ("dense", ["labels"])],
)
def test_heads_that_are_trained_by_descent(inputs, head, models):
    options = inputs["params:training"].model_copy(update={"head": head})
    made = run(create_pipeline(), {**inputs, "params:training": options})
    heads = made["heads"]
    assert list(heads.models) == models
    for history in heads.histories.values():
        assert 1 <= history.best_epoch <= len(history.loss) <= 30
    classifier = made["classifier"]
    for label in LABELS:
        clip = inputs["waveforms"][f"{label}/5.wav"]()
        assert classifier.labels[classifier.predict(clip).argmax()] == label
    titles = [note.text for note in made["training_curves"].layout.annotations]
    assert {text for text in titles if text} >= set(models)


def test_the_classifier_answers_for_sounds_it_never_heard(made, inputs):
    classifier = made["classifier"]
    assert made["trained_versions"].files == classifier.files
    assert classifier.labels == TREE.labels
    assert classifier.info["tflite_difference"] <= TOLERANCE
    assert b"Not evaluated yet" in classifier.files["model_card.md"]
    for label in LABELS:
        clip = inputs["waveforms"][f"{label}/5.wav"]()
        assert classifier.labels[classifier.predict(clip).argmax()] == label


@pytest.mark.parametrize("head", ["ridge", pytest.param("dense", marks=pytest.mark.slow)])
def test_noise_is_learnt_as_none_of_the_labels(inputs, noise, head):
    options = inputs["params:training"].model_copy(update={"head": head, "learn_noise": True})
    made = run(create_pipeline(), {**inputs, "noise_frames": noise, "params:training": options})
    heads, classifier = made["heads"], made["classifier"]
    assert heads.background
    assert heads.tree == TREE
    assert heads.models["labels"].output_shape[-1] == len(LABELS) + 1
    assert len(heads.seen_clips) == 15  # noise is no clip
    assert classifier.info["background"] is True
    assert classifier.labels == TREE.labels
    for label in LABELS:
        clip = inputs["waveforms"][f"{label}/5.wav"]()
        assert classifier.labels[classifier.predict(clip).argmax()] == label
    silence = np.zeros(32_000, np.float32)
    assert classifier.predict(silence).sum() < 0.5
    assert classifier.answer(silence)[0] == "unknown"


@pytest.mark.parametrize("change", [{}, {"learn_noise": True, "head": "seed", "max_epochs": 2}])
def test_noise_is_not_learnt_where_it_is_not_asked_for(inputs, noise, change):
    options = inputs["params:training"].model_copy(update=change)
    given = {**inputs, "noise_frames": noise, "params:training": options}
    heads = run(create_pipeline(), given)["heads"]
    assert not heads.background
    assert len(TREE.labels) not in {model.output_shape[-1] - 1 for model in heads.models.values()}


def test_noise_that_is_to_be_learnt_and_is_not_there_stops_it(inputs, noise, monkeypatch):
    options = inputs["params:training"].model_copy(update={"learn_noise": True})
    monkeypatch.setattr(nodes, "train_labels", None)
    for found in (None, dataclasses.replace(noise, fingerprint="other-1")):
        given = {**inputs, "noise_frames": found, "params:training": options}
        with pytest.raises(SoundxError, match="Noise is to be learnt") as caught:
            run(create_pipeline(), given)
        assert caught.value.remedy is Remedy.PREPROCESS


def test_what_is_closed_form_has_no_curves(made):
    assert len(made["training_curves"].data) == 0
    assert "no epochs" in made["training_curves"].layout.title.text


class Deaf(LogMelEmbedder):
    """An embedder that hears less than the graph which is shipped."""

    def embed(self, waveforms):
        return super().embed([waveform * 0 for waveform in waveforms])


def test_a_classifier_that_strays_from_its_heads_is_not_made(made, inputs):
    # exported once is enough
    given = {"candidate_heads": made["heads"], "candidate_classifier": made["classifier"]}
    check = create_pipeline().only_nodes("training.check_export")
    with pytest.raises(SoundxError, match=r"strays by .* the model before it stays"):
        run(check, {**inputs, **made, **given, "embedder": Deaf()})


def test_embeddings_of_another_embedder_stop_it(inputs):
    tables = {head: t.assign(embedder="other-1") for head, t in inputs["model_input"].items()}
    with pytest.raises(SoundxError, match="made with other-1") as caught:
        run(create_pipeline(), {**inputs, "model_input": tables})
    assert caught.value.remedy is Remedy.PREPROCESS_AND_TRAIN


def test_its_steps_are_these():
    assert sorted(steps(create_pipeline())) == [
        "training.check_export",
        "training.choose_parity_clips",
        "training.export_heads",
        "training.plot_training_curves",
        "training.train_heads",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda known: {"embedder": LogMelEmbedder(level_dbfs=-23)}, "level_dbfs=-23"),
        (
            lambda known: {"waveforms": dict.fromkeys(known["waveforms"], GONE)},
            "clips have changed",
        ),
        (
            lambda known: {
                "clip_manifest": known["clip_manifest"].assign(
                    clip_id=known["clip_manifest"]["clip_id"] + "?"
                )
            },
            "looked at again since",
        ),
        (
            lambda known: {"clip_manifest": known["clip_manifest"].assign(label="B")},
            "under other labels",
        ),
    ],
    ids=["another level", "a renamed folder", "other clips", "other labels"],
)
def test_what_the_export_needs_is_asked_for_before_training(inputs, monkeypatch, change, said):
    changed = change(inputs)
    monkeypatch.setattr(nodes, "train_labels", None)
    with pytest.raises(SoundxError, match=said):
        run(create_pipeline(), {**inputs, **changed})


@pytest.mark.slow
def test_a_head_may_be_called_as_the_model_over_all_labels_is(inputs, tmp_path):
    known = {"A": "labels", "B": "B"}
    general = inputs["model_input"]["general"].replace({"category": known})
    options = inputs["params:training"].model_copy(update={"head": "seed", "max_epochs": 2})
    made = run(
        create_pipeline(),
        {
            **inputs,
            "model_input": {"general": general, "labels": inputs["model_input"]["A"]},
            "candidate_heads": KerasHeadsDataset(path=str(tmp_path)),
            "params:training": options,
            "params:export": ExportOptions(heads=True),
        },
    )
    assert list(made["heads"].models) == ["general", "labels"]
    assert "soundx_model_labels.tflite" in made["classifier"].files


def test_a_model_that_cannot_be_exported_leaves_the_old_one_as_it_was(inputs, tmp_path):
    folders = {
        "candidate_heads": KerasHeadsDataset(
            path=str(tmp_path / "candidate"), versions={"path": str(tmp_path / "versions")}
        ),
        "heads": KerasHeadsDataset(path=str(tmp_path / "heads")),
        "classifier": ClassifierDataset(path=str(tmp_path / "classifier")),
        "trained_versions": ModelVersionsDataset(path=str(tmp_path / "versions")),
    }
    run(create_pipeline(), {**inputs, **folders})
    version = folders["heads"].load().version
    kept = {name: every_byte(tmp_path / name) for name in ("heads", "classifier", "versions")}
    broken = inputs["params:training"].model_copy(
        update={"head": "dense", "learning_rate": float("inf")}
    )
    with pytest.raises(SoundxError, match="the model before it stays"):
        run(create_pipeline(), {**inputs, **folders, "params:training": broken})
    assert {name: every_byte(tmp_path / name) for name in kept} == kept
    assert folders["classifier"].load().version == version


def test_left_out_accuracy_is_of_labelled_clips_among_the_labels(inputs, noise, monkeypatch):
    """As of test clips: background, however probable, neither adds to it nor takes from it."""
    learn = nodes.train_labels

    def sure_of_background(*arguments):
        trained = learn(*arguments)
        places, probabilities = trained.left_out
        probabilities = 0.1 * probabilities
        probabilities[:, -1] += 0.9
        chosen = {**trained.chosen, "left_out_accuracy": 0.0}  # as it is with noise among the clips
        return dataclasses.replace(trained, chosen=chosen, left_out=(places, probabilities))

    monkeypatch.setattr(nodes, "train_labels", sure_of_background)
    options = inputs["params:training"].model_copy(update={"learn_noise": True})
    given = {**inputs, "noise_frames": noise, "params:training": options}
    heads = run(create_pipeline(), given)["heads"]
    assert heads.training["left_out_accuracy"] == 1.0
