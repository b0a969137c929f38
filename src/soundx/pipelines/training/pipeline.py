"""Wiring of the training pipeline."""

from kedro.pipeline import Node, Pipeline

from soundx.pipelines.training.nodes import (
    check_export,
    choose_parity_clips,
    export_heads,
    plot_training_curves,
    train_heads,
)


def create_pipeline(**_: object) -> Pipeline:
    """Train the heads, export them as one classifier, and hold it against them."""
    return Pipeline(
        [
            Node(
                func=choose_parity_clips,
                inputs=[
                    "waveforms",
                    "clip_manifest",
                    "splits",
                    "embedder",
                    "embeddings",
                    "model_input_state",
                    "params:export",
                ],
                outputs=["parity_clips", "calibration_clips"],
                name="choose_parity_clips",
                tags="audio",
            ),
            Node(
                func=train_heads,
                inputs=[
                    "model_input",
                    "embeddings",
                    "params:training",
                    "params:rejection",
                    "noise_frames",
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
                inputs=["candidate_heads", "embedder", "calibration_clips", "params:export"],
                outputs="candidate_classifier",
                name="export_heads",
                tags="model",
            ),
            Node(
                func=check_export,
                inputs=[
                    "candidate_classifier",
                    "candidate_heads",
                    "embedder",
                    "parity_clips",
                    "clip_manifest",
                    "params:export",
                ],
                outputs=["parity", "trained_versions", "heads", "classifier"],
                name="check_export",
                tags="model",
            ),
        ],
        namespace="training",
        prefix_datasets_with_namespace=False,
    )
