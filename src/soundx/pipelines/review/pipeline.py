"""Wiring of the review pipeline."""

from kedro.pipeline import Node, Pipeline

from soundx.pipelines.review.nodes import estimate_review, measure_drift, tell_review


def create_pipeline(**_: object) -> Pipeline:
    """Tell what answers say of the newest model, and how far recordings lie from its clips."""
    return Pipeline(
        [
            Node(
                func=estimate_review,
                inputs=[
                    "answers",
                    "window_index",
                    "classifier",
                    "heard",
                    "recording_manifest",
                    "params:review",
                ],
                outputs="review",
                name="estimate_review",
                tags="tables",
            ),
            Node(
                func=measure_drift,
                inputs=[
                    "window_index",
                    "model_input",
                    "embeddings",
                    "params:training",
                    "params:rejection",
                ],
                outputs="drift",
                name="measure_drift",
                tags="tables",
            ),
            Node(
                func=tell_review,
                inputs=["review", "classifier"],
                outputs="reviewed_classifier",
                name="tell_review",
                tags="model",
            ),
        ],
        namespace="review",
        prefix_datasets_with_namespace=False,
    )
