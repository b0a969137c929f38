"""Windows to events: where a label begins, where it ends, and how sure the model was.

Windows overlap, and each speaks for the hop in its middle; the first also for what lies before
it, the last for what comes after. A label begins where its probability reaches one threshold, and
goes on while it stays above a lower one (hysteresis), so that an event does not fall apart where
the model hesitates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from soundx.audio import Float32
from soundx.errors import SoundxError


@dataclass(frozen=True)
class Recording:
    """A recording that was listened to.

    Attributes:
        file: Its path or URL, as it was given.
        duration_s: Its length, in seconds.
        starts_at: When it began by the clock, where its name or header tells.
    """

    file: str
    duration_s: float
    starts_at: datetime | None = None


@dataclass(frozen=True)
class Event:
    """A stretch of a recording that holds a label.

    Attributes:
        file: The recording, as ``Recording.file``.
        onset_s: Where it begins, in seconds.
        offset_s: Where it ends, in seconds.
        label: The label.
        category: Its category.
        probability: The highest of its windows' probabilities.
        mean_probability: Their mean.
        starts_at: When it began by the clock, where that is known.
    """

    file: str
    onset_s: float
    offset_s: float
    label: str
    category: str
    probability: float
    mean_probability: float
    starts_at: datetime | None = None


@dataclass(frozen=True)
class EventRules:
    """When a run of windows is an event.

    Attributes:
        on: Probability by label at which an event begins; a label without one never does.
        off: Probability by label above which it goes on.
        min_s: Shorter events are left out, in seconds.
        gap_s: Events of one label that are no further apart are one, in seconds.
    """

    on: Mapping[str, float]
    off: Mapping[str, float]
    min_s: float = 0.0
    gap_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        # NaN is not below anything
        if not all(0 <= length < math.inf for length in (self.min_s, self.gap_s)):
            raise SoundxError("Shortest length and gap of events cannot be below 0, or endless.")
        for label, begins in self.on.items():
            if self.off.get(label, begins) > begins:
                raise SoundxError(
                    f"'{label}' would end above {self.off[label]} and begin at {begins}: the "
                    "threshold of the end cannot be the higher one."
                )


def find_events(
    probabilities: Float32,
    categories: Mapping[str, str],
    rules: EventRules,
    recording: Recording,
    *,
    window_s: float,
    hop_s: float,
    hops_before: int = 0,
) -> list[Event]:
    """Return the events of a recording, in order of time.

    Args:
        probabilities: Of the labels, a row a window [shape=(n_windows, n_labels)]. What a row
            lacks to one is background's, and where that is more probable nothing begins.
        categories: Category of each label, in the order of the columns.
        rules: When a run of windows is an event.
        recording: What was heard.
        window_s: Length of a window, in seconds.
        hop_s: Time from one window to the next, in seconds.
        hops_before: How many hops the first window begins before the recording does.
    """
    if not len(probabilities):
        return []
    background = 1.0 - probabilities.sum(axis=1, dtype=np.float64)
    edges = cell_edges(
        len(probabilities),
        recording.duration_s,
        window_s=window_s,
        hop_s=hop_s,
        hops_before=hops_before,
    )
    events = []
    for column, (label, category) in enumerate(categories.items()):
        if label not in rules.on:
            continue
        heard = probabilities[:, column].astype(np.float64)
        on = rules.on[label]
        begins = (heard >= on) & (heard >= background)
        lasts = begins | (heard >= rules.off.get(label, on))
        for first, last in _merged(_runs(begins, lasts), edges, rules.gap_s):
            onset_s, offset_s = float(edges[first]), float(edges[last + 1])
            if offset_s - onset_s < rules.min_s or offset_s <= onset_s:
                continue
            inside = heard[first : last + 1]
            events.append(
                Event(
                    file=recording.file,
                    onset_s=onset_s,
                    offset_s=offset_s,
                    label=label,
                    category=category,
                    probability=float(inside.max()),
                    mean_probability=float(inside.mean()),
                    starts_at=later(recording.starts_at, onset_s),
                )
            )
    return sorted(events, key=lambda event: (event.onset_s, event.offset_s, event.label))


def cell_edges(
    n_windows: int, duration_s: float, *, window_s: float, hop_s: float, hops_before: int = 0
) -> np.ndarray:
    """Return the borders between what each window speaks for [shape=(n_windows + 1,)], in s."""
    middle = window_s / 2 - hop_s / 2 - hops_before * hop_s
    edges = middle + hop_s * np.arange(n_windows + 1)
    edges[0], edges[-1] = 0.0, duration_s
    return np.asarray(np.minimum(edges, duration_s))


def later(clock: datetime | None, seconds: float) -> datetime | None:
    """Return the time so many seconds after another one, None where that is not known."""
    return None if clock is None else clock + timedelta(seconds=seconds)


def _runs(begins: np.ndarray, lasts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield first and last index of each run of ``lasts`` that holds one of ``begins``."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], lasts, [False]]).astype(np.int8)))
    for first, end in zip(steps[::2], steps[1::2], strict=True):
        if begins[first:end].any():
            yield int(first), int(end) - 1


def _merged(
    runs: Iterator[tuple[int, int]], edges: np.ndarray, gap_s: float
) -> Sequence[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in runs:
        if joined and edges[first] - edges[joined[-1][1] + 1] <= gap_s:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined
