"""A lock on a folder: one at a time writes to it, and whoever comes second is told who that is.

On this machine it is the kernel's (``flock`` on a hidden file), so nothing that was killed leaves
it taken, and two threads of one process exclude each other as two processes do. An object store
has no such thing: there an object says who is at work, anew every few seconds, and is void once
it has not been for a while.
"""

from __future__ import annotations

import errno
import fcntl
import getpass
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from soundx.errors import Setting, SoundxError
from soundx.storage.folder import Folder

logger = logging.getLogger(__name__)

NAME = ".soundx-lock.json"
"""The file or object in the folder; it stays when the lock is free, and then says nothing."""

BEAT_S = 15.0
"""How often a lock in an object store is renewed."""

VOID_S = 60.0
"""A lock there that has not been renewed for so long is nobody's."""

_CANNOT = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def take_lock(folder: Folder, what: str) -> Callable[[], None]:
    """Take the lock of a folder at once, or not at all; the folder is made where it is missing.

    Where nothing can be written, or the disk knows no locks, none is taken.

    Args:
        folder: The folder.
        what: What is about to be done there, for whoever comes second.

    Returns:
        What gives the lock back; it may be called more than once.

    Raises:
        SoundxError: Somebody else has it; says who. Or the folder cannot be made.
    """
    facts = {
        "pid": os.getpid(),
        "user": _user(),
        "host": socket.gethostname(),
        "what": what,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return _take_file(folder, facts) if folder.is_local else _take_object(folder, facts)


def _take_file(folder: Folder, facts: Mapping[str, Any]) -> Callable[[], None]:
    path = Path(folder.path(NAME))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in _CANNOT:  # what has to write there will say so
            return lambda: None
        if error.errno == errno.ENOENT:  # a disk like /proc, where nobody makes anything
            raise SoundxError(
                f"{path.parent} cannot be made there.", remedy=Setting("data_root", "DIR")
            ) from error
        raise
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        known = _once_written(file)
        os.close(file)
        raise _held(folder, known) from None
    except OSError as error:
        os.close(file)
        if error.errno not in _NO_LOCKS:
            raise
        logger.warning("%s lies on a disk without locks: start no second run on it.", folder)
        return lambda: None
    held = [file]

    def give_back() -> None:
        while held:
            mine = held.pop()
            os.ftruncate(mine, 0)
            os.close(mine)

    try:
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(facts).encode(), 0)
    except OSError:  # a full disk: nobody can tell who we are, but the lock is ours
        logger.warning("%s cannot be written.", path)
    return give_back


def _once_written(file: int) -> bytes:
    """Return what the holder of a lock says of itself; it says so a moment after it has it."""
    for _ in range(20):
        known = os.pread(file, 65_536, 0)
        if known:
            return known
        time.sleep(0.05)
    return b""


def _take_object(folder: Folder, facts: Mapping[str, Any]) -> Callable[[], None]:
    mine = {**facts, "token": uuid.uuid4().hex}

    def write(mode: str = "overwrite") -> None:
        content = json.dumps({**mine, "beat": time.time()}).encode()
        folder.fs.pipe_file(folder.path(NAME), content, mode=mode)

    known = _read_object(folder)
    if _is_valid(known):
        raise _held(folder, json.dumps(known).encode())
    if known:
        folder.remove(NAME)
    with suppress(FileExistsError):  # of two that came together one makes it
        write("create")
    known = _read_object(folder)  # a server that minds no condition lets the last one have it
    if known.get("token") != mine["token"]:
        raise _held(folder, json.dumps(known).encode())
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_S):
            try:
                write()
            except Exception:
                logger.debug("The lock of %s cannot be renewed now.", folder, exc_info=True)

    threading.Thread(target=beat, name="soundx-lock", daemon=True).start()

    def give_back() -> None:
        if not over.is_set():
            over.set()
            if _read_object(folder).get("token") == mine["token"]:
                folder.remove(NAME)

    return give_back


def _read_object(folder: Folder) -> dict[str, Any]:
    try:
        return dict(json.loads(folder.read(NAME)))
    except (FileNotFoundError, ValueError):
        return {}


def _is_valid(known: Mapping[str, Any]) -> bool:
    if not known or time.time() - float(known.get("beat", 0.0)) > VOID_S:
        return False
    here = known.get("host") == socket.gethostname()
    return not (here and not _is_alive(int(known.get("pid", 0))))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _held(folder: Folder, known: bytes) -> SoundxError:
    try:
        facts = dict(json.loads(known))
        who = (
            f" ({facts['what']}, process {facts['pid']} of {facts['user']} on {facts['host']}, "
            f"since {facts['since']})"
        )
    except (ValueError, KeyError):  # it is being written just now
        who = ""
    again = "" if folder.is_local else f"; one that was killed is forgotten after {VOID_S:.0f} s"
    return SoundxError(f"Another run is at work on {folder}{who}. Wait until it has ended{again}.")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
