"""From where clips are kept to the manifest."""

from __future__ import annotations

import os

import numpy as np
import pytest
import soundfile
from kedro.io import DatasetError

from soundx.clips.manifest import MANIFEST_DTYPES, IngestionOptions
from soundx.clips.mirror import MirrorOptions
from soundx.clips.raw import RawClips
from soundx.clips.source import FolderSource
from soundx.clips.waveforms import ClipWaveforms
from soundx.datasets.clips import RawClipsDataset
from soundx.datasets.review import AnsweredClipsDataset, AnswersDataset
from soundx.errors import ClipChangedError, Remedy, SoundxError
from soundx.labels import BACKGROUND
from soundx.pipelines.ingestion import create_pipeline
from soundx.review.answers import UNSURE, Answer, AnswersFile
from tests.pipelines.runs import run, steps


@pytest.fixture
def ingest(tmp_path):
    """Run the pipeline on a source, into a mirror of its own."""

    def ingest(source, **options):
        return run(
            create_pipeline(),
            {
                "bucket_clips": source,
                "raw_clips": RawClipsDataset(path=str(tmp_path / "01_raw")),
                "answered_clips": AnsweredClipsDataset(
                    path=str(tmp_path / "01_raw"), answers={"path": str(tmp_path / "09_review")}
                ),
                "answers": AnswersDataset(path=str(tmp_path / "09_review")),
                "params:mirror": MirrorOptions(),
                "params:dry_run": False,
                "params:ingestion": IngestionOptions(**options),
            },
        )

    return ingest


def test_clips_of_a_source_are_mirrored_and_each_has_a_row_or_a_reason(
    ingest, write_clip, tmp_path
):
    for name in ("A_1/a.wav", "A_1/b.wav", "B/c.wav", ":TEST_field/B/d.wav"):
        write_clip(f"source/{name}")
    (tmp_path / "source/B/notes.txt").write_text("a note")
    made = ingest(FolderSource(tmp_path / "source"))
    assert (tmp_path / "01_raw/A_1/a.wav").is_file()
    manifest, rejected = made["clip_manifest"], made["rejected_clips"]
    assert dict(manifest.dtypes.astype(str)) == MANIFEST_DTYPES
    assert dict(zip(manifest["path"], manifest["category"], strict=True)) == {
        ":TEST_field/B/d.wav": "B",
        "A_1/a.wav": "A",
        "A_1/b.wav": "A",
        "B/c.wav": "B",
    }
    assert manifest["evaluation_only"].tolist() == [True, False, False, False]
    assert list(rejected.columns) == ["path", "reason"]
    assert rejected["path"].tolist() == ["B/notes.txt"]


def test_clips_that_were_put_there_by_hand_need_no_source(ingest, write_clip):
    write_clip("01_raw/A-1/a.wav")
    made = ingest(None, category_separator="-")
    assert made["clip_manifest"]["category"].tolist() == ["A"]


def test_without_any_clip_it_says_how_to_begin(ingest):
    with pytest.raises(SoundxError, match="There are no clips") as caught:
        ingest(None)
    assert caught.value.remedy is Remedy.BRING_CLIPS


def test_its_steps_are_these():
    assert steps(create_pipeline()) == [
        "ingestion.mirror_clips",
        "ingestion.cut_answers",
        "ingestion.scan_clips",
    ]


def test_answers_become_clips_of_their_recordings(ingest, write_clip, tmp_path, caplog):
    """Each is cut, in the category of its label, and goes when its answer goes."""
    for name in ("A_1/a.wav", "A_1/b.wav", "B/c.wav"):
        write_clip(f"source/{name}")
    (tmp_path / "source/metadata.csv").write_text("filename,category\nB/c.wav,other\n")
    night = write_clip("night.wav", seconds=20.0)
    answers = AnswersFile(tmp_path / "09_review/answers.csv")
    given = [
        Answer(str(night), 1.92, 3.84, "B", "Ada"),
        Answer(str(night), 3.84, 5.76, BACKGROUND, "Ada"),
        Answer(str(night), 5.76, 7.68, "frog_small", "Ada"),
        Answer(str(night), 7.68, 9.6, UNSURE, "Ada"),
        Answer(str(night), 9.6, 11.52, "B", "Ada"),
        Answer(str(night), 9.6, 11.52, "A_1", "Bo"),  # they do not agree
        Answer(str(tmp_path / "gone.wav"), 0.0, 1.92, "B", "Ada"),
    ]
    answers.add(given)
    source = FolderSource(tmp_path / "source")
    manifest = ingest(source)["clip_manifest"]
    mine = manifest[manifest["answered"]].set_index("label")
    assert sorted(mine.index) == sorted([BACKGROUND, "B", "frog_small"])
    assert mine.loc["B", "category"] == "other"
    assert mine.loc["frog_small", "category"] == "frog"
    assert set(mine["group"]) == {str(night)}
    assert set(mine["duration_s"]) == {1.92}
    assert "gone.wav" in caplog.text
    samples, rate_hz = soundfile.read(tmp_path / "01_raw" / mine.loc["B", "path"], dtype="int16")
    whole, _ = soundfile.read(night, dtype="int16")
    assert rate_hz == 16_000
    first = round(1.92 * 16_000)
    # the recording's own offset is taken off
    np.testing.assert_allclose(samples, whole[first : first + len(samples)], atol=400)
    answers.remove([given[0]])
    night.unlink()  # what was cut before stays
    manifest = ingest(source)["clip_manifest"]
    assert sorted(manifest.loc[manifest["answered"], "label"]) == [BACKGROUND, "frog_small"]
    assert not (tmp_path / "01_raw" / mine.loc["B", "path"]).exists()
    assert len(manifest[~manifest["answered"]]) == 3


def rot(file):
    """Change a byte, as a disk does: size and time of change stay."""
    state, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("mirrored", [True, False])
def test_a_clip_that_rotted_is_fetched_and_read_again(ingest, write_clip, tmp_path, mirrored):
    write_clip("source/A/a.wav" if mirrored else "01_raw/A/a.wav")
    source = FolderSource(tmp_path / "source") if mirrored else None
    before = ingest(source)["clip_manifest"]
    rot(tmp_path / "01_raw/A/a.wav")
    with pytest.raises(ClipChangedError):
        ClipWaveforms(RawClips(tmp_path / "01_raw"), before)["A/a.wav"]()
    after = ingest(source)["clip_manifest"]
    assert (after["clip_id"].tolist() == before["clip_id"].tolist()) == mirrored
    ClipWaveforms(RawClips(tmp_path / "01_raw"), after)["A/a.wav"]()


@pytest.mark.parametrize("dangling", [False, True])
def test_without_the_table_of_answers_no_clip_is_taken_away(ingest, write_clip, tmp_path, dangling):
    write_clip("01_raw/A/a.wav")
    answer = Answer(str(write_clip("night.wav", seconds=4)), 0, 1.92, "B", "Ann")
    table = AnswersFile(tmp_path / "09_review/answers.csv")
    table.add([answer])
    ingest(None)
    kept = table.path.rename(tmp_path / "kept.csv")
    if dangling:
        table.path.symlink_to(tmp_path / "nowhere.csv")
    with pytest.raises(DatasetError, match=r"answers\.csv is gone, .* Put it back"):
        ingest(None)
    assert len(list(tmp_path.glob("01_raw/:ANSWERS/B/*.wav"))) == 1
    kept.replace(table.path)
    table.remove([answer])  # the table is there, and empty
    ingest(None)
    assert not list(tmp_path.glob("01_raw/:ANSWERS/B/*.wav"))


def test_what_a_killed_run_began_to_cut_is_taken_away(ingest, write_clip, tmp_path):
    write_clip("01_raw/A/a.wav")
    answer = Answer(str(write_clip("night.wav", seconds=4)), 0, 1.92, "B", "Ann")
    AnswersFile(tmp_path / "09_review/answers.csv").add([answer])
    ingest(None)
    write_clip("01_raw/:ANSWERS/.soundx-segments-killed/0.wav")
    assert ingest(None)["rejected_clips"].empty
    assert not (tmp_path / "01_raw/:ANSWERS/.soundx-segments-killed").exists()


def test_a_clip_among_the_answers_that_nobody_gave_is_rejected(ingest, write_clip):
    write_clip("01_raw/A/a.wav")
    write_clip("01_raw/:ANSWERS/B/planted.wav")
    made = ingest(None)
    assert made["clip_manifest"]["path"].tolist() == ["A/a.wav"]
    assert made["rejected_clips"]["reason"].tolist() == ["no answer that stands is about it"]
