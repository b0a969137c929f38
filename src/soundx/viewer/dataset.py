"""Dataset: what clips there are, how they are split, how one sounds and what is like it."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from soundx.errors import AudioError, Remedy
from soundx.labels import shown_label
from soundx.markup import escaped
from soundx.viewer.home import begin
from soundx.viewer.project import Project
from soundx.viewer.sound import MAX_SHOWN_S, beginning, player
from soundx.viewer.tables import choose_row, share

ROWS_SHOWN = 1000
LABELS_SHOWN = 60
ANY = "all"


def page(project: Project) -> None:
    """Show the page."""
    st.title("Dataset")
    if not project.has("clip_manifest"):
        begin()
        return
    clips = _clips(project)
    overview, listen, rejected = st.tabs(["Overview", "Listen", "Rejected files"])
    with overview:
        _overview(clips)
    with listen:
        _listen(project, clips)
    with rejected:
        _rejected(project)


def _clips(project: Project) -> pd.DataFrame:
    """Return the manifest with each clip's side of the split, and background by its name."""
    manifest = project.load("clip_manifest")
    manifest = manifest.assign(
        label=manifest["label"].map(shown_label), category=manifest["category"].map(shown_label)
    )
    splits = project.load_or("splits", None)
    if splits is None:
        return manifest.assign(split="not split yet")
    split_of = splits.set_index("clip_id")["split"]
    return manifest.assign(split=manifest["clip_id"].map(split_of).fillna("not split yet"))


def _overview(clips: pd.DataFrame) -> None:
    import plotly.express as px

    by_label = (
        clips.groupby(["category", "label", "split"], observed=True)
        .agg(clips=("clip_id", "size"), minutes=("duration_s", lambda s: s.sum() / 60))
        .reset_index()
    )
    unit = st.segmented_control("Count", ["clips", "minutes"], default="clips", key="dataset-unit")
    unit = unit or "clips"
    largest = by_label.groupby("label")[unit].sum().nlargest(LABELS_SHOWN).index
    shown = by_label[by_label["label"].isin(largest)].copy()
    if len(largest) < by_label["label"].nunique():
        st.caption(f"The {LABELS_SHOWN} largest of {by_label['label'].nunique():,} labels.")
    shown["label"] = shown["label"].map(html.escape)
    bars = px.bar(
        shown, y="label", x=unit, color="split", orientation="h", template="plotly_white",
        category_orders={"split": ["train", "validation", "test", "field"]},
        color_discrete_sequence=["#2a6f97", "#89c2d9", "#e07a2f", "#8e5ea2"],
    )  # fmt: skip
    bars.update_layout(
        height=120 + 24 * len(largest), barmode="stack", yaxis_title=None, legend_title=None,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        margin={"l": 0, "r": 0, "t": 40, "b": 0}, yaxis={"categoryorder": "total ascending"},
    )  # fmt: skip
    st.plotly_chart(bars, width="stretch", key="dataset-bars")
    left, middle, right = st.columns(3)
    with left:
        st.subheader("Categories")
        st.dataframe(
            clips.groupby("category", observed=True)
            .agg(
                labels=("label", "nunique"),
                clips=("clip_id", "size"),
                hours=("duration_s", lambda s: s.sum() / 3600),
            )
            .round(2)
        )
    with middle:
        st.subheader("Length of clips")
        counts, edges = np.histogram(clips["duration_s"], bins=20)
        table = pd.DataFrame({"seconds": edges[:-1].round(2), "clips": counts})
        st.bar_chart(table, x="seconds", y="clips", height=260)
    with right:
        st.subheader("Sample rates")
        rates = clips["sample_rate_hz"].value_counts().rename_axis("Hz").reset_index(name="clips")
        st.dataframe(rates, hide_index=True)


def _listen(project: Project, clips: pd.DataFrame) -> None:
    chosen = _choose_on_map(project, clips)
    left, right = st.columns([2, 3])
    with left:
        chosen = _choose_in_table(clips, chosen)
    with right:
        if chosen is None:
            st.info("Choose a clip in the table, or click one on the map.")
            return
        clip = clips[clips["clip_id"] == chosen].iloc[0]
        show_clip(project, clip)
        _neighbours(project, clips, chosen)


def _choose_on_map(project: Project, clips: pd.DataFrame) -> str | None:
    if not project.has("embedding_map"):
        st.caption("There is no map yet. It is drawn by:")
        st.code(project.command(Remedy.PREPROCESS), language="bash")
        return None
    import plotly.express as px

    places = project.load("embedding_map")[["clip_id", "x", "y"]]
    places = places.merge(clips[["clip_id", "label", "category", "path"]], on="clip_id")
    by = st.segmented_control(
        "Colour the map by", ["label", "category"], default="label", key="dataset-map-by"
    )
    for column in ("label", "category", "path"):
        places[column] = places[column].map(html.escape)
    figure = px.scatter(
        places, x="x", y="y", color=by or "label", custom_data=["clip_id"],
        hover_name="path", hover_data={"x": False, "y": False, "label": True},
        template="plotly_white", render_mode="svg",
        color_discrete_sequence=px.colors.qualitative.Safe + px.colors.qualitative.Dark24,
    )  # fmt: skip
    figure.update_traces(marker={"size": 7, "opacity": 0.8})
    figure.update_layout(
        height=430, margin={"l": 0, "r": 0, "t": 10, "b": 0}, legend_title=None,
        xaxis={"visible": False}, yaxis={"visible": False}, dragmode="pan",
    )  # fmt: skip
    event: Any = st.plotly_chart(
        figure, on_select="rerun", selection_mode="points", width="stretch", key="dataset-map"
    )
    note = "Each point is a clip; alike ones lie together. Click one to hear it."
    if len(places) < len(clips):
        note += f" {len(places):,} of {len(clips):,} clips, drawn at random."
    st.caption(note)
    points = event["selection"]["points"]
    return str(points[0]["customdata"][0]) if points else None


def _choose_in_table(clips: pd.DataFrame, chosen: str | None) -> str | None:
    columns = st.columns(2)
    label = columns[0].selectbox("Label", [ANY, *sorted(clips["label"].unique())])
    split = columns[1].selectbox("Side", [ANY, *sorted(clips["split"].unique())])
    text = st.text_input("File name contains", key="dataset-text")
    wanted = np.ones(len(clips), bool)
    if label != ANY:
        wanted &= (clips["label"] == label).to_numpy()
    if split != ANY:
        wanted &= (clips["split"] == split).to_numpy()
    if text:
        wanted &= clips["path"].str.contains(text, case=False, regex=False).to_numpy()
    found = clips[wanted]
    shown = found.head(ROWS_SHOWN)[["path", "duration_s", "split", "note"]]
    row = choose_row(
        shown.rename(columns={"path": "file", "duration_s": "seconds"}).round(2),
        key="dataset-table",
        height=420,
    )
    more = f", the first {ROWS_SHOWN:,} shown" if len(found) > ROWS_SHOWN else ""
    st.caption(f"{len(found):,} clips{more}")
    if row is not None:
        return str(found["clip_id"].iloc[row])
    if chosen is None and len(found):
        return str(found["clip_id"].iloc[0])
    return chosen


def show_clip(project: Project, clip: pd.Series) -> None:
    """Show a clip's name, facts and player.

    Args:
        project: The project.
        clip: ``path``, ``label``, and where known ``duration_s``, ``sample_rate_hz``,
            ``channels``, ``format``, ``split`` and ``note``.
    """
    st.markdown(f"**{escaped(shown_label(clip['label']))}** · {escaped(clip['path'])}")
    file = project.load("raw_clips").path(clip["path"])
    try:
        waveform, more = beginning(str(file), file.stat().st_mtime_ns)
    except (AudioError, OSError) as error:
        st.warning(f"It cannot be played: {escaped(error)}")
        return
    player(waveform)
    facts = []
    if "sample_rate_hz" in clip:
        facts = [
            f"{clip['duration_s']:.2f} s",
            f"{clip['sample_rate_hz']:,} Hz",
            f"{clip['channels']} channels" if clip["channels"] > 1 else "mono",
            escaped(clip["format"]),
            escaped(clip["split"]),
        ]
    if more:
        facts.append(f"the first {MAX_SHOWN_S:.0f} s are shown")
    st.caption("Heard as the model hears it, 16 kHz mono. " + " · ".join(facts))
    if clip.get("note"):
        st.caption(escaped(clip["note"]))


def _neighbours(project: Project, clips: pd.DataFrame, chosen: str) -> None:
    if not project.has("embedding_map"):
        return
    found = project.load("embedding_map")
    found = found[found["clip_id"] == chosen]
    st.subheader("Most alike")
    if found.empty:
        st.caption("This clip is not among those on the map.")
        return
    row = found.iloc[0]
    alike = pd.DataFrame({"clip_id": row["neighbours"], "likeness": row["similarities"]})
    alike = alike.merge(clips[["clip_id", "label", "path"]], on="clip_id")
    chosen_row = choose_row(
        alike[["label", "path", "likeness"]].rename(columns={"path": "file"}),
        key="dataset-neighbours",
        columns={"likeness": share("likeness", "Cosine of their mean embeddings")},
    )
    if chosen_row is not None:
        near = alike.iloc[chosen_row]
        show_clip(project, clips[clips["clip_id"] == near["clip_id"]].iloc[0])
    else:
        st.caption("Choose one to hear it.")


def _rejected(project: Project) -> None:
    rejected = project.load_or("rejected_clips", None)
    embedding = project.load_or("embedding_report", {})
    lost = pd.DataFrame(embedding.get("rejected", {}).items(), columns=["path", "reason"])
    table = lost if rejected is None else pd.concat([rejected, lost])
    if table.empty:
        st.success("Every file that was found is used.")
        return
    st.write(f"{len(table):,} files were found and are not used.")
    st.dataframe(table.head(ROWS_SHOWN), hide_index=True)
