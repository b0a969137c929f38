from __future__ import annotations

import os
import shutil
import subprocess

import pandas as pd
import pytest

from soundx.audio.decoding import inspect_clip
from soundx.clips.manifest import MANIFEST_DTYPES, IngestionOptions, scan_clips
from soundx.clips.raw import RawClips
from soundx.errors import Remedy, SoundxError
from soundx.labels import BACKGROUND

OPTIONS = IngestionOptions()


def scan(folder, options=OPTIONS):
    manifest, rejected = scan_clips(RawClips(folder), options)
    assert not set(manifest["path"]) & set(rejected["path"])
    return manifest.set_index("path"), dict(zip(rejected["path"], rejected["reason"], strict=True))


def test_folders_name_label_and_category(write_clip, tmp_path):
    write_clip("NATURAL_WATER_OCEAN/a.wav", rate_hz=8000, channels=2)
    write_clip("siren/sub/b.flac")
    manifest, rejected = scan(tmp_path)
    assert list(manifest.reset_index()[list(MANIFEST_DTYPES)].dtypes.astype(str)) == list(
        MANIFEST_DTYPES.values()
    )
    ocean = manifest.loc["NATURAL_WATER_OCEAN/a.wav"]
    assert (ocean["label"], ocean["category"]) == ("NATURAL_WATER_OCEAN", "NATURAL")
    assert (ocean["sample_rate_hz"], ocean["channels"], ocean["format"]) == (8000, 2, "WAV/PCM_16")
    assert ocean["duration_s"] == 0.5
    assert ocean["group"] == ocean["clip_id"]
    siren = manifest.loc["siren/sub/b.flac"]
    assert (siren["label"], siren["category"]) == ("siren", "siren")
    assert rejected == {}


def test_metadata_overrides_folders_and_brings_group_and_fold(write_clip, tmp_path):
    write_clip("A/1.wav")
    write_clip("A/2.wav")
    write_clip("loose.wav")
    (tmp_path / "metadata.csv").write_text(
        "\ufefffilename,label,category,group,fold\n"
        "A/1.wav,dog,animals,rec1,3\n./loose.wav,cat,animals,,\nA/9.wav,dog,,,\n",
        encoding="utf-8",
    )
    manifest, _ = scan(tmp_path)
    first = manifest.loc["A/1.wav"]
    assert tuple(first[["label", "category", "group", "fold"]]) == ("dog", "animals", "rec1", 3)
    assert manifest.loc["A/2.wav", "label"] == "A"
    assert manifest.loc["loose.wav", "label"] == "cat"
    assert pd.isna(manifest.loc["loose.wav", "fold"])


def test_a_label_in_metadata_means_what_a_folder_of_that_name_does(write_clip, tmp_path):
    for name in ("A/1.wav", "A/2.wav", "A/3.wav", ":TEST/4.wav"):
        write_clip(name)
    (tmp_path / "metadata.csv").write_text(
        "filename,label\nA/2.wav,:BACKGROUND\nA/3.wav,:TEST\n:TEST/4.wav,A\n"
    )
    manifest, rejected = scan(tmp_path)
    assert manifest["label"].to_dict() == {
        "A/1.wav": "A",
        "A/2.wav": BACKGROUND,
        ":TEST/4.wav": "A",
    }
    assert manifest.loc["A/2.wav", "note"] == ""
    assert "':TEST', is what evaluation folders are called" in rejected["A/3.wav"]


@pytest.mark.parametrize("name", ["METADATA.CSV", "Metadata.csv", "metadata.tsv"])
def test_metadata_under_another_name_stops_the_run_and_is_named(write_clip, tmp_path, name):
    write_clip("A/1.wav")
    (tmp_path / name).write_text("filename,label\nA/1.wav,dog\n")
    with pytest.raises(SoundxError, match=rf"{name} is not read: call it metadata\.csv"):
        scan(tmp_path)
    (tmp_path / "metadata.csv").write_text("filename,label\nA/1.wav,cat\n")
    manifest, _ = scan(tmp_path)  # what else is there is the owner's
    assert list(manifest["label"]) == ["cat"]


def test_metadata_that_leads_nowhere_stops_the_run(write_clip, tmp_path):
    write_clip("A/1.wav")
    (tmp_path / "metadata.csv").symlink_to("nowhere.csv")
    with pytest.raises(SoundxError, match=r"metadata\.csv cannot be used: a link to nothing"):
        scan(tmp_path)


@pytest.mark.parametrize("column", ["licence", "License"])
def test_licences_are_kept_in_either_spelling(write_clip, tmp_path, column):
    write_clip("A/1.wav")
    write_clip("A/2.wav")
    (tmp_path / "metadata.csv").write_text(f"filename,{column}\nA/1.wav,CC0\n")
    manifest, _ = scan(tmp_path)
    assert manifest["licence"].to_dict() == {"A/1.wav": "CC0", "A/2.wav": ""}


def test_folders_named_like_sides_of_a_split_are_no_labels(write_clip, tmp_path, caplog):
    for side in ("train", "Test"):
        for label in ("cat", "dog"):
            write_clip(f"{side}/{label}/1.wav")
    write_clip(":BACKGROUND/1.wav")
    (tmp_path / "train/notes.txt").write_text("how it was recorded")
    manifest, rejected = scan(tmp_path)
    assert manifest["label"].value_counts().to_dict() == {"cat": 2, "dog": 2, BACKGROUND: 1}
    assert list(rejected) == ["train/notes.txt"]
    assert "Test, train: folders named like sides of a split" in caplog.text


def test_such_a_folder_beside_labels_is_one_and_is_told_of(write_clip, tmp_path, caplog):
    for name in ("train/cow/1.wav", "cat/1.wav", "Cat/1.wav"):
        write_clip(name)
    manifest, _ = scan(tmp_path)
    assert sorted(manifest["label"]) == ["Cat", "cat", "train"]
    assert "'train' is taken for a label" in caplog.text
    assert "The labels 'Cat' and 'cat' differ in case" in caplog.text


def test_a_label_called_like_a_side_is_a_label(write_clip, tmp_path, caplog):
    for name in ("train/1.wav", "test/1.wav", "test/deeper/2.wav"):
        write_clip(name)
    (tmp_path / "metadata.csv").write_text("filename,label\ntest/1.wav,ship\n")
    manifest, _ = scan(tmp_path)
    assert sorted(manifest["label"]) == ["ship", "test", "train"]
    assert "'test' is taken for a label" in caplog.text
    assert "'train' is taken" not in caplog.text


def test_unusable_folds_and_names_are_reasons_of_one_clip(write_clip, tmp_path):
    folds = ["inf", "2.7", "one", "1e400", "3.0"]
    for number in range(len(folds) + 1):
        write_clip(f"A/{number}.wav")
    lines = [f"A/{number}.wav,,{fold}" for number, fold in enumerate(folds)]
    lines.append(f"A/5.wav,{'x' * 250},")
    (tmp_path / "metadata.csv").write_text("filename,category,fold\n" + "\n".join(lines))
    manifest, rejected = scan(tmp_path)
    assert manifest["fold"].to_dict() == {"A/4.wav": 3}
    for number, fold in enumerate(folds[:4]):
        assert f"{fold!r}, is not a whole number" in rejected[f"A/{number}.wav"]
    assert "longer than 200 bytes" in rejected["A/5.wav"]


def test_duplicates_of_one_label_are_kept_once_and_reported(write_clip, tmp_path):
    first = write_clip("A/1.wav")
    shutil.copy(first, tmp_path / "A/2.wav")
    write_clip("B/3.wav")
    manifest, rejected = scan(tmp_path)
    assert list(manifest.index) == ["A/1.wav", "B/3.wav"]
    assert rejected == {"A/2.wav": "a duplicate of A/1.wav"}


def test_the_same_bytes_under_two_labels_are_rejected_on_both_sides(write_clip, tmp_path):
    first = write_clip("A/1.wav")
    write_clip("B/3.wav")
    shutil.copy(first, tmp_path / "B/2.wav")
    manifest, rejected = scan(tmp_path)
    assert list(manifest.index) == ["B/3.wav"]
    assert rejected.keys() == {"A/1.wav", "B/2.wav"}
    assert "B/2.wav ('B')" in rejected["A/1.wav"]


def test_everything_found_is_in_the_manifest_or_rejected_with_a_reason(write_clip, tmp_path):
    write_clip("A/1.wav")
    write_clip("loose.wav")
    (tmp_path / "A/empty.wav").touch()
    (tmp_path / "A/notes.txt").write_text("a note")
    (tmp_path / "A/.hidden.wav").write_bytes(b"x")
    manifest, rejected = scan(tmp_path)
    assert list(manifest.index) == ["A/1.wav"]
    assert rejected == {
        "loose.wav": "not in a label's folder, and metadata.csv gives it no label",
        "A/empty.wav": "empty file: 0 bytes",
        "A/notes.txt": "not a sound: it is a text file",
        "A/.hidden.wav": "a hidden file",
    }


def test_what_is_rejected_is_told_by_name_and_reason(write_clip, tmp_path, caplog):
    caplog.set_level("INFO")
    write_clip("A/1.wav")
    (tmp_path / "A/empty.wav").touch()
    scan(tmp_path)
    assert "1 clip of 1 label" in caplog.text
    assert "1 file rejected: A/empty.wav: empty file: 0 bytes." in caplog.text
    for number in range(4):
        (tmp_path / f"A/note{number}.txt").write_text("a note")
    caplog.clear()
    scan(tmp_path)
    assert "5 files rejected: A/empty.wav: empty" in caplog.text
    assert "A/note1.txt: not a sound: it is a text file; ..." in caplog.text
    assert "note2" not in caplog.text


def test_evaluation_folders_are_set_apart(write_clip, tmp_path):
    trained = write_clip("A/1.wav")
    write_clip(":TEST_field/A/2.wav")
    write_clip(":TEST_field/3.wav")
    shutil.copy(trained, tmp_path / ":TEST_field/A/copy.wav")
    manifest, rejected = scan(tmp_path)
    assert dict(manifest["evaluation_only"]) == {"A/1.wav": False, ":TEST_field/A/2.wav": True}
    assert manifest["label"].tolist() == ["A", "A"]
    assert rejected[":TEST_field/A/copy.wav"] == "a duplicate of A/1.wav"


def test_background_folders_hold_clips_of_no_label(write_clip, tmp_path, caplog):
    caplog.set_level("INFO")
    first = write_clip("A/1.wav")
    for name in ("1", "2", "twin"):
        write_clip(f":BACKGROUND_street/{name}.wav")
    shutil.copy(first, tmp_path / ":BACKGROUND_street/twin.wav")
    write_clip("A/2.wav")
    write_clip(":TEST_field/:BACKGROUND/3.wav")
    (tmp_path / "metadata.csv").write_text(
        "filename,label,group,fold\n:BACKGROUND_street/1.wav,,walk,2\n"
        ":BACKGROUND_street/2.wav,siren,walk,\n"
    )
    manifest, rejected = scan(tmp_path)
    background = manifest[manifest["label"] == BACKGROUND]
    assert list(background.index) == [
        ":BACKGROUND_street/1.wav",
        ":BACKGROUND_street/2.wav",
        ":TEST_field/:BACKGROUND/3.wav",
    ]
    assert set(background["category"]) == {BACKGROUND}
    assert background["group"].tolist()[:2] == ["walk", "walk"]
    assert background["fold"].tolist()[0] == 2
    assert background["evaluation_only"].tolist() == [False, False, True]
    # the folder has the last word, and says so
    assert background["note"].tolist()[0] == ""
    assert "'siren' in metadata.csv is not taken" in background["note"].tolist()[1]
    assert "1 clip of 1 label, and 3 of background" in caplog.text
    assert "stand under another label" in rejected["A/1.wav"]
    assert "('background')" in rejected["A/1.wav"]


def test_background_folders_are_named_by_a_parameter(write_clip, tmp_path):
    write_clip("A/1.wav")
    write_clip("noise/1.wav")
    manifest, _ = scan(tmp_path, IngestionOptions(background=("noise",)))
    assert manifest["label"].to_dict() == {"A/1.wav": "A", "noise/1.wav": BACKGROUND}


def test_background_alone_is_nothing_to_learn(write_clip, tmp_path):
    write_clip(":BACKGROUND/1.wav")
    with pytest.raises(SoundxError, match="none can be used as a clip of a label"):
        scan(tmp_path)


def test_lengths_can_be_limited(write_clip, tmp_path):
    for seconds in (0.1, 0.5, 3.0):
        write_clip(f"A/{seconds}.wav", seconds=seconds)
    options = IngestionOptions(min_duration_s=0.2, max_duration_s=2.0)
    manifest, rejected = scan(tmp_path, options)
    assert list(manifest.index) == ["A/0.5.wav"]
    assert rejected == {"A/0.1.wav": "too short: 0.100 s", "A/3.0.wav": "too long: 3.0 s"}


def test_an_empty_folder_says_how_to_begin(tmp_path):
    with pytest.raises(SoundxError, match="no clips") as caught:
        scan(tmp_path)
    assert caught.value.remedy is Remedy.BRING_CLIPS


def test_nothing_usable_says_why(tmp_path):
    (tmp_path / "A").mkdir()
    (tmp_path / "A/a.wav").write_text("no sound")
    with pytest.raises(SoundxError, match="text file"):
        scan(tmp_path)


def test_an_unchanged_file_is_not_read_again(write_clip, tmp_path, monkeypatch):
    write_clip("A/1.wav", seconds=0.5)
    write_clip("A/2.wav", seconds=3.0)
    (tmp_path / "A/text.wav").write_text("no sound")
    first, rejected = scan(tmp_path)
    read = []
    monkeypatch.setattr(
        "soundx.clips.manifest.inspect_clip",
        lambda path: read.append(path.name) or inspect_clip(path),
    )
    again, rejected_again = scan(tmp_path)
    assert read == []
    pd.testing.assert_frame_equal(again, first)
    assert rejected_again == rejected
    # what a clip is called and may be is asked anew each time
    (tmp_path / "metadata.csv").write_text("filename,label\nA/1.wav,OTHER\n")
    manifest, rejected = scan(tmp_path, IngestionOptions(max_duration_s=1.0))
    assert manifest["label"].to_dict() == {"A/1.wav": "OTHER"}
    assert rejected["A/2.wav"] == "too long: 3.0 s"
    assert read == []
    write_clip("A/1.wav", seconds=0.7)
    shutil.copy(tmp_path / "A/2.wav", tmp_path / "A/text.wav")
    manifest, _ = scan(tmp_path)
    assert sorted(read) == ["1.wav", "text.wav"]
    assert manifest.loc["A/1.wav", "duration_s"] == pytest.approx(0.7)


def test_a_clip_that_was_changed_in_place_and_dated_back_is_read_again(write_clip, tmp_path):
    clip = write_clip("A/1.wav")
    first, _ = scan(tmp_path)
    before = clip.stat()
    with clip.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"tag!")
    os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))
    again, _ = scan(tmp_path)
    assert again.loc["A/1.wav", "clip_id"] != first.loc["A/1.wav", "clip_id"]


def test_a_folder_that_cannot_be_written_is_scanned_all_the_same(write_clip, tmp_path, caplog):
    write_clip("A/1.wav")
    (tmp_path / ".soundx").write_text("in the way")
    manifest, _ = scan(tmp_path)
    assert list(manifest.index) == ["A/1.wav"]
    assert "cannot be remembered" in caplog.text


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_what_ffmpeg_was_missing_for_is_tried_again(write_clip, tmp_path, monkeypatch):
    wav = write_clip("A/1.wav")
    command = ["ffmpeg", "-v", "error", "-i", str(wav), str(tmp_path / "A/2.m4a")]
    subprocess.run(command, check=True)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.which", lambda _: None)
        _, rejected = scan(tmp_path)
        assert "needs ffmpeg" in rejected["A/2.m4a"]
    manifest, rejected = scan(tmp_path)
    assert "A/2.m4a" in manifest.index
    assert rejected == {}
