"""Checksums of what soundx writes for itself, so that what was changed since is told, not used.

JSON carries its own, as one field more; Parquet carries one a page; files beside a JSON file are
named in it. What was written before there were checksums has none, and is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from soundx.errors import BrokenFileError, Remedy

CHECKSUM = "checksum"
"""The field that holds the checksum of all other fields."""

SAVE_PARQUET: dict[str, Any] = {"write_page_checksum": True}
LOAD_PARQUET: dict[str, Any] = {"page_checksum_verification": True}
"""Options of pyarrow: a checksum a page (CRC-32), and whether it is held against what is read."""


def digest(content: bytes) -> str:
    """Return the checksum of a file's bytes."""
    return hashlib.sha256(content).hexdigest()


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with its checksum as the last field."""
    plain = {key: value for key, value in content.items() if key != CHECKSUM}
    return {**plain, CHECKSUM: _of_fields(plain)}


def without_checksum(content: Any, name: str, *, remedy: Remedy = Remedy.RUN) -> Any:
    """Return what was read from a JSON file without its checksum, once it was held against it.

    Args:
        content: What was read; only objects can have a checksum.
        name: Where from, for people.
        remedy: What makes it again.

    Raises:
        BrokenFileError: The checksum is of something else.
    """
    if not isinstance(content, dict) or CHECKSUM not in content:
        return content
    plain = {key: value for key, value in content.items() if key != CHECKSUM}
    if content[CHECKSUM] != _of_fields(plain):
        raise BrokenFileError(name, "its checksum is of something else", remedy=remedy)
    return plain


def why_broken(error: BaseException) -> str | None:
    """Return what is wrong with a file by what its reader raised; None where the disk is at fault.

    pyarrow's own errors are ValueError or OSError; one with a number is the disk's.
    """
    if isinstance(error, FileNotFoundError | PermissionError) or getattr(error, "errno", None):
        return None
    return str(error).splitlines()[0].rstrip(".") if str(error) else "it cannot be read"


def parse_json(text: bytes, name: str, *, remedy: Remedy = Remedy.RUN) -> Any:
    """Return what stands in a JSON file, its checksum taken off.

    Args:
        text: The file.
        name: Where it is, for people.
        remedy: What makes it again.

    Raises:
        BrokenFileError: It is not JSON, or its checksum is of something else.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):  # not UTF-8, or brackets without end
        raise BrokenFileError(name, "it is not JSON", remedy=remedy) from None
    return without_checksum(content, name, remedy=remedy)


def _of_fields(plain: Mapping[str, Any]) -> str:
    # once there and back: keys that are numbers come back as text
    text = json.dumps(json.loads(json.dumps(plain)), sort_keys=True)
    return digest(text.encode())[:32]
