from __future__ import annotations

import pytest

from soundx.storage.folder import Folder, whole_file


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
