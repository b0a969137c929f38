"""What was found in a sound: its events on a timeline, in a table, to hear, and as files."""

from __future__ import annotations

import html
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, time, timedelta
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from soundx.audio.pictures import draw_mel_spectrogram, wav_file
from soundx.classifier.bundle import Classifier
from soundx.labels import shown_label
from soundx.listening.events import Event, EventRules
from soundx.listening.formats import FORMATS, names_of, write_events
from soundx.listening.listen import Prediction, event_rules
from soundx.listening.results import windows_csv
from soundx.markup import escaped
from soundx.viewer.hearing import Sound
from soundx.viewer.sound import MAX_SHOWN_S
from soundx.viewer.tables import share
from soundx.viewer.words import clock

MAX_DRAWN = 1500
"""Events on a timeline; more make browsers slow."""
MAX_ROWS = 30
PADDING_S = 0.5

_TITLES = {
    "csv": "CSV", "audacity": "Audacity", "raven": "Raven", "kaleidoscope": "Kaleidoscope",
    "birdnet": "BirdNET", "dcase": "DCASE",
}  # fmt: skip
_MIME = {"csv": "text/csv", "tsv": "text/tab-separated-values", "zip": "application/zip"}
_LONGEST_NAME = 32
_NARROW = 0.004
_SCALE = [[0.0, "#c3dcea"], [1.0, "#1f5f86"]]
_EPOCH = datetime(1970, 1, 1)
_MINUTE_S, _HOUR_S = 60.0, 3600.0


def choose_rules(classifier: Classifier) -> EventRules:
    """Ask when a run of windows is an event, as the classifier says where nothing else is said."""
    told = event_rules(classifier)
    begins = sorted(told.on.values()) or [0.5]
    with st.expander("When is it an event?", icon=":material/tune:"):
        columns = st.columns(3)
        own = columns[0].toggle(
            "Each label from its own threshold",
            True,
            key="model-own",
            help="As the classifier's labels.json says: chosen on clips that were left out.",
        )
        on = columns[0].slider(
            "Sure from",
            0.01,
            1.0,
            round(float(np.median(begins)), 2),
            0.01,
            key="model-on",
            disabled=own,
        )
        if own:
            columns[0].caption(f"Their own lie between {begins[0]:.2f} and {begins[-1]:.2f}.")
        min_s = columns[1].number_input(
            "Shortest length, in s", 0.0, 60.0, float(told.min_s), 0.1, key="model-min"
        )
        gap_s = columns[2].number_input(
            "Joined where no further apart than, in s",
            0.0,
            600.0,
            float(told.gap_s),
            0.1,
            key="model-gap",
        )
    return event_rules(classifier, on=None if own else on, min_s=min_s, gap_s=gap_s)


def show_events(sound: Sound, prediction: Prediction, slot: str) -> None:
    """Show the events of a sound; one that is chosen is played.

    Args:
        sound: The sound.
        prediction: What is said of it.
        slot: What its widgets are called after.
    """
    events = prediction.events
    st.subheader("Events")
    if not events:
        st.info("There is no event: no label is sure enough for long enough.")
    else:
        # another sound, or other events, begin with nothing chosen
        key = f"model-{slot}-{hash((prediction.recording, events)) & 0xFFFFFFFF:08x}"
        chosen_key = f"model-{slot}-chosen"
        _timeline(prediction, key, chosen_key)
        left, right = st.columns([3, 2])
        with left:
            _table(prediction, key, chosen_key)
        with right:
            _chosen(sound, events, chosen_key)
    _downloads(prediction, sound.classifier, slot)


# --- a timeline ---------------------------------------------------------------------------


def _timeline(prediction: Prediction, key: str, chosen_key: str) -> None:
    import plotly.graph_objects as go

    events = prediction.events
    rows = list(dict.fromkeys(event.label for event in sorted(events, key=_least_sure)))
    drawn = [i for i, event in enumerate(events) if event.label in rows[:MAX_ROWS]]
    if len(drawn) > MAX_DRAWN:
        surest = sorted(drawn, key=lambda i: _least_sure(events[i]))
        drawn = sorted(surest[:MAX_DRAWN])
    # rows in order of the first event
    rows = list(dict.fromkeys(events[i].label for i in drawn))
    begin = _wall(prediction.recording.starts_at) or _EPOCH
    whole_s = max(prediction.recording.duration_s, 0.01)
    # in an hour, an event is narrower than a pixel: a mark is seen and clicked where it is
    narrow = [i for i in drawn if events[i].offset_s - events[i].onset_s < _NARROW * whole_s]
    shown = {"unselected": {"marker": {"opacity": 0.6}}, "showlegend": False}

    def look(indices: Sequence[int]) -> dict[str, Any]:
        return {
            "y": [rows.index(events[i].label) for i in indices],
            "customdata": indices,
            "hovertext": [_hover(events[i]) for i in indices],
            "hoverinfo": "text",
            **shown,
        }

    def at(indices: Sequence[int], share: float) -> Any:
        each = [events[i] for i in indices]
        offsets_s = [e.onset_s + share * (e.offset_s - e.onset_s) for e in each]
        return np.array([begin + timedelta(seconds=s) for s in offsets_s], "datetime64[ms]")

    def colour(indices: Sequence[int]) -> dict[str, Any]:
        probabilities = [events[i].probability for i in indices]
        return {"color": probabilities, "colorscale": _SCALE, "cmin": 0.0, "cmax": 1.0}

    figure = go.Figure(
        [
            go.Bar(
                **look(drawn),
                base=at(drawn, 0.0),
                x=[1000 * (events[i].offset_s - events[i].onset_s) for i in drawn],
                orientation="h",
                width=0.62,
                marker=colour(drawn),
            ),
            go.Scatter(
                **look(narrow),
                x=at(narrow, 0.5),
                mode="markers",
                marker={
                    **colour(narrow),
                    "symbol": "line-ns",
                    "size": 15,
                    "line": {**colour(narrow), "width": 3},
                },
            ),
        ]
    )
    end = begin + timedelta(seconds=whole_s)
    is_long = whole_s >= _HOUR_S or begin is not _EPOCH
    whole = "%H:%M:%S" if is_long else "%M:%S"
    figure.update_layout(
        template="plotly_white",
        height=90 + 26 * len(rows),
        margin={"l": 0, "r": 10, "t": 28, "b": 0},
        bargap=0.3,
        hovermode="closest",
        dragmode="zoom",
        xaxis={
            "type": "date",
            "showgrid": True,
            "gridcolor": "#e6ebf0",
            "range": [begin, end],
            "tickformatstops": [
                {"dtickrange": [None, 999], "value": f"{whole}.%1f"},
                {"dtickrange": [1000, None], "value": whole},
            ],
        },
        yaxis={
            "tickvals": list(range(len(rows))),
            "ticktext": [html.escape(_short(shown_label(label))) for label in rows],
            "range": [len(rows) - 0.5, -0.5],
            "fixedrange": True,
            "automargin": True,
            "zeroline": False,
        },
    )
    chart_key = f"{key}-timeline"
    st.plotly_chart(
        figure,
        on_select=partial(_choose_in_chart, events, chart_key, chosen_key),
        selection_mode="points",
        width="stretch",
        key=chart_key,
    )
    note = "Time by the clock." if begin is not _EPOCH else "Time in the recording."
    note += " The darker, the surer; draw across it to look closer. "
    note += "Click an event, here or in the table, to hear it."
    if len(drawn) < len(events):
        note += (
            f" {len(drawn):,} of {len(events):,} events are drawn, the surest; the table has all."
        )
    st.caption(note)


def _choose_in_chart(events: Sequence[Event], key: str, chosen_key: str) -> None:
    points = st.session_state[key]["selection"]["points"]
    found = points[0].get("customdata") if points else None
    index = found[0] if isinstance(found, list | tuple) else found
    _choose(events, index, chosen_key)


def _choose(events: Sequence[Event], index: Any, chosen_key: str) -> None:
    # what a browser sends may be anything
    known = isinstance(index, int) and 0 <= index < len(events)
    st.session_state[chosen_key] = events[index] if known else None


def _hover(event: Event) -> str:
    lines = [
        f"<b>{html.escape(_short(shown_label(event.label)))}</b>",
        f"{clock(event.onset_s, tenths=True)} to {clock(event.offset_s, tenths=True)}",
        f"probability {event.probability:.1%}, mean {event.mean_probability:.1%}",
    ]
    if event.starts_at:
        lines.append(f"{event.starts_at:%Y-%m-%d %H:%M:%S}")
    return "<br>".join(lines)


def _least_sure(event: Event) -> float:
    return -event.probability


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


# --- a table ------------------------------------------------------------------------------


def _table(prediction: Prediction, key: str, chosen_key: str) -> None:
    events = prediction.events
    seconds = prediction.recording.duration_s
    table = pd.DataFrame(
        {
            "onset": [_time(e.onset_s, seconds) for e in events],
            "offset": [_time(e.offset_s, seconds) for e in events],
            "label": [shown_label(e.label) for e in events],
            "category": [e.category for e in events],
            "probability": [e.probability for e in events],
        }
    )
    columns: dict[str, Any] = {"probability": share("probability")}
    for name in ("onset", "offset"):
        if seconds < _MINUTE_S:
            columns[name] = st.column_config.NumberColumn(format="%.2f s")
        else:
            columns[name] = st.column_config.TimeColumn(
                format="mm:ss.S" if seconds < _HOUR_S else "HH:mm:ss.S"
            )
    if prediction.recording.starts_at is not None:
        table.insert(2, "clock", [_wall(e.starts_at) for e in events])
        columns["clock"] = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss")
    table_key = f"{key}-table"

    def chosen() -> None:
        rows = st.session_state[table_key]["selection"]["rows"]
        _choose(events, rows[0] if rows else None, chosen_key)

    st.dataframe(
        table,
        hide_index=True,
        on_select=chosen,
        selection_mode="single-row",
        column_config=columns,
        height="auto" if len(events) <= 9 else 350,  # noqa: PLR2004  as high as what is beside it
        key=table_key,
    )


def _time(seconds: float, whole_s: float) -> float | time:
    return seconds if whole_s < _MINUTE_S else (_EPOCH + timedelta(seconds=seconds)).time()


def _wall(starts_at: datetime | None) -> datetime | None:
    """Return what a clock at the recorder showed: browsers would change it to their own zone."""
    return None if starts_at is None else starts_at.replace(tzinfo=None)


# --- to hear ------------------------------------------------------------------------------


def _chosen(sound: Sound, events: Sequence[Event], chosen_key: str) -> None:
    event: Event | None = st.session_state.get(chosen_key)
    if event not in events:  # of another sound, or by other rules
        st.caption("Choose an event to hear it.")
        return
    assert event is not None
    begin_s = max(event.onset_s - PADDING_S, 0.0)
    end_s = min(event.offset_s + PADDING_S, begin_s + MAX_SHOWN_S)
    samples = sound.samples.part(begin_s, end_s)
    st.markdown(
        f"**{escaped(shown_label(event.label))}** · {clock(event.onset_s, tenths=True)} to "
        f"{clock(event.offset_s, tenths=True)} · {event.probability:.1%}"
    )
    st.audio(wav_file(samples), format="audio/wav", autoplay=True)
    st.image(draw_mel_spectrogram(samples), width="stretch")
    note = f"With {PADDING_S:g} s around it."
    if event.offset_s + PADDING_S > end_s:
        note = f"Its first {MAX_SHOWN_S:.0f} s."
    st.caption(note)


# --- as files -----------------------------------------------------------------------------


def _downloads(prediction: Prediction, classifier: Classifier, slot: str) -> None:
    makers: dict[str, tuple[str, Callable[[], tuple[str, bytes]]]] = {
        name: (_TITLES.get(name, name.title()), partial(events_file, name, prediction))
        for name in FORMATS
    }
    makers["windows"] = ("Windows (CSV)", partial(windows_file, prediction, classifier))
    st.caption("Events as files of other programs; every window's probabilities as a table.")
    with st.container(horizontal=True, key=f"model-{slot}-downloads"):
        for name, (title, make) in makers.items():
            # events are few, and names are known once they are written; windows are many
            content: bytes | Callable[[], bytes]
            if name == "windows":
                file, content = _windows_name(prediction), lambda make=make: make()[1]
            else:
                file, content = make()
            st.download_button(
                title,
                content,
                file_name=file,
                mime=_MIME.get(file.rpartition(".")[2], "text/plain"),
                on_click="ignore",
                icon=":material/download:",
                key=f"model-{slot}-download-{name}",
            )


def events_file(name: str, prediction: Prediction) -> tuple[str, bytes]:
    """Return the events of a sound in a format, as one file: its name and content.

    Several files of one format come as a ZIP archive.
    """
    texts = write_events(name, [prediction.recording], prediction.events)
    stem = _stem(prediction)
    file, content = as_one_file(texts, f"{stem}.{name}.zip")
    return file if file.startswith(stem) else f"{stem}.{file}", content


def as_one_file(texts: Mapping[str, str], archive: str) -> tuple[str, bytes]:
    """Return files as one: the only one there is, or a ZIP archive of that name.

    Args:
        texts: Files by relative name.
        archive: What the archive is called.
    """
    if len(texts) == 1:
        ((path, text),) = texts.items()
        return path.rpartition("/")[2], text.encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archived:
        for path, text in texts.items():
            archived.writestr(path, text)
    return archive, packed.getvalue()


def windows_file(prediction: Prediction, classifier: Classifier) -> tuple[str, bytes]:
    """Return every window's probabilities as a CSV file: its name and content."""
    return _windows_name(prediction), "".join(windows_csv([prediction], classifier)).encode()


def _windows_name(prediction: Prediction) -> str:
    return f"{_stem(prediction)}.windows.csv"


def _stem(prediction: Prediction) -> str:
    return names_of([prediction.recording])[0].rpartition("/")[2]
