"""Where YAMNet's weights come from: TensorFlow Hub's cache, a folder, a bucket.

Settled without TensorFlow, so that a run whose embeddings are all stored need not import it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import socket
import tempfile
import uuid
from pathlib import Path

import fsspec

from soundx.errors import EmbedderUnavailableError, Remedy, SoundxError
from soundx.storage.folder import Folder, user_cache
from soundx.storage.s3 import check_address, explain, without_key

logger = logging.getLogger(__name__)


DEFAULT_HANDLE = "https://tfhub.dev/google/yamnet/1"


_DOWNLOAD_TIMEOUT_S = 30.0


def available_offline(source: str = "") -> bool:
    """Tell whether YAMNet can be had from that source without a download."""
    source = source or DEFAULT_HANDLE
    if _is_http(source):
        return _is_whole(_hub_cache_folder(source))
    return "://" not in source


def locate(source: str) -> Path:
    """Return the folder of a SavedModel on this machine, fetching it where needed.

    Raises:
        EmbedderUnavailableError: It cannot be had; says what was tried.
    """
    check_address(source)
    if _is_http(source):
        return _from_hub(source)
    if "://" in source:
        return _from_bucket(source)
    folder = Path(source).expanduser()
    if not _is_whole(folder):
        missing = "is not a folder" if not folder.is_dir() else "has no whole SavedModel in it"
        raise EmbedderUnavailableError(
            f"YAMNet was looked for in {folder}, as SOUNDX_YAMNET or the parameter 'yamnet' "
            f"says, but that {missing} (saved_model.pb and variables/).",
            remedy=Remedy.GET_YAMNET,
        )
    return folder


def _is_http(source: str) -> bool:
    return source.startswith(("https://", "http://"))


def _is_whole(folder: Path) -> bool:
    """A SavedModel with weights; caches lose files to cleaners (tensorflow/hub#896)."""
    return (
        (folder / "saved_model.pb").is_file()
        and (folder / "variables" / "variables.index").is_file()
        and any((folder / "variables").glob("variables.data-*"))
    )


def _hub_cache_folder(handle: str) -> Path:
    """Where TensorFlow Hub keeps a handle; told here without importing TensorFlow."""
    cache = os.environ.get("TFHUB_CACHE_DIR") or Path(tempfile.gettempdir()) / "tfhub_modules"
    return Path(cache) / hashlib.sha1(handle.encode(), usedforsecurity=False).hexdigest()


def _from_hub(handle: str) -> Path:
    folder = _hub_cache_folder(handle)
    if _is_whole(folder):
        return folder
    if folder.exists():
        logger.warning("The copy of %s in %s is not whole: it is fetched again.", handle, folder)
        shutil.rmtree(folder)
    import tensorflow_hub as hub

    logger.info("Fetching %s ...", handle)
    patience_s = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        folder = Path(hub.resolve(handle))
    except Exception as error:
        raise EmbedderUnavailableError(
            f"YAMNet cannot be fetched from {handle} ({without_key(str(error))}), and there is no "
            f"copy in TensorFlow Hub's cache, {folder.parent}.",
            remedy=Remedy.GET_YAMNET,
        ) from None
    finally:
        socket.setdefaulttimeout(patience_s)
    if not _is_whole(folder):
        raise EmbedderUnavailableError(
            f"What {handle} sent is not a SavedModel (it lies in {folder}).",
            remedy=Remedy.GET_YAMNET,
        )
    return folder


def _from_bucket(url: str) -> Path:
    """Copy a SavedModel from any fsspec URL to the user's cache, once per version."""
    try:
        filesystem, root = fsspec.core.url_to_fs(url)
        # fresh listing: an old one would hide new weights
        filesystem.invalidate_cache()
        files = filesystem.find(root, detail=True)
        if not files:
            raise SoundxError(f"{url}: there is nothing under that address.")
        state = sorted(
            (name, info.get("size"), str(info.get("ETag") or info.get("mtime") or ""))
            for name, info in files.items()
        )
        key = hashlib.sha256(repr((url, state)).encode()).hexdigest()[:24]
        folder = user_cache() / "models" / key
        if not _is_whole(folder):
            if folder.exists():
                shutil.rmtree(folder)
            logger.info("Fetching the SavedModel %s ...", url)
            partial = Folder(str(folder.with_name(f".{key}-{uuid.uuid4().hex}")))
            try:
                for name in files:
                    inner = name.removeprefix(root.rstrip("/")).lstrip("/")
                    target = Path(partial.path(inner))  # nothing is written elsewhere
                    target.parent.mkdir(parents=True, exist_ok=True)
                    filesystem.get_file(name, str(target))
                if not _is_whole(Path(partial.root)):
                    raise SoundxError(f"{url}: there is no whole SavedModel under that address.")
                os.rename(partial.root, folder)
            finally:
                shutil.rmtree(partial.root, ignore_errors=True)
    except Exception as error:
        raise EmbedderUnavailableError(
            f"YAMNet cannot be read. {explain(error, url)}", remedy=Remedy.GET_YAMNET
        ) from None
    return folder


def hash_saved_model(folder: Path) -> str:
    """Return a hash of a SavedModel's files."""
    digest = hashlib.sha256()
    for path in [folder / "saved_model.pb", *sorted((folder / "variables").iterdir())]:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
