"""``soundx`` on the command line, on real files, in processes that may be killed."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile

from soundx.listening import kept
from soundx.listening.command import main
from soundx.listening.listen import Listener, event_rules
from soundx.listening.microphone import Microphone, watch
from soundx.listening.recordings import find_recordings
from soundx.storage.checksum import with_checksum

from .conftest import planted
from .test_clock import guano


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def predict(model, tmp_path, capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["predict", *map(str, arguments), "--model", str(model)])
        return code, *capsys.readouterr()

    return run


def test_a_row_a_file_events_and_the_reason_for_what_is_broken(predict, recordings, tmp_path):
    out = tmp_path / "out"
    code, said, told = predict(recordings, "--output", out)
    assert code == 1
    rows = {Path(row["file"]).name: row for row in table(out / "predictions.csv")}
    assert set(rows) == {"20240501_213000.wav", "other.flac", "broken.mp3"}
    assert "web page" in rows["broken.mp3"]["error"]
    assert rows["other.flac"]["duration_s"] == "20.0"
    assert rows["20240501_213000.wav"]["starts_at"] == "2024-05-01T21:30:00"
    events = table(out / "events.csv")
    assert len(events) == sum(int(row["n_events"]) for row in rows.values()) > 0
    assert all(float(event["onset_s"]) < float(event["offset_s"]) for event in events)
    assert "1 could not be heard" in told
    assert said.count("\n") == 3


def test_what_is_whole_ends_well_and_a_second_run_hears_nothing_again(
    predict, recordings, tmp_path, monkeypatch
):
    (recordings / "broken.mp3").unlink()
    out = tmp_path / "out"
    assert predict(recordings, "--output", out)[0] == 0
    before = (out / "events.csv").read_bytes()
    monkeypatch.setattr("soundx.listening.listen.decode_blocks", None)
    assert predict(recordings, "--output", out)[0] == 0
    assert (out / "events.csv").read_bytes() == before


def test_other_thresholds_need_no_second_hearing(predict, recordings, tmp_path, monkeypatch):
    out = tmp_path / "out"
    predict(recordings / "other.flac", "--output", out)
    monkeypatch.setattr("soundx.listening.listen.decode_blocks", None)
    assert predict(recordings / "other.flac", "--output", out, "--threshold", 0.999)[0] == 0
    assert table(out / "events.csv") == []


def test_a_file_that_changed_is_heard_again(predict, tmp_path):
    path, out = tmp_path / "a.wav", tmp_path / "out"
    soundfile.write(path, planted(5), 16_000)
    predict(path, "--output", out)
    soundfile.write(path, planted(9), 16_000)
    predict(path, "--output", out)
    assert table(out / "predictions.csv")[0]["duration_s"] == "9.0"


def test_every_format_windows_and_clips(predict, recordings, tmp_path):
    (recordings / "broken.mp3").unlink()
    out, clips = tmp_path / "out", tmp_path / "clips"
    formats = "csv,audacity,raven,kaleidoscope,birdnet,dcase"
    code, *_ = predict(
        recordings, "--output", out, "--format", formats, "--windows", "--segments", clips
    )
    assert code == 0
    assert {path.name for path in out.iterdir() if path.is_dir()} >= set(formats.split(",")[1:])
    windows = table(out / "windows.csv")
    assert len(windows) == 145 + 41  # hops of 0.48 s in 70 and 20 s
    assert len(list(clips.rglob("*.wav"))) == len(table(out / "events.csv"))
    assert (clips / "metadata.csv").exists()


def test_a_name_that_is_not_utf_8_costs_that_recording_alone(predict, tmp_path):
    night, out = tmp_path / "night", tmp_path / "out"
    night.mkdir()
    for name in (b"a.wav", b"caf\xe9.wav"):
        soundfile.write(night / "new.wav", planted(9), 16_000)
        os.rename(night / "new.wav", os.fsencode(night) + b"/" + name)
    code, said, _ = predict(night, "--output", out, "--windows")
    assert code == 1
    assert "caf\\xe9.wav\tcannot be heard: its name is not UTF-8 text: rename it" in said
    errors = {Path(row["file"]).name: row["error"] for row in table(out / "predictions.csv")}
    assert errors == {"a.wav": "", r"caf\udce9.wav": "its name is not UTF-8 text: rename it"}
    assert {Path(row["file"]).name for row in table(out / "windows.csv")} == {"a.wav"}
    assert (out / "events.csv").exists()


def test_events_are_always_of_the_predictions_beside_them(predict, tmp_path):
    for name in ("first", "second"):
        soundfile.write(tmp_path / f"{name}.wav", planted(20), 16_000)
    out = tmp_path / "out"
    predict(tmp_path / "first.wav", "--output", out)
    predict(tmp_path / "second.wav", "--output", out, "--format", "audacity")
    (row,) = table(out / "predictions.csv")
    events = table(out / "events.csv")
    assert len(events) == int(row["n_events"]) > 0
    assert {event["file"] for event in events} == {row["file"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "There is no recording at nowhere"),
        (["{clip}", "--format", "ravn"], "There is no format 'ravn'. There are: csv"),
        (["{clip}", "--threshold", "7"], "cannot begin at a probability of 7"),
        (["{clip}", "--gap", "-1"], "cannot be below 0"),
        (["{clip}", "--gap", "nan"], "cannot be below 0, or endless"),
        (["{clip}", "--min-duration", "inf"], "cannot be below 0, or endless"),
        (["{clip}", "--threshold", "0.2", "--off-threshold", "0.9"], "cannot be the higher one"),
        (["{clip}", "--workers", "-2"], "at least one has to work"),
        (["{clip}", "--workers", "0"], "at least one has to work"),
        ([""], "There is no recording at an empty name"),
        (["{clip}", "--per-label", "3", "--segments", "{tmp}/x"], "'all' and 3"),
        (["s3:/nights"], "There is no recording at s3:/nights"),
        (["{clip}", "--segments", "s3://bucket/x"], "--segments is 's3://bucket/x'"),
        (["{clip}", "--segments", ""], "--segments is ''"),
    ],
)
def test_mistakes_are_one_line(predict, tmp_path, arguments, message):
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, planted(3), 16_000)
    filled = [text.format(clip=clip, tmp=tmp_path) for text in arguments]
    code, _, told = predict(*filled, "--output", tmp_path / "out")
    assert code == 1
    assert message in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--choose", "random", "--per-label", "2", "--seed", "-1"], "cannot be drawn by -1"),
        (["--choose", "best", "--per-label", "0"], "1 or more can"),
        (["--padding", "-5"], "cannot be below 0"),
    ],
)
def test_what_cannot_be_cut_is_said_before_anything_is_heard(
    predict, tmp_path, monkeypatch, arguments, message
):
    soundfile.write(tmp_path / "clip.wav", planted(3), 16_000)
    monkeypatch.chdir(tmp_path)
    code, said, told = predict("clip.wav", "--segments", "clips", *arguments)
    assert code == 1
    assert message in told
    assert not said
    assert os.listdir() == ["clip.wav"]


def test_an_empty_name_of_a_model_is_said(tmp_path, capsys):
    soundfile.write(tmp_path / "clip.wav", planted(3), 16_000)
    assert main(["predict", str(tmp_path / "clip.wav"), "--model", ""]) == 1
    assert "--model is empty" in capsys.readouterr().err


def test_results_go_to_a_disk(predict, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("clip.wav", planted(3), 16_000)
    for output in ("s3://bucket/x", ""):
        code, _, told = predict("clip.wav", "--output", output)
        assert code == 1
        assert f"--output is '{output}': results go to a disk" in told
    assert os.listdir() == ["clip.wav"]


def told_of(model, change, tmp_path, capsys):
    """Return what is told of a copy of a model that was changed, without checksums."""
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    labels = json.loads((folder / "labels.json").read_text())
    labels = {name: value for name, value in labels.items() if name not in ("files", "checksum")}
    change(folder, labels)
    (folder / "labels.json").write_text(json.dumps(labels))
    soundfile.write(tmp_path / "a.wav", planted(3), 16_000)
    given = (tmp_path / "a.wav", "--model", folder, "--output", tmp_path / "out")
    assert main(["predict", *map(str, given)]) == 1
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return told


@pytest.mark.parametrize("n_bytes", [0, 9, 9000])
def test_a_model_that_is_cut_short_is_told(model, n_bytes, tmp_path, capsys):
    def cut(folder, labels):
        os.truncate(folder / "soundx.tflite", n_bytes)

    assert "soundx.tflite is broken: " in told_of(model, cut, tmp_path, capsys)


def test_labels_that_are_not_the_models_are_told(model, tmp_path, capsys):
    def forget_one(folder, labels):
        gone = labels["labels"].pop()
        del labels["categories"][gone]

    told = told_of(model, forget_one, tmp_path, capsys)
    assert re.search(r"labels\.json is broken: it names \d+ labels, soundx\.tflite has \d+\.", told)


def test_no_model_is_told_how_to_get_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOUNDX_MODEL", raising=False)
    soundfile.write("a.wav", planted(2), 16_000)
    assert main(["predict", "a.wav"]) == 1
    told = capsys.readouterr().err
    assert "There is no classifier in data/06_models/classifier" in told
    assert "--model DIR" in told


@pytest.mark.slow
def test_killed_five_times_the_events_are_the_same(model, tmp_path):
    night = tmp_path / "night.wav"
    soundfile.write(night, planted(1200), 16_000)
    command = [sys.executable, "-m", "soundx.listening.command", "predict", str(night)]
    command += ["--model", str(model), "--quiet", "--output"]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    subprocess.run([*command, str(undisturbed)], check=True)
    rows_before = 0
    n_killed = 0
    for _ in range(5):
        process = subprocess.Popen([*command, str(killed)])
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            size = sum(path.stat().st_size for path in killed.glob(".heard/*.f32"))
            if size > rows_before:  # it has heard something since the last kill
                os.kill(process.pid, signal.SIGKILL)
                n_killed += process.wait() == -signal.SIGKILL
                break
        rows_before = sum(path.stat().st_size for path in killed.glob(".heard/*.f32"))
    assert n_killed >= 3
    assert not (killed / "events.csv").exists()
    torn = next(killed.glob(".heard/*.f32"))
    with torn.open("ab") as file:  # as if it had died while it wrote
        file.write(b"\x07" * 777)
    subprocess.run([*command, str(killed)], check=True)
    for name in ("events.csv", "predictions.csv"):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes()


def test_what_is_kept_and_broken_is_heard_again(classifier, tmp_path, caplog):
    path = tmp_path / "a.wav"
    soundfile.write(path, planted(40), 16_000)
    listener = Listener(classifier, tmp_path / "heard", event_rules(classifier))
    (first,) = listener.listen(find_recordings([str(path)]))
    (end,) = (tmp_path / "heard").glob("*.json")
    rows = end.with_suffix(".f32")

    def garble():
        content = bytearray(rows.read_bytes())
        content[len(content) // 2] ^= 0xFF
        rows.write_bytes(content)

    def lose(told):
        rows.unlink()
        rows.symlink_to(tmp_path / "gone" / "disk")
        if not told:
            end.unlink()

    for spoil in (
        lambda: end.write_text("{"),
        lambda: rows.write_bytes(b""),
        garble,
        lambda: lose(told=True),
        lambda: lose(told=False),
    ):
        spoil()
        (again,) = listener.listen(find_recordings([str(path)]))
        assert again.events == first.events
        np.testing.assert_array_equal(again.rows, first.rows)
    assert caplog.text.count("is broken") == 1
    assert str(rows) in caplog.text
    assert kept.Kept(tmp_path / "heard", end.stem, len(classifier.labels)).ending is not None


def test_what_an_earlier_version_kept_without_a_checksum_is_taken_as_it_is(classifier, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, planted(40), 16_000)
    listener = Listener(classifier, tmp_path / "heard", event_rules(classifier))
    (first,) = listener.listen(find_recordings([str(path)]))
    (end,) = (tmp_path / "heard").glob("*.json")
    told = json.loads(end.read_text())
    del told["rows_checksum"]
    end.write_text(json.dumps(with_checksum(told)))
    before = end.read_bytes()
    (again,) = listener.listen(find_recordings([str(path)]))
    assert again.events == first.events
    assert end.read_bytes() == before


@pytest.mark.parametrize("seconds", [20, 30, 60, 70])
def test_killed_before_it_was_told_that_all_was_heard_nothing_is_lost(
    classifier, tmp_path, seconds
):
    """Of half a minute, or several, all rows are there: only the end is not told."""
    path = tmp_path / "a.wav"
    soundfile.write(path, planted(seconds), 16_000)
    listener = Listener(classifier, tmp_path / "heard", event_rules(classifier))
    (first,) = listener.listen(find_recordings([str(path)]))
    (end,) = (tmp_path / "heard").glob("*.json")
    told = {**json.loads(end.read_text()), "n_samples": 0, "whole": [0.0] * len(first.rows[0])}
    for spoil in (end.unlink, lambda: end.write_text(json.dumps(with_checksum(told)))):
        spoil()
        (again,) = listener.listen(find_recordings([str(path)]))
        assert again.recording == first.recording
        assert again.events == first.events
        np.testing.assert_array_equal(again.probabilities, first.probabilities)
        np.testing.assert_array_equal(again.rows, first.rows)
    assert first.recording.duration_s == seconds


def test_a_listener_that_is_given_up_stops(classifier, tmp_path):
    """Whoever stops reading is not waited for by hours of sound."""
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", planted(60, seed=number), 16_000)
    listener = Listener(classifier, tmp_path / "heard", event_rules(classifier))
    heard = listener.listen(find_recordings([str(tmp_path)]))
    next(heard)
    heard.close()
    names = {thread.name.split("_")[0] for thread in threading.enumerate()}
    assert "soundx-listen" not in names


def test_a_fetched_recording_is_heard_as_the_same_on_disk(classifier, tmp_path):
    """What tells when it began is its header, wherever it lies; else its name at its place."""
    filesystem = fsspec.filesystem("memory")
    folder = "/nights-of-a-test"
    path = tmp_path / "x.wav"
    soundfile.write(path, planted(10), 16_000)
    with path.open("ab") as file:
        file.write(guano("2024-05-01T21:30:00"))
    filesystem.pipe(f"{folder}/x.wav", path.read_bytes())
    soundfile.write(tmp_path / "other.wav", planted(5), 16_000)
    filesystem.pipe(f"{folder}/20240502_040000.wav", (tmp_path / "other.wav").read_bytes())
    listener = Listener(classifier, tmp_path / "heard", event_rules(classifier))
    try:
        by_name, by_header = listener.listen(find_recordings([f"memory:/{folder}/"]))
    finally:
        filesystem.rm(folder, recursive=True)
    (here,) = listener.listen(find_recordings([str(path)]))
    assert by_name.recording.starts_at == datetime(2024, 5, 2, 4)
    assert by_header.recording.starts_at == here.recording.starts_at == datetime(2024, 5, 1, 21, 30)
    np.testing.assert_array_equal(by_header.rows, here.rows)


class FakeDevice:
    """Stands in for ``sounddevice``: no machine of ours has a microphone."""

    class PortAudioError(Exception):
        pass

    def __init__(self, samples: np.ndarray, rate_hz: int) -> None:
        self.samples, self.rate_hz = samples, rate_hz

    def query_devices(self, device, kind):
        if device == "nowhere":
            raise ValueError("No input device matching 'nowhere'")
        return {"name": "a file", "default_samplerate": float(self.rate_hz)}

    def InputStream(self, *, callback, blocksize, **options):  # noqa: N802
        device = self

        class Stream:
            def start(self):
                for first in range(0, len(device.samples), blocksize):
                    block = device.samples[first : first + blocksize, None]
                    callback(block, len(block), None, None)

            def stop(self):
                pass

            def close(self):
                pass

        return Stream()


def test_a_microphone_is_heard_as_a_recording_is(classifier, tmp_path):
    samples = planted(24)
    rules = event_rules(classifier, min_s=0.0, gap_s=0.0)
    with Microphone(module=FakeDevice(samples, 16_000)) as microphone:
        lines = list(watch(microphone.blocks(24.0), classifier, rules))
    begun = [line.split()[2] for line in lines if "  begin  " in line]
    ended = [line.split()[2] for line in lines if "  end  " in line]
    assert sorted(begun) == sorted(ended)
    assert all(" ms late)" in line for line in lines if "  begin  " in line)
    soundfile.write(tmp_path / "same.wav", samples, 16_000, "FLOAT")
    listener = Listener(classifier, tmp_path / "heard", rules)
    (found,) = listener.listen(find_recordings([str(tmp_path / "same.wav")]))
    assert {event.label for event in found.events} <= set(begun)


def test_an_input_that_is_not_there_is_told(classifier):
    with pytest.raises(Exception, match="cannot be opened: No input device"):
        Microphone("nowhere", module=FakeDevice(np.zeros(1, np.float32), 16_000))


def test_events_are_held_against_true_ones(predict, recordings, tmp_path, capsys):
    (recordings / "broken.mp3").unlink()
    out = tmp_path / "out"
    predict(recordings, "--output", out, "--format", "csv,raven,audacity")
    assert main(["evaluate", str(out / "events.csv"), str(out / "raven")]) == 0
    said = capsys.readouterr().out
    assert "1.000" in said
    assert "0.00 false alarms an hour in 0.03 h" in said
    assert main(["evaluate", str(out / "events.csv"), str(tmp_path / "nothing")]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_figures_never_take_the_place_of_what_they_are_of(predict, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", planted(20), 16_000)
    out = tmp_path / "out"
    predict(tmp_path / "a.wav", "--output", out)
    events = out / "events.csv"
    before = events.read_bytes()
    for output in (events, "", "s3://bucket/scores.json"):
        assert main(["evaluate", str(events), str(events), "--output", str(output)]) == 1
        assert f"Error: --output is '{output}': " in capsys.readouterr().err
    assert events.read_bytes() == before
    scores = tmp_path / "scores.json"
    assert main(["evaluate", str(events), str(events), "--output", str(scores)]) == 0
    assert json.loads(scores.read_text())["event"]["f1"] == 1


def test_a_recording_called_as_a_formula_is_has_its_length(predict, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    soundfile.write("=night.wav", planted(36), 16_000)
    predict("=night.wav", "--output", "out")
    assert main(["evaluate", "out/events.csv", "out/events.csv"]) == 0
    assert "0.00 false alarms an hour in 0.01 h" in capsys.readouterr().out


def test_help_and_version(capsys):
    for arguments in (["--help"], ["predict", "--help"], ["--version"]):
        with pytest.raises(SystemExit, match="0"):
            main(arguments)
    assert "soundx predict clip.wav" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["predikt"])
