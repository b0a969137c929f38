"""One window to hear and see, and the keys that answer: a component in the page itself.

What it is given are names and pictures as data; it shows names as text, never as markup.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.audio.pictures import draw_mel_spectrogram, wav_file
from soundx.review.page import LABEL_KEYS


@cache
def _component() -> Any:
    here = Path(__file__).parent
    return st.components.v2.component(
        "soundx_asking",
        html=(here / "asking.html").read_text(encoding="utf-8"),
        css=(here / "asking.css").read_text(encoding="utf-8"),
        js=(here / "asking.js").read_text(encoding="utf-8"),
    )


def asking(
    number: int,
    samples: Float32,
    stretch_s: tuple[float, float],
    labels: Sequence[str],
    *,
    said: str,
    key: str,
    on_pressed: Callable[[], None],
) -> None:
    """Show a window, play it, and wait for keys.

    Args:
        number: The window's number, which comes back with what is pressed.
        samples: What is played, at 16 kHz [shape=(n_samples,)].
        stretch_s: Where in it the window begins and ends, in seconds.
        labels: Labels in the order of their keys.
        said: What was said last, for people and for screen readers.
        key: Of the component in the session's state.
        on_pressed: Is called when something is pressed; see ``pressed``.
    """
    seconds = max(len(samples) / SAMPLE_RATE_HZ, 1e-3)
    data = {
        "window": number,
        "sound": _url(wav_file(samples), "audio/wav"),
        "picture": _url(draw_mel_spectrogram(samples), "image/png"),
        "begin": stretch_s[0] / seconds,
        "end": min(stretch_s[1] / seconds, 1.0),
        "labels": [
            {"key": LABEL_KEYS[place] if place < len(LABEL_KEYS) else "", "label": label}
            for place, label in enumerate(labels)
        ],
        "said": said,
    }
    _component()(data=data, key=key, on_pressed_change=on_pressed)


def pressed(key: str) -> tuple[str, int, str] | None:
    """Return what was pressed: what it means, the window it was about, and a label.

    What a browser sends may be anything: None where it makes no sense.
    """
    told = st.session_state.get(key, {}).get("pressed")
    if not isinstance(told, dict):
        return None
    kind, window, label = told.get("kind"), told.get("window"), told.get("label", "")
    if not (isinstance(kind, str) and isinstance(label, str) and type(window) is int):
        return None
    return kind, window, label


def _url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
