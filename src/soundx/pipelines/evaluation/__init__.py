"""The ``evaluation`` pipeline."""

from soundx.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
