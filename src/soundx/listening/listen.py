"""Listen to recordings: as many at once as there are processors, each once, whatever interrupts.

What the model hears is kept row by row (``kept``); events are found in what was kept, so that
other thresholds cost no second hearing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.audio.decoding import decode_blocks
from soundx.classifier.bundle import JOINT_MODEL, Classifier
from soundx.errors import AudioError, SoundxError
from soundx.listening.clock import starts_at
from soundx.listening.events import Event, EventRules, Recording, find_events
from soundx.listening.kept import Ending, Kept
from soundx.listening.recordings import Source
from soundx.listening.windows import Whole, hear
from soundx.parallel import map_in_threads, n_workers
from soundx.storage.checksum import digest

Tick = Callable[[float], None]
"""Is told how many seconds of sound were heard since it was told last."""


@dataclass(frozen=True)
class Prediction:
    """What is said of one recording.

    Attributes:
        recording: The recording; of no length where it could not be heard.
        probabilities: Over the labels, of all of it: as for a clip where it is no longer than a
            piece (half a minute), else the mean of its windows [shape=(n_labels,)].
        events: Its events, in order of time.
        rows: Window probabilities, read from disk as they are needed
            [shape=(n_windows, n_labels)].
        error: Why it could not be heard; empty where it could.
    """

    recording: Recording
    probabilities: Float32
    events: tuple[Event, ...]
    rows: Float32
    error: str = ""


def event_rules(
    classifier: Classifier,
    *,
    on: float | None = None,
    off: float | None = None,
    min_s: float | None = None,
    gap_s: float | None = None,
) -> EventRules:
    """Return when a run of windows is an event: as the classifier says, or as given.

    Args:
        classifier: The classifier, whose ``labels.json`` says.
        on: Probability at which every label begins, instead of its own.
        off: Probability above which it goes on; where only ``on`` is given, the same share of it
            as in the file.
        min_s: Shorter events are left out, in seconds.
        gap_s: Events of one label that are no further apart are one, in seconds.

    Raises:
        SoundxError: A value cannot be meant.
    """
    told = classifier.info.get("events")
    if told is None:
        _ = classifier.windowing  # says that it is too old
        raise SoundxError(f"The model {classifier.version} does not tell what an event is.")
    for name, value in (("begin", on), ("end", off)):
        if value is not None and not 0.0 < value <= 1.0:
            raise SoundxError(
                f"Events cannot {name} at a probability of {value}: it is above 0, at most 1."
            )
    begins, ends = dict(told["on"]), dict(told["off"])
    if on is not None:
        share = {label: ends.get(label, p) / p for label, p in begins.items() if p}
        begins = dict.fromkeys(classifier.labels, on)
        ends = {label: on * share.get(label, 1.0) for label in classifier.labels}
    if off is not None:  # a label's own beginning may be lower, one that is given may not
        ends = {label: off if on is not None else min(off, begins[label]) for label in begins}
    return EventRules(
        on=begins,
        off=ends,
        min_s=told["min_s"] if min_s is None else min_s,
        gap_s=told["gap_s"] if gap_s is None else gap_s,
    )


def events_in(
    rows: Float32, classifier: Classifier, rules: EventRules, recording: Recording
) -> list[Event]:
    """Return the events of a recording, in order of time.

    Args:
        rows: Window probabilities [shape=(n_windows, n_labels)].
        classifier: Whose they are.
        rules: When a run of windows is an event.
        recording: What was heard.
    """
    windowing = classifier.windowing
    return find_events(
        rows,
        classifier.info["categories"],
        rules,
        recording,
        window_s=windowing.window_s,
        hop_s=windowing.hop_s,
        hops_before=windowing.around[0],
    )


class Listener:
    """Hears recordings with one model.

    Args:
        classifier: The model; its interpreters should compute with one thread each.
        kept: Folder for what was heard so far.
        rules: When a run of windows is an event.
        workers: Recordings, and pieces of them, heard at once; by default one a processor.
    """

    def __init__(
        self, classifier: Classifier, kept: Path, rules: EventRules, *, workers: int | None = None
    ) -> None:
        self.classifier = classifier
        self.rules = rules
        self._kept = kept
        self._workers = workers or n_workers()
        self._model = digest(classifier.files[JOINT_MODEL])[:16]
        self._stopped = threading.Event()

    def listen(
        self, sources: Sequence[Source], tick: Tick = lambda _: None
    ) -> Iterator[Prediction]:
        """Yield what is said of each recording, in order.

        Args:
            sources: The recordings.
            tick: Is told what was heard as it goes, from several threads.
        """
        self._stopped.clear()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="soundx-listen") as executor:
            try:
                yield from map_in_threads(
                    lambda source: self._one(source, executor, tick),
                    sources,
                    workers=self._workers,
                    in_flight_per_worker=2,
                )
            finally:
                self._stopped.set()

    def _one(self, source: Source, executor: ThreadPoolExecutor, tick: Tick) -> Prediction:
        kept = Kept(self._kept, source.key(self._model), len(self.classifier.labels))
        ending = kept.ending
        if ending is None:
            ending = self._hear(source, kept, executor, tick)
        else:
            tick(ending.n_samples / SAMPLE_RATE_HZ)
        began = datetime.fromisoformat(ending.starts_at) if ending.starts_at else None
        recording = Recording(source.file, ending.n_samples / SAMPLE_RATE_HZ, began)
        rows = kept.rows()[: ending.n_rows]
        events = events_in(rows, self.classifier, self.rules, recording)
        whole = np.array(ending.whole, np.float32)
        return Prediction(recording, whole, tuple(events), rows, ending.error)

    def _hear(self, source: Source, kept: Kept, executor: ThreadPoolExecutor, tick: Tick) -> Ending:
        n_rows = kept.resume()
        ending = Ending(0, 0, ())
        try:
            with source.on_disk() as path:
                # what was fetched has the header, but not the name
                began = starts_at(path) or starts_at(Path(source.file))
                told = 0
                whole = Whole(len(self.classifier.labels), kept.rows())
                for heard in hear(decode_blocks(path), self.classifier, executor, first_row=n_rows):
                    if self._stopped.is_set():
                        raise _StoppedError
                    kept.add(heard.rows)
                    whole.add(heard)
                    tick((heard.n_samples - told) / SAMPLE_RATE_HZ)
                    told = heard.n_samples
                answer = tuple(map(float, whole.probabilities))
                ending = Ending(told, whole.n_rows, answer, began.isoformat() if began else "")
        except AudioError as error:
            kept.restart()
            # a file that cannot be read now may be read next time: that is not kept
            return replace(ending, error=str(error))
        kept.end(ending)
        return ending


class _StoppedError(Exception):
    """Nobody waits for what is being heard."""
