"""Which recordings are the same that two lists name in ways of their own.

A label track knows its own name only, a selection table the path on the disk of whoever made it.
What is taken for the same can be looked up in what is returned; what may be several is an error.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from soundx.errors import SoundxError

_SUFFIX = re.compile(r"(?<=[^/])\.(?=[^./]*[a-z])[a-z0-9]{2,5}$", re.IGNORECASE)


def same_recordings(theirs: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
    r"""Return our name of each recording that we have, by its name elsewhere.

    The first of these ways that finds one is right; letters' case does not count:

    1. the names are the same
    2. one path is the end of the other (``site/a.wav``, ``/data/site/a.wav``)
    3. the same without suffixes (``a``, ``/data/a.wav``)
    4. the file names are the same, with suffixes or without, though the folders are not
       (``C:\old\a.wav``), where nothing else of theirs and ours is called so

    Raises:
        SoundxError: Several of ours are right, or two of theirs are the same of ours.
    """
    theirs, ours = list(dict.fromkeys(theirs)), list(dict.fromkeys(ours))
    known = set(ours)
    found = {name: name for name in theirs if name in known}
    for suffix in (True, False):
        ends = _Ends(ours, suffix)
        for name in theirs:
            if name not in found and (fitting := ends.fitting(name)):
                found[name] = _only(name, fitting)
    for suffix in (True, False):
        ours_left = _Ends([our for our in ours if our not in found.values()], suffix)
        all_theirs = _Ends(theirs, suffix)
        for name in theirs:
            if name in found or len(all_theirs.alike(name)) > 1:
                continue
            if fitting := ours_left.alike(name):
                found[name] = _only(name, fitting)
    back: dict[str, str] = {}
    for name, our in found.items():
        if (other := back.setdefault(our, name)) != name:
            raise SoundxError(
                f"'{other}' and '{name}' of the truth would both be '{our}': name them alike, or "
                "with more of their paths."
            )
    return found


def _only(name: str, fitting: Sequence[str]) -> str:
    if len(fitting) > 1:
        raise SoundxError(
            f"'{name}' of the truth may be {' or '.join(map(repr, fitting[:3]))}: name it with "
            "more of its path."
        )
    return fitting[0]


class _Ends:
    """Names of recordings by the ends of their paths, with their suffix or without."""

    def __init__(self, names: Iterable[str], suffix: bool) -> None:
        self._suffix = suffix
        self._by_end: defaultdict[str, list[str]] = defaultdict(list)
        self._by_whole: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            ends = self._of(name)
            self._by_whole[ends[0]].append(name)
            for end in ends:
                self._by_end[end].append(name)

    def fitting(self, name: str) -> list[str]:
        """Return those whose path ends in a name, else those that are its longest end."""
        ends = self._of(name)
        longer = self._by_end.get(ends[0])
        return longer or next((self._by_whole[e] for e in ends if e in self._by_whole), [])

    def alike(self, name: str) -> list[str]:
        """Return those with the same file name."""
        return self._by_end.get(self._of(name)[-1], [])

    def _of(self, name: str) -> list[str]:
        scheme, found, rest = name.partition("://")
        path = re.split("[?#]", rest)[0] if found else scheme
        parts = [part for part in re.split(r"[/\\]", path.casefold()) if part not in ("", ".")]
        whole = "/".join(parts) if self._suffix else _SUFFIX.sub("", "/".join(parts))
        parts = whole.split("/")
        return ["/".join(parts[start:]) for start in range(len(parts))]
