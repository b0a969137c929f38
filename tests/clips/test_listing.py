from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest

from soundx.clips.listing import list_folder
from soundx.clips.manifest import IngestionOptions, scan_clips
from soundx.clips.mirror import mirror
from soundx.clips.raw import RawClips
from soundx.clips.source import FolderSource
from soundx.errors import SoundxError
from soundx.markup import printable
from soundx.storage.whole import whole_file
from tests.conftest import every_byte

STRANGE = {
    "cat/pipe.wav": "a pipe, not a file",
    "cat/socket.wav": "a socket, not a file",
    "cat/link.wav": "a link to nothing: No such file or directory",
    "cat/circle.wav": "cannot be read: Too many levels of symbolic links",
    "cat/below.wav": "cannot be read: Not a directory",
    "cat/out.wav": "a link to a file of another kind, out of the folder: put the file itself there",
    "cat/device.wav": "a device, not a file",
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
    (folder / "cat/circle.wav").symlink_to("circle.wav")
    (folder / "cat/below.wav").symlink_to("1.wav/x")
    (folder / "cat/out.wav").symlink_to(__file__)
    (folder / "cat/device.wav").symlink_to("/dev/zero")
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


def test_links_that_stay_in_the_folder_are_files_of_it_however_the_folder_is_reached(
    folder, tmp_path_factory
):
    (folder / "dog/again.wav").symlink_to("../cat/0.wav")
    (folder / "dog/notes").symlink_to("../cat/0.wav")
    link = tmp_path_factory.mktemp("elsewhere") / "link"
    link.symlink_to(folder)
    for root in (folder, link):
        assert {("dog/again.wav", ""), ("dog/notes", "")} <= set(list_folder(root))


def test_sounds_that_are_kept_elsewhere_may_be_linked_to(folder, tmp_path_factory):
    kept = tmp_path_factory.mktemp("elsewhere") / "kept.WAV"
    (folder / "dog/0.wav").rename(kept)
    (folder / "dog/0.wav").symlink_to(kept)
    root = tmp_path_factory.mktemp("project") / "01_raw"
    assert mirror(FolderSource(folder), root).refused == []
    assert (root / "dog/0.wav").read_bytes() == kept.read_bytes()


def test_nothing_of_elsewhere_is_copied_out_of_a_source_or_quoted(folder, tmp_path_factory):
    secret = tmp_path_factory.mktemp("home") / "netrc"
    secret.write_text("machine example.org password hunter2\n")
    (folder / "dog/x.wav").symlink_to(secret)
    (folder / "metadata.csv").symlink_to(secret)
    root = tmp_path_factory.mktemp("project") / "01_raw"
    assert dict(mirror(FolderSource(folder), root).refused).keys() == {"dog/x.wav", "metadata.csv"}
    assert not any(b"hunter2" in (content or b"") for _, content in every_byte(root).values())
    for raw in (root, folder):
        with pytest.raises(SoundxError, match=r"metadata\.csv.*out of the folder") as caught:
            scan_clips(RawClips(raw), IngestionOptions())
        assert "hunter2" not in str(caught.value)


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
