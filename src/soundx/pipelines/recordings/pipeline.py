"""Wiring of the recordings pipeline."""

from kedro.pipeline import Node, Pipeline

from soundx.pipelines.recordings.nodes import (
    compact_recordings,
    embed_recordings,
    index_windows,
    scan_recordings,
)


def create_pipeline(**_: object) -> Pipeline:
    """Keep the frames of recordings, and make their windows searchable."""
    return Pipeline(
        [
            Node(
                func=scan_recordings,
                inputs=["recordings", "recording_scans"],
                outputs="recording_manifest",
                name="scan_recordings",
                tags="audio",
            ),
            Node(
                func=embed_recordings,
                inputs=[
                    "recordings",
                    "recording_manifest",
                    "embedder",
                    "embedder_networks",
                    "recording_cache",
                    "params:embedding",
                    "params:dask",
                ],
                outputs=["recording_shards", "recording_report"],
                name="embed_recordings",
                tags="audio",
            ),
            Node(
                func=compact_recordings,
                inputs=[
                    "recording_shards",
                    "recording_report",
                    "recording_manifest",
                    "params:embedding",
                ],
                outputs="recording_embeddings",
                name="compact_recordings",
                tags="tables",
            ),
            Node(
                func=index_windows,
                inputs=[
                    "recording_embeddings",
                    "recording_manifest",
                    "embedding_cache",
                    "window_folder",
                    "params:export",
                ],
                outputs="window_index",
                name="index_windows",
                tags="tables",
            ),
        ],
        namespace="recordings",
        prefix_datasets_with_namespace=False,
    )
