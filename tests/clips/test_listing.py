from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest

from soundx.clips.listing import list_folder
from soundx.clips.manifest import IngestionOptions, scan_clips
from soundx.clips.raw import RawClips
from soundx.clips.source import FolderSource
from soundx.markup import printable
from soundx.storage.whole import whole_file

STRANGE = {
    "cat/pipe.wav": "a pipe, not a file",
    "cat/socket.wav": "a socket, not a file",
    "cat/link.wav": "a link to nothing: No such file or directory",
    "wolf": "a link to a folder, which is not followed: put the folder itself there",
    "cat/\\xe9.wav": "its name is not UTF-8 text: rename it",
    "cat/a\\nb.wav": "control characters in its name: rename it",
}
"""What ``strange_files`` makes, as it is to be told."""


def strange_files(folder: Path) -> None:
    """Put what is no file, or has no name, beside ``cat/0.wav``, which it takes away."""
    os.mkfifo(folder / "cat/pipe.wav")
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(folder):
        listening.bind("cat/socket.wav")  # the whole path would be too long for one
    (folder / "cat/link.wav").symlink_to("nowhere")
    (folder / "wolf").symlink_to("dog")
    (folder / "cat/a\nb.wav").write_bytes(b"x")
    os.rename(folder / "cat/0.wav", os.fsencode(folder) + b"/cat/\xe9.wav")


@pytest.fixture
def folder(write_clip, tmp_path):
    for number in range(3):
        write_clip(f"cat/{number}.wav")
        write_clip(f"dog/{number}.wav")
    return tmp_path


def test_what_is_no_file_has_a_reason_and_is_not_waited_for(folder):
    strange_files(folder)
    listed = {printable(name): problem for name, problem in list_folder(folder)}
    assert {name: problem for name, problem in listed.items() if problem} == STRANGE
    assert [name for name, problem in listed.items() if not problem] == [
        "cat/1.wav", "cat/2.wav", "dog/0.wav", "dog/1.wav", "dog/2.wav",
    ]  # fmt: skip


def test_clips_put_there_by_hand_are_looked_at_as_carefully(folder):
    strange_files(folder)
    manifest, rejected = scan_clips(RawClips(folder), IngestionOptions())
    assert len(manifest) == 5
    assert dict(zip(rejected["path"], rejected["reason"], strict=True)) == STRANGE
    with whole_file(folder / "all.csv") as partial:  # as text, whatever the names were
        partial.write_text(rejected.to_csv(), encoding="utf-8")


def test_a_folder_is_listed_in_order_and_one_that_is_not_there_as_empty(folder):
    names = [name for name, _ in list_folder(folder)]
    assert names == sorted(names)
    assert list(list_folder(folder / "nowhere")) == []


def test_hidden_files_of_a_source_are_counted(folder, write_clip, caplog):
    caplog.set_level("INFO")
    write_clip(".git/x.wav")
    write_clip("cat/.y.wav")
    assert len(list(FolderSource(folder).list_objects())) == 6
    assert "2 files of" in caplog.text
    assert "'.git/x.wav', are hidden" in caplog.text
