"""Names that people choose, as names of files: one place, so that none meets another.

A name stays as it is where it can. One that is very long, has characters that some disk or shell
minds, or differs from another in case alone, is shortened and gets a piece of its hash after a
``~``, which no name that stays as it is can hold.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import uuid
from collections import Counter
from collections.abc import Iterable

_PLAIN = re.compile(r"\w(?:[\w .+()-]*[\w)])?")
_LONGEST_BYTES = 100
_KEPT_LETTERS = 24  # four bytes each at most


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Return a name without suffix for a file of each name, all different on any disk.

    >>> file_names(["ANIMAL", "a/b"])
    {'ANIMAL': 'ANIMAL', 'a/b': 'a_b~c14cddc033f6'}
    """
    names = list(dict.fromkeys(names))
    alike = Counter(map(_folded, names))
    return {
        name: name if alike[_folded(name)] == 1 and _is_plain(name) else _escaped(name)
        for name in names
    }


def name_aside(name: str) -> str:
    """Return what a broken file is called from then on: hidden, and never the same twice."""
    return f".broken-{uuid.uuid4().hex[:6]}-{name}"


def _is_plain(name: str) -> bool:
    return len(name.encode()) <= _LONGEST_BYTES and _PLAIN.fullmatch(name) is not None


def _folded(name: str) -> str:
    """Return what is the same of names that some disk takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _escaped(name: str) -> str:
    beginning = re.sub(r"[^\w+()-]", "_", name)[:_KEPT_LETTERS]
    hashed = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{beginning}~{hashed}"
