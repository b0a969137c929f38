"""A visitor's sound, decoded and heard as ``soundx predict`` does, however long it is.

Neither the sound nor what was uploaded is in memory: samples go to a file without a name, which
the system takes away when nobody has it open any more, and are read from there piece by piece.
What a session heard is kept in it, and only there; a hearing that a click interrupts goes on.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import streamlit as st

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.audio.decoding import decode_blocks
from soundx.classifier.bundle import Classifier
from soundx.errors import AudioError, SoundxError
from soundx.listening.clock import starts_at
from soundx.listening.events import EventRules, Recording
from soundx.listening.listen import Prediction, events_in
from soundx.listening.windows import Whole, hear
from soundx.parallel import n_workers
from soundx.viewer.words import clock

Item = TypeVar("Item")

MAX_UPLOAD_S = 3660.0
"""An hour, and a minute for recorders that end it late."""
MAX_CLIP_S = 600.0
"""What is held in one array: sounds to mix, and what an older classifier answers to."""

_BLOCK = 15 * SAMPLE_RATE_HZ
_QUIET_S = 0.4  # what takes no longer needs no bar
_BETWEEN_S = 0.2


@dataclass(frozen=True)
class Given:
    """A sound that a visitor chose.

    Attributes:
        key: Changes when its bytes do.
        file: Its name, as people know it.
        on_disk: Opens it as a file of this machine.
    """

    key: tuple[Any, ...]
    file: str
    on_disk: Callable[[], contextlib.AbstractContextManager[Path]]


class Samples:
    """Samples at 16 kHz, on disk for as long as somebody knows this object."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="soundx-")  # noqa: SIM115  closed when forgotten
        self.n = 0

    def add(self, block: Float32) -> None:
        """Append some."""
        self._file.write(np.ascontiguousarray(block, "<f4").tobytes())
        self.n += len(block)

    def part(self, begin_s: float, end_s: float) -> Float32:
        """Return those of a stretch, as far as it lies inside [shape=(n_samples,)]."""
        begin, end = (min(max(round(s * SAMPLE_RATE_HZ), 0), self.n) for s in (begin_s, end_s))
        return self._read(begin, end)

    def blocks(self) -> Iterator[Float32]:
        """Yield all of them, some at a time."""
        for begin in range(0, self.n, _BLOCK):
            yield self._read(begin, min(begin + _BLOCK, self.n))

    @property
    def seconds(self) -> float:
        """How long they last."""
        return self.n / SAMPLE_RATE_HZ

    def _read(self, begin: int, end: int) -> Float32:
        self._file.seek(4 * begin)
        content = self._file.read(4 * max(end - begin, 0))
        return np.frombuffer(content, "<f4").astype(np.float32)


class Sound:
    """A sound, and what was heard of it so far.

    Args:
        given: What the visitor chose.
        classifier: Who hears it.
    """

    def __init__(self, given: Given, classifier: Classifier) -> None:
        self.file = given.file
        self.classifier = classifier
        self.samples = Samples()
        self.starts_at: datetime | None = None
        self.is_decoded = False
        self.is_heard = False
        self.error = ""
        self.probabilities = np.zeros(len(classifier.labels), np.float32)
        self._rows: list[Float32] = []
        self._whole = Whole(len(classifier.labels))

    def decode(self, given: Given, tick: Callable[[float], None]) -> None:
        """Write its samples down; ``tick`` is told how many seconds there are.

        Raises:
            AudioError: It cannot be used, or is too long.
        """
        self.samples = Samples()
        with given.on_disk() as path:
            # its name may be one of ours: then the name that it came with tells; the folder is
            # ours, so that no other file of this machine is read for its header
            self.starts_at = starts_at(path) or starts_at(path.parent / ".none" / _last(self.file))
            with _closed(decode_blocks(path)) as blocks:
                for block in blocks:
                    self.samples.add(block)
                    if self.samples.seconds > MAX_UPLOAD_S:
                        raise AudioError(f"it is longer than {clock(MAX_UPLOAD_S)}")
                    tick(self.samples.seconds)
        self.is_decoded = True

    def hear(self, tick: Callable[[float], None]) -> None:
        """Hear what has not been heard yet; ``tick`` is told up to which second.

        Raises:
            AudioError: An older classifier cannot hear so much.
        """
        if not has_windows(self.classifier):
            if self.samples.seconds > MAX_CLIP_S:
                raise AudioError(
                    f"it is longer than {clock(MAX_CLIP_S)}, and this model hears whole clips alone"
                )
            self.probabilities = self.classifier.predict(self.samples.part(0.0, MAX_CLIP_S))
        else:
            pieces = hear(
                self.samples.blocks(), self.classifier, _threads(), first_row=self._whole.n_rows
            )
            with _closed(pieces):
                for heard in pieces:
                    self._rows.append(heard.rows)
                    self._whole.add(heard)
                    tick(heard.n_samples / SAMPLE_RATE_HZ)
            self._rows = [self.rows]
            self.probabilities = self._whole.probabilities
        self.is_heard = True

    @property
    def rows(self) -> Float32:
        """Window probabilities [shape=(n_windows, n_labels)]; none of an older classifier."""
        if not self._rows:
            return np.zeros((0, len(self.classifier.labels)), np.float32)
        return self._rows[0] if len(self._rows) == 1 else np.concatenate(self._rows)

    def prediction(self, rules: EventRules | None) -> Prediction:
        """Return what is said of it, with its events by these rules; with none, none."""
        recording = Recording(self.file, self.samples.seconds, self.starts_at)
        rows = self.rows
        events = events_in(rows, self.classifier, rules, recording) if rules else []
        return Prediction(recording, self.probabilities, tuple(events), rows)


def has_windows(classifier: Classifier) -> bool:
    """Tell whether it hears windows; one that an older soundx made hears whole clips alone."""
    try:
        return bool(classifier.windowing) and "events" in classifier.info
    except SoundxError:
        return False


def heard_in(slot: str, given: Given | None, classifier: Classifier) -> Sound | None:
    """Return a sound that was heard to its end, with a bar while that lasts; tell what is wrong.

    Args:
        slot: Where this session keeps it: one sound in each.
        given: What the visitor chose; with None, what was kept is forgotten.
        classifier: Who hears it.
    """
    place = f"model-{slot}-heard"
    if given is None:
        st.session_state.pop(place, None)
        return None
    key = (given.key, classifier.version, hash(classifier.files["labels.json"]))
    sound: Sound | None
    known, sound = st.session_state.get(place, (None, None))
    if sound is None or known != key:
        sound = Sound(given, _one_thread_each(classifier, key[1:]))
        st.session_state[place] = (key, sound)
    if not (sound.is_heard or sound.error):
        _hear(sound, given)
    return sound


def _hear(sound: Sound, given: Given) -> None:
    shown = st.empty()
    last_s = time.monotonic() + _QUIET_S - _BETWEEN_S

    def show(share: float, text: str) -> None:
        nonlocal last_s
        if time.monotonic() - last_s > _BETWEEN_S:
            last_s = time.monotonic()
            shown.progress(min(share, 1.0), text=text)

    try:
        if not sound.is_decoded:
            sound.decode(given, lambda s: show(0.0, f"Decoding: {clock(s)} so far"))
        whole_s = max(sound.samples.seconds, 1e-9)
        sound.hear(lambda s: show(s / whole_s, f"Listening: {clock(s)} of {clock(whole_s)}"))
    except AudioError as error:
        sound.error = str(error)
        sound.samples = Samples()
    shown.empty()


@st.cache_resource(max_entries=1, show_spinner=False)
def _threads() -> ThreadPoolExecutor:
    """All sessions share them: more than there are processors would only get into their way."""
    return ThreadPoolExecutor(n_workers(), thread_name_prefix="soundx-viewer")


@st.cache_resource(max_entries=2, show_spinner=False)
def _one_thread_each(_classifier: Classifier, key: object) -> Classifier:
    del key
    return Classifier(_classifier.files, threads=1)


@contextlib.contextmanager
def _closed(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """Let go of what items come from as soon as nobody wants more: a click may end a hearing."""
    try:
        yield items
    finally:
        if isinstance(items, Generator):
            items.close()


def _last(file: str) -> str:
    return file.replace("\\", "/").rpartition("/")[2] or "_"
