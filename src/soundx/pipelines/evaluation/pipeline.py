"""Wiring of the evaluation pipeline."""

from kedro.pipeline import Node, Pipeline

from soundx.pipelines.evaluation.nodes import (
    keep_evaluation,
    plot_confusion,
    plot_reliability,
    predict_test_clips,
    score_predictions,
)


def create_pipeline(**_: object) -> Pipeline:
    """Classify the test clips, score them, draw the confusion, keep it all with the model."""
    return Pipeline(
        [
            Node(
                func=predict_test_clips,
                inputs=[
                    "heads",
                    "clip_manifest",
                    "splits",
                    "embeddings",
                    "out_of_fold_predictions",
                    "classifier",
                ],
                outputs="test_predictions",
                name="predict_test_clips",
                tags="model",
            ),
            Node(
                func=score_predictions,
                inputs=[
                    "test_predictions",
                    "heads",
                    "clip_manifest",
                    "splits",
                    "embeddings",
                    "cross_validation",
                ],
                outputs=["metrics", "per_class_metrics", "confusion_matrix", "reliability"],
                name="score_predictions",
                tags="tables",
            ),
            Node(
                func=plot_confusion,
                inputs="confusion_matrix",
                outputs=[
                    "confusion_matrix_picture",
                    "confusion_matrix_plot",
                    "confusion_matrix_page",
                ],
                name="plot_confusion",
                tags="plot",
            ),
            Node(
                func=plot_reliability,
                inputs="reliability",
                outputs="reliability_plot",
                name="plot_reliability",
                tags="plot",
            ),
            Node(
                func=keep_evaluation,
                inputs=[
                    "trained_versions",
                    "classifier",
                    "heads",
                    "metrics",
                    "per_class_metrics",
                    "test_predictions",
                    "confusion_matrix",
                    "reliability",
                    "clip_manifest",
                    "cross_validation",
                ],
                outputs=["model_versions", "model_card"],
                name="keep_evaluation",
                tags="io",
            ),
        ],
        namespace="evaluation",
        prefix_datasets_with_namespace=False,
    )
