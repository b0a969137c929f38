"""Wiring of the ingestion pipeline."""

from kedro.pipeline import Node, Pipeline

from soundx.pipelines.ingestion.nodes import mirror_clips, scan_raw_clips


def create_pipeline(**_: object) -> Pipeline:
    """Mirror the clips, then scan the mirror."""
    return Pipeline(
        [
            Node(
                func=mirror_clips,
                inputs=["bucket_clips", "params:mirror", "params:dry_run"],
                outputs="raw_clips",
                name="mirror_clips",
                tags="io",
            ),
            Node(
                func=scan_raw_clips,
                inputs=["raw_clips", "params:ingestion"],
                outputs=["clip_manifest", "rejected_clips"],
                name="scan_clips",
                tags="audio",
            ),
        ],
        namespace="ingestion",
        prefix_datasets_with_namespace=False,
    )
