"""The ``ingestion`` pipeline."""

from soundx.pipelines.ingestion.pipeline import create_pipeline

__all__ = ["create_pipeline"]
