"""Tables and reports, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from kedro_datasets._typing import HTMLPreview, TablePreview
from kedro_datasets.json import JSONDataset as _JSONDataset
from kedro_datasets.pandas import CSVDataset as _CSVDataset
from kedro_datasets.pandas import ParquetDataset as _ParquetDataset
from kedro_datasets.text import TextDataset as _TextDataset

from soundx.datasets.folder import FolderDataset
from soundx.datasets.previews import preview_table
from soundx.errors import Remedy, SoundxError
from soundx.markup import preview_markdown
from soundx.storage.folder import whole_file


class WholeWrites:
    """Mixin for kedro-datasets' file datasets: write beside the file, then rename."""

    _protocol: str
    _filepath: PurePosixPath
    _fs: Any

    def read_bytes(self) -> bytes:
        """Return the file as it is."""
        return bytes(self._fs.cat_file(str(self._filepath)))

    def save(self, data: Any) -> None:
        """Save the data; the file is the old one or the new one, never half of one."""
        if self._protocol != "file":
            super().save(data)  # type: ignore[misc]
            return
        final = self._filepath
        with whole_file(Path(final)) as partial:
            self._filepath = PurePosixPath(partial)
            try:
                super().save(data)  # type: ignore[misc]
            finally:
                self._filepath = final


class ParquetDataset(WholeWrites, _ParquetDataset):
    """A table in a Parquet file."""

    def preview(self, nrows: int = 20) -> TablePreview:
        """Show Kedro-Viz the first rows; of a million no more than these are read."""
        with self._fs.open(str(self._get_load_path())) as file:
            rows = next(pq.ParquetFile(file).iter_batches(nrows), None)
        return preview_table(pd.DataFrame() if rows is None else rows.to_pandas())


class CSVDataset(WholeWrites, _CSVDataset):
    """A table in a CSV file."""

    def preview(self, nrows: int = 100) -> TablePreview:
        """Show Kedro-Viz the first rows."""
        return preview_table(self.load().head(nrows))


class OptionalParquetDataset(ParquetDataset):
    """A table that may be missing where it is only read in passing: then it has no rows."""

    def load(self) -> pd.DataFrame:
        return super().load() if self.exists() else pd.DataFrame()


class JSONDataset(WholeWrites, _JSONDataset):
    """A JSON file."""


class OptionalJSONDataset(JSONDataset):
    """A JSON file that may be missing where it is only read in passing: then it is empty."""

    def load(self) -> Any:
        return super().load() if self.exists() else {}


class TextDataset(WholeWrites, _TextDataset):
    """A text file."""

    def preview(self) -> HTMLPreview:
        """Show Kedro-Viz the text, which it reads as Markdown."""
        return HTMLPreview(preview_markdown(self.load()))


class TableFolderDataset(FolderDataset[Mapping[str, pd.DataFrame], dict[str, pd.DataFrame]]):
    """Named tables, one Parquet file each, in a folder that may hold other files too.

    An index remembers which tables are ours, so that a table which is no longer written is
    removed and nothing else is.
    """

    _INDEX = "model_input.json"

    def load(self) -> dict[str, pd.DataFrame]:
        names = self._names()
        if not names:
            raise SoundxError(
                f"There is no model input in {self._folder} yet.", remedy=Remedy.PREPROCESS
            )
        tables = {}
        for name in names:
            with self._folder.open(f"{name}.parquet") as file:
                tables[name] = pd.read_parquet(file)
        return tables

    def save(self, data: Mapping[str, pd.DataFrame]) -> None:
        gone = set(self._names()) - set(data)
        for name, table in data.items():
            self._folder.write_with(f"{name}.parquet", table.to_parquet)
        self._folder.write_json(self._INDEX, {"tables": list(data)})
        for name in gone:
            self._folder.remove(f"{name}.parquet")

    def _names(self) -> list[str]:
        if not self._folder.exists(self._INDEX):
            return []
        return list(self._folder.read_json(self._INDEX)["tables"])

    def _exists(self) -> bool:
        return bool(self._names())
