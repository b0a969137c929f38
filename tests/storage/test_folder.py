from __future__ import annotations

import os
import threading

import pytest

from soundx.errors import BrokenFileError
from soundx.storage.folder import Folder
from soundx.storage.whole import whole_file


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    url = str(tmp_path / "f") if request.param == "local" else f"memory://f-{tmp_path.name}"
    return Folder(url)


def test_files_are_replaced_as_a_set(folder):
    folder.replace_files({"a": b"1", "sub/b": b"2"})
    assert folder.read_files() == {"a": b"1", "sub/b": b"2"}
    folder.replace_files({"a": b"3"})
    assert folder.read_files() == {"a": b"3"}
    assert folder.names() == ["a"]


def test_json_names_and_removal(folder):
    folder.write_json("x.json", {"é": 1})
    assert folder.read_json("x.json") == {"é": 1}
    assert folder.sub("none").names() == []
    folder.remove("x.json")
    folder.remove("x.json")
    assert not folder.exists("x.json")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with whole_file(path) as partial:
            partial.write_text("new, but")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_stands_in_the_way_is_named_and_not_what_was_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    path.mkdir()
    with pytest.raises(IsADirectoryError) as told, whole_file(path) as partial:
        partial.write_text("new")
    assert told.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as told, whole_file(path):
        (tmp_path / "b.txt").read_text()  # another file's error stays its own
    assert told.value.filename == str(tmp_path / "b.txt")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "garble",
    [
        lambda text: text[: len(text) // 2],
        lambda text: b"",
        lambda text: text.replace(b"17", b"18"),
        lambda text: b"\xff" + text[1:],
        lambda text: text.replace(b'"a"', b'"b"'),
    ],
)
def test_broken_json_is_named_and_set_aside(folder, garble, caplog):
    folder.write_json("x.json", {"a": [17, 0.1, None], "é": {"1": "ü"}})
    folder.write("x.json", garbled := garble(folder.read("x.json")))
    with pytest.raises(BrokenFileError, match=r"x\.json is broken"):
        folder.read_json("x.json")
    folder.set_aside("x.json", "why")
    assert folder.names() == []
    (aside,) = [path for path in folder.fs.find(folder.root) if ".broken-" in path]
    assert folder.fs.cat_file(aside) == garbled
    assert "x.json is broken: why" in caplog.text


def test_json_without_a_checksum_is_read_as_it_is(folder):
    folder.write("x.json", b'{"a": 1}')
    assert folder.read_json("x.json") == {"a": 1}


def test_between_the_old_folder_and_the_new_there_is_always_one(tmp_path):
    folder = Folder(str(tmp_path / "f"))
    folder.replace_files({"a": b"0", "b": b"0"})
    over = threading.Event()
    torn = []

    def read():
        while not over.is_set():
            here = os.open(tmp_path / "f", os.O_RDONLY)  # one folder, whatever takes its place
            try:
                found = []
                for name in "ab":
                    with open(os.open(name, os.O_RDONLY, dir_fd=here), "rb") as file:
                        found.append(file.read())
                torn.extend(found if len(set(found)) > 1 else [])
            except FileNotFoundError:
                pass  # it has been taken away since it was opened
            finally:
                os.close(here)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(300):
        folder.replace_files({"a": b"%d" % number, "b": b"%d" % number})
        assert (tmp_path / "f").is_dir()
    over.set()
    reader.join()
    assert torn == []
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_what_a_killed_process_left_beside_a_folder_goes_with_the_next(tmp_path):
    for name in (".f-new-0123456789ab", ".f-old-0123456789ab"):
        (tmp_path / name).mkdir()
    (tmp_path / ".f-notes").mkdir()
    Folder(str(tmp_path / "f")).replace_files({"a": b""})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".f-notes", "f"]
