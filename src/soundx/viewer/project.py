"""What the viewer knows of a project: its catalog, read again when a file changes."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st
from kedro.io import DataCatalog, DatasetError

from soundx.datasets.where import where
from soundx.errors import Remedy
from soundx.markup import escaped
from soundx.running.catalog import open_catalog, read_parameters
from soundx.running.messages import command, message_for_people

logger = logging.getLogger(__name__)

_MAKING = threading.Lock()


class Project:
    """The catalog of one environment.

    Args:
        root: The folder with ``conf/``.
        env: The environment; None for the base.
    """

    def __init__(self, root: Path, env: str | None) -> None:
        self.root = root
        self.env = env
        self.catalog = _open(str(root), env, _state_of_conf(root))

    @property
    def parameters(self) -> dict[str, Any]:
        """The project's parameters, read again when its configuration changes."""
        return _parameters(str(self.root), self.env, _state_of_conf(self.root))

    def command(self, remedy: Remedy = Remedy.RUN) -> str:
        """Return the command that runs what a remedy names, in the same environment."""
        return command(remedy, env=self.env)

    def has(self, name: str) -> bool:
        """Tell whether a dataset is there."""
        dataset = self._dataset(name)
        return dataset is not None and bool(dataset.exists())

    def load(self, name: str) -> Any:
        """Load a dataset; what was loaded is kept until the file changes, and only read."""
        dataset = self._dataset(name)
        if dataset is None:
            raise DatasetError(f"There is no dataset {name} in the catalog.")
        return _load(dataset, str(self.root), self.env, name, _state(dataset))

    def state(self, name: str) -> object:
        """Return what changes when a dataset's files do; None where it is not there."""
        return _state(self._dataset(name)) if self.has(name) else None

    def dataset(self, name: str) -> Any:
        """Return a dataset itself, for what cannot be had by loading it.

        Raises:
            DatasetError: There is none of that name.
        """
        dataset = self._dataset(name)
        if dataset is None:
            raise DatasetError(f"There is no dataset {name} in the catalog.")
        return dataset

    def _dataset(self, name: str) -> Any:
        # a catalog makes a dataset when it is first asked for, and for a moment knows it neither
        # as planned nor as made; all sessions share one
        with _MAKING:
            return self.catalog.get(name)

    def load_or(self, name: str, default: Any) -> Any:
        """Load a dataset, or return the default where it is not there."""
        return self.load(name) if self.has(name) else default


def guarded(page: Callable[[], None], env: str | None = None) -> Callable[[], None]:
    """Return a page, or a part of one, that tells in words what went wrong, not in a traceback."""

    def shown() -> None:
        try:
            page()
        except Exception as error:
            message = message_for_people(error, env)
            if message is None:
                logger.exception("A page of the viewer failed.")
                message = f"This cannot be shown: {type(error).__name__}. The log tells more."
            st.error(escaped(message), icon=":material/error:")

    shown.__name__ = page.__name__
    return shown


@st.cache_resource(max_entries=8, show_spinner=False)
def _open(root: str, env: str | None, state: object) -> DataCatalog:
    del state
    return open_catalog(Path(root), env)


@st.cache_resource(max_entries=8, show_spinner=False)
def _parameters(root: str, env: str | None, state: object) -> dict[str, Any]:
    del state
    return dict(read_parameters(Path(root), env))


@st.cache_resource(max_entries=64, show_spinner="Reading ...")
def _load(_dataset: Any, root: str, env: str | None, name: str, state: object) -> Any:
    del root, env, name, state
    return _dataset.load()


def _state_of_conf(root: Path) -> tuple[tuple[str, int], ...]:
    files = sorted((root / "conf").rglob("*.y*ml")) if (root / "conf").is_dir() else []
    return tuple((str(file), file.stat().st_mtime_ns) for file in files)


def _state(dataset: Any) -> object:
    """Return what changes when a dataset's files do; something new each time if unknown."""
    path = where(dataset)
    if path is None or not Path(path).exists():
        return uuid.uuid4().hex
    local = Path(path)
    if local.is_file():
        return (path, local.stat().st_mtime_ns, local.stat().st_size)
    entries = sorted(local.iterdir())
    return (path, tuple((entry.name, entry.stat().st_mtime_ns) for entry in entries))
