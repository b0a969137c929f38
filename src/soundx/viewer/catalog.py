"""The catalog of an environment without a Kedro session: light enough for a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from kedro.framework.context.context import _convert_paths_to_absolute_posix
from kedro.io import DataCatalog
from omegaconf.resolvers import oc


def open_catalog(project: Path, env: str | None = None) -> DataCatalog:
    """Return the catalog of an environment.

    Args:
        project: The folder with ``conf/``.
        env: Environment; ``local`` where none is named, as in ``kedro run``.
    """
    loader = OmegaConfigLoader(
        conf_source=str(project / "conf"),
        env=env or "local",
        base_env="base",
        default_run_env="local",
        custom_resolvers={"oc.env": oc.env},
    )
    entries: dict[str, Any] = _convert_paths_to_absolute_posix(project, loader["catalog"])
    try:
        credentials = loader["credentials"]
    except MissingConfigException:
        credentials = {}
    return DataCatalog.from_config(entries, credentials)
