"""The Train page: start a run behind a password, watch it, stop it.

The page only shows what ``Runs`` knows, so every browser tab shows the same run. What a run
printed is shown as text, never as Markdown or HTML.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st
from kedro.io import DatasetError
from pydantic import ValidationError

from soundx.errors import SoundxError
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.splitting import SplitOptions
from soundx.running.catalog import open_catalog, read_parameters
from soundx.running.messages import message_for_people
from soundx.running.runs import CHOICES, LIMITS, PASSWORD, PIPELINES, Run, Runs
from soundx.viewer.gate import sign_out, signed_in
from soundx.viewer.words import duration

if TYPE_CHECKING:
    from streamlit.navigation.page import Page

_NOTICE = "train_notice"
_HEAD = "training.head"
_POLL_S = 1.0
_IDLE_POLL_S = 5.0


@dataclass(frozen=True)
class _Field:
    name: str
    label: str
    help: str
    heads: tuple[str, ...]
    step: float = 1
    format: str | None = None


_WORDS = {
    "ridge": "ridge: closed form, on pooled frames",
    "dense": "dense: a network, on pooled frames",
    "seed": "seed: networks on single frames, one over categories, one inside each",
}
"""What each head is, in a line."""

_EVERY_HEAD = tuple(_WORDS)
_BY_DESCENT = ("dense", "seed")
_POOLED = ("ridge", "dense")

_FIELDS = (
    _Field(
        "training.windows_per_clip",
        "Stretches a clip",
        "Stretches of one to five frames learnt beside each clip, so that short sounds are known "
        "too.",
        _POOLED,
    ),
    _Field(
        "training.window_weight",
        "Weight of a stretch",
        "Where a clip's is 1.",
        _POOLED,
        step=0.05,
        format="%.2f",
    ),
    _Field(
        "training.max_epochs",
        "Epochs at most",
        "Passes over the training frames. Training ends earlier where the validation loss no "
        "longer falls.",
        _BY_DESCENT,
    ),
    _Field(
        "training.learning_rate",
        "Learning rate",
        "Adam's step size.",
        _BY_DESCENT,
        step=5e-5,
        format="%g",
    ),
    _Field("training.batch_size", "Batch size (frames)", "Frames a step.", _BY_DESCENT),
    _Field(
        "training.dropout",
        "Dropout (share of units)",
        "Share of hidden units silenced in training, from 0 to 0.95.",
        _BY_DESCENT,
        step=0.05,
        format="%.2f",
    ),
    _Field(
        "training.seed",
        "Seed of the training",
        "Stretches, weights, shuffling and dropout are drawn from it, where the head has them.",
        _EVERY_HEAD,
    ),
    _Field(
        "splits.seed",
        "Seed of the split",
        "Another seed draws other test clips. It takes effect in preprocessing.",
        _EVERY_HEAD,
    ),
)
_COLUMNS = 3


def page(project: Path, env: str | None = None, evaluation_page: Page | None = None) -> None:
    """Draw the page.

    Args:
        project: The project's folder, with ``conf/``.
        env: Environment, or None.
        evaluation_page: What the result of a run is linked to.
    """
    st.title("Train")
    password = os.environ.get(PASSWORD)
    if not password:
        st.info("Nothing can be started from here: no password is set.")
        st.write("To enable it, set one and start the viewer anew:")
        st.code(f"{PASSWORD}='a long password' make app", language=None, wrap_lines=True)
        return
    if not signed_in(password, "Who knows the password may start and stop runs."):
        return
    runs = Runs.of(project, env)
    run = runs.current()
    drawn = _mark(run)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"Environment: {env or 'base'}")
        if st.button("Sign out"):
            sign_out()
            st.rerun()
    if notice := st.session_state.pop(_NOTICE, None):
        st.warning(notice)

    def watch() -> None:
        current = runs.current()
        if _mark(current) != drawn:
            st.rerun()
        if current is not None and current.running:
            _show_running(runs, current)
        elif current is not None:
            _show_result(current, project, evaluation_page)

    running = run is not None and run.running
    st.fragment(watch, run_every=_POLL_S if running else _IDLE_POLL_S)()
    with _errors_shown(env):
        _choose(runs, project, env, disabled=running)


def _show_running(runs: Runs, run: Run) -> None:
    progress = run.progress
    st.subheader("Under way")
    st.caption(f"{_started(run)}, {duration(run.elapsed_s or 0)} so far")
    text = "Starting"
    if progress.nodes:
        text = f"Step {min(progress.nodes_done + 1, progress.nodes)} of {progress.nodes}"
    if progress.step:
        total = "" if progress.total is None else f" of {progress.total:,}"
        text += f": {progress.step}, {progress.done:,}{total}"
    st.progress(progress.share)
    st.text(text)
    if st.button("Stop", key="train_stop"):
        with st.spinner("Stopping"):
            try:
                runs.stop()
            except SoundxError as error:
                st.session_state[_NOTICE] = str(error)
        st.rerun()
    lines = run.log(15)
    st.code("\n".join(lines) or "Nothing printed yet.", language=None, wrap_lines=True)


def _show_result(run: Run, project: Path, evaluation_page: Page | None) -> None:
    st.subheader("Last run")
    st.caption(_started(run))
    took = "" if run.elapsed_s is None else f" after {duration(run.elapsed_s)}"
    if run.exit_code == 0:
        st.success(f"Finished{took}.")
        if "evaluation" in run.pipelines:
            with _errors_shown(run.env):
                _show_accuracy(project, run.env)
            if evaluation_page is not None:
                st.page_link(
                    evaluation_page, label="See the evaluation", icon=":material/arrow_forward:"
                )
    elif run.stopped:
        st.warning(f"Stopped{took}. Whole steps are kept; the next run uses them.")
    elif run.exit_code is None:
        st.error(
            "Ended without saying why: it was killed, or the machine went down. Start it again; "
            "what was done is kept."
        )
    else:
        st.error(f"Failed{took}.")
        st.code(run.message or "It printed nothing.", language=None, wrap_lines=True)
    with st.expander("Log"):
        st.code("\n".join(run.log()) or "Nothing printed.", language=None, wrap_lines=True)


def _show_accuracy(project: Path, env: str | None) -> None:
    catalog = open_catalog(project, env)
    if not catalog.exists("metrics"):
        return
    metrics = catalog.load("metrics")
    low, high = metrics["accuracy_ci95"]
    st.metric("Accuracy on clips it never heard", f"{metrics['accuracy']:.1%}")
    st.caption(
        f"95 % interval {low:.1%} to {high:.1%}, {metrics['n_test_clips']} test clips; guessing "
        f"the commonest label would give {metrics['majority_class_accuracy']:.1%}"
    )


def _choose(runs: Runs, project: Path, env: str | None, *, disabled: bool) -> None:
    st.subheader("New run")
    defaults = _defaults(project, env)
    catalog = open_catalog(project, env)
    embedded = catalog.exists("embeddings") and catalog.exists("model_input")
    chosen = st.multiselect(
        "Pipelines",
        PIPELINES,
        default=("training", "evaluation") if embedded else PIPELINES,
        help="They run in this order, whatever order they are chosen in.",
        disabled=disabled,
    )
    head = st.selectbox(
        "Head",
        CHOICES[_HEAD],
        index=CHOICES[_HEAD].index(defaults[_HEAD]),
        format_func=lambda word: _WORDS.get(word, word),
        help=f"What is trained. `{_HEAD}`, {defaults[_HEAD]} unless set here.",
        key=f"train_{_HEAD}",
        disabled=disabled,
    )
    params: dict[str, float | str] = {} if head == defaults[_HEAD] else {_HEAD: head}
    fields = [field for field in _FIELDS if head in field.heads]
    columns: list[Any] = []
    for field in fields:
        columns = columns or list(st.columns(_COLUMNS))
        default = defaults[field.name]
        low, high = LIMITS[field.name]
        value = columns.pop(0).number_input(
            field.label,
            min_value=min(low, default),
            max_value=max(high, default),
            value=default,
            step=type(low)(field.step),
            format=field.format,
            help=f"{field.help} `{field.name}`, {default:g} unless set here.",
            key=f"train_{field.name}",
            disabled=disabled,
        )
        if value != default:
            params[field.name] = value
    if "splits.seed" in params and "preprocessing" not in chosen:
        st.info("Another seed of the split takes effect in preprocessing: choose that, too.")
    if disabled:
        st.caption("One run at a time: this one has to end first.")
    if st.button("Start", type="primary", disabled=disabled):
        try:
            runs.start(chosen, params)
        except SoundxError as error:
            st.session_state[_NOTICE] = str(error)
        st.rerun()


def _defaults(project: Path, env: str | None) -> dict[str, Any]:
    """Return what the fields are without the page, numbers of their limits' type."""
    conf = read_parameters(project, env)
    try:
        training = TrainingOptions.model_validate(conf.get("training") or {})
        splits = SplitOptions.model_validate(conf.get("splits") or {})
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(str(part) for part in wrong["loc"])
        raise SoundxError(f"conf/ cannot be used: {where}: {wrong['msg']}") from error
    options = {"training": training, "splits": splits}
    defaults: dict[str, Any] = {_HEAD: training.head}
    for name, (low, _) in LIMITS.items():
        group, _, option = name.partition(".")
        defaults[name] = type(low)(getattr(options[group], option))
    return defaults


@contextmanager
def _errors_shown(env: str | None) -> Iterator[None]:
    """Show what a person can mend: a broken configuration, data that cannot be reached."""
    try:
        yield
    except (SoundxError, DatasetError) as error:
        st.error("This cannot be shown.")
        st.code(message_for_people(error, env), language=None, wrap_lines=True)


def _mark(run: Run | None) -> tuple[str, bool] | None:
    return None if run is None else (run.folder.name, run.running)


def _started(run: Run) -> str:
    return f"{', '.join(run.pipelines)}; started {run.started.astimezone():%-d %B %Y, %H:%M:%S}"
