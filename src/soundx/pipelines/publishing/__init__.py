"""The ``publishing`` pipeline."""

from soundx.pipelines.publishing.pipeline import create_pipeline

__all__ = ["create_pipeline"]
