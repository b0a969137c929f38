"""From recordings to answers to what they tell: pipelines and commands on a project that heard."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from soundx.audio.decoding import decode_clip
from soundx.classifier.bundle import Classifier
from soundx.classifier.card import with_review
from soundx.entrance import main
from soundx.labels import BACKGROUND, GENERAL
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.rejection import RejectionOptions
from soundx.pipelines.review.nodes import measure_drift
from soundx.review.answers import Answer, AnswersFile, now, read_answers
from soundx.review.session import draw_for
from tests.conftest import ROOT, load, run_kedro


@pytest.fixture(scope="session")
def recordings(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of a minute: clips of the demo in soft noise."""
    folder = tmp_path_factory.mktemp("nights")
    rng = np.random.default_rng(3)
    clips = sorted((demo / "01_raw").glob("[A-Z]*/*"))
    for name in ("20240501_213000.wav", "20240502_213000.wav"):
        samples = 0.002 * rng.standard_normal(60 * 16_000)
        for at_s in range(2, 56, 6):
            clip = decode_clip(clips[rng.integers(len(clips))])[: 3 * 16_000]
            samples[at_s * 16_000 : at_s * 16_000 + len(clip)] += 0.7 * clip
        soundfile.write(folder / name, np.clip(samples, -1, 1), 16_000)
    return folder


@pytest.fixture(scope="session")
def heard(demo: Path, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(demo, tmp_path_factory.mktemp("heard") / "data"))
    params = {"recordings": str(recordings), "data_root": str(root), "embedder": "logmel"}
    run_kedro(env="demo", pipelines=["listening"], **params)
    return root


@pytest.fixture
def project(heard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder whose data are a copy of those, and we are in it; returns its data."""
    root = Path(shutil.copytree(heard, tmp_path / "data"))
    enter_project(tmp_path / "project", root, monkeypatch)
    return root


def enter_project(folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "conf/local").mkdir(parents=True)
    (folder / "src").mkdir()
    for name in ("conf/base", "conf/demo", "conf/logging.yml", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "conf/local/globals.yml").write_text(f"data_root: {root}\nembedder: logmel\n")
    monkeypatch.chdir(folder)


def params(root: Path) -> dict[str, str]:
    return {"data_root": str(root), "embedder": "logmel"}


def test_listening_keeps_what_it_hears_once(heard, recordings):
    index = load("window_index", **params(heard))
    assert sorted(Path(one.file).name for one in index.recordings) == [
        "20240501_213000.wav",
        "20240502_213000.wav",
    ]
    report = load("recording_report", **params(heard))
    assert report["embedded"] == 2
    before = (heard / "04_feature/windows/index.json").read_bytes()
    run_kedro(env="demo", pipelines=["recordings"], recordings=str(recordings), **params(heard))
    assert load("recording_report", **params(heard))["embedded"] == 0
    assert (heard / "04_feature/windows/index.json").read_bytes() == before


def test_what_is_known_are_the_clips_that_the_model_has_learnt(heard):
    """Test clips too where it has learnt those; a table without them says which they are."""
    index, store, tables = (
        load(name, **params(heard)) for name in ("window_index", "embeddings", "model_input")
    )
    table = tables[GENERAL]
    without = {GENERAL: table[table["split"] != "test"]}

    def drift(tables, refit):
        training = TrainingOptions(refit=refit)
        return measure_drift(index, tables, store, training, RejectionOptions())

    of_all = drift(tables, "all")
    pd.testing.assert_frame_equal(drift(tables, "off"), drift(without, "all"))
    assert not of_all.equals(drift(without, "all"))


def test_drawn_answers_stand_in_the_review_on_the_card_and_beside_the_labels(project):
    index = load("window_index", **params(project))
    classifier = load("classifier", **params(project))
    from soundx.review.project import shipped_by

    manifest = load("recording_manifest", **params(project))
    shipped = shipped_by(index, classifier, load("heard", **params(project)), manifest)
    label = classifier.labels[0]
    # as the shipped model hears them: the TFLite file itself says so
    (first,) = [one for one in index.recordings if "20240501" in one.file]
    samples = decode_clip(Path(first.file))
    rows = classifier.hear(samples[: 30 * 16_000]).windows
    number = index.number_at(first.file, 10 * 2 * index.hop_s)
    np.testing.assert_allclose(shipped.probabilities[number], rows[21], atol=1e-5)
    answers = []
    for number in draw_for(index, shipped, label)[:20]:
        window = index.window(int(number))
        said = label if shipped.probabilities[number, 0] > 0.5 else BACKGROUND
        place = (window.recording.file, window.onset_s, window.offset_s)
        answers.append(Answer(*place, said, "Ada", now(), shipped.version, 0.5, drawn_for=label))
    AnswersFile(project / "09_review/answers.csv").add(answers)
    run_kedro(pipelines=["review"], **params(project))
    review = json.loads((project / "08_reporting/review.json").read_text())
    assert review["model_version"] == classifier.version
    known = review["labels"][label]
    assert known["n_answers"] == 20
    low, high = known["density_ci95"]
    assert 0 <= low <= known["density"] <= high <= 1
    drift = pd.read_csv(project / "08_reporting/drift.csv")
    assert len(drift) == 2
    assert (drift["drift"] > 0).all()
    beside = load("classifier", **params(project))
    assert beside.info["review"]["labels"].keys() == {label}
    card = beside.files["model_card.md"].decode()
    assert card.count("## What answers tell of it") == 1
    garbled = Classifier({**beside.files, "model_card.md": b"\xff" + card.encode()})
    assert with_review(garbled, review).files["model_card.md"].decode() == "\ufffd" + card
    run_kedro(pipelines=["review"], **params(project))
    again = load("classifier", **params(project)).files["model_card.md"].decode()
    assert again == card
    run_kedro(pipelines=["evaluation"], **params(project))
    evaluated = (project / "06_models/classifier/model_card.md").read_text()
    assert "## What answers tell of it" in evaluated


def test_a_page_is_written_and_its_answers_are_taken(project, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["review-page", "--n", "5", "--output", str(page)]) == 0
    assert "5 windows" in capsys.readouterr().err
    noise = project / "04_feature/noise/noise.npz"
    content = noise.read_bytes()
    noise.write_bytes(b"broken")
    assert main(["review-page", "--n", "5", "--output", str(tmp_path / "other.html")]) == 1
    assert "Noise is to be learnt" in capsys.readouterr().err
    noise.write_bytes(content)
    assert "Content-Security-Policy" in page.read_text()
    index = load("window_index", **params(project))
    file = index.recordings[0].file
    back = tmp_path / "answers-Bo.csv"
    back.write_text(
        "recording,onset_s,offset_s,label,answered_by\n"
        f"{file},1.92,3.84,owl,Bo\nelsewhere.wav,0,1,owl,Bo\n"
    )
    assert main(["review-answers", str(back)]) == 1
    said = capsys.readouterr().err
    assert "1 answers taken" in said
    assert "elsewhere.wav: not a recording" in said
    table = (project / "09_review/answers.csv").read_bytes()
    assert [(a.recording, a.label) for a in read_answers(table, "x")] == [(file, "owl")]
    older = tmp_path / "older.csv"
    older.write_text(
        "recording,onset_s,offset_s,label,answered_by,answered_at\n"
        f"{file},1.92,3.84,dog,Bo,2020-01-01T00:00:00Z\n"
    )
    assert main(["review-answers", str(older)]) == 0
    assert "0 answers taken; 1 were older than what stands" in capsys.readouterr().err
    assert (project / "09_review/answers.csv").read_bytes() == table


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["review-page", "--n", "0"], "1 or more"),
        (["review-page", "--order", "spread", "--label", "nothing"], "does not know 'nothing'"),
        (["review-answers", "nowhere.csv"], "nowhere.csv cannot be read"),
    ],
)
def test_what_cannot_be_asked_is_told(project, capsys, arguments, says):
    assert main(arguments) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("04_feature/recordings/*/*.parquet", marks=pytest.mark.slow),
        pytest.param("04_feature/recordings/*/embedder.json", marks=pytest.mark.slow),
        "04_feature/windows/vectors.f32",
        pytest.param("02_intermediate/recording_manifest.parquet", marks=pytest.mark.slow),
    ],
)
def test_what_is_broken_of_recordings_is_made_again_by_what_keeps_them(project, capsys, pattern):
    (path,) = project.glob(pattern)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(255 - b for b in content[middle:]))
    assert main(["review-page"]) == 1
    said = capsys.readouterr().err
    assert f"{path} is broken" in said
    assert "--pipelines=recordings" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["review-page", "--order", "best"], "Name the label that --order best is of: --label"),
        (["review-page", "--order", "spread"], "Name the label that --order spread is of: --label"),
        (["review-page", "--output", "answers.csv"], "ends in .html or .htm"),
        (["review-page", "--output", ""], "--output is ''"),
        (["review-page", "--data-root", "nope"], "/nope/04_feature/windows yet. Run: "),
        (["review-answers", "x.csv", "--data-root", "nope"], "/nope/04_feature/windows yet. Run: "),
    ],
)
def test_what_is_not_there_is_told(tmp_path, monkeypatch, capsys, arguments, says):
    enter_project(tmp_path / "project", tmp_path / "data", monkeypatch)
    assert main(arguments) == 1
    assert says in capsys.readouterr().err


def test_outside_a_project_that_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["review-page"]) == 1
    assert "no project of soundx" in capsys.readouterr().err
