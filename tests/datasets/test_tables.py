from __future__ import annotations

import csv

import pandas as pd
import pytest
from kedro.io import DatasetError

from soundx.datasets.models import KerasHeadsDataset
from soundx.datasets.recordings import RecordingManifestDataset, RecordingScansDataset
from soundx.datasets.tables import (
    CSVDataset,
    JSONDataset,
    OptionalStateDataset,
    ParquetDataset,
    StateDataset,
    TableFolderDataset,
)
from soundx.running.catalog import open_catalog
from soundx.running.messages import message_for_people
from tests.conftest import ROOT


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


NAMES = ["NA", "null", "nan", "001", "1e3", "True", "", "-", "None", "=cmd|'x'!A1"]


def no_formulas_in(file):
    with file.open(newline="") as opened:
        cells = [cell for row in csv.reader(opened) for cell in row]
    assert "'=cmd|'x'!A1" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "-"))]


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
    no_formulas_in(tmp_path / "a.csv")
    assert kept.load()["share"].dtype == "float64"
    assert kept.load()["right"].dtype == "bool"
    confusion = pd.DataFrame([[1] * 10] * 10, index=NAMES, columns=NAMES)
    square = CSVDataset(
        filepath=str(tmp_path / "b.csv"), load_args={"index_col": 0}, save_args={"index": True}
    )
    square.save(confusion.drop(columns="", index=""))
    no_formulas_in(tmp_path / "b.csv")
    again = square.load()
    assert list(again.index) == list(again.columns) == [name for name in NAMES if name]
    assert again.to_numpy().sum() == 81


def test_tables_may_be_called_as_their_neighbours_are_or_as_anything(tmp_path):
    names = [
        "splits",
        "folds",
        "state",
        "model_input",
        "general",
        "A",
        "a",
        "x" * 250,
        "Ünder-score",
    ]
    names += ["con:*?", ".hidden", "heads", "ends with a dot.", " ", "é", "e\u0301"]
    neighbour = ParquetDataset(filepath=str(tmp_path / "splits.parquet"))
    neighbour.save(pd.DataFrame({"split": ["train"]}))
    folder = TableFolderDataset(path=str(tmp_path))
    tables = {name: pd.DataFrame({"name": [name]}) for name in names}
    folder.save(tables)
    assert {name: table["name"][0] for name, table in folder.load().items()} == dict(
        zip(names, names, strict=True)
    )
    assert list(neighbour.load()) == ["split"]
    folded = [path.name.casefold() for path in (tmp_path / "heads").iterdir()]
    assert len(set(folded)) == len(names), "a disk that does not tell case would lose one"
    folder.save({"general": tables["general"]})
    assert list(folder.load()) == ["general"]
    assert len(list((tmp_path / "heads").iterdir())) == 1
    assert list(neighbour.load()) == ["split"]


def test_model_input_of_version_0_1_is_read_and_then_removed(tmp_path):
    table = pd.DataFrame({"x": [1]})
    for name in ("general", "splits"):  # a category of that name, or what took its place
        table.to_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "model_input.json").write_text('{"tables": ["general", "splits"]}')
    folder = TableFolderDataset(path=str(tmp_path))
    assert list(folder.load()) == ["general", "splits"]
    folder.save({"general": table})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "heads",
        "model_input.json",
        "splits.parquet",
    ]


@pytest.mark.parametrize("name", ["model_input.json", "heads/A.parquet"])
def test_broken_model_input_is_named_and_made_again(tmp_path, name):
    table = pd.DataFrame({"x": range(999)})
    folder = TableFolderDataset(path=str(tmp_path))
    folder.save({"general": table, "A": table})
    content = bytearray((tmp_path / name).read_bytes())
    content[20:40] = b"?" * 20
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        folder.load()
    said = message_for_people(caught.value)
    assert f"{tmp_path / name} is broken" in said
    assert "kedro run --pipelines=preprocessing" in said
    folder.save({"general": table})
    assert list(folder.load()) == ["general"]


@pytest.mark.parametrize(
    ("dataset", "name", "data"),
    [
        (ParquetDataset, "a.parquet", pd.DataFrame({"x": [9, 500, 7]})),
        (JSONDataset, "a.json", {"x": 1}),
        (StateDataset, "a.json", {"digest": "17"}),
        (OptionalStateDataset, "a.json", {"digest": "17"}),
        (CSVDataset, "a.csv", pd.DataFrame({"label": ["17"]})),
    ],
)
def test_a_file_that_is_not_what_was_saved_is_named(tmp_path, dataset, name, data):
    kept = dataset(filepath=str(tmp_path / name))
    kept.save(data)
    content = (tmp_path / name).read_bytes()
    if dataset is ParquetDataset:
        content = content.replace((500).to_bytes(8, "little"), (501).to_bytes(8, "little"))
    elif issubclass(dataset, StateDataset):
        content = content.replace(b"17", b"18")
    elif dataset is CSVDataset:
        content = content.replace(b"17", b"\xff7")
    else:
        content = content[:-1]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        kept.load()
    said = message_for_people(caught.value)
    assert f"{tmp_path / name} is broken" in said
    assert "Where a file is missing" not in said


@pytest.mark.parametrize("name", ["cross_validation", "learning_curve", "model_input_state"])
def test_what_is_read_again_by_another_run_is_held_against_its_checksum(tmp_path, name):
    kept = open_catalog(ROOT, params={"data_root": str(tmp_path)})[name]
    kept.save({"accuracy_mean": 0.5})
    assert kept.load() == {"accuracy_mean": 0.5}
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    path.write_text(path.read_text().replace("0.5", "0.9"))
    with pytest.raises(DatasetError) as caught:
        kept.load()
    assert f"{path} is broken" in message_for_people(caught.value)


def test_a_broken_table_of_recordings_has_no_rows_for_the_run_that_makes_it_again(tmp_path, caplog):
    path = tmp_path / "recordings.parquet"
    manifest = RecordingManifestDataset(filepath=str(path))
    scans = RecordingScansDataset(filepath=str(path))
    table = pd.DataFrame({"file": ["a.wav"]})
    manifest.save(table)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DatasetError) as caught:
        manifest.load()
    assert "kedro run --pipelines=recordings" in message_for_people(caught.value)
    assert scans.load().empty
    assert f"{path} is broken" in caplog.text
    manifest.save(table)
    pd.testing.assert_frame_equal(scans.load(), table)
