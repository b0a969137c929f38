from __future__ import annotations

import shutil
from contextlib import closing

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
