"""Wiring of the training pipeline."""

from kedro.pipeline import Node, Pipeline

from soundx.pipelines.training.nodes import (
    export_heads,
    hear_parity_clips,
    plot_training_curves,
    train_heads,
)


def create_pipeline(**_: object) -> Pipeline:
    """Train the heads and export them as one classifier."""
    return Pipeline(
        [
            Node(
                func=hear_parity_clips,
                inputs=["waveforms", "clip_manifest", "splits", "embedder", "embeddings"],
                outputs="parity_clips",
                name="hear_parity_clips",
                tags="audio",
            ),
            Node(
                func=train_heads,
                inputs=[
                    "model_input",
                    "embeddings",
                    "params:training",
                    "params:rejection",
                    "parity_clips",
                ],
                outputs="candidate_heads",
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
                    "candidate_heads",
                    "embedder",
                    "parity_clips",
                    "clip_manifest",
                    "params:export",
                ],
                outputs=["trained_versions", "heads", "classifier"],
                name="export_heads",
                tags="model",
            ),
        ],
        namespace="training",
        prefix_datasets_with_namespace=False,
    )
