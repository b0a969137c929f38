"""Review: windows of recordings, one after the other, answered by ear and by keys."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from datetime import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from soundx.audio import Float32
from soundx.audio.decoding import decode_clip
from soundx.audio.pictures import wav_file
from soundx.errors import AudioError, Remedy, SoundxError
from soundx.labels import BACKGROUND, shown_label
from soundx.listening.formats import FORMATS, write_events
from soundx.markup import escaped
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.rejection import RejectionOptions
from soundx.progress import counted
from soundx.review.answers import UNSURE, check_person, write_answers
from soundx.review.drift import drift_in, learnt_of
from soundx.review.elsewhere import answers_as_events, answers_in, recordings_of
from soundx.review.estimates import LabelEstimate, threshold_for
from soundx.review.project import USES, open_review
from soundx.review.queue import Order
from soundx.review.session import Question, Review
from soundx.running.runs import PASSWORD
from soundx.search.query import Filter, search
from soundx.search.uploads import clip_vectors, upload_vectors
from soundx.viewer.asking import asking, pressed
from soundx.viewer.found import as_one_file
from soundx.viewer.gate import signed_in
from soundx.viewer.project import Project
from soundx.viewer.tables import share
from soundx.viewer.words import clock

ORDERS: dict[str, Order] = {
    "As usual: unsure, rare and new ones by turns": "usual",
    "Most uncertain first": "uncertain",
    "One label's best first": "best",
    "Spread over a label's scores, for estimates": "spread",
    "Most like chosen sounds": "like",
    "Oldest first": "oldest",
}
_OF_A_LABEL = ("best", "spread")
_LISTEN, _SEARCH, _FIGURES, _EXCHANGE = "Listen", "Search", "What can be said", "Exchange"
_KEY = "review-asking"
_PART, _ORDER = "review-part", "review-order"
_LIKE, _UNLIKE = "review-like", "review-unlike"
_SAID = "review-said"
_FOUND = 12
_LEARN_POLL_S = 0.7
_LONGEST_UPLOAD_S = 60.0
_BATCH = 8


def page(project: Project) -> None:
    """Show the page."""
    st.title("Review")
    if not project.has("window_index"):
        st.info(
            "No recordings are kept yet. Name some, and what can be heard in them is kept, to be "
            "searched and answered here:"
        )
        st.code(
            f"{project.command(Remedy.KEEP_RECORDINGS)} --params=recordings=PATH", language="bash"
        )
        return
    password = os.environ.get(PASSWORD)
    if password and not signed_in(password, "Who knows the password may answer."):
        return
    review = _open(project)
    person = _person()
    if person is None:
        return
    place = st.segmented_control(
        "Part of the page",
        [_LISTEN, _SEARCH, _FIGURES, _EXCHANGE],
        default=_LISTEN,
        label_visibility="collapsed",
        key=_PART,
    )
    if place == _SEARCH:
        _search(project, review)
    elif place == _FIGURES:
        _figures(review)
    elif place == _EXCHANGE:
        _exchange(review, person)
    else:
        _listen(project, review, person)


def _open(project: Project) -> Review:
    parameters = project.parameters
    training = TrainingOptions.model_validate(parameters.get("training") or {})
    rejection = RejectionOptions.model_validate(parameters.get("rejection") or {})
    separator = (parameters.get("ingestion") or {}).get("category_separator", "_")
    state = (tuple(project.state(name) for name in USES if name != "heard"), str(parameters))
    return _opened(project, training, rejection, separator, str(project.root), project.env, state)


@st.cache_resource(max_entries=2, show_spinner="Opening recordings ...")
def _opened(
    _project: Project,
    _training: TrainingOptions,
    _rejection: RejectionOptions,
    _separator: str,
    root: str,
    env: str | None,
    state: object,
) -> Review:
    """Return the review that all sessions share, until the project's files change."""
    del root, env, state
    answers = _project.dataset("answers").file
    return open_review(_project, answers, _training, _rejection, separator=_separator)


def _person() -> str | None:
    """Return who answers; it stands in the address, so that a reload knows it, too."""
    known = st.query_params.get("name", "")
    typed = st.text_input(
        "Your name, which stands beside your answers",
        value=known,
        max_chars=60,
        placeholder="for example Ada",
        key="review-name",
    )
    if not typed:
        return None
    try:
        person = check_person(typed)
    except SoundxError as error:
        st.error(str(error))
        return None
    if person != known:
        st.query_params["name"] = person
    return person


# --- listen -------------------------------------------------------------------------------


def _listen(project: Project, review: Review, person: str) -> None:
    order, label = _choose_order(review)
    like: list[int] = st.session_state.get(_LIKE, []) if order == "like" else []
    if order == "like" and not like:
        st.info("Choose sounds under Search first: those that windows are to be like.")
        return
    try:
        question = review.ask(person, order, label=label, like=like)
    except SoundxError as error:
        st.info(escaped(str(error)))
        return
    left, right = st.columns([3, 2])
    with left:
        if question is None:
            st.success("Nothing is left to ask in this order.")
        else:
            _ask(review, person, question)
    with right:
        _progress(review, person)
        if question is not None:
            _what_the_model_thinks(project, review, question)
    if order == "best" and label:
        _false_alarms(review, person, label)


def _choose_order(review: Review) -> tuple[Order, str]:
    left, right = st.columns([3, 2])
    chosen = left.selectbox("Order", list(ORDERS), key=_ORDER)
    order = ORDERS[chosen]
    if order not in _OF_A_LABEL:
        return order, ""
    labels = list(review.labels)
    if order == "spread":
        labels = list(review.shipped.labels) if review.shipped else []
    label = right.selectbox("Label", labels, format_func=shown_label, key="review-label")
    return order, label or ""


def _ask(review: Review, person: str, question: Question) -> None:
    window = question.window
    st.markdown(
        f"**{escaped(_name(window.recording.file))}** · {clock(window.onset_s, tenths=True)} to "
        f"{clock(window.offset_s, tenths=True)}"
        + (f" · {window.starts_at:%Y-%m-%d %H:%M:%S}" if window.starts_at else "")
    )
    try:
        samples, before_s = review.sound(window)
    except AudioError as error:
        st.error(f"This recording cannot be heard any more: {escaped(error)}")
        if st.button("Skip it", icon=":material/skip_next:"):
            review.skip(person, window.number)
            st.rerun()
        return
    asking(
        window.number,
        samples,
        (before_s, before_s + window.offset_s - window.onset_s),
        review.keyed_labels,
        said=st.session_state.get(_SAID, ""),
        key=_KEY,
        on_pressed=partial(_take, review, person),
    )


def _take(review: Review, person: str) -> None:
    """Do what was pressed."""
    told = pressed(_KEY)
    if told is None:
        return
    kind, number, label = told
    try:
        if kind == "undo":
            taken = review.undo(person)
            st.session_state[_SAID] = (
                f"Taken back: {_shown(taken.label)}" if taken else "Nothing to take back."
            )
        elif kind == "skip":
            review.skip(person, number)
            st.session_state[_SAID] = "Skipped."
        elif kind == "learn":
            review.learn()
        else:
            said = {"background": BACKGROUND, "unsure": UNSURE}.get(kind, label)
            if review.answer(person, number, said):
                st.session_state[_SAID] = f"Answered: {_shown(said)}"
    except SoundxError as error:
        st.session_state[_SAID] = str(error)


def _progress(review: Review, person: str) -> None:
    answers = review.answers
    mine = sum(answer.answered_by == person for answer in answers)
    people = len({answer.answered_by for answer in answers})
    first, second = st.columns(2)
    first.metric("Answers", f"{len(answers):,}", help="Of all people about these recordings.")
    second.metric("Yours", f"{mine:,}")
    if people > 1:
        st.caption(f"{people} people have answered.")

    def tell() -> None:
        taught = review.taught
        if review.is_learning:
            st.caption("Learning from answers ...")
            return
        if taught is None:
            st.caption("Nothing is learnt yet: it takes two labels, or one and background.")
            return
        accuracy = taught.balanced_accuracy
        told = "" if accuracy is None else f", {accuracy:.1%} right with the recording left out"
        st.caption(f"{counted(taught.n_answers, 'answer')} learnt{told}.")
        with st.expander("What answers changed, label by label"):
            table = pd.DataFrame(review.changed)
            table["label"] = table["label"].map(shown_label)
            st.dataframe(
                table,
                hide_index=True,
                column_order=["label", "answers", "recall_before", "recall", "clips", "recordings"],
                column_config={
                    "recall_before": share("before"),
                    "recall": share("right"),
                },
            )
            st.caption(
                "Share that is right, clips and answers, by a model without their recording; "
                "the mean over labels is what stands above."
            )

    st.fragment(tell, run_every=_LEARN_POLL_S if review.is_learning else None)()


def _what_the_model_thinks(project: Project, review: Review, question: Question) -> None:
    with st.expander("What the model thinks", expanded=True):
        for label, probability in review.guesses(question.window):
            st.progress(
                min(max(probability, 0.0), 1.0),
                text=f"{escaped(shown_label(label))} {probability:.1%}",
            )
        if review.taught is None:
            st.caption("Nothing yet.")
    alike = review.neighbours(question.window)
    if alike:
        with st.expander("Labelled clips most like it"):
            paths = project.load("clip_manifest").set_index("clip_id")["path"]
            raw = project.load("raw_clips")
            for clip_id, label, likeness in alike:
                st.caption(f"{escaped(shown_label(label))}, likeness {likeness:.2f}")
                if clip_id in paths.index and (path := raw.path(paths[clip_id])).exists():
                    st.audio(str(path))


def _false_alarms(review: Review, person: str, label: str) -> None:
    """Show the label's most confident windows; one press makes all of them background."""
    with st.expander(f"Is {escaped(label)} none of the next {_BATCH}?"):
        try:
            numbers = review.next_best(label, _BATCH)
        except SoundxError as error:
            st.info(escaped(str(error)))
            return
        columns = st.columns(4)
        for place, number in enumerate(numbers):
            window = review.index.window(number)
            with columns[place % 4]:
                st.caption(
                    f"{escaped(_name(window.recording.file))} {clock(window.onset_s, tenths=True)}"
                )
                _play(review, number)
        if st.button(
            f"None of them: all {len(numbers)} are background",
            icon=":material/block:",
            disabled=not numbers,
            key="review-none",
        ):
            n = review.all_background(person, numbers, label)
            st.session_state[_SAID] = f"{counted(n, 'window')} answered: background"
            st.rerun()


def _play(review: Review, number: int) -> None:
    try:
        samples, _ = review.sound(review.index.window(number), context_s=0.25)
    except AudioError as error:
        st.caption(f"cannot be heard: {escaped(error)}")
        return
    st.audio(wav_file(samples), format="audio/wav")


# --- search -------------------------------------------------------------------------------


def _search(project: Project, review: Review) -> None:
    st.caption("Windows that sound like a clip, an upload, or windows that you mark below.")
    left, right = st.columns(2)
    like: list[Float32] = []
    with left:
        file = st.file_uploader(
            "A sound file", type=["wav", "flac", "ogg", "mp3", "aiff"], key="review-upload"
        )
        if file is not None:
            like += _of_upload(project, review, file)
        clips = _clips_to_choose(project)
        chosen = st.multiselect(
            "Clips of yours", list(clips), max_selections=50, key="review-clips"
        )
        if chosen:
            stored = project.load("embeddings").current
            like.append(clip_vectors(review.index, stored, [clips[name] for name in chosen]))
    marked: list[int] = st.session_state.setdefault(_LIKE, [])
    against: list[int] = st.session_state.setdefault(_UNLIKE, [])
    where, n = _filter(review, right)
    if marked or against:
        st.caption(
            f"Marked: {counted(len(marked), 'window')} more like these, {len(against)} less like "
            "those."
        )
        if st.button("Forget marks", icon=":material/clear:"):
            st.session_state[_LIKE], st.session_state[_UNLIKE] = [], []
            st.rerun()
    if marked:
        like.append(review.index.vectors(marked))
    unlike = review.index.vectors(against) if against else None
    if not like and unlike is None:
        return
    wanted = np.concatenate(like) if like else np.zeros((0, review.index.n_dims), np.float32)
    hits = search(review.index, wanted, unlike=unlike, n=n, where=where)
    if not hits:
        st.info("No window is left with these limits.")
        return
    columns = st.columns(3)
    for place, hit in enumerate(hits):
        number = hit.window.number
        with columns[place % 3], st.container(border=True):
            told = f"{escaped(_name(hit.window.recording.file))} {clock(hit.window.onset_s)}"
            st.caption(f"{told} · likeness {hit.likeness:.2f}")
            _play(review, number)
            st.pills(
                "Mark",
                ["more like this", "less like this"],
                label_visibility="collapsed",
                key=f"review-mark-{number}",
                on_change=partial(_mark, number),
            )
    st.button(
        "Review windows like these",
        type="primary",
        icon=":material/hearing:",
        on_click=partial(_review_like, marked or [hit.window.number for hit in hits[:3]]),
    )


def _review_like(numbers: list[int]) -> None:
    """Go on with listening, to windows like these."""
    st.session_state[_LIKE] = numbers
    st.session_state[_PART] = _LISTEN
    st.session_state[_ORDER] = next(name for name, order in ORDERS.items() if order == "like")


def _mark(number: int) -> None:
    said = st.session_state.get(f"review-mark-{number}")
    for place, word in ((_LIKE, "more like this"), (_UNLIKE, "less like this")):
        kept = [one for one in st.session_state.get(place, []) if one != number]
        st.session_state[place] = [*kept, number] if said == word else kept


def _of_upload(project: Project, review: Review, file: Any) -> list[Float32]:
    suffix = Path(file.name).suffix.lower()
    with tempfile.TemporaryDirectory(prefix="soundx-upload-") as folder:
        path = Path(folder) / f"upload{suffix}"
        path.write_bytes(file.getvalue())
        try:
            samples = decode_clip(path, max_s=_LONGEST_UPLOAD_S)
        except AudioError as error:
            st.error(f"This sound cannot be used: {escaped(error)}")
            return []
    with st.spinner("Embedding ..."):
        return [upload_vectors(review.index, project.load("embedder"), review.info, samples)]


def _clips_to_choose(project: Project) -> dict[str, str]:
    if not (project.has("clip_manifest") and project.has("embeddings")):
        return {}
    manifest = project.load("clip_manifest").head(5000)
    return dict(zip(manifest["path"], manifest["clip_id"], strict=True))


def _filter(review: Review, column: Any) -> tuple[Filter, int]:
    index = review.index
    with column:
        names = _shown_names(one.file for one in index.recordings)
        chosen = st.multiselect("Only in these recordings", list(names), key="review-only")
        hours = None
        if any(one.starts_at for one in index.recordings):
            begin, end = st.slider(
                "Time of day", time(0, 0), time(23, 59, 59), (time(0, 0), time(23, 59, 59)),
                key="review-hours",
            )  # fmt: skip
            if (begin, end) != (time(0, 0), time(23, 59, 59)):
                hours = (begin, end)
        open_only = st.toggle("Not answered yet", True, key="review-open")
        scores, bounds = None, (0.0, 1.0)
        if review.taught is not None and review.probabilities is not None:
            label = st.selectbox(
                "Probability of", ["", *review.taught.tree.labels],
                format_func=lambda name: name or "any label", key="review-score-of",
            )  # fmt: skip
            if label:
                scores = review.probabilities[:, review.taught.classes.index(label)]
                bounds = st.slider("from, to", 0.0, 1.0, (0.0, 1.0), key="review-score")
        n = st.slider("How many", 3, 60, _FOUND, 3, key="review-n")
    answered = review.answered_windows() if open_only else []
    files = [names[name] for name in chosen] or None
    return Filter(files, hours, scores, bounds, answered), n


# --- what can be said ---------------------------------------------------------------------


def _figures(review: Review) -> None:
    _estimates(review)
    st.subheader("How far recordings lie from what was learnt")
    learnt = learnt_of(review.index.projection, review.examples())
    if learnt is None:
        st.caption("There are no labelled clips to compare with.")
        return
    rows = drift_in(review.index, learnt)
    st.dataframe(
        pd.DataFrame(
            {
                "recording": list(_shown_names(row.file for row in rows)),
                "drift": [row.drift for row in rows],
                "novel": [row.novel for row in rows],
            }
        ),
        hide_index=True,
        column_config={
            "drift": st.column_config.NumberColumn(format="%.2f"),
            "novel": share("novel windows"),
        },
    )
    st.caption(
        "Drift: how far a recording's windows lie from the nearest clip, against how far clips lie "
        "from those of other recordings; 1 is as near as they are. Novel: windows farther than 95 "
        "of 100 clips. A new microphone or place shows here before its figures can be believed."
    )


def _estimates(review: Review) -> None:
    st.subheader("What answers tell about recordings nobody labelled")
    if review.shipped is None:
        st.info(
            "Estimates are of the model that is shipped, and it has not heard all of these "
            "recordings yet: listen with it first."
        )
        return
    counts = {
        label: sum(
            a.drawn_for == label and a.model_version == review.shipped.version
            for a in review.answers
        )
        for label in review.shipped.labels
    }
    labels = sorted(counts, key=lambda label: -counts[label])
    label = st.selectbox(
        "Label",
        labels,
        format_func=lambda name: f"{name} ({counts[name]} answers)",
        key="review-estimated",
    )
    if not counts[label]:
        st.caption("Answer in the order 'Spread over a label's scores' first: a hundred will do.")
        return
    known = review.estimate(label)
    _show_estimate(known, label)


def _show_estimate(known: LabelEstimate, label: str) -> None:
    density = known.density
    value = "?" if density.value is None else f"{density.value:.2%}"
    first, second = st.columns(2)
    first.metric("Share of windows that hold it", value)
    first.caption(f"95 % interval {density.low:.2%} to {density.high:.2%}.")
    most = second.number_input("False alarms a day at most", 0.0, 1e4, 10.0, key="review-most")
    found = threshold_for(known, most)
    second.caption(
        f"From a probability of {found:g} on."
        if found is not None
        else "No threshold can promise that yet: answer more, or allow more."
    )
    st.plotly_chart(_precision_chart(known, label), width="stretch")


def _precision_chart(known: LabelEstimate, label: str) -> Any:
    import plotly.graph_objects as go

    shown = [one for one in known.thresholds if one.precision.value is not None]
    x = [one.threshold for one in shown]
    figure = go.Figure(
        [
            go.Scatter(
                x=[*x, *x[::-1]],
                y=[
                    *(one.precision.high for one in shown),
                    *(one.precision.low for one in shown[::-1]),
                ],
                fill="toself",
                fillcolor="rgba(42,111,151,0.2)",
                line={"width": 0},
                hoverinfo="skip",
                name="95 % interval",
            ),
            go.Scatter(
                x=x, y=[one.precision.value for one in shown], name="precision",
                line={"color": "#2a6f97"},
            ),
        ]
    )  # fmt: skip
    figure.update_layout(
        template="plotly_white",
        height=320,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        title={"text": "Precision of windows above a threshold"},
        xaxis={"title": "threshold", "range": [0, 1]},
        yaxis={"range": [0, 1.02], "tickformat": ".0%"},
    )
    del label
    return figure


# --- exchange -----------------------------------------------------------------------------


def _exchange(review: Review, person: str) -> None:
    st.subheader("Answers as files")
    answers = review.answers
    events = answers_as_events(answers)
    recordings = recordings_of(review.index)
    with st.container(horizontal=True):
        st.download_button(
            "answers.csv",
            write_answers(answers),
            file_name="answers.csv",
            mime="text/csv",
            on_click="ignore",
            icon=":material/download:",
        )
        for name in ("audacity", "raven"):
            texts = write_events(name, recordings, events, combined=name == "raven")
            archive, content = as_one_file(texts, f"answers.{name}.zip")
            st.download_button(
                name.title(),
                content,
                file_name=archive,
                on_click="ignore",
                icon=":material/download:",
                key=f"review-download-{name}",
            )
    st.subheader("Answers from elsewhere")
    st.caption(
        "A CSV file that a review page gave, or a table of Audacity, Raven, BirdNET, Kaleidoscope "
        f"or DCASE ({', '.join(FORMATS)})."
    )
    files = st.file_uploader(
        "Files", accept_multiple_files=True, type=["csv", "txt", "tsv"], key="review-files"
    )
    for file in files or ():
        _add(review, person, file)


def _add(review: Review, person: str, file: Any) -> None:
    done = st.session_state.setdefault("review-added", {})
    if file.file_id in done:
        st.success(done[file.file_id])
        return
    try:
        answers, why_not = answers_in(file.name, file.getvalue(), review.index, person)
    except SoundxError as error:
        st.error(escaped(str(error)))
        return
    for reason in why_not[:5]:
        st.warning(escaped(reason))
    if not answers:
        st.info(f"{escaped(file.name)}: nothing in it is about these recordings.")
        return
    known = {(a.answered_by, a.stretch): a.label for a in review.answers}
    new = [a for a in answers if known.get((a.answered_by, a.stretch)) != a.label]
    labels = sorted({_shown(answer.label) for answer in new})
    st.write(
        f"{escaped(file.name)}: {counted(len(answers), 'answer')}, {len(new)} of them new"
        + (f" ({escaped(', '.join(labels[:12]))})." if new else ".")
    )
    if new and st.button("Take them", key=f"review-take-{file.file_id}", type="primary"):
        n_older = review.add_from_elsewhere(new)
        told = f"; {n_older} older than what stands" if n_older else ""
        done[file.file_id] = f"{counted(len(new) - n_older, 'answer')} taken{told}."
        st.rerun()


def _shown_names(files: Iterable[str]) -> dict[str, str]:
    """Return files by what people are shown: the last part, or all where two have the same."""
    every = list(files)
    alike = Counter(map(_name, every))
    return {_name(file) if alike[_name(file)] == 1 else file: file for file in every}


def _name(file: str) -> str:
    return file.replace("\\", "/").rpartition("/")[2] or file


def _shown(label: str) -> str:
    return "not sure" if label == UNSURE else shown_label(label)
