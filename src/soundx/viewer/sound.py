"""Hear and see a clip: a player above its waveform and mel spectrogram, with one playhead."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import streamlit as st

from soundx.audio import SAMPLE_RATE_HZ
from soundx.audio.decoding import decode_blocks

Float32 = npt.NDArray[np.float32]

MAX_SHOWN_S = 60.0
"""Of longer clips the beginning is shown."""

_MEL_BANDS = 96
_HOP = 160
_COLUMNS = 900
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
    wanted = int(MAX_SHOWN_S * SAMPLE_RATE_HZ)
    blocks, n_samples = [], 0
    for block in decode_blocks(Path(path)):
        blocks.append(block)
        n_samples += len(block)
        if n_samples > wanted:
            break
    waveform = np.concatenate(blocks)
    return waveform[:wanted], n_samples > wanted


def player(
    waveform: Float32, *, timeline: Sequence[tuple[str, npt.NDArray[np.float64]]] = ()
) -> None:
    """Show a player, the waveform, the mel spectrogram, and perhaps a timeline, in one.

    Args:
        waveform: Samples at 16 kHz [shape=(n_samples,)].
        timeline: Names and their probabilities over the clip, at even distances
            [shape=(n_windows,)] each.
    """
    seconds = len(waveform) / SAMPLE_RATE_HZ
    rows = "".join(
        f'<div class="row">{_area(values, _COLOURS[number % len(_COLOURS)])}'
        f"<span>{html.escape(name)}</span></div>"
        for number, (name, values) in enumerate(timeline)
    )
    body = (
        f'{_STYLE}<audio controls preload="auto" aria-label="Play the clip" '
        f'src="data:audio/wav;base64,{_wav(waveform)}"></audio>'
        f'<div id="view">{_picture(_wave(waveform), "wave", "Waveform")}'
        f"{_picture(_mel(waveform), 'mel', 'Mel spectrogram, 0 to 8 kHz, low sounds below')}"
        f'{rows}<div id="head"></div></div>'
        f'<div class="axis"><span>0 s</span><span>waveform; mel spectrogram, 0 to 8 kHz</span>'
        f"<span>{seconds:.2f} s</span></div>{_SCRIPT}"
    )
    st.iframe(body, height=330 + _ROW_PX * len(timeline))


def wav_bytes(waveform: Float32) -> bytes:
    """Return a 16-bit WAV file of a waveform at 16 kHz."""
    file = io.BytesIO()
    soundfile.write(file, waveform, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _wav(waveform: Float32) -> str:
    return base64.b64encode(wav_bytes(waveform)).decode()


def _picture(png: bytes, name: str, what: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<img class="{name}" alt="{what}" src="data:image/png;base64,{data}">'


def _wave(waveform: Float32) -> bytes:
    """Draw the envelope: lowest and highest sample of each column."""
    columns = min(_COLUMNS, max(len(waveform), 1))
    edges = np.linspace(0, len(waveform), columns + 1).astype(int)[:-1]
    low, high = np.minimum.reduceat(waveform, edges), np.maximum.reduceat(waveform, edges)
    scale = max(float(np.abs(waveform).max(initial=0.0)), 1e-4)
    y = np.linspace(1, -1, 140)[:, None]
    inside = (y >= low / scale - 0.01) & (y <= high / scale + 0.01)
    image = np.zeros((140, columns, 4), np.uint8)
    image[inside] = (42, 111, 151, 255)
    return _png(image)


def _mel(waveform: Float32) -> bytes:
    import librosa
    from matplotlib import colormaps

    mel = librosa.feature.melspectrogram(
        y=np.pad(waveform, (0, max(0, 1024 - len(waveform)))),
        sr=SAMPLE_RATE_HZ,
        n_fft=1024,
        hop_length=max(_HOP, len(waveform) // _COLUMNS),
        n_mels=_MEL_BANDS,
    )
    decibels = librosa.power_to_db(mel, ref=np.max, top_db=70)
    return _png((colormaps["magma"](decibels[::-1] / 70 + 1) * 255).astype(np.uint8))


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def _area(values: npt.NDArray[np.float64], colour: str) -> str:
    steps = "".join(
        f"L{x} {1 - value:.3f}L{x + 1} {1 - value:.3f}" for x, value in enumerate(values)
    )
    return (
        f'<svg viewBox="0 0 {len(values)} 1" preserveAspectRatio="none">'
        f'<path d="M0 1{steps}L{len(values)} 1Z" fill="{colour}" opacity="0.75"/></svg>'
    )
