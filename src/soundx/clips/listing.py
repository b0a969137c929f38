"""What lies in a folder, told whole: files, and what is none, with the reason.

A folder of somebody's may hold pipes, links to elsewhere, folders that may not be read and
names that are no text. Each is named, none is opened, and nothing waits for one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from soundx.storage.folder import is_inside

_KINDS = {
    stat.S_IFIFO: "a pipe, not a file",
    stat.S_IFSOCK: "a socket, not a file",
    stat.S_IFCHR: "a device, not a file",
    stat.S_IFBLK: "a device, not a file",
}


def list_folder(root: Path) -> Iterator[tuple[str, str]]:
    """Yield what lies in a folder and in those below it, in order.

    Links to folders are not followed, nor links out of the folder to files of another kind.

    Args:
        root: The folder; where it is missing there is nothing.

    Yields:
        The relative name, parts separated by ``/``, and why it can be no clip: empty of a file
        that can be opened.
    """
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield folder or ".", f"a folder that cannot be read: {error.strerror}"
            continue
        inside = []
        for entry in found:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                inside.append(name)
            else:
                yield name, _why_no_entry(entry, root) or _why_no_name(name)
        waiting += reversed(inside)


def is_hidden(name: str) -> bool:
    """Tell whether a file, or a folder it is in, begins with a dot."""
    return name.startswith(".") or "/." in name


def why_no_file(path: Path, root: Path) -> str:
    """Tell why what lies in a folder, or below it, is no file of it that can be opened.

    Args:
        path: Its path, that of the folder before it.
        root: The folder. A link may lead out of it to a file with the same suffix, as where sounds
            are kept once and linked to; else whoever made it could show any file of this machine.

    Returns:
        The reason; empty of a file.
    """
    is_link = path.is_symlink()
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
        leads_out = is_link and not (is_inside(path, root) or _is_alike(path, path.resolve()))
    except FileNotFoundError as error:
        return f"a link to nothing: {error.strerror}" if is_link else "it has gone"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if kind == stat.S_IFDIR:
        return (
            "a link to a folder, which is not followed: put the folder itself there"
            if is_link
            else "a folder, not a file"
        )
    if kind != stat.S_IFREG:
        return _KINDS.get(kind, "not a file")
    if leads_out:
        return "a link to a file of another kind, out of the folder: put the file itself there"
    return ""


def _is_alike(link: Path, target: Path) -> bool:
    suffix = link.suffix.lower()
    return bool(suffix) and target.suffix.lower() == suffix


def _why_no_entry(entry: os.DirEntry[str], root: Path) -> str:
    # of a plain file the folder tells all, and nothing more is asked
    return "" if entry.is_file(follow_symlinks=False) else why_no_file(Path(entry.path), root)


def _why_no_name(name: str) -> str:
    if name.isprintable():
        return ""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8 text: rename it"
    return "control characters in its name: rename it"
