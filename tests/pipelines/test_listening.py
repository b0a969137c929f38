"""From recordings to predictions and events, on a catalog in memory."""

from __future__ import annotations

import pandas as pd
import pytest
import soundfile

from soundx.classifier.bundle import Classifier
from soundx.datasets.recordings import HeardDataset, RecordingsDataset, TextFilesDataset
from soundx.errors import Setting, SoundxError, find_soundx_error
from soundx.listening.recordings import find_recordings
from soundx.pipelines.listening import create_pipeline
from soundx.pipelines.listening.nodes import ListeningOptions
from tests.listening.conftest import model, planted  # noqa: F401  a fixture
from tests.pipelines.runs import run, steps


@pytest.fixture
def listen(model, tmp_path):  # noqa: F811
    def run_on(folder, **options):
        return run(
            create_pipeline(),
            {
                "recordings": find_recordings([str(folder)]),
                "classifier": Classifier.of_folder(model),
                "heard": HeardDataset(path=str(tmp_path / "heard")),
                "params:listening": ListeningOptions(**options),
            },
        )

    return run_on


@pytest.fixture
def night(tmp_path):
    folder = tmp_path / "night"
    folder.mkdir()
    soundfile.write(folder / "20240501_213000.wav", planted(60), 16_000)
    soundfile.write(folder / "b.wav", planted(10, seed=8), 16_000)
    return folder


def test_a_row_a_recording_and_a_row_an_event(listen, night):
    made = listen(night)
    predictions, events = made["predictions"], made["events"]
    assert predictions["duration_s"].tolist() == [60.0, 10.0]
    assert predictions["n_events"].sum() == len(events) > 0
    assert events.columns[:5].tolist() == ["file", "onset_s", "offset_s", "label", "category"]
    assert str(predictions["starts_at"][0]).startswith("2024-05-01T21:30:00")
    assert made["windows"].empty
    assert made["event_files"] == {}
    pd.testing.assert_frame_equal(predictions, made["predictions_table"])


def test_windows_and_formats_where_they_are_asked_for(listen, night):
    made = listen(night, windows=True, formats=("raven", "dcase"), combined=True)
    assert len(made["windows"]) == 124 + 20
    assert set(made["event_files"]) == {"raven/events.selections.txt", "dcase/dcase.tsv"}


def test_a_threshold_that_nothing_reaches(listen, night):
    assert listen(night, threshold=1.0, min_duration_s=3600.0)["events"].empty


def test_what_cannot_be_heard_ends_the_run_once_all_is_written(listen, night):
    (night / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(
        Exception, match=r"1 recording of 3 could not be heard.*broken\.wav"
    ) as told:
        listen(night)
    assert find_soundx_error(told.value) is not None


def test_no_recording_is_named():
    with pytest.raises(Exception, match="No recording is named") as told:
        RecordingsDataset().load()
    error = find_soundx_error(told.value)
    assert isinstance(error, SoundxError)
    assert error.remedy == Setting("recordings", "PATH")


def test_event_files_are_exactly_those_of_the_last_run(tmp_path):
    dataset = TextFilesDataset(path=str(tmp_path / "files"))
    dataset.save({"raven/a.txt": "1", "b.csv": "ä"})
    dataset.save({"b.csv": "ö"})
    assert dataset.load() == {"b.csv": "ö"}
    dataset.save({})
    assert dataset.load() == {}


def test_its_steps_are_these():
    assert steps(create_pipeline()) == ["listening.hear_recordings", "listening.tell_broken"]
