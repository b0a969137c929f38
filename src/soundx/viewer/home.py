"""Home: what this project has heard, how good its model is, what to do next."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import streamlit as st
from kedro.io import DatasetError

from soundx.errors import Remedy
from soundx.labels import BACKGROUND
from soundx.markup import escaped
from soundx.running.messages import run_command
from soundx.viewer.project import Project, guarded
from soundx.viewer.words import cross_validated, duration

WAYS_TO_BEGIN = (
    ("See it work", "Synthesised clips, no network, one minute.", "--env=demo"),
    (
        "Your own clips",
        "A folder with one folder for each label.",
        "--params=source=path/to/clips",
    ),
    ("A bucket", "Clips in S3; keys as in docs/buckets.md.", "--env=s3"),
)


def page(project: Project) -> None:
    """Show the page."""
    st.title("soundx")
    st.caption(f"Environment: {escaped(project.env or 'base')}")
    if not project.has("clip_manifest"):
        begin()
        return
    manifest = project.load("clip_manifest")
    hours = manifest["duration_s"].sum() / 3600
    labelled = manifest[manifest["label"] != BACKGROUND]
    n_background = len(manifest) - len(labelled)
    columns = st.columns(5 if n_background else 4)
    columns[0].metric("Clips", f"{len(labelled):,}")
    columns[1].metric("Sound", f"{hours:.2f} h" if hours >= 1 else f"{hours * 60:.1f} min")
    columns[2].metric("Labels", f"{labelled['label'].nunique():,}")
    columns[3].metric("Categories", f"{labelled['category'].nunique():,}")
    if n_background:
        text = "Clips of none of the labels: what the model learns not to answer"
        columns[4].metric("Background", f"{n_background:,}", help=text)
    left, right = st.columns(2)
    # each in words of its own: where one file is broken, the rest is still shown
    with left, st.container(border=True):
        guarded(lambda: _model(project), project.env)()
    with right, st.container(border=True):
        guarded(lambda: _last_run(project), project.env)()
    guarded(lambda: _what_next(project), project.env)()


def begin() -> None:
    """Show the three ways to begin."""
    st.info("This project has no clips yet. Three ways to begin:", icon=":material/waving_hand:")
    for column, (title, text, option) in zip(st.columns(3), WAYS_TO_BEGIN, strict=True):
        with column, st.container(border=True):
            st.subheader(title)
            st.write(text)
            st.code(f"{run_command()} {option}", language="bash", wrap_lines=True)


def _model(project: Project) -> None:
    st.subheader("Newest model")
    if not project.has("metrics"):
        st.write("No model has been evaluated yet.")
        _cross_validated(project)
        return
    metrics = project.load("metrics")
    low, high = metrics["accuracy_ci95"]
    st.metric("Accuracy on clips it never heard", f"{metrics['accuracy']:.1%}")
    st.write(
        f"95 % interval {low:.1%} to {high:.1%}, on {metrics['n_test_clips']} test clips. "
        f"Guessing the commonest label would give {metrics['majority_class_accuracy']:.1%}."
    )
    _cross_validated(project)
    if project.has("classifier"):
        version = project.load("classifier").version
        st.caption(f"Version {escaped(version)}, embedder {escaped(metrics['embedder'])}")


def _cross_validated(project: Project) -> None:
    scores = project.load_or("cross_validation", None)
    if scores is not None:
        st.write(cross_validated(scores))


def _last_run(project: Project) -> None:
    st.subheader("Last run")
    run = project.load_or("last_run", None)
    if run is None:
        st.write("Nothing is known of it.")
        return
    begun = datetime.fromisoformat(run["begun"])
    ago = (datetime.now(UTC) - begun).total_seconds()
    words = {
        "running": "has not ended",
        "failed": "failed",
        "interrupted": "was stopped",
        "finished": "finished",
    }
    st.metric(begun.strftime("%d %B %Y, %H:%M UTC"), escaped(words.get(run["state"], run["state"])))
    if run["state"] != "running":
        st.write(f"It took {duration(run['seconds'])} and began {duration(ago)} ago.")
    st.caption("Pipelines: " + escaped(", ".join(run["pipelines"])))


def _what_next(project: Project) -> None:
    st.subheader("What next")
    for advice, command in _advice(project):
        st.markdown(f"- {advice}")
        if command:
            st.code(command, language="bash")


def _advice(project: Project) -> list[tuple[str, str]]:
    advice = []
    last = {}
    with suppress(DatasetError):  # under Last run it is told that it is broken
        last = project.load_or("last_run", {})
    if last.get("state") == "failed":
        advice.append(("The last run failed: run it again to read why.", project.command()))
    if last.get("state") == "interrupted":
        advice.append(("The last run was stopped: run it again to go on.", project.command()))
    state = project.load_or("model_input_state", None)
    if not project.has("classifier"):
        advice.append(("There are clips but no model: train one.", project.command()))
    elif state is not None:
        info = project.load("classifier").info
        made_of = (info.get("manifest_digest"), info.get("embedder", {}).get("fingerprint"))
        if made_of != (state["digest"], state["fingerprint"]):
            advice.append(
                (
                    "The model is **stale**: clips, labels, splits or embedder have changed since "
                    "it was trained.",
                    project.command(Remedy.TRAIN_AND_EVALUATE),
                )
            )
    rejected = project.load_or("rejected_clips", None)
    if rejected is not None and len(rejected):
        advice.append((f"{len(rejected):,} files are not used: Dataset tells why.", ""))
    if not advice:
        advice.append(("The model is up to date. Listen to its mistakes under Evaluation.", ""))
        advice.append(("Try it on a sound of yours under Model.", ""))
    return advice
