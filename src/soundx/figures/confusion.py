"""The confusion matrix: as a Plotly figure whose cells can be clicked, and as a picture.

Counts are of clips: a row for each true label, a column for each predicted one. Colour is the
share of the true label.
"""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from soundx.markup import one_line

_MOST_COUNTS_WRITTEN = 40  # labels; more would not be legible
_DARK = 0.5
_COLOURS = ((0.0, "#dce9f2"), (1.0, "#174a68"))


def _shares(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def draw_confusion(confusion: pd.DataFrame) -> Any:
    """Draw a confusion matrix as squares, each a point that a click or a pointer finds.

    Args:
        confusion: Counts, as ``soundx.metrics.confusion_table`` returns them.

    Returns:
        A Plotly figure; ``customdata`` of a point holds the positions of true and predicted
        label.
    """
    import plotly.graph_objects as go

    counts = confusion.to_numpy()
    names = [html.escape(one_line(label)) for label in confusion.index]
    truth, guess = np.nonzero(counts)
    shares = _shares(counts)[truth, guess]
    side = max(320, min(34 * len(names), 1400))
    written = len(names) <= _MOST_COUNTS_WRITTEN
    # squares, not a heat map: of these a click tells which
    figure = go.Figure(
        go.Scatter(
            x=[names[i] for i in guess],
            y=[names[i] for i in truth],
            mode="markers+text" if written else "markers",
            text=[str(n) for n in counts[truth, guess]],
            textfont={"color": ["#fff" if share > _DARK else "#222" for share in shares]},
            marker={
                "symbol": "square", "size": max(4.0, 0.62 * side / len(names)), "color": shares,
                "cmin": 0, "cmax": 1, "colorscale": [list(stop) for stop in _COLOURS],
            },
            customdata=np.stack([truth, guess], axis=1),
            unselected={"marker": {"opacity": 0.7}},
            hovertemplate="%{y} called %{x}: %{text} clips, %{marker.color:.0%} of the true "
            "label<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(
        height=side + 160, template="plotly_white", margin={"l": 0, "r": 0, "t": 10, "b": 0},
        xaxis={"title": "called", "categoryorder": "array", "categoryarray": names},
        yaxis={"title": "true label", "categoryorder": "array", "categoryarray": names[::-1]},
        dragmode=False,
    )  # fmt: skip
    return figure


def confusion_picture(confusion: pd.DataFrame) -> Any:
    """Draw a confusion matrix as a Matplotlib figure.

    Args:
        confusion: Counts, as ``soundx.metrics.confusion_table`` returns them.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    counts = confusion.to_numpy()
    shares = _shares(counts)
    n = len(counts)
    size = min(4.0 + 0.42 * n, 30.0)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    colours = LinearSegmentedColormap.from_list("soundx", [(0.0, "#ffffff"), *_COLOURS[1:]])
    image = axes.imshow(shares, cmap=colours, vmin=0, vmax=1)
    if n <= _MOST_COUNTS_WRITTEN:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if shares[row, column] > _DARK else "#333"
            count = str(counts[row, column])
            axes.text(column, row, count, ha="center", va="center", color=color, size=8)
    ticks = np.arange(n)
    names = [one_line(label) for label in confusion.index]
    axes.set_xticks(ticks, names, rotation=60, ha="right", rotation_mode="anchor", size=8)
    axes.set_yticks(ticks, names, size=8)
    for name in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        name.set_parse_math(False)  # a dollar begins no formula
    axes.set_xlabel("predicted label")
    axes.set_ylabel("true label")
    axes.set_title(f"{np.trace(counts)} of {counts.sum()} test clips right", loc="left")
    figure.colorbar(image, ax=axes, label="share of the true label", shrink=0.8)
    return figure
