"""How well events that were found agree with those that are true.

Three ways, each with F1, precision and recall, of all events and of each label:

- by events: onset within a collar, and offset within the collar or a share of the true event's
  length, whichever is more; each event counts once, matched so that as many as possible count
  (sed_eval with ``event_matching_type="optimal"``; DCASE's 0.2 s and 20 %, sed_eval's own are
  0.2 s and 50 %)
- by segments of fixed length, in which a label is or is not (sed_eval)
- by intersection: found events count where true ones fill enough of them (detection tolerance,
  DTC), true ones where those that count fill enough of them (ground truth intersection, GTC);
  false positives are the found events that fail the first (psds_eval's ``compute_macro_f_score``)

Macro averages are over the labels that are true somewhere. Where nothing is to be divided by,
scores are 0, as sed_eval's with ``empty_system_output_handling="zero_score"``; by segments it has
no such choice, and leaves a label that is never found out of its average, as psds_eval does one
without a true positive.

References: A. Mesaros, T. Heittola, T. Virtanen, "Metrics for polyphonic sound event detection",
Applied Sciences 6(6), 2016; C. Bilen et al., "A framework for the robust evaluation of sound
event detection", ICASSP 2020.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from soundx.errors import SoundxError
from soundx.listening.counterparts import same_recordings
from soundx.listening.events import Event

Times = npt.NDArray[np.float64]
"""Onsets and offsets of one label in one recording, by onset, in s [shape=(n_events, 2)]."""

Counts = npt.NDArray[np.int64]
"""True positives, false positives, false negatives [shape=(3,)]."""


def score_events(
    found: Sequence[Event],
    truth: Sequence[Event],
    durations_s: Mapping[str, float],
    *,
    collar_s: float = 0.2,
    offset_share: float = 0.2,
    segment_s: float = 1.0,
    dtc: float = 0.5,
    gtc: float = 0.5,
) -> dict[str, Any]:
    """Return how well found events agree with true ones.

    The two may name recordings in their own ways: see ``same_recordings``.

    Args:
        found: What was found, in recordings of ``durations_s``.
        truth: What is true.
        durations_s: Length of every recording that was listened to and in which all events are
            marked, by its name, in seconds. One without true events counts, too: what is found
            in it is false.
        collar_s: How far onsets may be off, in seconds.
        offset_share: How far offsets may be off, as a share of the true length, where that is
            more than the collar.
        segment_s: Length of segments, in seconds.
        dtc: Share of a found event that true ones have to fill.
        gtc: Share of a true event that found ones have to fill.

    Returns:
        ``event``, ``segment`` and ``intersection``, each with ``f1``, ``precision``, ``recall``
        of all labels together, ``macro_f1``, ``macro_precision``, ``macro_recall``,
        and the counts ``n_true_positives``, ``n_false_positives``, ``n_false_negatives``;
        ``n_found``, ``n_true``; ``n_false_alarms``, found events that touch no true one of their
        label, and ``false_alarms_per_hour``; ``hours``, the time listened to; ``labels``, the
        same by label, without macro; ``recordings``: ``scored``, how many, ``without_truth``,
        those that no true event is in, ``truth_not_listened_to``, names in the truth that are no
        recording here, whose events are left out, and ``named_otherwise``, our name by that of
        the truth where they differ; ``conventions``, the arguments.

    Raises:
        SoundxError: An argument, a duration or a time is none; a found event is in no recording;
            a name in the truth fits several recordings, or several fit one; none fits any.
    """
    conventions = {
        "collar_s": collar_s,
        "offset_share": offset_share,
        "segment_s": segment_s,
        "dtc": dtc,
        "gtc": gtc,
    }
    _check_conventions(conventions)
    total_s = _check_durations(durations_s)
    names = same_recordings((event.file for event in truth), durations_s)
    known = [(names[event.file], event) for event in truth if event.file in names]
    if truth and not known:
        raise SoundxError(
            f"No recording of the truth was listened to. The truth is about '{truth[0].file}', "
            f"listened was to '{next(iter(durations_s))}': give them the same names."
        )
    heard = _by_label([(event.file, event) for event in found], durations_s)
    true = _by_label(known, durations_s)
    labels = sorted({label for label, _ in heard} | {label for label, _ in true})
    ways: dict[str, Callable[[Times, Times, float], Counts]] = {
        "event": lambda f, t, _: count_matched(f, t, collar_s, offset_share),
        "segment": lambda f, t, duration_s: count_segments(f, t, duration_s, segment_s),
        "intersection": lambda f, t, _: count_intersecting(f, t, dtc, gtc),
    }
    counts = {way: {label: np.zeros(3, np.int64) for label in labels} for way in ways}
    totals = {label: np.zeros(3, np.int64) for label in labels}
    nothing: Times = np.zeros((0, 2))
    for label, file in sorted(heard.keys() | true.keys()):
        pair = heard.get((label, file), nothing), true.get((label, file), nothing)
        for way, count in ways.items():
            counts[way][label] += count(*pair, durations_s[file])
        totals[label] += (len(pair[0]), len(pair[1]), count_alarms(*pair))
    truly = [label for label in labels if totals[label][1]]
    hours = total_s / 3600
    return {
        **{way: _summary(by_label, truly) for way, by_label in counts.items()},
        **_totals(sum(totals.values(), np.zeros(3, np.int64)), hours),
        "hours": hours,
        "labels": {
            label: {
                **{way: _scores(counts[way][label]) for way in ways},
                **_totals(totals[label], hours),
            }
            for label in labels
        },
        "recordings": {
            "scored": len(durations_s),
            "without_truth": sorted(durations_s.keys() - {file for file, _ in known}),
            "truth_not_listened_to": sorted({e.file for e in truth} - names.keys()),
            "named_otherwise": {a: b for a, b in sorted(names.items()) if a != b},
        },
        "conventions": conventions,
    }


def count_matched(found: Times, truth: Times, collar_s: float, offset_share: float) -> Counts:
    """Count by events, matched so that as many as possible are."""
    onsets = truth[:, 0]
    tolerance = np.maximum(collar_s, offset_share * (truth[:, 1] - truth[:, 0]))
    # a little wide: what is decided on is the difference, as sed_eval computes it
    low = np.searchsorted(onsets, found[:, 0] - collar_s - 1e-6)
    high = np.searchsorted(onsets, found[:, 0] + collar_s + 1e-6, side="right")
    fits = []
    for (onset_s, offset_s), first, end in zip(found, low, high, strict=True):
        near = truth[first:end]
        fit = np.abs(near[:, 0] - onset_s) <= collar_s
        fit &= np.abs(near[:, 1] - offset_s) <= tolerance[first:end]
        fits.append((first + np.flatnonzero(fit)).tolist())
    hits = n_matched(fits)
    return np.array([hits, len(found) - hits, len(truth) - hits])


def n_matched(fits: Sequence[Sequence[int]]) -> int:
    """Return how many can have one of their own among those that fit each.

    Augmenting paths, many in each pass over what is still alone; paths are walked without
    recursion, as crowded recordings make them long.

    >>> n_matched([[0, 1], [0], [1]])
    2
    """
    taken_by: dict[int, int] = {}
    alone = [one for one, fitting in enumerate(fits) if fitting]
    while alone:
        seen: set[int] = set()
        left = [one for one in alone if not _augment(one, fits, taken_by, seen)]
        if len(left) == len(alone):
            break
        alone = left
    return len(taken_by)


def _augment(
    start: int, fits: Sequence[Sequence[int]], taken_by: dict[int, int], seen: set[int]
) -> bool:
    path: list[int] = []  # what each on the path wants
    walk = [(start, iter(fits[start]))]
    while walk:
        _, wanted = walk[-1]
        for item in wanted:
            if item in seen:
                continue
            seen.add(item)
            path.append(item)
            if item not in taken_by:
                for (one, _), its in zip(walk, path, strict=True):
                    taken_by[its] = one
                return True
            walk.append((taken_by[item], iter(fits[taken_by[item]])))
            break
        else:
            walk.pop()
            if path:
                path.pop()
    return False


def count_segments(found: Times, truth: Times, duration_s: float, segment_s: float) -> Counts:
    """Count segments of a recording: a label is in each that it touches."""
    n = math.ceil(duration_s / segment_s)
    ours, theirs = _segments(found, segment_s, n), _segments(truth, segment_s, n)
    both = 0
    for first, end in ours:
        both += int((np.minimum(end, theirs[:, 1]) - np.maximum(first, theirs[:, 0])).clip(0).sum())
    n_ours, n_theirs = (int((runs[:, 1] - runs[:, 0]).sum()) for runs in (ours, theirs))
    return np.array([both, n_ours - both, n_theirs - both])


def _segments(times: Times, segment_s: float, n: int) -> npt.NDArray[np.int64]:
    """Return runs of segments, apart from each other, as first and end [shape=(n_runs, 2)]."""
    runs: list[list[int]] = []
    for onset_s, offset_s in times:
        first = min(math.floor(onset_s / segment_s), n)
        end = min(math.ceil(offset_s / segment_s), n)
        if runs and first <= runs[-1][1]:
            runs[-1][1] = max(runs[-1][1], end)
        elif first < end:
            runs.append([first, end])
    return np.array(runs, np.int64).reshape(-1, 2)


def count_intersecting(found: Times, truth: Times, dtc: float, gtc: float) -> Counts:
    """Count by intersection; events without length are left out, as psds_eval does.

    True positives are true events, false positives are found ones. A found event that true ones
    fill, but which fills none of them, is neither. Where true events of one label overlap, which
    psds_eval refuses, what they share counts for each.
    """
    found, truth = (times[times[:, 1] > times[:, 0]] for times in (found, truth))
    ours, theirs = _overlapping(found, truth)
    shared_s = np.minimum(found[ours, 1], truth[theirs, 1])
    shared_s -= np.maximum(found[ours, 0], truth[theirs, 0])
    lengths, true_lengths = (times[:, 1] - times[:, 0] for times in (found, truth))
    filled = _summed(ours, shared_s, len(found)) / lengths
    touched = np.bincount(ours, minlength=len(found)) > 0
    counts = touched & (filled >= dtc)
    kept = counts[ours]
    covered = _summed(theirs[kept], shared_s[kept], len(truth)) / true_lengths
    hit = (np.bincount(theirs[kept], minlength=len(truth)) > 0) & (covered >= gtc)
    n_hits = int(hit.sum())
    return np.array([n_hits, int((~counts).sum()), len(truth) - n_hits])


def count_alarms(found: Times, truth: Times) -> int:
    """Count found events that touch no true one, not even its edge."""
    if not len(truth):
        return len(found)
    latest = np.maximum.accumulate(truth[:, 1])
    before = np.searchsorted(truth[:, 0], found[:, 1], side="right")
    touched = (before > 0) & (latest[np.maximum(before - 1, 0)] >= found[:, 0])
    return int((~touched).sum())


def _overlapping(found: Times, truth: Times) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the indices of every found and true event that share time, pair by pair."""
    if not len(truth):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    low = np.searchsorted(np.maximum.accumulate(truth[:, 1]), found[:, 0], side="right")
    high = np.maximum(np.searchsorted(truth[:, 0], found[:, 1]), low)
    ours = np.repeat(np.arange(len(found)), high - low)
    starts = np.repeat(high - np.cumsum(high - low), high - low)
    theirs = np.arange(len(ours)) + starts
    share = truth[theirs, 1] > found[ours, 0]
    return ours[share], theirs[share]


def _summed(index: npt.NDArray[np.intp], values: Times, n: int) -> Times:
    return np.asarray(np.bincount(index, weights=values, minlength=n), np.float64)


def _by_label(
    events: Iterable[tuple[str, Event]], durations_s: Mapping[str, float]
) -> dict[tuple[str, str], Times]:
    """Return the times of each label in each recording, by label and recording."""
    times: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for file, event in events:
        if file not in durations_s:
            raise SoundxError(f"An event was found in '{file}', which was not listened to.")
        onset_s, offset_s = event.onset_s, event.offset_s
        if not (math.isfinite(offset_s) and 0 <= onset_s <= offset_s):
            raise SoundxError(
                f"'{event.label}' in '{event.file}' cannot last from {onset_s:g} to {offset_s:g} s."
            )
        if onset_s > durations_s[file]:
            raise SoundxError(
                f"'{event.label}' begins at {onset_s:g} s in '{event.file}', which has only "
                f"{durations_s[file]:g} s. Are its times in seconds, and is it that recording?"
            )
        times[event.label, file].append((onset_s, offset_s))
    return {key: np.array(sorted(some), np.float64) for key, some in times.items()}


def _check_conventions(given: Mapping[str, float]) -> None:
    for name, value in given.items():
        highest = math.inf if name.endswith("_s") else 1.0
        lowest = 1e-3 if name == "segment_s" else 0.0
        if not (lowest <= value <= highest and math.isfinite(value)):
            raise SoundxError(f"{name} cannot be {value}: at least {lowest}, at most {highest}.")


def _check_durations(durations_s: Mapping[str, float]) -> float:
    for file, duration_s in durations_s.items():
        if not (math.isfinite(duration_s) and duration_s >= 0):
            raise SoundxError(f"'{file}' cannot be {duration_s} s long.")
    total_s = math.fsum(durations_s.values())
    if total_s <= 0:
        raise SoundxError("Nothing was listened to: there is no score of no time.")
    return total_s


def _summary(by_label: Mapping[str, Counts], truly: Sequence[str]) -> dict[str, float]:
    each = [_scores(by_label[label]) for label in truly]
    macro = {
        f"macro_{name}": sum(one[name] for one in each) / len(each) if each else 0.0
        for name in ("f1", "precision", "recall")
    }
    return _scores(sum(by_label.values(), np.zeros(3, np.int64))) | macro


def _scores(counts: Counts) -> dict[str, float]:
    hits, false, missed = (int(count) for count in counts)
    return {
        "f1": _ratio(2 * hits, 2 * hits + false + missed),
        "precision": _ratio(hits, hits + false),
        "recall": _ratio(hits, hits + missed),
        "n_true_positives": hits,
        "n_false_positives": false,
        "n_false_negatives": missed,
    }


def _totals(totals: Counts, hours: float) -> dict[str, float]:
    n_found, n_true, n_alarms = (int(count) for count in totals)
    return {
        "n_found": n_found,
        "n_true": n_true,
        "n_false_alarms": n_alarms,
        "false_alarms_per_hour": n_alarms / hours,
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
