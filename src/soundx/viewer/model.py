"""Model: what the newest classifier makes of a sound of yours, or of two mixed."""

from __future__ import annotations

import io
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.audio.decoding import FFMPEG_SUFFIXES, decode_clip
from soundx.classifier.bundle import Classifier
from soundx.errors import AudioError
from soundx.labels import BACKGROUND, GENERAL, shown_label
from soundx.markup import escaped
from soundx.progress import counted
from soundx.viewer.project import Project
from soundx.viewer.sound import MAX_SHOWN_S, player
from soundx.viewer.tables import share

SUFFIXES = (
    ".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", *sorted(FFMPEG_SUFFIXES)
)  # fmt: skip
MAX_UPLOAD_S = 600.0
TOP = 5


def page(project: Project) -> None:
    """Show the page."""
    st.title("Model")
    if not project.has("classifier"):
        st.info("There is no model yet. Train one, here or with:")
        st.code(project.command(), language="bash")
        return
    classifier: Classifier = project.load("classifier")
    st.caption(
        f"Version {escaped(classifier.version)}, {counted(len(classifier.labels), 'label')}. "
        "Answers come from the exported TFLite file."
    )
    upload, record, pick, mix = st.tabs(["Upload", "Record", "A clip", "Mix two"])
    with upload:
        _show(classifier, _upload("upload"))
    with record:
        recorded = st.audio_input("Record with the microphone", sample_rate=SAMPLE_RATE_HZ)
        _show(classifier, _decode(recorded, ".wav") if recorded else None)
    with pick:
        _show(classifier, _pick(project, "pick"))
    with mix:
        _show(classifier, _mix(project))


def _upload(key: str) -> Float32 | None:
    file = st.file_uploader(
        f"A sound file, up to {MAX_UPLOAD_S / 60:.0f} minutes",
        type=[suffix.removeprefix(".") for suffix in SUFFIXES],
        key=f"model-{key}",
    )
    if file is None:
        return None
    suffix = Path(file.name).suffix.lower()
    return _decode(file, suffix if suffix in SUFFIXES else ".wav")


def _decode(file: io.BytesIO, suffix: str) -> Float32 | None:
    """Decode an upload; its file has a name of ours, and is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="soundx-upload-") as folder:
        path = Path(folder) / f"{uuid.uuid4().hex}{suffix}"
        path.write_bytes(file.getvalue())
        try:
            return decode_clip(path, max_s=MAX_UPLOAD_S)
        except AudioError as error:
            st.error(f"This file cannot be used: {escaped(error)}")
            return None


def _pick(project: Project, key: str) -> Float32 | None:
    manifest: pd.DataFrame = project.load("clip_manifest")
    left, right = st.columns(2)
    labels = sorted(set(manifest["label"]) - {BACKGROUND})
    # of two, the second begins as another sound
    first = len(labels) - 1 if key == "second" else 0
    if (manifest["label"] == BACKGROUND).any():
        labels.append(BACKGROUND)
    label = left.selectbox(
        "Label", labels, index=first, format_func=shown_label, key=f"model-{key}-label"
    )
    clips = manifest[manifest["label"] == label]
    splits = project.load_or("splits", None)
    if splits is not None:
        # heard in training, a clip says little: those it never heard come first
        side = clips["clip_id"].map(splits.set_index("clip_id")["split"])
        clips = clips.iloc[np.argsort(side.ne("test").to_numpy(), kind="stable")]
    path = right.selectbox(
        "Clip", clips["path"].head(500), key=f"model-{key}-clip", help="Test clips come first"
    )
    if path is None:
        return None
    try:
        return decode_clip(project.load("raw_clips").path(path), max_s=MAX_UPLOAD_S)
    except AudioError as error:
        st.error(f"This clip cannot be used: {escaped(error)}")
        return None


def _mix(project: Project) -> Float32 | None:
    left, right = st.columns(2)
    with left:
        st.subheader("First")
        first = _pick(project, "first")
    with right:
        st.subheader("Second")
        file = st.toggle("Upload it", key="model-second-upload")
        second = _upload("second") if file else _pick(project, "second")
    level_db = st.slider(
        "Level of the second against the first", -30, 30, 0, format="%d dB", key="model-level"
    )
    if first is None or second is None:
        return None
    return mix(first, second, level_db=float(level_db))


def mix(first: Float32, second: Float32, *, level_db: float) -> Float32:
    """Mix two clips, the second at a level relative to the first.

    Args:
        first: Samples at 16 kHz [shape=(n_samples,)].
        second: The same; the shorter one is repeated.
        level_db: RMS level of the second relative to the first, in dB.

    Returns:
        The mix, as long as the longer one, scaled down where it would exceed full scale.
    """
    length = max(len(first), len(second))
    one, two = np.resize(first, length), np.resize(second, length)
    loudness = [float(np.sqrt(np.mean(np.square(clip, dtype=np.float64)))) for clip in (one, two)]
    gain = 10 ** (level_db / 20) * (loudness[0] / loudness[1] if min(loudness) > 0 else 1.0)
    mixed = one + np.float32(gain) * two
    return (mixed / max(1.0, float(np.abs(mixed).max()))).astype(np.float32)


def timeline(classifier: Classifier, waveform: Float32) -> npt.NDArray[np.float64]:
    """Classify a recording window by window.

    Args:
        classifier: The classifier.
        waveform: Samples at 16 kHz [shape=(n_samples,)].

    Returns:
        Probabilities over its labels, one row a hop of its embedder
            [shape=(n_windows, n_labels)].
    """
    embedder = classifier.info["embedder"]
    window, hop = (round(embedder[name] * SAMPLE_RATE_HZ) for name in ("window_s", "hop_s"))
    starts = range(0, max(len(waveform) - window + hop, 1), hop)
    pieces = (waveform[start : start + window] for start in starts)
    padded = (np.pad(piece, (0, window - len(piece))) for piece in pieces)
    return np.array([classifier.predict(piece) for piece in padded], np.float64)


def _show(classifier: Classifier, waveform: Float32 | None) -> None:
    if waveform is None:
        return
    probabilities = classifier.predict(waveform)
    best = np.argsort(-probabilities)[:TOP]
    seen = waveform[: int(MAX_SHOWN_S * SAMPLE_RATE_HZ)]
    over_time = timeline(classifier, seen)
    left, right = st.columns([3, 2])
    with left:
        player(seen, timeline=[(classifier.labels[i], over_time[:, i]) for i in best])
        if len(seen) < len(waveform):
            st.caption(f"The first {MAX_SHOWN_S:.0f} s are shown; the answer is about all of it.")
    with right:
        answer, probability = classifier.answer_to(probabilities)
        st.metric(
            "Answer",
            escaped(answer),  # its value is Markdown, too
            f"{probability:.1%}",
            delta_color="off",
            delta_arrow="off",
        )
        if answer != classifier.labels[best[0]]:
            st.caption(
                f"The most probable label, {escaped(classifier.labels[best[0]])}, is not sure "
                "enough, or background is more probable."
            )
        _bars("Top five of all labels", classifier.labels, probabilities)
        if not classifier.tree.is_flat:
            _by_head(classifier, probabilities)


def _by_head(classifier: Classifier, probabilities: Float32) -> None:
    heads = classifier.tree.heads
    answers = {head: rows[0] for head, rows in classifier.tree.by_head(probabilities[None]).items()}
    general = answers[GENERAL]
    _bars("General model: categories", heads[GENERAL], general)
    for place, index in enumerate(np.argsort(-general)[:2]):
        category = heads[GENERAL][index]
        title = f"Specific model of the {'first' if place == 0 else 'second'}: {escaped(category)}"
        if category in heads:
            _bars(title, heads[category], answers[category])
        else:
            st.caption(f"{escaped(category)} has one label only, and no model of its own.")


def _bars(title: str, names: Any, probabilities: Float32) -> None:
    order = np.argsort(-probabilities)[:TOP]
    table = pd.DataFrame(
        {"label": [names[i] for i in order], "probability": probabilities[order].astype(float)}
    )
    st.markdown(f"**{title}**")
    st.dataframe(
        table,
        hide_index=True,
        column_config={"probability": share("probability")},
    )
