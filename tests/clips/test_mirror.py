from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest

from soundx.clips.ledger import KEPT_BY_SOUNDX, Ledger
from soundx.clips.mirror import MirrorOptions, mirror, print_plan
from soundx.clips.raw import RawClips
from soundx.clips.source import FolderSource, SourceObject
from soundx.markup import printable
from tests.conftest import every_byte

WHATEVER_WENT = MirrorOptions(force=True)


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and KEPT_BY_SOUNDX not in path.parts
    }


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    for name in ("A/1.wav", "A/2.wav", "B/deep/3.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 100)
    return folder


def test_new_changed_and_gone_files_are_followed(source, tmp_path):
    root = tmp_path / "raw"
    assert mirror(FolderSource(source), root).fetched == 3
    assert tree(root) == tree(source)
    (source / "A/1.wav").write_bytes(b"changed")
    (source / "B/deep/3.wav").unlink()
    (source / "C").mkdir()
    (source / "C/4.wav").write_bytes(b"new")
    report = mirror(FolderSource(source), root, WHATEVER_WENT)
    assert (report.fetched, report.unchanged, report.removed) == (2, 1, 1)
    assert tree(root) == tree(source)
    assert not (root / "B").exists()


def test_nothing_changed_nothing_read(source, tmp_path, monkeypatch):
    root = tmp_path / "raw"
    mirror(FolderSource(source), root)
    monkeypatch.setattr(FolderSource, "fetch", None)
    assert mirror(FolderSource(source), root).unchanged == 3


def test_a_file_of_somebody_else_is_never_touched(source, tmp_path):
    root = tmp_path / "raw"
    (root / "A").mkdir(parents=True)
    (root / "A/mine.wav").write_bytes(b"mine")
    (root / "A/1.wav").write_bytes(b"mine too, under the same name")
    report = mirror(FolderSource(source), root)
    assert report.refused == [("A/1.wav", "a file of yours stands in its place")]
    assert RawClips(root).refused() == report.refused
    for path in source.rglob("*.wav"):
        path.unlink()
    mirror(FolderSource(source), root, WHATEVER_WENT)
    assert tree(root) == {"A/mine.wav": b"mine", "A/1.wav": b"mine too, under the same name"}


def test_a_mirrored_file_that_was_changed_here_is_kept_when_its_source_goes(source, tmp_path):
    root = tmp_path / "raw"
    mirror(FolderSource(source), root)
    (root / "A/1.wav").write_bytes(b"edited here")
    (source / "A/1.wav").unlink()
    mirror(FolderSource(source), root, WHATEVER_WENT)
    assert (root / "A/1.wav").read_bytes() == b"edited here"


def test_a_folder_that_was_moved_out_and_linked_loses_nothing(source, tmp_path):
    root, elsewhere = tmp_path / "raw", tmp_path / "elsewhere"
    mirror(FolderSource(source), root)
    (root / "A").rename(elsewhere)
    (root / "A").symlink_to(elsewhere)
    for name in ("A/1.wav", "A/2.wav"):
        (source / name).unlink()
    mirror(FolderSource(source), root, WHATEVER_WENT)
    assert sorted(tree(elsewhere)) == ["1.wav", "2.wav"]
    assert (root / "A").is_symlink()


def test_a_mirrored_file_that_was_lost_here_comes_back(source, tmp_path):
    root = tmp_path / "raw"
    mirror(FolderSource(source), root)
    (root / "A/1.wav").unlink()
    assert mirror(FolderSource(source), root).fetched == 1
    assert tree(root) == tree(source)


def test_what_stops_being_a_file_after_it_was_listed_costs_that_file_alone(source, tmp_path):
    class Changing(FolderSource):
        def list_objects(self):
            yield from list(super().list_objects())
            for name in ("A/1.wav", "A/2.wav", "B/deep/3.wav"):
                (source / name).unlink()
            (source / "A/1.wav").symlink_to("1.wav")
            os.mkfifo(source / "A/2.wav")
            (source / "B/deep").rmdir()
            (source / "B/deep").write_bytes(b"a file now")

    (source / "C.wav").write_bytes(b"stays")
    root = tmp_path / "raw"
    assert dict(mirror(Changing(source), root).refused) == {
        "A/1.wav": "cannot be read: Too many levels of symbolic links",
        "A/2.wav": "cannot be read: a pipe, not a file",
        "B/deep/3.wav": "cannot be read: Not a directory",
    }
    assert tree(root) == {"C.wav": b"stays"}


def test_a_broken_off_run_leaves_whole_files_and_goes_on(source, tmp_path, monkeypatch):
    root = tmp_path / "raw"
    fetch = FolderSource.fetch

    def break_off(self, key, target):
        if key == "B/deep/3.wav":
            target.write_bytes(b"half")
            raise KeyboardInterrupt
        fetch(self, key, target)

    monkeypatch.setattr(FolderSource, "fetch", break_off)
    with pytest.raises(KeyboardInterrupt):
        mirror(FolderSource(source), root)
    assert tree(root).items() <= tree(source).items()
    monkeypatch.undo()
    mirror(FolderSource(source), root)
    assert tree(root) == tree(source)


def test_a_plan_is_told_and_nothing_is_made(source, tmp_path, capsys):
    root = tmp_path / "data/raw"
    print_plan(FolderSource(source), root)
    assert "would fetch   A/1.wav (700 bytes)" in capsys.readouterr().out
    assert not root.parent.exists()
    mirror(FolderSource(source), root)
    (source / "A/1.wav").unlink()
    before = every_byte(root)
    print_plan(FolderSource(source), root)
    assert "would remove  A/1.wav" in capsys.readouterr().out
    assert every_byte(root) == before


def test_what_a_killed_mirror_noted_is_read_and_nothing_is_changed(source, tmp_path, capsys):
    root = tmp_path / "raw"
    # open: what was noted last is still in SQLite's log, as after a kill
    with Ledger.to_write(root) as ledger:
        ledger.set_origin("s3://bucket")
        ledger.set_refused([("A/x", "a reason")])
        before = every_byte(root)
        assert RawClips(root).origin() == "s3://bucket"
        assert RawClips(root).refused() == [("A/x", "a reason")]
        print_plan(FolderSource(source), root)
        assert every_byte(root) == before
    assert "3 to fetch" in capsys.readouterr().out


def test_a_folder_without_a_mirror_has_no_origin_and_gets_no_ledger(tmp_path):
    assert RawClips(tmp_path).origin() == ""
    assert RawClips(tmp_path).refused() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "key",
    [
        "../out.wav",
        "/etc/out.wav",
        "A/../../out.wav",
        "A\\out.wav",
        "A/\x07.wav",
        "A//b.wav",
        "./a",
        "C:/out.wav",
        f"{KEPT_BY_SOUNDX}/ledger.sqlite",
        ".SOUNDX/ledger.sqlite",
        ":ANSWERS/metadata.csv",
        "A/" + "x" * 300,
        "",
    ],
)
def test_hostile_names_are_refused_and_reported(tmp_path, key):
    class Hostile:
        name = "a hostile source"

        def list_objects(self):
            yield SourceObject(key, 1, "1")

        def fetch(self, key, target):
            target.write_bytes(b"x")

    root = tmp_path / "in" / "raw"
    report = mirror(Hostile(), root)
    assert [refused for refused, _ in report.refused] == [printable(key)]
    assert tree(tmp_path / "in") == {}


@pytest.mark.parametrize("content", [b"", b"this is no ledger" * 999])
def test_without_its_ledger_nothing_of_anybody_is_lost(source, tmp_path, content):
    root = tmp_path / "raw"
    mirror(FolderSource(source), root)
    (root / "A/1.wav").write_bytes(b"changed here")
    (root / "mine.wav").write_bytes(b"mine")
    (source / "B/deep/3.wav").unlink()
    for path in (root / KEPT_BY_SOUNDX).glob("ledger.sqlite*"):
        path.unlink()
    (root / KEPT_BY_SOUNDX / "ledger.sqlite").write_bytes(content)
    before = tree(root)
    report = mirror(FolderSource(source), root, WHATEVER_WENT)
    assert tree(root) == before
    assert report.refused == [("A/1.wav", "a file of yours stands in its place")]
    (source / "A/2.wav").write_bytes(b"newer")  # ours again: it had the same bytes
    mirror(FolderSource(source), root)
    assert (root / "A/2.wav").read_bytes() == b"newer"


def test_a_garbled_row_of_the_ledger_is_as_good_as_none(source, tmp_path):
    root = tmp_path / "raw"
    mirror(FolderSource(source), root)
    (root / "mine.wav").write_bytes(b"mine")
    with closing(sqlite3.connect(root / KEPT_BY_SOUNDX / "ledger.sqlite")) as database:
        database.execute("UPDATE files SET key = 'mine.wav', version = '' WHERE key = 'A/1.wav'")
        database.commit()
    before = tree(root)
    mirror(FolderSource(source), root, WHATEVER_WENT)
    assert tree(root) == before


def test_a_ledger_of_version_0_1_is_read_and_written(source, tmp_path):
    root = tmp_path / "raw"
    mirror(FolderSource(source), root)
    with closing(sqlite3.connect(root / KEPT_BY_SOUNDX / "ledger.sqlite")) as database:
        database.execute("ALTER TABLE files DROP COLUMN checksum")
        database.commit()
    with Ledger.to_read(root) as ledger:
        assert len(ledger.files()) == 3
    (source / "A/1.wav").write_bytes(b"changed")
    report = mirror(FolderSource(source), root)
    assert (report.fetched, report.unchanged) == (1, 2)
