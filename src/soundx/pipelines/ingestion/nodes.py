"""From where clips are kept to a manifest of what can be used."""

from __future__ import annotations

import pandas as pd

from soundx.clips.manifest import IngestionOptions, scan_clips
from soundx.clips.mirror import MirrorJob, MirrorOptions
from soundx.clips.raw import RawClips
from soundx.clips.source import ClipSource


def mirror_clips(
    bucket_clips: ClipSource | None, mirror: MirrorOptions, dry_run: bool
) -> MirrorJob:
    """Describe the mirror to be made; saving it to ``raw_clips`` makes it."""
    return MirrorJob(bucket_clips, mirror, dry_run=bool(dry_run))


def scan_raw_clips(
    raw_clips: RawClips, ingestion: IngestionOptions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Look at every file of the mirror: a row of the manifest, or a reason why not."""
    return scan_clips(raw_clips, ingestion)
