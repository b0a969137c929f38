"""Evaluation: how good a model is, where it errs, and how two models compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from soundx.classifier.versions import ModelVersion
from soundx.errors import SoundxError
from soundx.figures.confusion import draw_confusion
from soundx.figures.reliability import draw_reliability
from soundx.markup import escaped
from soundx.modelling.splitting import FIELD
from soundx.viewer.dataset import show_clip
from soundx.viewer.left_out import left_out, suspects
from soundx.viewer.project import Project
from soundx.viewer.tables import choose_row, percent, share

NONE = "none"
PUBLISHED = "published: "
CLIPS_SHOWN = 200
_OF_THE_PROJECT = ("Left out", "Suspect labels")


def page(project: Project) -> None:
    """Show the page."""
    st.title("Evaluation")
    versions = project.load("model_versions")
    local = [version for version in versions if versions[version].is_evaluated]
    releases = _releases(project)
    if not local and not releases:
        st.info("No model has been evaluated yet. Train one, here or with:")
        st.code(project.command(), language="bash")
        if project.has("cross_validation"):
            _without_a_model(project)
        return
    choices = [*reversed(local), *(PUBLISHED + version for version in reversed(list(releases)))]
    left, right = st.columns(2)
    chosen = left.selectbox("Model version", choices, help="Newest first")
    other = right.selectbox("Beside it", [NONE, *(c for c in choices if c != chosen)])
    if other == NONE:
        _overall(_metrics(versions, releases, chosen), None)
    else:
        _overall(_metrics(versions, releases, chosen), _metrics(versions, releases, other))
    if chosen.startswith(PUBLISHED):
        st.caption("Of a published model these figures are kept; its clips are not.")
        _without_a_model(project)
        return
    model = versions[chosen]
    beside = versions[other] if other in local else None
    classes, confusion, certain, never_heard, doubted = st.tabs(
        ["Each label", "Confusions, by ear", "How sure it is", *_OF_THE_PROJECT]
    )
    with classes:
        _per_class(model, beside)
    with confusion:
        _confusion(project, model)
    with certain:
        _reliability(model)
    with never_heard:
        left_out(project)
    with doubted:
        suspects(project)


def _without_a_model(project: Project) -> None:
    """Show what is known of the clips, whatever model is looked at."""
    never_heard, doubted = st.tabs(_OF_THE_PROJECT)
    with never_heard:
        left_out(project)
    with doubted:
        suspects(project)


def _releases(project: Project) -> dict[str, dict[str, Any]]:
    """Return what was published, where a bucket is configured and answers."""
    if not st.toggle(
        "Show published models too",
        help="Asks the bucket or folder named in conf (releases)",
        key="evaluation-published",
    ):
        return {}
    try:
        described, damaged = project.catalog.load("releases").describe_all()
        for error in damaged:
            st.warning(escaped(error))
        return dict(described)
    except (SoundxError, OSError, ValueError) as error:
        st.warning(f"The published models cannot be read: {escaped(error)}")
    except Exception as error:
        st.warning(f"The published models cannot be read ({type(error).__name__}).")
    return {}


def _metrics(versions: Any, releases: Any, chosen: str) -> dict[str, Any]:
    if chosen.startswith(PUBLISHED):
        return dict(releases[chosen.removeprefix(PUBLISHED)]["metrics"])
    return dict(versions[chosen].metrics)


_FIGURES = (
    ("accuracy", "Accuracy", "Share of test clips whose most probable label is right", True),
    ("balanced_accuracy", "Balanced accuracy", "Mean over labels: rare ones count the same", True),
    ("category_accuracy", "Category accuracy", "The right category, whatever the label", True),
    ("top3_accuracy", "Right in the top three", "True label among the three most probable", True),
    ("macro_f1", "Macro F1", "Mean over labels of precision and recall together", True),
    ("mean_certainty", "Mean certainty", "Mean probability given to the true label", True),
    ("calibration_error", "Calibration error", "Gap between how sure and how often right", False),
)


def _overall(metrics: dict[str, Any], other: dict[str, Any] | None) -> None:
    low, high = metrics["accuracy_ci95"]
    columns = st.columns(len(_FIGURES))
    for column, (name, title, text, more_is_better) in zip(columns, _FIGURES, strict=True):
        if name not in metrics:
            continue
        delta = None
        if other is not None and name in other:
            delta = f"{100 * (metrics[name] - other[name]):+.1f} points"
        column.metric(
            title,
            f"{metrics[name]:.1%}",
            delta,
            delta_color="normal" if more_is_better else "inverse",
            help=text,
        )
    st.caption(
        f"{metrics['n_test_clips']} test clips of recordings it never heard; accuracy between "
        f"{low:.1%} and {high:.1%} with 95 % confidence; embedder {escaped(metrics['embedder'])}; "
        f"guessing the commonest label would give {metrics['majority_class_accuracy']:.1%}."
    )
    if "n_test_background_clips" in metrics:
        st.caption(
            f"{metrics['false_alarms_per_hour']:.1f} false alarms an hour on "
            f"{metrics['n_test_background_clips']} test clips of background."
        )
    if "field_accuracy" in metrics:
        st.caption(
            f"On {metrics['n_field_clips']} field recordings: {metrics['field_accuracy']:.1%}."
        )


def _per_class(model: ModelVersion, beside: ModelVersion | None) -> None:
    table = model.per_class.copy()
    if beside is not None:
        before = beside.per_class.set_index("label")
        for name in ("recall", "mean_certainty"):
            table[f"{name} beside"] = table["label"].map(before[name])
    config = {
        name: share(title, explanation)
        for name, title, explanation in (
            ("precision", "precision", "Of the clips called so, how many are"),
            ("recall", "recall", "Of its clips, how many are found"),
            ("f1", "F1", "Precision and recall together"),
            ("mean_certainty", "mean certainty", "Mean probability of the true label"),
            ("recall beside", "recall beside", "Of the other model"),
            ("mean_certainty beside", "mean certainty beside", "Of the other model"),
        )
    }
    config["n_test_clips"] = st.column_config.NumberColumn("test clips")
    config["recall_ci95_low"] = percent("recall from", "95 % interval")
    config["recall_ci95_high"] = percent("recall to", "95 % interval")
    height = min(35 * (len(table) + 1) + 2, 700)  # rows of 35 pixels, and the head
    st.dataframe(table, hide_index=True, column_config=config, height=height)


def _confusion(project: Project, model: ModelVersion) -> None:
    labels = [str(label) for label in model.confusion.index]
    values = model.confusion.to_numpy()
    truth, guess = np.nonzero(values)
    figure = draw_confusion(model.confusion)
    event: Any = st.plotly_chart(
        figure, on_select="rerun", selection_mode="points", width="stretch", key="evaluation-cells"
    )
    points = event["selection"]["points"]
    st.caption("Click a square, or choose here, to hear its clips.")
    if points:
        first, second = (int(i) for i in points[0]["customdata"])
        # before the boxes are made: what is clicked shows in them
        if st.session_state.get("evaluation-clicked") != (first, second):
            st.session_state["evaluation-clicked"] = (first, second)
            st.session_state["evaluation-truth"] = labels[first]
            st.session_state["evaluation-guess"] = labels[second]
    wrong = [(t, g) for t, g in zip(truth, guess, strict=True) if t != g]
    worst = max(wrong, key=lambda cell: values[cell], default=(0, 0))
    left, right = st.columns(2)
    st.session_state.setdefault("evaluation-truth", labels[worst[0]])
    st.session_state.setdefault("evaluation-guess", labels[worst[1]])
    for key in ("evaluation-truth", "evaluation-guess"):
        if st.session_state[key] not in labels:  # of another model
            st.session_state[key] = labels[0]
    true_label = left.selectbox("True label", labels, key="evaluation-truth")
    called = right.selectbox("Called", labels, key="evaluation-guess")
    clips = model.predictions
    clips = clips[
        (clips["split"] != FIELD)
        & (clips["label"] == true_label)
        & (clips["predicted_label"] == called)
    ]
    if clips.empty:
        st.info("No test clip lies there.")
        return
    _clips_of_a_cell(project, clips)


def _clips_of_a_cell(project: Project, clips: pd.DataFrame) -> None:
    left, right = st.columns([2, 3])
    with left:
        shown = clips.sort_values("certainty").head(CLIPS_SHOWN)
        row = choose_row(
            shown[["path", "probability", "certainty"]].rename(columns={"path": "file"}),
            key="evaluation-clips",
            columns={
                "probability": percent("of the answer"),
                "certainty": percent("of the truth"),
            },
        )
        st.caption(f"{len(clips):,} clips, the least certain first")
    with right:
        clip = shown.iloc[row or 0]
        show_clip(project, clip)
        tops = [(clip[f"top{n}"], clip[f"top{n}_probability"]) for n in (1, 2, 3)]
        said = ", ".join(f"{escaped(name)} {p:.0%}" for name, p in tops if name is not None)
        answer = clip.get("answer", clip["predicted_label"])  # of older models always a label
        st.caption(f"The model: {said}; its answer: {escaped(answer)}")


def _reliability(model: ModelVersion) -> None:
    bins = model.reliability
    if bins is None:
        st.info("This model was evaluated before reliability was kept: run the evaluation again.")
        return
    left, right = st.columns(2)
    with left:
        st.subheader("Is it right as often as it is sure?")
        figure = draw_reliability(bins)
        st.plotly_chart(figure, width="stretch", key="evaluation-reliability")
        st.caption("On the dotted line it is. Bars are 95 % intervals: few clips, long bars.")
    with right:
        st.subheader("Certainty of the true label")
        table = model.per_class[["label", "mean_certainty", "n_test_clips"]]
        st.dataframe(
            table.sort_values("mean_certainty"),
            hide_index=True,
            column_config={
                "mean_certainty": share("mean certainty"),
                "n_test_clips": st.column_config.NumberColumn("test clips"),
            },
        )
