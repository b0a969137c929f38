"""Training curves of the heads."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import numpy as np

from soundx.markup import one_line
from soundx.modelling.heads import History


def draw_training_curves(histories: Mapping[str, History]) -> Any:
    """Draw loss by epoch for every head, the kept epoch marked.

    Args:
        histories: Training curves by head.

    Returns:
        A Plotly figure, one row a head.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    if not histories:
        return go.Figure(
            layout={
                "title": "Closed form: there are no epochs. How good it is: cross_validation.json",
                "template": "plotly_white",
                "height": 160,
            }
        )
    names = [html.escape(one_line(head)) for head in histories]
    figure = make_subplots(rows=len(names), cols=1, subplot_titles=names, shared_xaxes=True)
    for row, (name, history) in enumerate(zip(names, histories.values(), strict=True), start=1):
        epochs = np.arange(1, len(history.loss) + 1)
        for curve, dash in (("loss", "dot"), ("val_loss", "solid")):
            figure.add_trace(
                go.Scatter(
                    x=epochs,
                    y=getattr(history, curve),
                    name="training" if curve == "loss" else "validation",
                    line={"dash": dash, "color": "#4c78a8"},
                    showlegend=row == 1,
                    hovertemplate=f"{name}, epoch %{{x}}: %{{y:.3f}}<extra></extra>",
                ),
                row=row,
                col=1,
            )
        figure.add_vline(x=history.best_epoch, line_color="#999", line_dash="dash", row=row, col=1)
    figure.update_layout(
        title="Loss by epoch (cross-entropy, nats); the dashed epoch was kept",
        height=160 + 180 * len(names),
        template="plotly_white",
    )
    figure.update_xaxes(title_text="epoch", row=len(names), col=1)
    return figure
