"""``soundx.pyz``: what listens, as one file that Python runs, beside the model it listens with.

It holds the modules of soundx that listening needs and no others, and stands on NumPy, soundfile,
soxr and LiteRT.
"""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path

RUNNER = "soundx.pyz"

PARTS = (
    "__init__.py",
    "errors.py",
    "labels.py",
    "markup.py",
    "parallel.py",
    "progress.py",
    "audio/__init__.py",
    "audio/decoding.py",
    "audio/links.py",
    "audio/reading.py",
    "audio/worker.py",
    "classifier/__init__.py",
    "classifier/bundle.py",
    "classifier/labels_file.py",
    "classifier/runner.py",
    "listening",
    "storage/__init__.py",
    "storage/checksum.py",
    "storage/names.py",
    "storage/s3.py",
    "storage/whole.py",
)
"""Modules, and rooms as a whole, that listening needs; a test holds it against what it imports."""

_PACKAGE = Path(__file__).resolve().parents[1]
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same modules are the same bytes
_START = b"import sys\nfrom soundx.listening.command import main\nsys.exit(main())\n"


@cache
def runner() -> bytes:
    """Return the file's bytes; ``python soundx.pyz predict night.wav`` runs it."""
    modules: list[Path] = []
    for part in PARTS:
        path = _PACKAGE / part
        modules += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    file = io.BytesIO(b"#!/usr/bin/env python3\n")
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        for module in modules:
            name = f"soundx/{module.relative_to(_PACKAGE).as_posix()}"
            archive.writestr(_entry(name), module.read_bytes())
        archive.writestr(_entry("__main__.py"), _START)
    return file.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _LONG_AGO)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
