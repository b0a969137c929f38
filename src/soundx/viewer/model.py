"""Model: what the newest classifier makes of a sound of yours, or of two mixed."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.audio.decoding import FFMPEG_SUFFIXES, decode_clip
from soundx.audio.pictures import wav_file
from soundx.classifier.bundle import Classifier
from soundx.errors import AudioError, Remedy
from soundx.labels import BACKGROUND, GENERAL, shown_label
from soundx.listening.events import EventRules, cell_edges
from soundx.listening.listen import Prediction
from soundx.markup import escaped
from soundx.progress import counted
from soundx.viewer.found import choose_rules, show_events
from soundx.viewer.hearing import MAX_CLIP_S, Given, has_windows, heard_in
from soundx.viewer.project import Project
from soundx.viewer.sound import MAX_SHOWN_S, player
from soundx.viewer.tables import share

SUFFIXES = (
    ".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", *sorted(FFMPEG_SUFFIXES)
)  # fmt: skip
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
    rules = None
    if has_windows(classifier):
        rules = choose_rules(classifier)
    else:
        st.info(
            "An older soundx made this model: it answers to whole clips alone, and finds no "
            "events. Train anew, here or with:"
        )
        st.code(project.command(Remedy.TRAIN), language="bash")
    upload, record, pick, mix = st.tabs(["Upload", "Record", "A clip", "Mix two"])
    with upload:
        _show(classifier, _upload("upload", "an hour"), rules, "upload")
    with record:
        recorded = st.audio_input("Record with the microphone", sample_rate=SAMPLE_RATE_HZ)
        given = _given(recorded, ".wav", "microphone.wav") if recorded else None
        _show(classifier, given, rules, "record")
    with pick:
        _show(classifier, _pick(project, "pick"), rules, "pick")
    with mix:
        _show(classifier, _mix(project), rules, "mix")


def _upload(key: str, longest: str) -> Given | None:
    file = st.file_uploader(
        f"A sound file, up to {longest}",
        type=[suffix.removeprefix(".") for suffix in SUFFIXES],
        key=f"model-{key}",
    )
    if file is None:
        return None
    suffix = Path(file.name).suffix.lower()
    return _given(file, suffix if suffix in SUFFIXES else ".wav", file.name)


def _given(upload: Any, suffix: str, name: str) -> Given:
    return Given((upload.file_id,), name, partial(_on_disk, upload, suffix))


@contextlib.contextmanager
def _on_disk(upload: Any, suffix: str) -> Iterator[Path]:
    """Yield a file that holds an upload; it has a name of ours, and is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="soundx-upload-") as folder:
        path = Path(folder) / f"{uuid.uuid4().hex}{suffix}"
        upload.seek(0)
        with path.open("wb") as file:
            shutil.copyfileobj(upload, file, 2**20)
        yield path


def _pick(project: Project, key: str) -> Given | None:
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
    local = Path(project.load("raw_clips").path(path))
    try:
        facts = local.stat()
    except OSError as error:
        st.error(f"This clip cannot be used: {escaped(error.strerror)}")
        return None
    key_of_it = (str(path), facts.st_size, facts.st_mtime_ns)
    return Given(key_of_it, str(path), lambda: contextlib.nullcontext(local))


def _mix(project: Project) -> Given | None:
    left, right = st.columns(2)
    with left:
        st.subheader("First")
        first = _pick(project, "first")
    with right:
        st.subheader("Second")
        file = st.toggle("Upload it", key="model-second-upload")
        longest = f"{MAX_CLIP_S / 60:.0f} minutes"
        second = _upload("second", longest) if file else _pick(project, "second")
    level_db = st.slider(
        "Level of the second against the first", -30, 30, 0, format="%d dB", key="model-level"
    )
    if first is None or second is None:
        return None
    return Given(
        (first.key, second.key, level_db), "mix.wav", partial(_mixed, first, second, level_db)
    )


@contextlib.contextmanager
def _mixed(first: Given, second: Given, level_db: int) -> Iterator[Path]:
    """Yield a file that holds a mix, gone afterwards.

    Raises:
        AudioError: One of the two cannot be used.
    """
    clips = []
    for place, given in (("first", first), ("second", second)):
        try:
            with given.on_disk() as path:
                clips.append(decode_clip(path, max_s=MAX_CLIP_S))
        except AudioError as error:
            raise AudioError(f"of the two, the {place}: {error}") from error
    with tempfile.TemporaryDirectory(prefix="soundx-mix-") as folder:
        path = Path(folder) / "mix.wav"
        path.write_bytes(wav_file(mix(clips[0], clips[1], level_db=float(level_db))))
        yield path


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


def _show(classifier: Classifier, given: Given | None, rules: EventRules | None, slot: str) -> None:
    sound = heard_in(slot, given, classifier)
    if sound is None:
        return
    if sound.error:
        st.error(f"This sound cannot be used: {escaped(sound.error)}")
        return
    prediction = sound.prediction(rules)
    left, right = st.columns([3, 2])
    with left:
        _player(sound.samples.part(0.0, MAX_SHOWN_S), prediction, classifier)
    with right:
        _answer(prediction.probabilities, classifier)
    if rules is not None:
        show_events(sound, prediction, slot)


def _player(beginning: Float32, prediction: Prediction, classifier: Classifier) -> None:
    rows, edges = prediction.rows, np.zeros(1)
    if len(rows):
        windowing = classifier.windowing
        edges = cell_edges(
            len(rows),
            prediction.recording.duration_s,
            window_s=windowing.window_s,
            hop_s=windowing.hop_s,
            hops_before=windowing.around[0],
        )
    n_seen = int(np.searchsorted(edges[:-1], MAX_SHOWN_S))
    best = np.argsort(-rows[:n_seen].max(axis=0, initial=0.0), kind="stable")[:TOP]
    timeline = [(classifier.labels[i], rows[:n_seen, i]) for i in best] if n_seen else []
    player(beginning, timeline=timeline, edges=edges[: n_seen + 1])
    if prediction.recording.duration_s > MAX_SHOWN_S:
        note = f"The first {MAX_SHOWN_S:.0f} s are shown; the answer is about all of it"
        st.caption(f"{note}: the mean of its windows. Events say more." if n_seen else f"{note}.")


def _answer(probabilities: Float32, classifier: Classifier) -> None:
    answer, probability = classifier.answer_to(probabilities)
    st.metric(
        "Answer",
        escaped(answer),  # its value is Markdown, too
        f"{probability:.1%}",
        delta_color="off",
        delta_arrow="off",
    )
    best = classifier.labels[int(np.argmax(probabilities))]
    if answer != best:
        st.caption(
            f"The most probable label, {escaped(best)}, is not sure enough, or background is "
            "more probable."
        )
    _bars("Top five of all labels", classifier.labels, probabilities)
    if not classifier.tree.is_flat:
        with st.expander("Model by model"):
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
