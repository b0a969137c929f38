"""Plotly figures that both a node saves and the viewer shows."""

from __future__ import annotations

from typing import Any

import pandas as pd


def draw_reliability(bins: pd.DataFrame, *, before: pd.DataFrame | None = None) -> Any:
    """Draw how often the model was right against how sure it was.

    Args:
        bins: As ``soundx.metrics.reliability_table`` returns them.
        before: The same without calibration, drawn pale beside them.

    Returns:
        A Plotly figure; bars are 95 % intervals.
    """
    import plotly.graph_objects as go

    filled = bins[bins["n_clips"] > 0]
    figure = go.Figure(
        [
            go.Scatter(
                x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": "#999"},
                hoverinfo="skip",
            ),
            go.Scatter(
                x=filled["confidence"], y=filled["accuracy"], mode="markers+lines",
                marker={"size": 9, "color": "#2a6f97"}, customdata=filled["n_clips"],
                error_y={
                    "array": filled["accuracy_ci95_high"] - filled["accuracy"],
                    "arrayminus": filled["accuracy"] - filled["accuracy_ci95_low"],
                    "color": "#89c2d9",
                },
                hovertemplate="%{x:.0%} sure, %{y:.0%} right<br>%{customdata} clips<extra></extra>",
            ),
        ]
    )  # fmt: skip
    if before is not None:
        pale = before[before["n_clips"] > 0]
        figure.add_trace(
            go.Scatter(
                x=pale["confidence"], y=pale["accuracy"], mode="markers+lines",
                line={"color": "#c9ced6"}, name="before calibration", hoverinfo="skip",
            )
        )  # fmt: skip
    figure.update_layout(
        height=420, template="plotly_white", showlegend=False,
        margin={"l": 0, "r": 0, "t": 10, "b": 0},
        xaxis={"title": "how sure it was", "tickformat": ".0%", "range": [0, 1.02]},
        yaxis={"title": "how often it was right", "tickformat": ".0%", "range": [0, 1.02]},
    )  # fmt: skip
    return figure
