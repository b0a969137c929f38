"""How the pages say things that more than one of them says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units.

    >>> duration(7.4), duration(3599.9), duration(100_000)
    ('7 s', '1 h', '1 d 3 h')
    """
    rest = round(max(seconds, 0.0))
    parts: list[tuple[int, str]] = []
    for unit, size in _UNITS:
        n, rest = divmod(rest, size)
        if n or parts:
            parts.append((n, unit))
    return " ".join(f"{n} {unit}" for n, unit in parts[:2] if n) or "0 s"


def cross_validated(scores: Mapping[str, Any]) -> str:
    """Return the cross-validated accuracy with its interval and folds, in one sentence."""
    low, high = scores["accuracy_ci95"]
    return (
        f"Cross-validated: {scores['accuracy_mean']:.1%} (95 % interval {low:.1%} to {high:.1%}), "
        f"each of {scores['n_clips']:,} clips left out once, in {scores['k']} folds."
    )


def clock(seconds: float, *, tenths: bool = False) -> str:
    """Return a time inside a recording as clocks show it.

    >>> clock(7), clock(605.26, tenths=True), clock(3600)
    ('0:07', '10:05.3', '1:00:00')
    """
    scale = 10 if tenths else 1
    units = round(max(seconds, 0.0) * scale)
    minutes, rest = divmod(units, 60 * scale)
    shown = f"{rest // scale:02d}" + (f".{rest % scale}" if tenths else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{shown}" if hours else f"{minutes}:{shown}"
