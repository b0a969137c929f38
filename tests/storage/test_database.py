from __future__ import annotations

import shutil
from contextlib import closing

import pytest

from soundx.storage.database import open_database, read_database
from tests.conftest import every_byte

TABLES = "CREATE TABLE IF NOT EXISTS names (name TEXT);"


def names_in(path):
    with read_database(path, TABLES) as database:
        return [name for (name,) in database.execute("SELECT name FROM names ORDER BY name")]


def test_what_was_written_is_read_and_reading_leaves_no_trace(tmp_path):
    path = tmp_path / "sub/names.sqlite"
    with closing(open_database(path, TABLES)) as database:
        database.execute("INSERT INTO names VALUES ('a')")
        written = every_byte(tmp_path)
        assert len(written) > 3  # the log and its index lie beside it while somebody writes
        assert names_in(path) == ["a"]
        assert every_byte(tmp_path) == written
        database.execute("INSERT INTO names VALUES ('b')")
        assert names_in(path) == ["a", "b"]
    at_rest = every_byte(tmp_path)
    assert names_in(path) == ["a", "b"]
    assert every_byte(tmp_path) == at_rest


def test_a_missing_database_is_read_as_empty_and_not_made(tmp_path):
    assert names_in(tmp_path / "nowhere/names.sqlite") == []
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_is_written_back_while_it_is_copied_is_copied_again(tmp_path, monkeypatch):
    path = tmp_path / "names.sqlite"
    with closing(open_database(path, TABLES)) as database:
        database.execute("INSERT INTO names VALUES ('a')")
        copyfile = shutil.copyfile
        copied = []

        def copy_with_a_writer_about(source, target):
            copyfile(source, target)
            copied.append(str(source))
            if len(copied) == 1:  # after the database, before its log
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        monkeypatch.setattr("shutil.copyfile", copy_with_a_writer_about)
        assert names_in(path) == ["a"]
    assert copied.count(str(path)) == 2


@pytest.mark.parametrize(
    "content", [b"", b"not a database, but long enough to be read as one" * 99]
)
def test_a_broken_database_is_set_aside_and_begun_anew(tmp_path, content, caplog):
    path = tmp_path / "names.sqlite"
    path.write_bytes(content)
    with closing(open_database(path, TABLES)) as database:
        database.execute("INSERT INTO names VALUES ('a')")
    assert names_in(path) == ["a"]
    aside = [other for other in tmp_path.iterdir() if other.name.startswith(".broken-")]
    assert [other.read_bytes() for other in aside] == ([content] if content else [])
    assert ("names.sqlite is broken" in caplog.text) == bool(content)


def test_a_garbled_page_is_seen(tmp_path, caplog):
    path = tmp_path / "names.sqlite"
    with closing(open_database(path, TABLES)) as database:
        database.executemany("INSERT INTO names VALUES (?)", [("n" * 99,)] * 999)
    content = bytearray(path.read_bytes())
    content[8192 : 8192 + 64] = b"\xff" * 64
    path.write_bytes(content)
    before = every_byte(tmp_path)
    assert names_in(path) == []
    assert f"{path} is broken" in caplog.text
    assert every_byte(tmp_path) == before, "reading sets nothing aside"
    open_database(path, TABLES).close()
    assert names_in(path) == []
