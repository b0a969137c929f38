"""What a run leaves in MLflow: its parameters, figures, model and reports.

kedro-mlflow opens the run, closes it and marks one that failed. Added here: a place for its
database, one MLflow parameter for each of ours, and what only soundx knows to log. Needs the
extra ``mlflow``; imported by :mod:`soundx.running.tracking` alone.
"""

from __future__ import annotations

import atexit
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro_mlflow.framework.hooks.mlflow_hook import MlflowHook
from mlflow.exceptions import MlflowException
from pydantic import BaseModel

from soundx.datasets.tables import WholeWrites
from soundx.datasets.where import where
from soundx.errors import SoundxError
from soundx.running.tracking import SWITCH

_SQLITE = "sqlite:///"
_METRICS_AT_A_TIME = 500  # MLflow takes 1000


class TrackingHooks(MlflowHook):
    """kedro-mlflow's hooks, and what soundx adds to them."""

    def __init__(self) -> None:
        super().__init__()
        self._is_open = False

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        loader: Any = context.config_loader
        loader.config_patterns["mlflow"] = ["mlflow*", "mlflow*/**", "**/mlflow*"]
        config = loader["mlflow"]
        try:
            loader["mlflow"] = _with_places(config, context.project_path)
            super().after_context_created(context)
        except (OSError, MlflowException) as error:
            uri = config["server"]["mlflow_tracking_uri"]
            raise SoundxError(
                f"MLflow at {uri} cannot be used: {error}\n"
                f"Name another place in MLFLOW_TRACKING_URI, or run without it: unset {SWITCH}"
            ) from error

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        super().before_pipeline_run(run_params, pipeline, catalog)
        self._is_open = self._is_mlflow_enabled
        atexit.register(self._end_as_killed)

    def _log_param(self, name: str, value: Any) -> None:
        """Log each value of an options object by its own name, ``training.max_epochs``."""
        for full_name, single in _flat(name, value):
            super()._log_param(full_name, single)

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        if self._is_open:
            _log_outputs(pipeline.all_outputs(), catalog)
        super().after_pipeline_run(run_params, pipeline, catalog)
        self._is_open = False

    @hook_impl
    def on_pipeline_error(
        self,
        error: Exception,
        run_params: dict[str, Any],
        pipeline: Pipeline,
        catalog: CatalogProtocol[Any, Any],
    ) -> None:
        super().on_pipeline_error(error, run_params, pipeline, catalog)
        self._is_open = False

    def _end_as_killed(self) -> None:
        """Mark a run that was interrupted; MLflow alone would call it finished."""
        if self._is_open:
            mlflow.end_run("KILLED")


def _with_places(config: Mapping[str, Any], project: Path) -> dict[str, Any]:
    """Return kedro-mlflow's configuration with a database file's path made whole.

    A relative one is taken from the project, as all paths in the catalog are. What is logged
    goes beside the database, unless the configuration says otherwise.
    """
    uri = str((config.get("server") or {}).get("mlflow_tracking_uri") or "")
    if not uri.startswith(_SQLITE):
        return dict(config)
    path = uri.removeprefix(_SQLITE)
    if "://" in path:
        raise SoundxError(
            f"MLflow's database cannot be kept in {path}. Name a server or a file: "
            "MLFLOW_TRACKING_URI=http://... or MLFLOW_TRACKING_URI=sqlite:///FILE"
        )
    file = project / path
    file.parent.mkdir(parents=True, exist_ok=True)
    tracking = dict(config.get("tracking") or {})
    experiment = dict(tracking.get("experiment") or {})
    experiment["create_experiment_kwargs"] = {
        "artifact_location": str(file.parent / "artifacts"),
        **(experiment.get("create_experiment_kwargs") or {}),
    }
    return {
        **config,
        "server": {**config["server"], "mlflow_tracking_uri": f"{_SQLITE}{file}"},
        "tracking": {**tracking, "experiment": experiment},
    }


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a parameter, or each value in it with its dotted name."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _flat(f"{name}.{key}", part)
    else:
        yield name, value


def _log_outputs(outputs: set[str], catalog: CatalogProtocol[Any, Any]) -> None:
    """Log those outputs of a run that are figures, model or reports."""
    figures: dict[str, float] = {}
    if "metrics" in outputs:
        figures |= _figures(catalog.load("metrics"))
    if "per_class_metrics" in outputs:
        table = catalog.load("per_class_metrics")
        figures |= {
            # MLflow refuses other characters in a name
            "f1/" + re.sub(r"[^\w.\- :]", "_", str(label)): float(f1)
            for label, f1 in zip(table["label"], table["f1"], strict=True)
        }
    names = list(figures)
    for start in range(0, len(names), _METRICS_AT_A_TIME):
        part = names[start : start + _METRICS_AT_A_TIME]
        mlflow.log_metrics({name: figures[name] for name in part})
    if outputs & {"metrics", "classifier"} and catalog.exists("classifier"):
        classifier = catalog.load("classifier")
        mlflow.set_tag("model_version", classifier.version)
        if "classifier" in outputs:
            _log_files("classifier", classifier.files)
    _log_files("reports", _reports(outputs, catalog))


def _figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers in ``metrics.json``; an interval becomes two."""
    figures: dict[str, float] = {}
    for name, value in metrics.items():
        if name.endswith("_ci95"):
            figures |= {f"{name}_low": value[0], f"{name}_high": value[1]}
        elif isinstance(value, int | float):
            figures[name] = float(value)
    return figures


def _reports(outputs: set[str], catalog: CatalogProtocol[Any, Any]) -> dict[str, bytes]:
    """Return those outputs of the layer ``reporting`` that are one file each."""
    files = {}
    for name in sorted(outputs):
        dataset: Any = catalog.get(name)
        layer = ((getattr(dataset, "metadata", None) or {}).get("kedro-viz") or {}).get("layer")
        if layer == "reporting" and isinstance(dataset, WholeWrites):
            files[str(where(dataset)).rpartition("/")[2]] = dataset.read_bytes()
    return files


def _log_files(folder: str, files: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        for name, content in files.items():
            path = Path(temporary, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        mlflow.log_artifacts(temporary, folder)
