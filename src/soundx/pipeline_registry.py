"""The pipelines by name."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

from soundx.pipelines.recordings import create_pipeline as create_recordings
from soundx.running import DEFAULT


def register_pipelines() -> dict[str, Pipeline]:
    """Return every pipeline by name; ``__default__`` runs from ingestion to evaluation.

    ``listening`` keeps what it hears: ``recordings`` is part of it.
    """
    pipelines = find_pipelines(raise_errors=True)
    # kedro run --pipelines=NAME loads only what it names
    parts = [pipelines[name] for name in DEFAULT if name in pipelines]
    pipelines["__default__"] = sum(parts, Pipeline([]))
    if "listening" in pipelines:
        pipelines["listening"] += create_recordings()
    return pipelines
