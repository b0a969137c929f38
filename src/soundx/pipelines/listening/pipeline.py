"""Wiring of the listening pipeline."""

from kedro.pipeline import Node, Pipeline

from soundx.pipelines.listening.nodes import hear_recordings, tell_broken


def create_pipeline(**_: object) -> Pipeline:
    """Listen to recordings with the newest classifier."""
    return Pipeline(
        [
            Node(
                func=hear_recordings,
                inputs=["recordings", "classifier", "heard", "params:listening"],
                outputs=["predictions", "predictions_table", "events", "windows", "event_files"],
                name="hear_recordings",
                tags="audio",
            ),
            Node(
                func=tell_broken,
                inputs="predictions",
                outputs=None,
                name="tell_broken",
                tags="tables",
            ),
        ],
        namespace="listening",
        prefix_datasets_with_namespace=False,
    )
