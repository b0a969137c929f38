"""What soundx does around a Kedro run: S3 settings, its progress, a short summary at its end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline
from kedro.utils import is_kedro_project
from rich.console import Console
from rich.table import Table

from soundx.progress import tell_progress
from soundx.running.catalog import read_s3_settings


class S3Hooks:
    """Give S3 settings and keys to everything that reads or writes a bucket."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read ``.env``, the settings in ``globals.yml`` and the keys in ``credentials.yml``."""
        read_s3_settings(context.config_loader, context.project_path)


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

    def __init__(self) -> None:
        self._begun = datetime.now(UTC)
        self._is_dry = False

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        """Note that a run has begun."""
        self._begun = datetime.now(UTC)
        self._is_dry = _is_dry(pipeline, catalog)
        self._note(run_params, catalog, "running")

    @hook_impl
    def on_pipeline_error(
        self, run_params: dict[str, Any], catalog: CatalogProtocol[Any, Any]
    ) -> None:
        """Note that a run has failed."""
        self._note(run_params, catalog, "failed")

    def _note(
        self, run_params: dict[str, Any], catalog: CatalogProtocol[Any, Any], state: str
    ) -> None:
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
        metrics = catalog.load("metrics")
        manifest = catalog.load("clip_manifest")
        rejected = catalog.load("rejected_clips")
        low, high = metrics["accuracy_ci95"]
        env = run_params.get("env") or ""
        option = f" --env={env}" if env else ""
        table = Table(show_header=False, box=None, padding=(0, 2))
        rows = {
            "embedder": metrics["embedder"],
            "clips": f"{len(manifest)} of {manifest['label'].nunique()} labels, "
            f"{len(rejected)} files rejected",
            "accuracy": f"{metrics['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}) on "
            f"{metrics['n_test_clips']} test clips",
            "category accuracy": f"{metrics['category_accuracy']:.3f}",
            "guessing the commonest": f"{metrics['majority_class_accuracy']:.3f}",
            "model": f"{_where(catalog, 'classifier', '_folder')} "
            f"(version {catalog.load('classifier').version})",
            "reports": _where(catalog, "metrics", "_filepath").rsplit("/", 1)[0],
            "try next": f"kedro viz run{option}, or your own clips: kedro run --params=source=DIR"
            if is_kedro_project(run_params["project_path"])
            else "your own clips: --params=source=DIR in place of --env=demo",
        }
        for name, value in rows.items():
            table.add_row(f"[bold]{name}[/bold]", value)
        console = Console()
        console.rule("soundx")
        console.print(table, soft_wrap=True)


def _is_dry(pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]) -> bool:
    """Tell whether a run ends where it has said what the mirror would do."""
    return "params:dry_run" in pipeline.inputs() and bool(catalog.load("params:dry_run"))


def _where(catalog: CatalogProtocol[Any, Any], name: str, attribute: str) -> str:
    """Return where a dataset lies, relative to here where that is shorter."""
    dataset = catalog[name]
    place = str(getattr(dataset, attribute, "in memory"))
    protocol = getattr(dataset, "_protocol", "file")
    if protocol not in ("file", "local"):
        return f"{protocol}://{place}"
    path = Path(place)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else place
