"""Recordings by path, folder, pattern or URL, each as a file on this machine while it is heard."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from soundx.errors import AudioError, SoundxError
from soundx.storage.s3 import check_address, explain

SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".w64",
    ".rf64", ".caf", ".m4a", ".aac", ".3gp", ".webm",
)  # fmt: skip
"""What is taken for a sound in a folder; a file that is named is heard whatever it is called."""


@dataclass(frozen=True)
class Source:
    """A recording that can be heard.

    Attributes:
        file: Its path or URL, as people are told it.
        state: Changes when its bytes do: size and time, or what its store tells.
    """

    file: str
    state: str

    @contextlib.contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Yield a file of this machine that holds it; what was fetched for it is gone afterwards.

        Raises:
            AudioError: It cannot be read.
        """
        try:
            self.file.encode()
        except UnicodeEncodeError:
            raise AudioError("its name is not UTF-8 text: rename it") from None
        if not _is_url(self.file):
            yield Path(self.file)
            return
        import fsspec

        with tempfile.TemporaryDirectory(prefix="soundx-") as folder:
            path = Path(folder) / f"recording{Path(self.file).suffix}"
            try:
                filesystem, inner = fsspec.core.url_to_fs(self.file)
                filesystem.get_file(inner, str(path))
            except FileNotFoundError:
                raise AudioError("cannot be fetched: it is not there") from None
            except Exception as error:  # whatever a store answers with
                raise AudioError(f"cannot be fetched: {explain(error, self.file)}") from None
            yield path

    def key(self, model: str) -> str:
        """Return what stands for what a model hears in it, as the name of a file."""
        text = json.dumps([self.file if _is_url(self.file) else os.path.abspath(self.file)])
        return hashlib.sha256(f"{text}{self.state}{model}".encode()).hexdigest()[:24]


def find_recordings(given: Sequence[str]) -> list[Source]:
    """Return the recordings that paths, folders, patterns and URLs stand for, each once, in order.

    Args:
        given: Files, folders (with all below them), patterns such as ``nights/*.wav``, or URLs of
            the same that fsspec reads (``s3://bucket/nights/``).

    Raises:
        SoundxError: One stands for nothing, or has a key in it.
    """
    found: dict[str, Source] = {}
    for one in given:
        check_address(one)
        some = list(_remote(one) if _is_url(one) else _local(one))
        if not some:
            raise SoundxError(
                f"There is no recording at {one or 'an empty name'}. Name a sound file, a folder "
                "that holds some, a pattern such as 'nights/*.wav', or s3://bucket/prefix."
            )
        for source in some:
            found.setdefault(source.file, source)
    return list(found.values())


def _is_url(text: str) -> bool:
    return "://" in text


def _local(given: str) -> Iterator[Source]:
    path = os.path.expanduser(given)
    if os.path.isdir(path):
        yield from _below(path)
    elif os.path.exists(path):
        yield _source(path)
    else:
        for match in sorted(glob.glob(path, recursive=True)):
            if os.path.isdir(match):
                yield from _below(match)
            else:
                yield _source(match)


def _below(folder: str) -> Iterator[Source]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield _source(os.path.join(root, name))


def _source(path: str) -> Source:
    try:
        facts = os.stat(path)
    except OSError:
        return Source(path, "")  # it is said when it is heard
    return Source(path, f"{facts.st_size}-{facts.st_mtime_ns}")


def _remote(url: str) -> Iterator[Source]:
    try:
        import fsspec
    except ImportError:
        raise SoundxError(
            f"{url} cannot be read without fsspec and what it needs for it (pip install s3fs)."
        ) from None
    try:
        filesystem, inner = fsspec.core.url_to_fs(url)
        if "*" in inner:
            paths = filesystem.glob(inner)
        elif filesystem.isdir(inner):
            paths = [p for p in filesystem.find(inner) if p.lower().endswith(SUFFIXES)]
        else:
            paths = [inner] if filesystem.exists(inner) else []
        for path in sorted(paths):
            facts = filesystem.info(path)
            state = [str(facts.get(name)) for name in ("size", "ETag", "LastModified", "mtime")]
            yield Source(filesystem.unstrip_protocol(path), "-".join(state))
    except Exception as error:  # whatever a store answers with
        raise explain(error, url) from None
