"""The ``recordings`` pipeline."""

from soundx.pipelines.recordings.pipeline import create_pipeline

__all__ = ["create_pipeline"]
