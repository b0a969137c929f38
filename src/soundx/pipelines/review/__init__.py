"""The ``review`` pipeline."""

from soundx.pipelines.review.pipeline import create_pipeline

__all__ = ["create_pipeline"]
