"""The learning curve, which both a node saves and the viewer shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def draw_learning_curve(points: Sequence[Mapping[str, float]]) -> Any:
    """Draw the accuracy of left-out clips against the share of recordings learnt from.

    Args:
        points: ``share`` and ``accuracy``, both from 0 to 1, in order of the share.

    Returns:
        A Plotly figure.
    """
    import plotly.graph_objects as go

    figure = go.Figure(
        go.Scatter(
            x=[point["share"] for point in points],
            y=[point["accuracy"] for point in points],
            mode="lines+markers",
            line={"color": "#2a6f97"},
            hovertemplate="%{x:.0%} of the recordings, %{y:.1%} right<extra></extra>",
        )
    )
    figure.update_layout(
        template="plotly_white",
        height=420,
        margin={"l": 0, "r": 0, "t": 10, "b": 0},
        xaxis={"title": "share of the recordings learnt from", "tickformat": ".0%"},
        yaxis={"title": "accuracy of left-out clips", "tickformat": ".0%"},
    )
    return figure
