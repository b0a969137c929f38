"""Wiring of the ingestion pipeline."""

from kedro.pipeline import Node, Pipeline

from soundx.pipelines.ingestion.nodes import cut_answers, mirror_clips, scan_raw_clips


def create_pipeline(**_: object) -> Pipeline:
    """Mirror the clips, cut those out of recordings that people answered, and scan them all."""
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
                func=cut_answers,
                inputs=["raw_clips", "answers", "params:ingestion"],
                outputs="answered_clips",
                name="cut_answers",
                tags="audio",
            ),
            Node(
                func=scan_raw_clips,
                inputs=["raw_clips", "answered_clips", "params:ingestion"],
                outputs=["clip_manifest", "rejected_clips"],
                name="scan_clips",
                tags="audio",
            ),
        ],
        namespace="ingestion",
        prefix_datasets_with_namespace=False,
    )
