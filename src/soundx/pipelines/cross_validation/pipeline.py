"""Wiring of the cross_validation pipeline."""

from kedro.pipeline import Node, Pipeline

from soundx.pipelines.cross_validation.nodes import (
    deal_folds,
    plot_cross_validation,
    plot_learning_curve,
    predict_out_of_fold,
    score_cross_validation,
)


def create_pipeline(**_: object) -> Pipeline:
    """Leave every clip out once, predict it, and tell what can be believed."""
    return Pipeline(
        [
            Node(
                func=deal_folds,
                inputs=["clip_manifest", "embeddings", "params:cross_validation"],
                outputs="folds",
                name="deal_folds",
                tags="tables",
            ),
            Node(
                func=predict_out_of_fold,
                inputs=["folds", "embeddings", "params:training", "noise_frames"],
                outputs="out_of_fold_predictions",
                name="predict_out_of_fold",
                tags="model",
            ),
            Node(
                func=score_cross_validation,
                inputs=[
                    "out_of_fold_predictions",
                    "clip_manifest",
                    "embeddings",
                    "params:training",
                    "params:rejection",
                ],
                outputs=[
                    "cross_validation",
                    "cross_validation_per_class",
                    "cross_validation_reliability",
                    "suspect_labels",
                    "near_duplicates",
                    "learning_curve",
                ],
                name="score_cross_validation",
                tags="tables",
            ),
            Node(
                func=plot_cross_validation,
                inputs="cross_validation_reliability",
                outputs="cross_validation_reliability_plot",
                name="plot_cross_validation",
                tags="plot",
            ),
            Node(
                func=plot_learning_curve,
                inputs="learning_curve",
                outputs="learning_curve_plot",
                name="plot_learning_curve",
                tags="plot",
            ),
        ],
        namespace="cross_validation",
        prefix_datasets_with_namespace=False,
    )
