"""Recordings to listen to, what was heard of them so far, and events as files of other programs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from kedro.io import AbstractDataset, DatasetError
from kedro_datasets._typing import TablePreview

from soundx.datasets.folder import FolderDataset
from soundx.datasets.models import EmbeddingsDataset, EmbeddingShardsDataset
from soundx.datasets.previews import preview_table
from soundx.datasets.tables import OptionalParquetDataset, ParquetDataset
from soundx.errors import BrokenFileError, Remedy, Setting, SoundxError, find_soundx_error
from soundx.listening.recordings import Source, find_recordings
from soundx.search.index import WindowIndex
from soundx.storage.folder import user_cache

logger = logging.getLogger(__name__)

_SHOWN = 100


class RecordingsDataset(AbstractDataset[Any, list[Source]]):
    """The recordings that a path, folder, pattern or URL stands for, each read when it is heard.

    Args:
        path: The path, or None.
        metadata: For Kedro-Viz.
    """

    def __init__(self, *, path: str | None = None, metadata: dict[str, Any] | None = None) -> None:
        self._path = path
        self.metadata = metadata

    def load(self) -> list[Source]:
        if not self._path:
            raise SoundxError("No recording is named.", remedy=Setting("recordings", "PATH"))
        return find_recordings([self._path])

    def save(self, data: Any) -> None:
        raise SoundxError("Recordings are never written to.")

    def preview(self) -> TablePreview:
        """Show Kedro-Viz the first of them."""
        files = [source.file for source in self.load()[:_SHOWN]] if self._path else []
        return preview_table(pd.DataFrame({"file": files}))

    def _exists(self) -> bool:
        return bool(self._path)

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path}


class RecordingManifestDataset(ParquetDataset):
    """The table of recordings, which only the pipeline of recordings makes."""

    REMEDY: ClassVar[Remedy] = Remedy.KEEP_RECORDINGS


class RecordingScansDataset(OptionalParquetDataset):
    """The same table as an earlier run left it, for the run that makes it again.

    A broken one has no rows: all recordings are looked at again.
    """

    def load(self) -> pd.DataFrame:
        try:
            return super().load()
        except DatasetError as wrapped:
            error = find_soundx_error(wrapped)
            if not isinstance(error, BrokenFileError):
                raise
            logger.warning(
                "%s is broken: %s. All recordings are looked at again.", error.name, error.why
            )
            return pd.DataFrame()


class RecordingShardsDataset(EmbeddingShardsDataset):
    """Embeddings of parts of recordings, which only the pipeline of recordings makes."""

    REMEDY: ClassVar[Remedy] = Remedy.KEEP_RECORDINGS


class RecordingEmbeddingsDataset(EmbeddingsDataset):
    """The same embeddings, once all are there."""

    REMEDY: ClassVar[Remedy] = Remedy.KEEP_RECORDINGS


class HeardDataset(FolderDataset[Any, Path]):
    """The folder of what was heard so far, on this machine: rows are appended as they are heard.

    Where the data root is in a bucket it is in the user's cache.
    """

    def load(self) -> Path:
        return Path(self._folder.root) if self._folder.is_local else user_cache() / "heard"

    def save(self, data: Any) -> None:
        raise SoundxError("What was heard is written as it is heard.")

    def _exists(self) -> bool:
        return True


class WindowFolderDataset(FolderDataset[Any, Path]):
    """The folder of windows that can be searched, on this machine: they are read as they lie.

    Where the data root is in a bucket it is in the user's cache, and made again from frames.
    """

    def load(self) -> Path:
        root = self._folder.root
        return Path(root) if self._folder.is_local else user_cache() / "windows" / root.strip("/")

    def save(self, data: Any) -> None:
        raise SoundxError("Windows are written as they are made.")

    def _exists(self) -> bool:
        return True


class WindowIndexDataset(WindowFolderDataset):
    """The windows of all recordings, held against their checksums; what is saved stands there."""

    def load(self) -> WindowIndex:  # type: ignore[override]  # the same folder, opened
        index = WindowIndex(super().load())
        index.check()
        return index

    def save(self, data: WindowIndex) -> None:
        if data.folder != super().load():
            raise SoundxError("Windows of another project are not saved here.")

    def preview(self) -> TablePreview:
        """Show Kedro-Viz which recordings there are."""
        rows = [
            {"file": one.file, "hours": one.duration_s / 3600, "windows": one.n_windows}
            for one in (self.load().recordings[:_SHOWN] if self._exists() else ())
        ]
        return preview_table(pd.DataFrame(rows, columns=["file", "hours", "windows"]))

    def _exists(self) -> bool:
        return (super().load() / "index.json").exists()


class TextFilesDataset(FolderDataset[Mapping[str, str], dict[str, str]]):
    """Text files by relative name; saving makes the folder hold exactly these."""

    def load(self) -> dict[str, str]:
        return {name: content.decode() for name, content in self._folder.read_files().items()}

    def save(self, data: Mapping[str, str]) -> None:
        self._folder.replace_files({name: text.encode() for name, text in data.items()})

    def preview(self) -> TablePreview:
        """Show Kedro-Viz which files there are."""
        files = self._folder.read_files() if self._exists() else {}
        rows = [{"file": name, "bytes": len(content)} for name, content in sorted(files.items())]
        return preview_table(pd.DataFrame(rows[:_SHOWN], columns=["file", "bytes"]))

    def _exists(self) -> bool:
        return self._folder.exists()
