"""Hear and see a clip: a player above its waveform and mel spectrogram, with one playhead."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import streamlit as st

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.audio.decoding import decode_start
from soundx.audio.pictures import draw_mel_spectrogram, draw_waveform, wav_file

MAX_SHOWN_S = 60.0
"""Of longer clips the beginning is shown."""

_ROW_PX = 26
_COLOURS = ("#2a6f97", "#e07a2f", "#5a9367", "#8e5ea2", "#b23a48")

_STYLE = """
<style>
  body { margin: 0; font: 14px/1.4 "Source Sans Pro", system-ui, sans-serif; color: #262a33; }
  audio { width: 100%; height: 40px; display: block; margin-bottom: 8px; }
  #view { position: relative; }
  img, svg { width: 100%; display: block; }
  #view img.wave { height: 70px; }
  #view img.mel { height: 170px; border-radius: 4px; }
  #head { position: absolute; top: 0; bottom: 0; width: 2px; background: #d1495b; left: 0; }
  .row { position: relative; height: 22px; margin: 2px 0; background: #eef1f5; border-radius: 3px; }
  .row span { position: absolute; left: 6px; top: 0; font-size: 13px; line-height: 22px;
    text-shadow: 0 0 3px #fff, 0 0 3px #fff, 0 0 3px #fff; }
  .row svg { height: 22px; }
  .axis { display: flex; justify-content: space-between; font-size: 12px; color: #5b6270; }
</style>
"""

_SCRIPT = """
<script>
  const audio = document.querySelector("audio"), head = document.getElementById("head");
  const view = document.getElementById("view");
  function follow() {
    const share = audio.duration ? audio.currentTime / audio.duration : 0;
    head.style.left = `calc(${100 * share}% - 1px)`;
    if (!audio.paused) requestAnimationFrame(follow);
  }
  for (const event of ["play", "seeked", "pause", "ended"]) audio.addEventListener(event, follow);
  view.addEventListener("click", (event) => {
    const box = view.getBoundingClientRect();
    if (audio.duration) audio.currentTime = audio.duration * (event.clientX - box.left) / box.width;
  });
</script>
"""


@st.cache_data(max_entries=32, show_spinner="Decoding ...")
def beginning(path: str, state: object) -> tuple[Float32, bool]:
    """Return the first ``MAX_SHOWN_S`` seconds of a file, and whether there is more.

    Args:
        path: The file.
        state: Anything that changes when it does.

    Returns:
        Samples at 16 kHz [shape=(n_samples,)], and whether they are not all.

    Raises:
        AudioError: It is not a sound.
    """
    del state
    return decode_start(Path(path), max_s=MAX_SHOWN_S)


def player(
    waveform: Float32,
    *,
    timeline: Sequence[tuple[str, npt.NDArray[np.floating]]] = (),
    edges: npt.NDArray[np.floating] | None = None,
) -> None:
    """Show a player, the waveform, the mel spectrogram, and perhaps a timeline, in one.

    Args:
        waveform: Samples at 16 kHz [shape=(n_samples,)].
        timeline: Names and their probabilities over the clip [shape=(n_windows,)] each.
        edges: Where each probability begins, and the last one ends, in seconds
            [shape=(n_windows + 1,)]; even distances where they are not given.
    """
    seconds = len(waveform) / SAMPLE_RATE_HZ
    rows = "".join(
        f'<div class="row">{_area(values, edges, seconds, _COLOURS[number % len(_COLOURS)])}'
        f"<span>{html.escape(name)}</span></div>"
        for number, (name, values) in enumerate(timeline)
    )
    body = (
        f'{_STYLE}<audio controls preload="auto" aria-label="Play the clip" '
        f'src="data:audio/wav;base64,{_base64(wav_file(waveform))}"></audio>'
        f'<div id="view">{_picture(draw_waveform(waveform), "wave", "Waveform")}'
        f"{_picture(draw_mel_spectrogram(waveform), 'mel', 'Mel spectrogram')}"
        f'{rows}<div id="head"></div></div>'
        f'<div class="axis"><span>0 s</span><span>waveform; mel spectrogram, 0 to 8 kHz</span>'
        f"<span>{seconds:.2f} s</span></div>{_SCRIPT}"
    )
    st.iframe(body, height=330 + _ROW_PX * len(timeline))


def _picture(png: bytes, name: str, what: str) -> str:
    return f'<img class="{name}" alt="{what}" src="data:image/png;base64,{_base64(png)}">'


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _area(
    values: npt.NDArray[np.floating],
    edges: npt.NDArray[np.floating] | None,
    seconds: float,
    colour: str,
) -> str:
    if edges is None:
        edges = np.linspace(0.0, seconds, len(values) + 1)
    edges = np.minimum(edges, seconds)
    steps = "".join(
        f"L{edges[x]:.2f} {1 - value:.3f}L{edges[x + 1]:.2f} {1 - value:.3f}"
        for x, value in enumerate(values)
    )
    return (
        f'<svg viewBox="0 0 {max(seconds, 0.01):.2f} 1" preserveAspectRatio="none">'
        f'<path d="M0 1{steps}L{edges[-1]:.2f} 1Z" fill="{colour}" opacity="0.75"/></svg>'
    )
