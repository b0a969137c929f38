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

import streamlit as st

from soundx.viewer import dataset, evaluation, home, model
from soundx.viewer.project import Project, guarded

st.set_page_config(page_title="soundx", page_icon=":material/graphic_eq:", layout="wide")


@st.cache_resource
def _warm_up() -> threading.Thread:
    """Load what draws spectrograms while nobody waits for it: it takes seconds."""

    def load() -> None:
        import librosa
        import numpy as np

        librosa.feature.melspectrogram(y=np.zeros(2048, np.float32), sr=16_000)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    return thread


def _page(show: Callable[[Project], None]) -> Callable[[], None]:
    def opened() -> None:
        show(Project(Path.cwd(), os.environ.get("KEDRO_ENV") or None))

    return guarded(opened)


PAGES = (
    (home.page, "Home", ":material/home:", ""),
    (dataset.page, "Dataset", ":material/library_music:", "dataset"),
    (evaluation.page, "Evaluation", ":material/fact_check:", "evaluation"),
    (model.page, "Model", ":material/graphic_eq:", "model"),
)

_warm_up()
st.navigation(
    [
        st.Page(_page(show), title=title, icon=icon, url_path=url, default=not url)
        for show, title, icon, url in PAGES
    ],
    position="top",
).run()
