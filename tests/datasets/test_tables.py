from __future__ import annotations

import pandas as pd
import pytest
from kedro.io import DatasetError

from soundx.datasets.models import KerasHeadsDataset
from soundx.datasets.tables import CSVDataset, JSONDataset, ParquetDataset, TableFolderDataset
from soundx.running.messages import message_for_people


@pytest.mark.parametrize(
    ("dataset", "name", "data"),
    [
        (ParquetDataset, "a.parquet", pd.DataFrame({"x": [1]})),
        (CSVDataset, "a.csv", pd.DataFrame({"x": [1]})),
        (JSONDataset, "a.json", {"x": 1}),
    ],
)
def test_a_failed_save_leaves_the_old_file(tmp_path, dataset, name, data):
    kept = dataset(filepath=str(tmp_path / "sub" / name))
    kept.save(data)
    before = (tmp_path / "sub" / name).read_bytes()
    with pytest.raises(DatasetError):
        kept.save({"not json or a table": object()})
    assert (tmp_path / "sub" / name).read_bytes() == before
    assert len(list((tmp_path / "sub").iterdir())) == 1


def test_tables_that_are_no_longer_written_are_removed_and_others_are_not(tmp_path):
    folder = TableFolderDataset(path=str(tmp_path))
    (tmp_path / "splits.parquet").write_bytes(b"somebody else's")
    table = pd.DataFrame({"x": [1]})
    folder.save({"general": table, "A": table})
    folder.save({"general": table})
    assert list(folder.load()) == ["general"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"heads", "model_input.json", "splits.parquet"}
    assert [path.name for path in (tmp_path / "heads").iterdir()] == ["general.parquet"]


def test_what_is_not_there_says_what_to_run(tmp_path):
    for dataset in (TableFolderDataset, KerasHeadsDataset):
        with pytest.raises(DatasetError) as caught:
            dataset(path=str(tmp_path / "none")).load()
        assert "kedro run --pipelines=" in message_for_people(caught.value)


NAMES = ["NA", "null", "nan", "001", "1e3", "True", "", "-", "None", "siren"]


def test_names_are_read_as_they_were_written(tmp_path):
    """Spreadsheet-like guesses would make missing values and numbers of them."""
    table = pd.DataFrame(
        {
            "label": NAMES,
            "predicted_label": NAMES[::-1],
            "path": NAMES,
            "share": [0.5, None, *[1.0] * 8],
            "n": range(10),
            "right": [True] * 10,
        }
    )
    kept = CSVDataset(filepath=str(tmp_path / "a.csv"), save_args={"index": False})
    kept.save(table)
    pd.testing.assert_frame_equal(kept.load(), table, check_dtype=False)
    assert kept.load()["share"].dtype == "float64"
    assert kept.load()["right"].dtype == "bool"
    confusion = pd.DataFrame([[1] * 10] * 10, index=NAMES, columns=NAMES)
    square = CSVDataset(
        filepath=str(tmp_path / "b.csv"), load_args={"index_col": 0}, save_args={"index": True}
    )
    square.save(confusion.drop(columns="", index=""))
    again = square.load()
    assert list(again.index) == list(again.columns) == [name for name in NAMES if name]
    assert again.to_numpy().sum() == 81
