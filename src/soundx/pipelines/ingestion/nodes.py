"""From where clips are kept to a manifest of what can be used."""

from __future__ import annotations

import pandas as pd

from soundx.clips.manifest import IngestionOptions, scan_clips
from soundx.clips.mirror import MirrorJob, MirrorOptions
from soundx.clips.raw import ANSWERS, RawClips
from soundx.clips.source import ClipSource
from soundx.review.answers import Answer
from soundx.review.clips import AnsweredClipsJob


def mirror_clips(
    bucket_clips: ClipSource | None, mirror: MirrorOptions, dry_run: bool
) -> MirrorJob:
    """Describe the mirror to be made; saving it to ``raw_clips`` makes it."""
    return MirrorJob(bucket_clips, mirror, dry_run=bool(dry_run))


def cut_answers(
    raw_clips: RawClips, answers: list[Answer], ingestion: IngestionOptions
) -> AnsweredClipsJob:
    """Describe the clips that answers about recordings make; saving the job cuts them."""
    return AnsweredClipsJob(raw_clips.root / ANSWERS, answers, ingestion.category_separator)


def scan_raw_clips(
    raw_clips: RawClips, answered_clips: dict[str, str], ingestion: IngestionOptions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Look at every file of the mirror: a row of the manifest, or a reason why not."""
    return scan_clips(raw_clips, ingestion, answered_clips)
