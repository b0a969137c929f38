"""The ``training`` pipeline."""

from soundx.pipelines.training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
