"""The ``listening`` pipeline."""

from soundx.pipelines.listening.pipeline import create_pipeline

__all__ = ["create_pipeline"]
