"""From where clips are kept to the manifest."""

from __future__ import annotations

import pytest

from soundx.clips.manifest import MANIFEST_DTYPES, IngestionOptions
from soundx.clips.mirror import MirrorOptions
from soundx.clips.source import FolderSource
from soundx.datasets.clips import RawClipsDataset
from soundx.errors import Remedy, SoundxError
from soundx.pipelines.ingestion import create_pipeline
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
    assert steps(create_pipeline()) == ["ingestion.mirror_clips", "ingestion.scan_clips"]
