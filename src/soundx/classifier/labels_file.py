"""``labels.json``: all that a program needs to use the TFLite files, and the check of it.

What stands in it is told field by field in ``SCHEMA``; it is checked when it is read, without any
library, as it is read where only LiteRT is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from soundx.labels import UNKNOWN, LabelTree
from soundx.markup import printable
from soundx.storage.names import file_names

LABELS = "labels.json"

ENDS_AT = 0.6
"""An event goes on while its probability is above this share of what it began at."""
SHORTEST_EVENT_S = 0.9
LONGEST_GAP_S = 1.0

_NEVER = 1.0  # a threshold above it belongs to a label that is never answered


@dataclass(frozen=True)
class Windowing:
    """What a row of window probabilities is about.

    Row *i* is about the window of ``frames`` frames around frame *i*; frame *i* begins at
    ``i * hop_s``, and windows that reach over an end repeat the frame there.

    Attributes:
        frames: Frames of a window.
        window_s: What they span, in seconds.
        hop_s: From one row to the next, in seconds.
        frame_samples: Samples at 16 kHz that one frame is made of.
        hop_samples: Samples from one to the next.
    """

    frames: int
    window_s: float
    hop_s: float
    frame_samples: int
    hop_samples: int

    @property
    def around(self) -> tuple[int, int]:
        """Frames of a window before and after the one in its middle."""
        return frames_around(self.frames)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Return what ``labels.json`` tells."""
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__})


def frames_around(n_frames: int) -> tuple[int, int]:
    """Return how many frames of a window lie before the one in its middle, and after it.

    >>> frames_around(3), frames_around(4)
    ((1, 1), (1, 2))
    """
    before = (n_frames - 1) // 2
    return before, n_frames - 1 - before


def head_files(heads: Iterable[str]) -> dict[str, str]:
    """Return the name of the TFLite file of each head of a classifier."""
    return {head: f"soundx_model_{name}.tflite" for head, name in file_names(heads).items()}


def head_classes_file(head_file: str) -> str:
    """Return the name of the file with the classes of a head, beside its TFLite file."""
    return head_file.removesuffix(".tflite") + ".json"


def labels_file(
    tree: LabelTree,
    *,
    version: str,
    embedder: Mapping[str, Any],
    training: Mapping[str, Any],
    thresholds: Mapping[str, float],
    background: bool,
    manifest_digest: str,
    sample_rate_hz: int,
    windowing: Windowing,
    precision: str = "float32",
    with_head_files: bool = False,
) -> bytes:
    """Return ``labels.json``."""
    files = head_files(tree.heads) if with_head_files else {}
    begins = {label: p for label, p in thresholds.items() if p <= _NEVER}
    content = {
        "version": version,
        "input": {
            "name": "waveform",
            "dtype": "float32",
            "sample_rate_hz": sample_rate_hz,
            "channels": 1,
            "range": [-1.0, 1.0],
        },
        "outputs": {
            "label_probabilities": "of the labels, in this order [1, labels]",
            "category_probabilities": "of their categories, in order of appearance",
            "window_probabilities": "of the labels, for a window around each frame",
            "embedding": "a frame every hop",
        },
        "labels": list(tree.labels),
        "categories": dict(tree.category_by_label),
        "thresholds": dict(thresholds),
        "unknown": UNKNOWN,
        "background": background,
        "window": asdict(windowing),
        "events": {
            "on": begins,
            "off": {label: ENDS_AT * p for label, p in begins.items()},
            "min_s": SHORTEST_EVENT_S,
            "gap_s": LONGEST_GAP_S,
        },
        "precision": precision,
        "heads": {
            head: {**({"file": files[head]} if files else {}), "classes": list(classes)}
            for head, classes in tree.heads.items()
        },
        "embedder": dict(embedder),
        "training": dict(training),
        "manifest_digest": manifest_digest,
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


Check = Callable[[Any, str], str]
"""Takes a value and the name of its field; returns what is wrong with it, or nothing."""


def _text(value: Any, name: str) -> str:
    return "" if isinstance(value, str) else f"{name} has to be text"


def _truth(value: Any, name: str) -> str:
    return "" if isinstance(value, bool) else f"{name} has to be true or false"


def _number(low: float, high: float = math.inf, *, whole: bool = False) -> Check:
    def check(value: Any, name: str) -> str:
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            return f"{name} has to be a {'whole ' if whole else ''}number from {low} to {high}"
        return "" if math.isfinite(value) else f"{name} is not finite"

    return check


def _mapping(inner: Check, *, filled: bool = False) -> Check:
    def check(value: Any, name: str) -> str:
        if not isinstance(value, dict) or (filled and not value):
            return f"{name} has to be an object{' with entries' if filled else ''}"
        return next(
            filter(None, (inner(v, f"{name}.{printable(k)}") for k, v in value.items())), ""
        )

    return check


def _sequence(inner: Check) -> Check:
    def check(value: Any, name: str) -> str:
        if not isinstance(value, list):
            return f"{name} has to be a list"
        return next(filter(None, (inner(v, f"{name}.{n}") for n, v in enumerate(value))), "")

    return check


def _record(needed: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    def check(value: Any, name: str) -> str:
        if not isinstance(value, dict):
            return f"{name or 'its content'} has to be an object"
        dot = f"{name}." if name else ""
        for field, inner in needed.items():
            if field not in value:
                return f"{dot}{field} is missing"
            if wrong := inner(value[field], f"{dot}{field}"):
                return wrong
        for field, inner in (optional or {}).items():
            if field in value and (wrong := inner(value[field], f"{dot}{field}")):
                return wrong
        return ""

    return check


def _anything(value: Any, name: str) -> str:
    del value, name
    return ""


_LONGEST_S, _MOST_SAMPLES = 3600.0, 2**26
_PROBABILITY = _number(0.0, 10.0)  # a threshold above 1 is never reached

SCHEMA = _record(
    {"version": _text, "categories": _mapping(_text, filled=True)},
    {
        "labels": _sequence(_text),
        "thresholds": _mapping(_PROBABILITY),
        "unknown": _text,
        "background": _truth,
        "precision": _text,
        "window": _record(
            {
                "frames": _number(1, 1000, whole=True),
                "window_s": _number(1e-3, _LONGEST_S),
                "hop_s": _number(1e-3, _LONGEST_S),
                "frame_samples": _number(1, _MOST_SAMPLES, whole=True),
                "hop_samples": _number(1, _MOST_SAMPLES, whole=True),
            }
        ),
        "events": _record(
            {
                "on": _mapping(_PROBABILITY),
                "off": _mapping(_PROBABILITY),
                "min_s": _number(0.0, _LONGEST_S),
                "gap_s": _number(0.0, _LONGEST_S),
            }
        ),
        "heads": _mapping(_record({}, {"classes": _sequence(_text), "file": _text})),
        "files": _mapping(_text),
        "embedder": _mapping(_anything),
        "training": _mapping(_anything),
        "manifest_digest": _text,
        "review": _record({}, {"labels": _mapping(_mapping(_anything))}),
    },
)
"""What has to stand in the file: version and categories; and of what kind the rest is."""


def check_labels(content: Any) -> str:
    """Return what is wrong with the content of ``labels.json``; nothing where it can be used."""
    wrong = SCHEMA(content, "")
    if wrong:
        return wrong
    labels = content.get("labels")
    if labels is not None and labels != list(content["categories"]):
        return "labels and categories do not name the same labels in the same order"
    categories = content["categories"]
    shown = (content["version"], *categories, *categories.values(), content.get("unknown", ""))
    try:
        "".join(shown).encode()
    except UnicodeEncodeError:  # half of a pair of surrogates: no file can be written of it
        return "version, categories or unknown hold what is no text"
    return ""
