"""Wiring of the training pipeline."""

from kedro.pipeline import Node, Pipeline

from soundx.pipelines.training.nodes import export_heads, plot_training_curves, train_heads


def create_pipeline(**_: object) -> Pipeline:
    """Train the heads and export them as one classifier."""
    return Pipeline(
        [
            Node(
                func=train_heads,
                inputs=["model_input", "embeddings", "params:training", "params:rejection"],
                outputs="heads",
                name="train_heads",
                tags="model",
            ),
            Node(
                func=plot_training_curves,
                inputs="heads",
                outputs="training_curves",
                name="plot_training_curves",
                tags="plot",
            ),
            Node(
                func=export_heads,
                inputs=[
                    "heads",
                    "embedder",
                    "waveforms",
                    "clip_manifest",
                    "splits",
                    "params:export",
                ],
                outputs=["trained_versions", "classifier"],
                name="export_heads",
                tags="model",
            ),
        ],
        namespace="training",
        prefix_datasets_with_namespace=False,
    )
