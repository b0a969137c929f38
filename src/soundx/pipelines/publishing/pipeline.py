"""Wiring of the publishing pipeline."""

from kedro.pipeline import Node, Pipeline

from soundx.pipelines.publishing.nodes import prepare_release


def create_pipeline(**_: object) -> Pipeline:
    """Publish the newest classifier."""
    return Pipeline(
        [
            Node(
                func=prepare_release,
                inputs=["classifier", "model_versions", "params:publishing"],
                outputs="releases",
                name="publish_classifier",
                tags="io",
            ),
        ],
        namespace="publishing",
        prefix_datasets_with_namespace=False,
    )
