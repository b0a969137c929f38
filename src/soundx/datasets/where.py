"""Where a dataset lies, for those who only want to name the place or to watch it."""

from __future__ import annotations

from typing import Any

from soundx.datasets.folder import FolderDataset


def where(dataset: Any) -> str | None:
    """Return the path or URL of a dataset's file or folder, None where it has none."""
    if isinstance(dataset, FolderDataset):
        return str(dataset.folder)
    # Kedro's file datasets have no public name for it
    path = getattr(dataset, "_filepath", None)
    if path is None:
        return None
    protocol = getattr(dataset, "_protocol", "file")
    return str(path) if protocol in ("file", "local") else f"{protocol}://{path}"
