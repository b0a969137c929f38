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
from collections.abc import Iterable, Mapping

_PLAIN = re.compile(r"\w(?:[\w .+()-]*[\w)])?")
_LONGEST_BYTES = 100
_KEPT_LETTERS = 24  # four bytes each at most


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Return a name without suffix for a file of each name, all different on any disk.

    >>> file_names(["ANIMAL", "a/b"])
    {'ANIMAL': 'ANIMAL', 'a/b': 'a_b~c14cddc033f6'}
    """
    return names_apart({name: name for name in names})


def names_apart(names: Mapping[str, str]) -> dict[str, str]:
    """Return a name for a file of each thing, all different on any disk.

    Args:
        names: The name of each thing; two things may have one.

    >>> names_apart({"a/rec.wav": "rec", "b.wav": "b"})
    {'a/rec.wav': 'rec', 'b.wav': 'b'}
    """
    alike = Counter(map(folded, names.values()))
    return {
        thing: name if alike[folded(name)] == 1 and _is_plain(name) else _escaped(name, thing)
        for thing, name in names.items()
    }


def name_aside(name: str) -> str:
    """Return what a broken file is called from then on: hidden, and never the same twice."""
    return f".broken-{uuid.uuid4().hex[:6]}-{name}"


def _is_plain(name: str) -> bool:
    # the pattern first: halves of characters are none of it, and cannot be encoded
    return _PLAIN.fullmatch(name) is not None and len(name.encode()) <= _LONGEST_BYTES


def folded(name: str) -> str:
    """Return what is the same of names that some disk takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _escaped(name: str, thing: str) -> str:
    beginning = re.sub(r"[^\w+()-]", "_", name)[:_KEPT_LETTERS]
    return f"{beginning}~{short_hash(thing)}"


def short_hash(text: str) -> str:
    """Return a piece of a hash, that tells names apart which would otherwise meet."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
