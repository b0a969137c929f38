"""The pipelines by name."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

DEFAULT = ("ingestion", "preprocessing", "training", "evaluation")


def register_pipelines() -> dict[str, Pipeline]:
    """Return every pipeline by name; ``__default__`` runs from ingestion to evaluation."""
    pipelines = find_pipelines(raise_errors=True)
    pipelines["__default__"] = sum((pipelines[name] for name in DEFAULT), Pipeline([]))
    return pipelines
