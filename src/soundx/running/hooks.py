"""What soundx does around a Kedro run: S3 settings, its progress, a short summary at its end."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline
from rich.console import Console
from rich.table import Table
from rich.text import Text

from soundx.datasets.where import where
from soundx.labels import BACKGROUND
from soundx.progress import counted, tell_progress
from soundx.running.catalog import read_s3_settings
from soundx.running.given import check_given
from soundx.running.messages import next_steps

if TYPE_CHECKING:
    import pandas as pd


WORTH_A_REFIT = 0.005
"""Accuracy that the second half of the recordings must bring for a refit to be spoken of."""


_UNREADABLE = (DatasetError, LookupError)
"""What is raised where a file is gone or broken, and where another is in its place."""


class S3Hooks:
    """Give S3 settings and keys to everything that reads or writes a bucket."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read ``.env``, the settings in ``globals.yml`` and the keys in ``credentials.yml``."""
        read_s3_settings(context.config_loader, context.project_path)


class GivenHooks:
    """Stop a run that was given a parameter nobody knows, or a value that cannot be."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Hold what the run was given against what is known."""
        check_given(context.config_loader, context.project_path)


class LockHooks:
    """Let one run at a time work on a ``data_root``; a second one says who is at work, and ends.

    A dry run writes nothing and asks for nothing. Only what runs pipelines takes the lock: who
    reads (the viewer, Kedro-Viz, a notebook) never waits.
    """

    def __init__(self) -> None:
        self._held: dict[int, Callable[[], None]] = {}

    # before anything else is written, and given back after everything else
    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        """Take the lock."""
        self._give_back()  # of a run in this thread that was interrupted: Kedro tells no hook
        if "run_lock" not in catalog or _is_dry(pipeline, catalog):
            return
        pipelines = run_params.get("pipeline_names") or ["__default__"]
        take = catalog.load("run_lock")
        given_back = take(f"kedro run --pipelines={','.join(pipelines)}")
        self._held[threading.get_ident()] = given_back
        weakref.finalize(catalog, given_back)

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """Give the lock back."""
        self._give_back()

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Give the lock back."""
        self._give_back()

    def _give_back(self) -> None:
        self._held.pop(threading.get_ident(), lambda: None)()


class ProgressHooks:
    """Tell how many nodes are done, to those who watch from another process."""

    def __init__(self) -> None:
        self._begun: Iterator[int] = itertools.count()

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Tell how many nodes there are."""
        self._begun = itertools.count()
        tell_progress(at_once=True, nodes_done=0, nodes=len(pipeline.nodes))

    @hook_impl
    def before_node_run(self) -> None:
        """Tell that those before it are done.

        Kedro's ``after_node_run`` comes before outputs are saved, which is most of the work
        where clips are mirrored or embedded.
        """
        tell_progress(at_once=True, nodes_done=next(self._begun), step="", done=0, total=None)

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline) -> None:
        """Tell that all are done."""
        n_nodes = len(pipeline.nodes)
        tell_progress(at_once=True, nodes_done=n_nodes, step="", done=0, total=None)


class SummaryHooks:
    """Note every run, and print what one that evaluated a model came to."""

    _under_way: Callable[[], None] | None = None
    """Notes that the run of this process was interrupted; None where none is under way."""

    def __init__(self) -> None:
        self._begun = datetime.now(UTC)
        self._is_dry = False

    @classmethod
    def note_interruption(cls) -> None:
        """Note that somebody stopped the run: Kedro tells hooks of exceptions, not of that."""
        if cls._under_way is not None:
            cls._under_way()

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        """Note that a run has begun."""
        self._begun = datetime.now(UTC)
        self._is_dry = _is_dry(pipeline, catalog)
        self._note(run_params, catalog, "running")
        SummaryHooks._under_way = partial(self._note, run_params, catalog, "interrupted")

    @hook_impl
    def on_pipeline_error(
        self, run_params: dict[str, Any], catalog: CatalogProtocol[Any, Any]
    ) -> None:
        """Note that a run has failed."""
        self._note(run_params, catalog, "failed")

    def _note(
        self, run_params: dict[str, Any], catalog: CatalogProtocol[Any, Any], state: str
    ) -> None:
        SummaryHooks._under_way = None
        if self._is_dry:
            return
        seconds = (datetime.now(UTC) - self._begun).total_seconds()
        with suppress(DatasetError):  # a place that cannot be written fails the run elsewhere
            catalog.save(
                "last_run",
                {
                    "begun": self._begun.isoformat(timespec="seconds"),
                    "seconds": seconds,
                    "state": state,
                    "pipelines": run_params.get("pipeline_names") or ["__default__"],
                    "env": run_params.get("env"),
                },
            )

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        """Print embedder, clips, accuracy, where things are and what to try next."""
        self._note(run_params, catalog, "finished")
        if "metrics" not in pipeline.all_outputs():
            return
        table = Table(show_header=False, box=None, padding=(0, 2))
        table.add_column()
        table.add_column(overflow="fold")  # a path is of no use without its end
        for name, value in _summary(catalog, run_params.get("env")).items():
            # as text: names of labels and files may look like markup
            table.add_row(Text(name, style="bold"), Text(value))
        console = Console()
        console.rule("soundx")
        console.print(table, soft_wrap=True)


def _is_dry(pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]) -> bool:
    """Tell whether a run ends where it has said what the mirror would do."""
    return "params:dry_run" in pipeline.inputs() and bool(catalog.load("params:dry_run"))


def _summary(catalog: CatalogProtocol[Any, Any], env: str | None) -> dict[str, str]:
    # imported here: hooks are loaded for every command of Kedro's
    from soundx.datasets.clips import SynthesisedClipsDataset

    metrics = catalog.load("metrics")
    manifest = catalog.load("clip_manifest")
    classifier = catalog.load("classifier")
    low, high = metrics["accuracy_ci95"]
    labelled = manifest[manifest["label"] != BACKGROUND]
    n_labels, n_categories = labelled["label"].nunique(), labelled["category"].nunique()
    clips = f"{len(labelled):,} of {counted(n_labels, 'label')}"
    if len(labelled) < len(manifest):
        clips += f", and {len(manifest) - len(labelled):,} of background"
    rows = {
        "embedder": metrics["embedder"],
        "clips": clips,
    }
    # earlier runs wrote these two: by now all is done and saved, and no such file is worth an error
    with suppress(*_UNREADABLE):
        rejected = catalog.load("rejected_clips")
        rows["rejected"] = _rejected(rejected, _place(catalog, "rejected_clips"))
    if not metrics.get("refit"):
        rows["accuracy"] = (
            f"{metrics['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}) on "
            f"{counted(metrics['n_test_clips'], 'test clip')}"
        )
    if "cross_validated_accuracy" in metrics:
        low, high = metrics["cross_validated_accuracy_ci95"]
        rows["cross-validated"] = (
            f"{metrics['cross_validated_accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}) in "
            f"{counted(metrics['cross_validation_folds'], 'fold')}"
        )
    if n_categories < n_labels:  # else it is the accuracy again
        rows["category accuracy"] = f"{metrics['category_accuracy']:.3f}"
    if "n_test_background_clips" in metrics:
        rows["false alarms"] = (
            f"{metrics['false_alarms_per_hour']:.1f} an hour, on "
            f"{counted(metrics['n_test_background_clips'], 'test clip')} of background"
        )
    rows["guessing the commonest"] = f"{metrics['majority_class_accuracy']:.3f}"
    with suppress(*_UNREADABLE):
        rows |= _refit(catalog, metrics)
    return rows | {
        "model": f"{_place(catalog, 'classifier')} (version {classifier.version})",
        "reports": _place(catalog, "metrics").rsplit("/", 1)[0],
        "try next": next_steps(
            env, on_demo=isinstance(catalog.get("bucket_clips"), SynthesisedClipsDataset)
        ),
    }


def _refit(catalog: CatalogProtocol[Any, Any], metrics: dict[str, Any]) -> dict[str, str]:
    """Tell what was learnt from the test clips too, or that it would be worth it."""
    if metrics.get("refit"):
        return {"refit": "it learned from every clip, test clips too: cross-validation stands in"}
    if "cross_validated_accuracy" not in metrics or not catalog.exists("learning_curve"):
        return {}
    points = {p["share"]: p["accuracy"] for p in catalog.load("learning_curve")["points"]}
    gain = points.get(1.0, 0.0) - points.get(0.5, 1.0)
    if round(gain, 6) <= WORTH_A_REFIT:
        return {}
    return {
        "refit": "--params=training.refit=all ships a model that learned from every clip: the "
        f"second half of the recordings still brought {100 * gain:.1f} points"
    }


def _rejected(rejected: pd.DataFrame, place: str) -> str:
    """Tell how many files are not used, one of them with its reason, and where the rest are."""
    if rejected.empty:
        return "nothing"
    first = rejected.iloc[0]
    told = f"{first['path']}: {first['reason']}"
    if len(rejected) == 1:
        return f"{counted(1, 'file')}, {told} ({place})"
    return f"{counted(len(rejected), 'file')}, for example {told} (all in {place})"


def _place(catalog: CatalogProtocol[Any, Any], name: str) -> str:
    """Return where a dataset lies, relative to here where that is shorter."""
    place = where(catalog[name])
    if place is None:
        return "in memory"
    path = Path(place)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else place
