"""From where clips are kept to a manifest of what can be used."""

from __future__ import annotations

import pandas as pd

from soundx.clips import IngestionOptions, RawClips, scan_clips
from soundx.datasets.clips import NoSource
from soundx.mirror import ClipSource


def mirror_clips(bucket_clips: ClipSource | NoSource) -> ClipSource | NoSource:
    """Hand the source to ``raw_clips``, whose saving mirrors it."""
    return bucket_clips


def scan_raw_clips(
    raw_clips: RawClips, ingestion: IngestionOptions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Look at every file of the mirror: a row of the manifest, or a reason why not."""
    return scan_clips(raw_clips, ingestion)
