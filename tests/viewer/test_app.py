from __future__ import annotations

import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import soundfile
from streamlit.testing.v1 import AppTest

from soundx.markup import escaped
from soundx.running.catalog import open_catalog, read_parameters
from soundx.viewer.model import mix
from soundx.viewer.project import Project
from tests.conftest import ROOT
from tests.viewer.conftest import open_page

PAGES = ["home", "dataset", "evaluation", "model"]  # train: see test_train.py


def test_the_first_page_is_home(demo, project_at, monkeypatch):
    project_at(demo)
    script = ROOT / "src/soundx/viewer/app.py"
    # as the server does: else each run adds the folder and takes it away again, and a thread
    # that imports meanwhile steps over an entry of sys.path
    monkeypatch.syspath_prepend(str(script.parent))
    app = AppTest.from_file(str(script), default_timeout=60).run()
    for thread in threading.enumerate():
        if thread.name == "warm-up":
            thread.join()  # the next test takes the folder away
    assert not app.exception
    assert not app.error
    assert {metric.label: metric.value for metric in app.metric}["Clips"] == "360"


def test_home_tells_what_was_heard_and_how_good_the_model_is(demo, project_at):
    project_at(demo)
    page = open_page("home")
    shown = {metric.label: metric.value for metric in page.metric}
    assert (shown["Clips"], shown["Labels"], shown["Categories"]) == ("360", "12", "4")
    assert shown["Background"] == "36"
    assert shown["Accuracy on clips it never heard"].endswith("%")
    assert "finished" in shown.values()
    assert any("up to date" in text.value for text in page.markdown)
    left_out = json.loads((demo / "08_reporting/cross_validation.json").read_text())
    said = f"Cross-validated: {left_out['accuracy_mean']:.1%} (95 % interval"
    assert any(text.value.startswith(said) for text in page.markdown)


def test_home_says_when_the_model_is_stale(demo, project_at, tmp_path):
    """A new run's outputs show without starting again."""
    data = tmp_path / "data"
    shutil.copytree(demo, data, ignore=shutil.ignore_patterns("01_raw", "04_feature"))
    project_at(data)
    assert not any("stale" in text.value for text in open_page("home").markdown)
    (data / "05_model_input/state.json").write_text('{"digest": "other", "fingerprint": "x"}')
    (data / "08_reporting/last_run.json").write_text(
        '{"begun": "2026-01-02T03:04:05+00:00", "seconds": 90, "state": "failed",'
        ' "pipelines": ["a_b"], "env": null}'
    )
    page = open_page("home")
    assert any("stale" in text.value for text in page.markdown)
    assert "failed" in [metric.value for metric in page.metric]


def test_home_shows_the_rest_where_a_file_is_broken(demo, project_at, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(demo, data, ignore=shutil.ignore_patterns("01_raw", "04_feature"))
    project_at(data)
    for name in ("08_reporting/last_run.json", "05_model_input/state.json"):
        content = (data / name).read_bytes()
        (data / name).write_bytes(content[:20])
        page = open_page("home")
        assert len(page.error) == 1
        assert escaped(f"{data / name} is broken") in page.error[0].value
        shown = {metric.label for metric in page.metric}
        assert {"Clips", "Accuracy on clips it never heard"} <= shown
        assert [text.value for text in page.subheader][-1] == "What next"
        (data / name).write_bytes(content)


@pytest.mark.parametrize("name", PAGES)
def test_an_empty_project_says_how_to_begin(name, project_at, tmp_path):
    project_at(tmp_path / "none")
    page = open_page(name)
    assert not page.error
    assert len(page.info) == 1
    commands = " ".join(code.value for code in page.code)
    assert "kedro run" in commands
    if name in ("home", "dataset"):
        assert "--env=demo" in commands
        assert "--env=s3" in commands


BROKEN = ["{type: no.such.Dataset}", "{type: [", "{type: pandas.ParquetDataset, odd: 1}"]


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        *((PAGES[0], entry) for entry in BROKEN),
        *((name, BROKEN[0]) for name in PAGES[1:]),
        *(
            pytest.param(name, entry, marks=pytest.mark.slow)
            for name in PAGES[1:]
            for entry in BROKEN[1:]
        ),
    ],
)
def test_a_broken_catalog_is_told_in_words(name, entry, project_at, tmp_path):
    root = project_at(tmp_path / "none")
    needed = ("clip_manifest", "model_versions", "classifier")
    text = "".join(f"{dataset}: {entry}\n" for dataset in needed)
    (root / "conf/local/catalog.yml").write_text(text)
    page = open_page(name)
    assert len(page.error) == 1
    assert "Traceback" not in page.error[0].value


@pytest.mark.parametrize("name", PAGES)
def test_a_broken_file_is_told_without_a_traceback(name, project_at, tmp_path, demo):
    data = tmp_path / "data"
    shutil.copytree(demo, data, ignore=shutil.ignore_patterns("01_raw", "04_feature"))
    for broken in ("02_intermediate/clip_manifest.parquet", "06_models/classifier/labels.json"):
        (data / broken).write_bytes(b"broken")
    for metrics in data.rglob("metrics.json"):
        metrics.write_bytes(b"broken")
    project_at(data)
    page = open_page(name)
    assert len(page.error) == 1
    assert "Traceback" not in page.error[0].value


def test_dataset_finds_plays_and_lists_what_is_alike(demo, project_at):
    project_at(demo)
    page = open_page("dataset")
    assert len(page.tabs) == 3
    assert any("396 clips" in caption.value for caption in page.caption)
    page.text_input(key="dataset-text").set_value("beeper").run()
    assert any("30 clips" in caption.value for caption in page.caption)
    assert any("Heard as the model hears it" in caption.value for caption in page.caption)
    assert any(heading.value == "Most alike" for heading in page.subheader)
    page.text_input(key="dataset-text").set_value("(no such*").run()
    assert not page.exception
    assert any(caption.value == "0 clips" for caption in page.caption)
    assert "Every file" in page.success[0].value


def test_evaluation_shows_versions_side_by_side_and_clips_of_a_cell(demo, project_at, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(demo, data, ignore=shutil.ignore_patterns("04_feature"))
    versions = data / "06_models/versions"
    (only,) = os.listdir(versions)
    shutil.copytree(versions / only, versions / "2020-01-01T00.00.00.000Z")
    project_at(data)
    page = open_page("evaluation")
    assert page.selectbox[0].options == [only, "2020-01-01T00.00.00.000Z"]
    assert page.metric[0].delta == ""
    page.selectbox[1].select("2020-01-01T00.00.00.000Z").run()
    assert page.metric[0].delta == "+0.0 points"
    page.selectbox(key="evaluation-truth").select("ALARM_BEEPER")
    page.selectbox(key="evaluation-guess").select("ALARM_BEEPER").run()
    assert any("The model: ALARM" in caption.value for caption in page.caption)
    page.selectbox(key="evaluation-guess").select("NATURE_RAIN").run()
    assert any("No test clip" in info.value for info in page.info)
    assert not page.exception
    page.toggle(key="evaluation-published").set_value(True).run()
    assert not page.exception


def test_evaluation_tells_what_left_out_clips_say(demo, project_at):
    scores = json.loads((demo / "08_reporting/cross_validation.json").read_text())
    curve = json.loads((demo / "08_reporting/learning_curve.json").read_text())
    project_at(demo)
    page = open_page("evaluation")
    assert [tab.label for tab in page.tabs][-2:] == ["Left out", "Suspect labels"]
    tab = page.tabs[-2]
    shown = {metric.label: metric.value for metric in tab.metric}
    assert shown["Accuracy"] == f"{scores['accuracy_mean']:.1%}"
    assert shown["Hard-routed"] == f"{scores['hard_routed_accuracy_mean']:.1%}"
    assert shown["Calibration error"] == f"{scores['calibration_error']:.1%}"
    assert shown["Without calibration"] == f"{scores['calibration_error_before']:.1%}"
    rejection = scores["rejection"]
    assert shown["Answered"] == f"{rejection['coverage']:.1%}"
    assert shown["Strange labels told apart"] == f"{rejection['auroc_of_labels_left_out']:.3f}"
    low, high = scores["accuracy_ci95"]
    assert any(f"between {low:.1%} and {high:.1%}" in text.value for text in tab.caption)
    leaky = f"**{scores['leaky_accuracy_mean']:.1%}** instead of"
    assert any(leaky in text.value for text in tab.markdown)
    reliability, learning = (json.loads(chart.proto.spec) for chart in tab.get("plotly_chart"))
    assert [trace.get("name") for trace in reliability["data"]][-1] == "before calibration"
    assert len(learning["data"][0]["x"]) == len(curve["points"])
    more, classes = (table.value for table in tab.dataframe)
    gains = (more["recall_with_ten_more"] - more["recall"]).to_list()
    assert gains == sorted(gains, reverse=True)
    assert set(more["label"]) == set(classes["label"]) == set(rejection["thresholds"])
    assert classes["threshold"].notna().all()


def test_suspect_labels_and_copies_are_heard(demo, project_at, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(demo, data, ignore=shutil.ignore_patterns("04_feature"))
    manifest = pd.read_parquet(data / "02_intermediate/clip_manifest.parquet")
    wrong, copy, other = (row for _, row in manifest.iloc[[0, 100, 200]].iterrows())
    pd.DataFrame(
        {
            "clip_id": [wrong["clip_id"]], "path": [wrong["path"]], "label": ["<i>NATURE</i>"],
            "predicted_label": ["ALARM_BELL"], "certainty": [0.04], "probability": [0.91],
            "suspicion": [0.87],
        }
    ).to_csv(data / "08_reporting/suspect_labels.csv", index=False)  # fmt: skip
    pairs = pd.DataFrame(
        {
            "path": [copy["path"]], "other_path": [other["path"]], "label": [copy["label"]],
            "other_label": [other["label"]], "similarity": [0.999], "across_labels": [True],
            "across_folds": [False], "clip_id": [copy["clip_id"]],
            "other_clip_id": [other["clip_id"]],
        }
    )  # fmt: skip
    pairs.to_csv(data / "08_reporting/near_duplicates.csv", index=False)
    project_at(data)
    tab = open_page("evaluation").tabs[-1]
    said = [text.value for text in tab.markdown]
    assert any("The model says **ALARM\\_BELL** (91%)" in text for text in said)
    assert any(text.startswith("**\\<i\\>NATURE") for text in said)
    players = [frame.proto.srcdoc for frame in tab.get("iframe")]
    assert len(players) == 3  # the suspect, and the two that sound the same
    assert all("<audio" in player for player in players)
    assert len(set(players)) == 3
    pairs.head(0).to_csv(data / "08_reporting/near_duplicates.csv", index=False)
    tab = open_page("evaluation").tabs[-1]
    assert "No two recordings" in tab.success[0].value


def test_what_to_run_for_left_out_clips_is_said(demo, project_at, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(demo, data, ignore=shutil.ignore_patterns("01_raw", "04_feature"))
    for name in ("cross_validation.json", "suspect_labels.csv"):
        (data / "08_reporting" / name).unlink()
    project_at(data)
    page = open_page("evaluation")
    for tab in page.tabs[-2:]:
        assert tab.code[0].value == "kedro run --pipelines=cross_validation,evaluation"
    assert not any("Cross-validated" in text.value for text in open_page("home").markdown)


def test_left_out_clips_are_told_of_without_a_model(demo, project_at, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(demo, data, ignore=shutil.ignore_patterns("04_feature", "06_models"))
    project_at(data)
    page = open_page("evaluation")
    assert "No model has been evaluated" in page.info[0].value
    assert [tab.label for tab in page.tabs] == ["Left out", "Suspect labels"]
    assert page.tabs[0].metric


def test_model_answers_for_clips_and_mixes(demo, project_at):
    project_at(demo)
    page = open_page("model")
    assert not page.error
    before = [metric.value for metric in page.metric]
    assert len(before) == 2  # a clip, and two mixed
    page.slider(key="model-level").set_value(30)
    page.selectbox(key="model-second-label").select("NATURE_RAIN").run()
    after = [metric.value for metric in page.metric]
    assert after[0] == before[0]
    assert after[1].startswith(("NATURE", "unknown"))


def test_background_is_named_and_what_is_none_of_the_labels_is_unknown(demo, project_at):
    project_at(demo)
    dataset = open_page("dataset")
    assert "background" in dataset.selectbox[0].options
    assert "" not in dataset.selectbox[0].options
    page = open_page("model")
    assert page.selectbox(key="model-pick-label").options[-1] == "background"
    page.selectbox(key="model-pick-label").select("").run()
    answers = []
    for path in page.selectbox(key="model-pick-clip").options[:4]:
        page.selectbox(key="model-pick-clip").select(path).run()
        answers.append(page.metric[0].value)
    assert "unknown" in answers


def test_uploads_are_decoded_or_refused_in_words(demo, project_at, tmp_path):
    project_at(demo)
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(16_000) / 9), 16_000)
    page = open_page("model")
    answers = len(page.metric)
    for name, content, said in (
        ("words.wav", b"these are words", "text file"),
        ("page.mp3", b"<html>not found</html>", "web page"),
        ("nothing.ogg", b"", "empty"),
    ):
        page.file_uploader[0].upload(name, content).run()
        assert not page.exception
        assert said in page.error[0].value
        assert len(page.metric) == answers
    page.file_uploader[0].upload("<b>odd</b>.wav", (tmp_path / "a.wav").read_bytes()).run()
    assert not page.exception
    assert not page.error
    assert len(page.metric) == answers + 1


def test_long_uploads_are_refused(demo, project_at, tmp_path, monkeypatch):
    monkeypatch.setattr("soundx.viewer.hearing.MAX_UPLOAD_S", 0.5)
    project_at(demo)
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(16_000) / 9), 16_000)
    page = open_page("model")
    # a file system would not bear this name: it never sees it
    page.file_uploader[0].upload("../../long.wav", (tmp_path / "a.wav").read_bytes()).run()
    assert not page.exception
    assert "longer than" in page.error[0].value


def test_a_mix_has_the_level_that_was_asked_for(rng):
    quiet, loud = 0.01 * rng.standard_normal(8000), 0.2 * rng.standard_normal(4000)
    mixed = mix(quiet.astype(np.float32), loud.astype(np.float32), level_db=-20.0)
    assert len(mixed) == 8000
    rest = mixed - quiet.astype(np.float32)
    assert 20 * np.log10(rest.std() / quiet.std()) == pytest.approx(-20, abs=0.5)
    assert np.abs(mix(np.ones(9, np.float32), np.ones(9, np.float32), level_db=0.0)).max() == 1
    silence = np.zeros(5, np.float32)
    assert not mix(silence, silence, level_db=10.0).any()


def test_names_are_shown_as_text():
    assert escaped("<b>*x*</b>_y_") == "\\<b\\>\\*x\\*\\</b\\>\\_y\\_"


def test_labels_and_file_names_are_never_html(demo, project_at, tmp_path):
    from soundx.viewer import sound

    data = tmp_path / "data"
    shutil.copytree(demo, data, ignore=shutil.ignore_patterns("01_raw", "04_feature", "06_models"))
    path = data / "02_intermediate/clip_manifest.parquet"
    manifest = pd.read_parquet(path)
    evil = "<img src=x onerror=alert(1)>"
    manifest["label"] = manifest["category"] = evil
    manifest["path"] = evil + "/" + manifest["path"]
    manifest.to_parquet(path)
    project_at(data)
    page = open_page("dataset")
    assert not page.error
    charts = [str(chart.proto.spec) for chart in page.get("plotly_chart")]
    assert charts
    assert all("<img" not in chart for chart in charts)
    assert all("<img" not in text.value.replace("\\<", "") for text in page.markdown)
    assert sound.MAX_SHOWN_S == 60


def test_the_catalog_opens_without_a_session():
    catalog = open_catalog(ROOT, "demo")
    assert "data/demo/02_intermediate" in str(catalog["clip_manifest"])


def test_many_sessions_open_catalogs_and_parameters_at_once():
    with ThreadPoolExecutor(4) as pool:
        catalogs = pool.map(lambda _: open_catalog(ROOT, "demo"), range(20))
        parameters = pool.map(lambda _: read_parameters(ROOT, "demo"), range(20))
        assert all("clip_manifest" in catalog for catalog in catalogs)
        assert all("training" in every for every in parameters)


def test_many_sessions_ask_for_the_same_dataset_at_once(demo, project_at):
    """They share a catalog, which makes a dataset when it is first asked for."""
    root = project_at(demo)
    names = ("clip_manifest", "splits", "raw_clips", "metrics", "classifier", "last_run")
    for _ in range(5):
        shared = Project(root, None)
        shared.catalog = open_catalog(root)  # a new one, where nothing was made yet
        start = threading.Barrier(8)

        def ask(shared=shared, start=start):
            start.wait()
            return [shared.has(name) for name in names]

        with ThreadPoolExecutor(8) as threads:
            found = [threads.submit(ask) for _ in range(8)]
            assert all(all(one.result()) for one in found)
