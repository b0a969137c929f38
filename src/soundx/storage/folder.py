"""Whole-or-absent writes, on this machine and on any filesystem fsspec knows.

A file is written beside its place and renamed into it, so that nobody ever reads half of
one; object stores give that by themselves.
"""

from __future__ import annotations

import ctypes
import glob
import json
import logging
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from soundx.errors import BrokenFileError, Remedy, SoundxError
from soundx.storage.checksum import digest, parse_json, with_checksum
from soundx.storage.names import name_aside
from soundx.storage.s3 import check_address
from soundx.storage.whole import whole_file

logger = logging.getLogger(__name__)

# a listing that was kept is a stale one as soon as another process writes
fsspec.config.conf.setdefault("s3", {}).setdefault("use_listings_cache", False)


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux
_PARTIAL = re.compile(r"\.[0-9a-f]{12}(\.\w+)?")


@dataclass
class NewFile:
    """A file that is being written, and the name it will have."""

    path: Path
    name: str = ""


class Folder:
    """A folder on any filesystem, addressed by path or URL.

    Args:
        url: A path, or a URL such as ``s3://bucket/prefix``.
        storage_options: Passed to the filesystem (credentials, endpoint).
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        check_address(url)
        options = dict(storage_options or {})
        self.fs, self.root = fsspec.core.url_to_fs(url, **options)
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def __str__(self) -> str:
        return self.root if self.is_local else self.fs.unstrip_protocol(self.root)

    def sub(self, name: str) -> Folder:
        """Return a folder inside this one, on the same filesystem."""
        inner = object.__new__(Folder)
        inner.fs, inner.is_local, inner.root = self.fs, self.is_local, self.path(name)
        return inner

    def path(self, name: str = "") -> str:
        """Return the full path of something in the folder, without its protocol.

        Raises:
            SoundxError: The name leads out of the folder.
        """
        _check_inside(name, self)
        return f"{self.root.rstrip('/')}/{name}" if name else self.root

    def exists(self, name: str = "") -> bool:
        """Tell whether a file or folder is there."""
        return bool(self.fs.exists(self.path(name)))

    def names(self, folder: str = "") -> list[str]:
        """Return the names directly below a folder, sorted; none where it is missing."""
        self.fs.invalidate_cache(self.path(folder))
        try:
            found = self.fs.ls(self.path(folder), detail=False)
        except FileNotFoundError:
            return []
        names = (str(path).rstrip("/").rsplit("/", 1)[-1] for path in found)
        return sorted(name for name in names if not name.startswith("."))

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        return bytes(self.fs.cat_file(self.path(name)))

    def read_kept(
        self, name: str, digests: Mapping[str, str], *, remedy: Remedy = Remedy.RUN
    ) -> bytes:
        """Return the bytes of a file that has to be there, held against its checksum if it has one.

        Args:
            name: The file.
            digests: Checksums by name, as a JSON file beside it holds them.
            remedy: What makes it again.

        Raises:
            BrokenFileError: It is missing, or not what was written.
        """
        try:
            content = self.read(name)
        except FileNotFoundError:
            raise BrokenFileError(self.shown(name), "it is missing", remedy=remedy) from None
        if digests.get(name) not in (None, digest(content)):
            why = "its checksum is of something else"
            raise BrokenFileError(self.shown(name), why, remedy=remedy)
        return content

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""
        return self.fs.open(self.path(name), "rb")

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        if not self.is_local:
            self.fs.pipe_file(self.path(name), content)
            return
        with whole_file(Path(self.path(name))) as partial:
            partial.write_bytes(content)

    def read_json(self, name: str, *, remedy: Remedy = Remedy.RUN) -> Any:
        """Return the content of a JSON file, held against its checksum where it has one.

        Args:
            name: The file.
            remedy: What makes it again.

        Raises:
            BrokenFileError: It is not JSON, or not what was written.
        """
        return parse_json(self.read(name), self.shown(name), remedy=remedy)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file with its checksum, whole or not at all."""
        text = json.dumps(with_checksum(content), indent=2, ensure_ascii=False) + "\n"
        self.write(name, text.encode())

    def shown(self, name: str) -> str:
        """Return a file's path or URL, for people."""
        return f"{str(self).rstrip('/')}/{name}"

    def set_aside(self, name: str, why: str) -> None:
        """Rename a broken file so that nothing reads it, and say so; it is not deleted.

        Args:
            name: The file.
            why: What is wrong with it, in a few words.
        """
        aside = name_aside(name)
        self.fs.mv(self.path(name), self.path(aside))
        logger.warning(
            "%s is broken: %s. Set aside as %s, and made again.", self.shown(name), why, aside
        )

    def write_with(self, name: str, writer: Callable[[Path], object]) -> None:
        """Write a file with a function that takes a path."""
        with self.new_file(Path(name).suffix) as new:
            writer(new.path)
            new.name = name

    @contextmanager
    def new_file(self, suffix: str) -> Iterator[NewFile]:
        """Yield a file to write on this machine; it comes into the folder by its name at the end.

        Args:
            suffix: End of its name: some writers choose a format by it.
        """
        if self.is_local:
            folder = Path(self.root)
            folder.mkdir(parents=True, exist_ok=True)
            new = NewFile(folder / f".{uuid.uuid4().hex[:12]}{suffix}")
        else:
            new = NewFile(Path(tempfile.gettempdir()) / f"soundx-{uuid.uuid4().hex}{suffix}")
        try:
            yield new
            if self.is_local:
                new.path.replace(self.path(new.name))
            else:
                self.fs.put_file(str(new.path), self.path(new.name))
        finally:
            new.path.unlink(missing_ok=True)

    def remove_partial(self, older_than_s: float) -> None:
        """Remove files that a killed process of ours began and will never finish."""
        if not self.is_local or not Path(self.root).is_dir():
            return
        for path in Path(self.root).iterdir():
            if _PARTIAL.fullmatch(path.name) and path.is_file():
                with suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > older_than_s:
                        path.unlink()

    def remove(self, name: str) -> None:
        """Remove a file or folder of ours, if it is there."""
        if self.exists(name):
            self.fs.rm(self.path(name), recursive=True)

    def replace_files(self, files: Mapping[str, bytes]) -> None:
        """Make the folder hold exactly these files, in one step where that can be.

        On this machine the new folder is written beside the old one and takes its place;
        elsewhere files are written one by one, and then those no longer wanted removed.
        """
        if self.is_local:
            _replace_folder(Path(self.root), files)
            return
        for name, content in files.items():
            self.write(name, content)
        prefix = self.root.rstrip("/") + "/"
        self.fs.invalidate_cache(self.root)
        for path in self.fs.find(self.root):
            if path.removeprefix(prefix) not in files:
                self.fs.rm_file(path)

    def read_files(self) -> dict[str, bytes]:
        """Return the bytes of all files below the folder, by relative name."""
        self.fs.invalidate_cache(self.root)
        prefix = self.root.rstrip("/") + "/"
        return {
            path.removeprefix(prefix): self.fs.cat_file(path) for path in self.fs.find(self.root)
        }


def user_cache() -> Path:
    """Return the folder for what can be fetched again: ``SOUNDX_CACHE`` or ``~/.cache/soundx``."""
    return Path(os.environ.get("SOUNDX_CACHE") or Path("~/.cache/soundx").expanduser())


def is_inside(path: Path, folder: Path) -> bool:
    """Tell whether a path is in a folder, wherever links on its way lead."""
    return path.resolve().is_relative_to(folder.resolve())


def _check_inside(name: str, folder: Folder | Path) -> None:
    if name.startswith("/") or ".." in name.split("/"):
        raise SoundxError(f"The name {name!r} leads out of {folder}.")


def _replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{glob.escape(folder.name)}-*-????????????"):
        shutil.rmtree(left, ignore_errors=True)  # by a killed process
    tag = uuid.uuid4().hex[:12]
    new, old = (folder.with_name(f".{folder.name}-{which}-{tag}") for which in ("new", "old"))
    try:
        new.mkdir()
        for name, content in files.items():
            _check_inside(name, folder)
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if not folder.exists():
            os.rename(new, folder)
        elif not _exchange(new, folder):
            os.rename(folder, old)
            os.rename(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; tell whether the system can.

    Between two renames there would be no folder, for a reader and for whoever is killed there.
    """
    rename = getattr(ctypes.CDLL(None), "renameat2", None)  # Linux
    if rename is None:
        return False
    done = rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return bool(done == 0)
