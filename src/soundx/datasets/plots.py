"""Pictures and interactive plots, written whole or not at all.

Importing this imports Matplotlib, as Kedro's own dataset of pictures does.
"""

from __future__ import annotations

from kedro_datasets.matplotlib import MatplotlibDataset as _MatplotlibDataset
from kedro_datasets.plotly import HTMLDataset as _HTMLDataset
from kedro_datasets.plotly import JSONDataset as _JSONDataset

from soundx.datasets.tables import WholeWrites


class MatplotlibDataset(WholeWrites, _MatplotlibDataset):
    """A Matplotlib figure as a picture."""


class PlotlyDataset(WholeWrites, _JSONDataset):
    """A Plotly figure as JSON, which Kedro-Viz and the viewer draw."""


class PlotlyPageDataset(WholeWrites, _HTMLDataset):
    """A Plotly figure as a page that opens in any browser."""
