"""What all datasets that keep a folder have in common."""

from __future__ import annotations

from typing import Any, TypeVar

from kedro.io import AbstractDataset

from soundx.storage.folder import Folder

Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


class FolderDataset(AbstractDataset[Saved, Loaded]):
    """A dataset in a folder, on this machine or on any filesystem fsspec knows.

    Args:
        path: The folder or its URL.
        credentials: For a remote filesystem.
        fs_args: Other arguments of that filesystem.
        metadata: For Kedro-Viz.
    """

    def __init__(
        self,
        *,
        path: str,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._folder = Folder(path, {**(credentials or {}), **(fs_args or {})})
        self.metadata = metadata

    @property
    def folder(self) -> Folder:
        """The folder."""
        return self._folder

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._folder)}
