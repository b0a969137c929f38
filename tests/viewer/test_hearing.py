"""A visitor's sound is heard as ``soundx predict`` hears it, however long, and told as files."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
from streamlit.testing.v1 import AppTest

from soundx.audio.decoding import decode_clip
from soundx.classifier.bundle import Classifier
from soundx.errors import AudioError
from soundx.listening.events import Event, Recording
from soundx.listening.formats import FORMATS
from soundx.listening.listen import Listener, Prediction, event_rules
from soundx.listening.recordings import find_recordings
from soundx.storage.checksum import with_checksum
from soundx.viewer.found import MAX_DRAWN, _choose, events_file, windows_file
from soundx.viewer.hearing import MAX_CLIP_S, Given, Samples, Sound, has_windows
from tests.viewer.conftest import open_page

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def classifier(demo: Path) -> Classifier:
    return Classifier.of_folder(demo / "06_models/classifier", threads=1)


@pytest.fixture(scope="module")
def planted(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ninety seconds of next to nothing, with a siren at 20 s and a frog at 70 s."""
    waveform = 0.001 * np.random.default_rng(1).standard_normal(90 * 16_000)
    for label, at_s in (("ALARM_SIREN", 20), ("ANIMAL_FROG", 70)):
        clip = decode_clip(sorted((demo / "01_raw" / label).glob("*.wav"))[0])
        waveform[at_s * 16_000 :][: len(clip)] += clip
    path = tmp_path_factory.mktemp("planted") / "night_20260514_213000.wav"
    soundfile.write(path, np.clip(waveform, -1, 1), 16_000)
    return path


def given(path: Path, name: str | None = None) -> Given:
    return Given((str(path),), name or path.name, lambda: nullcontext(path))


def heard(path: Path, classifier: Classifier, name: str | None = None) -> Sound:
    sound = Sound(given(path, name), classifier)
    sound.decode(given(path, name), lambda _: None)
    sound.hear(lambda _: None)
    return sound


def of_an_older_soundx(classifier: Classifier) -> Classifier:
    info = {k: v for k, v in classifier.info.items() if k not in ("window", "events", "checksum")}
    files = {**classifier.files, "labels.json": json.dumps(with_checksum(info)).encode()}
    return Classifier(files, threads=1)


def chart(page: AppTest) -> str:
    return str(page.get("plotly_chart")[0].proto.spec)


def test_it_hears_what_predict_hears(classifier, planted, tmp_path):
    rules = event_rules(classifier)
    listener = Listener(classifier, tmp_path, rules)
    (predicted,) = listener.listen(find_recordings([str(planted)]))
    sound = heard(planted, classifier)
    found = sound.prediction(rules)
    np.testing.assert_allclose(found.rows, predicted.rows, atol=1e-6)
    np.testing.assert_allclose(found.probabilities, predicted.probabilities, atol=1e-6)
    assert [(e.label, e.onset_s, e.offset_s, e.starts_at) for e in found.events] == [
        (e.label, e.onset_s, e.offset_s, e.starts_at) for e in predicted.events
    ]
    assert {"ALARM_SIREN", "ANIMAL_FROG"} <= {e.label for e in found.events}
    assert found.recording.starts_at == datetime(2026, 5, 14, 21, 30)


def test_a_short_sound_is_answered_as_a_whole(classifier, demo):
    clip = sorted((demo / "01_raw/ALARM_BELL").glob("*.wav"))[0]
    found = heard(clip, classifier).prediction(event_rules(classifier))
    np.testing.assert_allclose(
        found.probabilities, classifier.predict(decode_clip(clip)), atol=1e-5
    )


def test_a_hearing_that_was_interrupted_goes_on(classifier, planted):
    class Clicked(BaseException):
        pass

    ticks = []

    def click(second):
        ticks.append(second)
        raise Clicked

    whole = heard(planted, classifier)
    sound = Sound(given(planted), classifier)
    sound.decode(given(planted), lambda _: None)
    with pytest.raises(Clicked):
        sound.hear(click)
    n_before = len(sound.rows)
    assert 0 < n_before < len(whole.rows)
    assert not sound.is_heard
    sound.hear(ticks.append)
    assert sound.is_heard
    assert ticks[1] > ticks[0]
    np.testing.assert_allclose(sound.rows, whole.rows, atol=1e-6)
    np.testing.assert_allclose(sound.probabilities, whole.probabilities, atol=1e-6)


def test_samples_are_on_disk_and_found_again(planted):
    samples = Samples()
    waveform = decode_clip(planted)
    for block in np.array_split(waveform, 7):
        samples.add(block)
    assert samples.seconds == pytest.approx(90)
    np.testing.assert_array_equal(np.concatenate(list(samples.blocks())), waveform)
    np.testing.assert_array_equal(samples.part(20.0, 21.5), waveform[320_000:344_000])
    np.testing.assert_array_equal(samples.part(-3.0, 0.5), waveform[:8000])
    assert len(samples.part(95.0, 99.0)) == 0


def test_an_older_classifier_hears_clips_alone(classifier, planted, monkeypatch):
    older = of_an_older_soundx(classifier)
    assert has_windows(classifier)
    assert not has_windows(older)
    sound = heard(planted, older)
    assert sound.prediction(None).events == ()
    np.testing.assert_allclose(sound.probabilities, older.predict(decode_clip(planted)), atol=1e-6)
    monkeypatch.setattr("soundx.viewer.hearing.MAX_CLIP_S", 80.0)
    with pytest.raises(AudioError, match="whole clips alone"):
        heard(planted, older)
    assert MAX_CLIP_S == 600


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_one_file_with_a_harmless_name(classifier, planted, name):
    found = heard(planted, classifier, f"../{EVIL}\0\n.wav").prediction(event_rules(classifier))
    file, content = events_file(name, found)
    assert not set('/\\<>:"|?*\0\n') & set(file)
    assert b"SIREN" in content
    file, content = windows_file(found, classifier)
    assert file.endswith(".windows.csv")
    assert len(content.decode().splitlines()) > len(found.rows)


def test_several_files_of_a_format_are_packed(monkeypatch):
    files = {"a.txt": "one", "b.txt": "two"}
    monkeypatch.setattr("soundx.viewer.found.write_events", lambda *_: files)
    found = Prediction(
        Recording("x/y.wav", 1.0), np.zeros(1, np.float32), (), np.zeros((0, 1), np.float32)
    )
    name, content = events_file("audacity", found)
    assert name == "y.audacity.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {n: archive.read(n).decode() for n in archive.namelist()} == files


def test_the_page_shows_events_and_obeys_thresholds(demo, project_at, planted):
    project_at(demo)
    page = open_page("model")
    page.file_uploader[0].upload(f"{EVIL}.wav", planted.read_bytes()).run()
    assert not page.exception
    assert not page.error
    tables = [frame.value for frame in page.dataframe if "onset" in frame.value]
    assert {"ALARM_SIREN", "ANIMAL_FROG"} <= set(tables[0]["label"])
    assert "ALARM_SIREN" in chart(page)
    assert "<img" not in chart(page)
    # only what lasts longer than any of them
    page.number_input(key="model-min").set_value(50.0).run()
    assert not page.exception
    assert any("no event" in info.value for info in page.info)
    page.number_input(key="model-min").set_value(0.4).run()
    page.toggle(key="model-own").set_value(False).run()
    page.slider(key="model-on").set_value(1.0).run()
    assert not page.exception
    assert any("no event" in info.value for info in page.info)


def test_an_event_is_played(demo, project_at, planted, classifier):
    project_at(demo)
    page = open_page("model")
    page.file_uploader[0].upload("night_20260514_213000.wav", planted.read_bytes()).run()
    sound = page.session_state["model-upload-heard"][1]
    events = sound.prediction(event_rules(classifier)).events
    assert not page.get("audio")
    page.session_state["model-upload-chosen"] = events[0]
    page.run()
    assert not page.exception
    assert len(page.get("audio")) == 1
    assert any("clock" in frame.value for frame in page.dataframe)
    page.session_state["model-upload-chosen"] = "anything"
    page.run()
    assert not page.exception
    assert not page.get("audio")


def test_what_a_browser_sends_may_be_anything():
    import streamlit as st

    events = [Event("a.wav", 0.0, 1.0, "A", "A", 0.9, 0.8)]
    for index, chosen in ((0, events[0]), (1, None), (-1, None), ("0", None), (None, None)):
        _choose(events, index, "some-key")
        assert st.session_state["some-key"] == chosen


def test_a_timeline_stays_light(demo, project_at, planted, monkeypatch):
    assert MAX_DRAWN <= 2000
    monkeypatch.setattr("soundx.viewer.found.MAX_DRAWN", 1)
    project_at(demo)
    page = open_page("model")
    page.file_uploader[0].upload("a.wav", planted.read_bytes()).run()
    assert any("1 of " in text.value and "are drawn" in text.value for text in page.caption)
    bars = json.loads(chart(page))["data"][0]
    assert len(bars["hovertext"]) == 1


def test_an_older_model_answers_and_asks_for_training(demo, project_at, tmp_path, classifier):
    data = tmp_path / "data"
    shutil.copytree(demo, data, ignore=shutil.ignore_patterns("04_feature"))
    labels = of_an_older_soundx(classifier).files["labels.json"]
    (data / "06_models/classifier/labels.json").write_bytes(labels)
    project_at(data)
    page = open_page("model")
    assert not page.error
    assert any("Train anew" in info.value for info in page.info)
    assert "--pipelines=training" in page.code[0].value
    assert len(page.metric) == 2  # a clip, and two mixed
    assert not page.get("plotly_chart")
