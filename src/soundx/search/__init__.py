"""Search windows of recordings by what they sound like.

>>> from soundx.search import WindowIndex, search  # doctest: +SKIP
>>> index = WindowIndex("data/04_feature/recordings/windows")  # doctest: +SKIP
>>> hits = search(index, index.vectors([1234]), n=20)  # doctest: +SKIP
"""

from soundx.search.index import Projection, Window, WindowIndex, build_index
from soundx.search.query import Filter, Hit, likeness_to, search

__all__ = [
    "Filter",
    "Hit",
    "Projection",
    "Window",
    "WindowIndex",
    "build_index",
    "likeness_to",
    "search",
]
