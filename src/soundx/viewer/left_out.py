"""What cross-validation found: figures, what more recordings would bring, clips to hear again.

Two tabs of the Evaluation page. They are about clips, labels and what is trained, not about one
model that is kept: every clip was predicted by a model that did not learn from its recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from soundx.errors import Remedy
from soundx.figures.learning_curve import draw_learning_curve
from soundx.figures.reliability import draw_reliability
from soundx.labels import BACKGROUND
from soundx.markup import escaped
from soundx.viewer.dataset import show_clip
from soundx.viewer.project import Project
from soundx.viewer.tables import choose_row, percent, share

ROWS_SHOWN = 500

_FIGURES = (
    ("accuracy_mean", "Accuracy", "Share of left-out clips that are right, mean over the folds"),
    ("balanced_accuracy_mean", "Balanced accuracy", "Mean over labels: rare ones count the same"),
    ("category_accuracy_mean", "Category accuracy", "The right category, whatever the label"),
    (
        "hard_routed_accuracy_mean",
        "Hard-routed",
        "If the best label of the best category were taken: what two models one after the other "
        "would answer",
    ),
    ("majority_class_accuracy", "Guessing", "If the commonest label were always said"),
)


def left_out(project: Project) -> None:
    """Show the tab of figures."""
    if not _is_there(project, "cross_validation", "No clip has been left out yet."):
        return
    scores = project.load("cross_validation")
    for column, (name, title, text) in zip(st.columns(len(_FIGURES)), _FIGURES, strict=True):
        column.metric(title, f"{scores[name]:.1%}", help=text)
    _how_sure(scores)
    low, high = scores["accuracy_ci95"]
    folds = ", ".join(f"{accuracy:.1%}" for accuracy in dict(scores["accuracy_by_fold"]).values())
    st.caption(
        f"{scores['n_clips']:,} clips of {scores['n_groups']:,} recordings, each predicted by a "
        f"model that did not learn from its fold; accuracy between {low:.1%} and {high:.1%} with "
        f"95 % confidence; fold by fold {folds}; head {escaped(scores['head'])}, embedder "
        f"{escaped(scores['embedder'])}."
    )
    _leaks(scores)
    _not_knowing(scores["rejection"])
    left, right = st.columns(2)
    with left:
        _reliability(project, scores)
    with right:
        _more_recordings(project)
    _per_class(project, scores["rejection"]["thresholds"])


def _how_sure(scores: Mapping[str, Any]) -> None:
    left, middle, _ = st.columns([1, 1, 3])
    left.metric(
        "Calibration error",
        f"{scores['calibration_error']:.1%}",
        help="Gap between how sure and how often right",
    )
    middle.metric(
        "Without calibration",
        f"{scores['calibration_error_before']:.1%}",
        help="The same before the temperature that other recordings chose",
    )


def _leaks(scores: Mapping[str, Any]) -> None:
    """Say what other ways to count would have said."""
    leaky = scores["leaky_accuracy_mean"]
    if not scores["grouped"]:
        st.warning(
            "Some recordings stand in two folds, as the official folds have them: the accuracy "
            "may flatter."
        )
    if leaky is not None:
        st.markdown(
            f"Had recordings stood on both sides, it would have looked like **{leaky:.1%}** "
            f"instead of **{scores['accuracy_mean']:.1%}**: do not compare with figures that were "
            "won so."
        )
    copies, without = scores["n_near_duplicates"], scores["accuracy_without_near_duplicates"]
    if copies and without is not None:
        st.markdown(
            f"Pairs of clips that sound the same: {copies:,} (under *Suspect labels*). Without "
            f"those that two folds share, accuracy is {without:.1%}."
        )


def _not_knowing(rejection: Mapping[str, Any]) -> None:
    st.subheader("When it says that it does not know")
    columns = st.columns(4)
    columns[0].metric(
        "Answered",
        f"{rejection['coverage']:.1%}",
        help="Share of clips whose probability reaches the label's threshold",
    )
    columns[1].metric(
        "Right, where answered",
        _percent(rejection["precision"]),
        help=f"Thresholds are chosen for {rejection['precision_wanted']:.0%}",
    )
    columns[2].metric(
        "Strange labels told apart",
        "unknown" if (area := rejection["auroc_of_labels_left_out"]) is None else f"{area:.3f}",
        help="Area under the ROC curve of known labels against labels never learnt, each fifth of "
        "the labels left out in turn: 1 is perfect, 0.5 is chance",
    )
    alarms = rejection["false_alarms_per_hour"]
    columns[3].metric(
        "False alarms an hour",
        "unknown" if alarms is None else f"{alarms:.1f}",
        help="Answers to background that was left out. Folders :BACKGROUND hold such sounds; "
        f"there are {rejection['n_background_clips']:,} clips of it",
    )


def _reliability(project: Project, scores: Mapping[str, Any]) -> None:
    st.subheader("Is it right as often as it is sure?")
    bins = project.load("cross_validation_reliability")
    after = bins["calibrated"].astype(bool)
    figure = draw_reliability(bins[after], before=bins[~after])
    st.plotly_chart(figure, width="stretch", key="left-out-reliability")
    st.caption(
        "On the dotted line it is. The pale line is without calibration: an error of "
        f"{scores['calibration_error_before']:.1%} instead of {scores['calibration_error']:.1%}."
    )


def _more_recordings(project: Project) -> None:
    st.subheader("What more recordings would bring")
    curve = project.load("learning_curve")
    st.plotly_chart(
        draw_learning_curve(curve["points"]), width="stretch", key="left-out-learning-curve"
    )
    st.caption("Each point: so many of the recordings of every label, the same left-out clips.")
    table = pd.DataFrame(
        [{"label": label, **forecast} for label, forecast in curve["by_label"].items()]
    )
    table["gain"] = table["recall_with_ten_more"] - table["recall"]
    st.markdown("**Ten recordings more**, by label, where they would help most first")
    st.dataframe(
        table.sort_values("gain", ascending=False, kind="stable").drop(columns="gain"),
        hide_index=True,
        column_config={
            "n_groups": st.column_config.NumberColumn("recordings"),
            "recall": percent("found today", "Of its left-out clips, how many are right"),
            "recall_with_ten_more": percent(
                "with ten more", "If errors go on to fall as they fell up to here"
            ),
        },
        height=_height(table),
        key="left-out-ten-more",
    )


def _per_class(project: Project, thresholds: Mapping[str, float]) -> None:
    st.subheader("Each label")
    table = project.load("cross_validation_per_class").copy()
    table["threshold"] = table["label"].astype(str).map(dict(thresholds))
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "n_clips": st.column_config.NumberColumn("clips"),
            "n_groups": st.column_config.NumberColumn("recordings"),
            "precision": share("precision", "Of the clips called so, how many are"),
            "recall": share("recall", "Of its clips, how many are found"),
            "recall_ci95_low": percent("recall from", "95 % interval over recordings"),
            "recall_ci95_high": percent("recall to", "95 % interval over recordings"),
            "f1": share("F1", "Precision and recall together"),
            "mean_certainty": share("mean certainty", "Mean probability of the true label"),
            "threshold": percent("threshold", "Below it the answer is unknown"),
        },
        height=_height(table),
        key="left-out-classes",
    )


def suspects(project: Project) -> None:
    """Show the tab of clips to hear again."""
    if not _is_there(project, "suspect_labels", "No label has been doubted yet."):
        return
    st.subheader("Labels that may be wrong")
    clips = project.load("suspect_labels")
    if clips.empty:
        st.success("Every left-out clip was called by its label.", icon=":material/check:")
    else:
        _suspect(project, clips)
    st.subheader("Clips that sound the same")
    pairs = project.load_or("near_duplicates", None)
    if pairs is None or pairs.empty:
        st.success("No two recordings sound the same.", icon=":material/check:")
    else:
        _pairs(project, pairs)


def _suspect(project: Project, clips: pd.DataFrame) -> None:
    left, right = st.columns([2, 3])
    shown = clips.head(ROWS_SHOWN)
    with left:
        row = choose_row(
            shown[["label", "predicted_label", "certainty", "probability", "path"]],
            key="suspect-clips",
            columns={
                "predicted_label": "the model says",
                "certainty": percent("of the label", "Probability of the label it has"),
                "probability": percent("of the answer", "Probability of what the model says"),
                "path": "file",
            },
            height=_height(shown),
        )
        st.caption(
            f"{len(clips):,} clips that a model which never heard their recording calls "
            "otherwise, the most suspect first. Many are hard, not wrong: listen. A label is "
            "mended in metadata.csv, or by moving the file."
        )
    with right:
        clip = shown.iloc[row or 0]
        show_clip(project, clip[["path", "label"]])
        st.markdown(
            f"The model says **{escaped(clip['predicted_label'])}** "
            f"({clip['probability']:.0%}) and gives its label {clip['certainty']:.0%}."
        )


def _pairs(project: Project, pairs: pd.DataFrame) -> None:
    shown = pairs.head(ROWS_SHOWN)
    row = choose_row(
        shown[
            [
                "label", "other_label", "similarity", "across_labels", "across_folds",
                "path", "other_path",
            ]
        ],
        key="suspect-pairs",
        columns={
            "other_label": "label of the other",
            "similarity": st.column_config.NumberColumn("likeness", format="%.4f"),
            "across_labels": "two labels",
            "across_folds": "two folds",
            "path": "file",
            "other_path": "the other file",
        },
        height=min(_height(shown), 300),
    )  # fmt: skip
    st.caption(
        f"{len(pairs):,} pairs of recordings, the most alike first. Copies under two labels are "
        "wrong once; copies in two folds flatter the figures: give them one group in metadata.csv."
    )
    pair = shown.iloc[row or 0]
    left, right = st.columns(2)
    with left:
        show_clip(project, _named(pair["path"], pair["label"]))
    with right:
        show_clip(project, _named(pair["other_path"], pair["other_label"]))


def _named(path: str, label: Any) -> pd.Series:
    # background has no label, which a file of commas reads as missing
    shown = "background" if pd.isna(label) or label == BACKGROUND else label
    return pd.Series({"path": path, "label": shown})


def _is_there(project: Project, name: str, otherwise: str) -> bool:
    if project.has(name):
        return True
    st.info(f"{otherwise} It takes seconds, and tells more than one test split:")
    st.code(project.command(Remedy.CROSS_VALIDATE), language="bash")
    return False


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _height(table: pd.DataFrame) -> int:
    return min(35 * (len(table) + 1) + 2, 500)  # rows of 35 pixels, and the head
