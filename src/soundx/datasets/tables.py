"""Tables and reports, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import pandas as pd
import pyarrow.parquet as pq
from kedro.io import DatasetError
from kedro_datasets._typing import HTMLPreview, TablePreview
from kedro_datasets.json import JSONDataset as _JSONDataset
from kedro_datasets.pandas import CSVDataset as _CSVDataset
from kedro_datasets.pandas import ParquetDataset as _ParquetDataset
from kedro_datasets.text import TextDataset as _TextDataset

from soundx.datasets.folder import FolderDataset
from soundx.datasets.previews import preview_table
from soundx.errors import BrokenFileError, Remedy, SoundxError
from soundx.markup import preview_markdown
from soundx.storage.checksum import (
    LOAD_PARQUET,
    SAVE_PARQUET,
    why_broken,
    with_checksum,
    without_checksum,
)
from soundx.storage.csv import guarded_table, read_csv
from soundx.storage.names import file_names
from soundx.storage.whole import whole_file


class WholeWrites:
    """Mixin for kedro-datasets' file datasets: write beside the file, then rename.

    A file that is there and cannot be read as what it should be is named as broken.
    """

    REMEDY: ClassVar[Remedy] = Remedy.RUN
    """What makes the file again."""

    _protocol: str
    _filepath: PurePosixPath
    _fs: Any

    def read_bytes(self) -> bytes:
        """Return the file as it is."""
        return bytes(self._fs.cat_file(str(self._filepath)))

    def load(self) -> Any:
        """Return the data.

        Raises:
            BrokenFileError: The file is not what was saved.
        """
        try:
            return super().load()  # type: ignore[misc]
        except DatasetError as wrapped:
            error = wrapped.__cause__
            why = why_broken(error) if isinstance(error, ValueError | OSError) else None
            if why is None:
                raise
            raise BrokenFileError(str(self._filepath), why, remedy=self.REMEDY) from None

    def save(self, data: Any) -> None:
        """Save the data; the file is the old one or the new one, never half of one."""
        if self._protocol != "file":
            super().save(data)  # type: ignore[misc]
            return
        final = self._filepath
        with whole_file(Path(final)) as beside:
            self._filepath = PurePosixPath(beside)
            try:
                super().save(data)  # type: ignore[misc]
            finally:
                self._filepath = final


class ParquetDataset(WholeWrites, _ParquetDataset):
    """A table in a Parquet file, with a checksum a page."""

    DEFAULT_LOAD_ARGS: ClassVar[dict[str, Any]] = LOAD_PARQUET
    DEFAULT_SAVE_ARGS: ClassVar[dict[str, Any]] = SAVE_PARQUET

    def preview(self, nrows: int = 20) -> TablePreview:
        """Show Kedro-Viz the first rows; of a million no more than these are read."""
        with self._fs.open(str(self._get_load_path())) as file:
            rows = next(pq.ParquetFile(file).iter_batches(nrows), None)
        return preview_table(pd.DataFrame() if rows is None else rows.to_pandas())


class CSVDataset(WholeWrites, _CSVDataset):
    """A table in a CSV file; names in it, such as labels, are text whatever they look like."""

    def load(self) -> pd.DataFrame:
        return read_csv(self.read_bytes(), str(self._filepath), **self._load_args)

    def save(self, data: pd.DataFrame) -> None:
        super().save(guarded_table(data))

    def preview(self, nrows: int = 100) -> TablePreview:
        """Show Kedro-Viz the first rows."""
        return preview_table(self.load().head(nrows))


class OptionalParquetDataset(ParquetDataset):
    """A table that may be missing where it is only read in passing: then it has no rows."""

    def load(self) -> pd.DataFrame:
        return super().load() if self.exists() else pd.DataFrame()


class JSONDataset(WholeWrites, _JSONDataset):
    """A JSON file."""


class StateDataset(JSONDataset):
    """A JSON object that soundx reads again, with its checksum as a field more."""

    def load(self) -> Any:
        return without_checksum(super().load(), str(self._filepath))

    def save(self, data: Mapping[str, Any]) -> None:
        super().save(with_checksum(data))


class OptionalStateDataset(StateDataset):
    """The same, but it may be missing where it is only read in passing: then it is empty."""

    def load(self) -> Any:
        return super().load() if self.exists() else {}


class TextDataset(WholeWrites, _TextDataset):
    """A text file."""

    def preview(self) -> HTMLPreview:
        """Show Kedro-Viz the text, which it reads as Markdown."""
        return HTMLPreview(preview_markdown(self.load()))


class TableFolderDataset(FolderDataset[Mapping[str, pd.DataFrame], dict[str, pd.DataFrame]]):
    """Named tables, one Parquet file each, in a folder that may hold other files too.

    The tables have a sub-folder to themselves: people choose their names, and none may be that of
    a neighbour. An index tells which file is whose, so that a table which is no longer written
    is removed and nothing else is.
    """

    _INDEX = "model_input.json"
    _TABLES = "heads"
    _NEIGHBOURS = ("splits", "folds")  # where version 0.1 might have put a table

    def load(self) -> dict[str, pd.DataFrame]:
        files = self._files()
        if not files:
            raise SoundxError(
                f"There is no model input in {self._folder} yet.", remedy=Remedy.PREPROCESS
            )
        tables = {}
        for name, file in files.items():
            try:
                with self._folder.open(file) as opened:
                    tables[name] = pd.read_parquet(opened, **LOAD_PARQUET)
            except (ValueError, OSError) as error:
                if (why := why_broken(error)) is None:
                    raise
                raise BrokenFileError(
                    self._folder.shown(file), why, remedy=Remedy.PREPROCESS
                ) from None
        return tables

    def save(self, data: Mapping[str, pd.DataFrame]) -> None:
        try:
            before = set(self._files().values())
        except BrokenFileError as error:
            self._folder.set_aside(self._INDEX, error.why)
            before = set()
        names = file_names(data)
        files = {head: f"{self._TABLES}/{name}.parquet" for head, name in names.items()}
        inside = self._folder.sub(self._TABLES)
        for head, table in data.items():
            writer = partial(table.to_parquet, **SAVE_PARQUET)
            inside.write_with(f"{names[head]}.parquet", writer)
        self._folder.write_json(self._INDEX, {"tables": files})
        ours = {f"{name}.parquet" for name in self._NEIGHBOURS}
        for file in before - set(files.values()) - ours:
            self._folder.remove(file)

    def _files(self) -> dict[str, str]:
        """Return the file of each table."""
        if not self._folder.exists(self._INDEX):
            return {}
        tables = self._folder.read_json(self._INDEX, remedy=Remedy.PREPROCESS)["tables"]
        if isinstance(tables, list):  # version 0.1: names alone, beside their neighbours
            return {name: f"{name}.parquet" for name in tables}
        return dict(tables)

    def _exists(self) -> bool:
        return bool(self._files())
