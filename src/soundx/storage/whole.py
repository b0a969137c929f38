"""Files that are there whole or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path beside the wanted one to write to; on success it takes its place.

    Raises:
        OSError: It cannot be written; the wanted path is named.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix stays last: writers look at it to choose a format
    partial = path.with_name(f".{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if str(error.filename) != str(partial):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # a name that people know
    finally:
        partial.unlink(missing_ok=True)
