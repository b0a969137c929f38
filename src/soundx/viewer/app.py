"""The viewer: pages over what the catalog of an environment holds.

    make app            # the base environment
    make app ENV=demo

It computes nothing that a node saves, and reads files again when they change.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from soundx.viewer import dataset, evaluation, home, model, review, train
from soundx.viewer.project import Project, guarded

if TYPE_CHECKING:
    from streamlit.navigation.page import Page as StreamlitPage

# a picture of ours: Streamlit fetches one named :material/...: from another host
ICON = Path(__file__).with_name("favicon.svg")
st.set_page_config(page_title="soundx", page_icon=ICON, layout="wide")


@st.cache_resource
def _warm_up() -> threading.Thread:
    """Load what draws charts and spectrograms while nobody waits for it: it takes seconds."""

    def load() -> None:
        import numpy as np
        import plotly.express  # noqa: F401

        from soundx.audio.pictures import draw_mel_spectrogram

        draw_mel_spectrogram(np.zeros(2048, np.float32))

    thread = threading.Thread(target=load, name="warm-up", daemon=True)
    thread.start()
    return thread


ROOT = Path.cwd()
ENV = os.environ.get("KEDRO_ENV") or None


def _page(
    show: Callable[[Project], None], title: str, icon: str, *, first: bool = False
) -> StreamlitPage:
    shown = guarded(lambda: show(Project(ROOT, ENV)), ENV)
    return st.Page(shown, title=title, icon=icon, url_path=title.lower(), default=first)


EVALUATION = _page(evaluation.page, "Evaluation", ":material/fact_check:")


def _train(_: Project) -> None:
    train.page(ROOT, ENV, EVALUATION)


_warm_up()
st.navigation(
    [
        _page(home.page, "Home", ":material/home:", first=True),
        _page(dataset.page, "Dataset", ":material/library_music:"),
        EVALUATION,
        _page(model.page, "Model", ":material/graphic_eq:"),
        _page(review.page, "Review", ":material/hearing:"),
        _page(_train, "Train", ":material/model_training:"),
    ],
    position="top",
).run()
