"""A review that several people share: who is asked what, what they say, what is learnt of it.

One object serves all of a project's reviewers; it is called from several threads. Answers are in
the table as soon as ``answer`` returns. All else here is made anew from it and from what is stored.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from soundx.audio import Float32
from soundx.audio.decoding import decode_stretch
from soundx.embedders.base import EmbedderInfo
from soundx.embeddings.store import EmbeddingSet
from soundx.errors import SoundxError
from soundx.labels import BACKGROUND
from soundx.listening.recordings import Source
from soundx.modelling.pooling import pool_frames
from soundx.review.answers import (
    UNSURE,
    Answer,
    AnswersFile,
    check_label,
    check_person,
    now,
    settled,
)
from soundx.review.estimates import LabelEstimate, drawing_order, estimate
from soundx.review.learning import AnswerVectors, Clips, Examples, Taught, changes, learn
from soundx.review.queue import Known, Order, Queue, candidates
from soundx.search.index import Window, WindowIndex, unit_vectors

logger = logging.getLogger(__name__)

CONTEXT_S = 1.0
"""What is played before and after a window, to hear where it comes from."""

LEARN_EVERY = 10
"""Answers after which heads are trained anew, unless somebody asks for it before."""

RESERVED_S = 180.0
"""For so long nobody else is asked what somebody was asked."""

_NEIGHBOURS = 3


@dataclass(frozen=True)
class Question:
    """A window that somebody is asked about.

    Attributes:
        window: The window.
        order: In which order it came up.
        label: The label that the order is about; empty where it is about none.
        probability: What the model gives that label, or else its first; None without a model.
        model_version: Which model.
    """

    window: Window
    order: Order
    label: str = ""
    probability: float | None = None
    model_version: str = ""


@dataclass(frozen=True)
class Shipped:
    """What the shipped classifier thinks of every window.

    Attributes:
        version: Its version.
        labels: Its labels.
        probabilities: Of every window [shape=(n_windows, n_labels)].
    """

    version: str
    labels: tuple[str, ...]
    probabilities: Float32


@dataclass
class _Person:
    """What is known of one reviewer."""

    question: Question | None = None
    passed: list[int] = field(default_factory=list)
    queue: Queue | None = None
    key: tuple[Any, ...] = ()


class Review:
    """The review of a project's recordings.

    Args:
        index: The windows of its recordings.
        stored: Their frames.
        clips: Its labelled clips.
        answers: The table of answers.
        version: Version of the newest model; empty where there is none.
        shipped: What that thinks of every window, where listening has heard them all.
        separator: What ends the category in a label.
    """

    def __init__(
        self,
        index: WindowIndex,
        stored: EmbeddingSet,
        clips: Clips,
        answers: AnswersFile,
        *,
        version: str = "",
        shipped: Shipped | None = None,
        separator: str = "_",
    ) -> None:
        self.index = index
        self.clips = clips
        self.shipped = shipped
        self.taught: Taught | None = None
        self.changed: list[dict[str, Any]] = []
        self._stored = stored
        self._file = answers
        self._version = version
        self._separator = separator
        self._vectors = AnswerVectors(index, stored, clips.options)
        self._probabilities: Float32 | None = None
        self._people: dict[str, _Person] = {}
        self._taken: dict[int, tuple[str, float]] = {}
        self._drawn: dict[str, npt.NDArray[np.int64]] = {}
        self._lock = threading.RLock()
        self._learning = threading.Lock()
        self._read: tuple[Any, list[Answer]] = (None, [])
        self._n_learnt = -1
        self._n_trainings = 0
        self._fetched: tuple[str, contextlib.ExitStack, Path] | None = None
        self._clip_units: Float32 | None = None

    # --- answers ------------------------------------------------------------------------------

    @property
    def answers(self) -> list[Answer]:
        """All answers, read again where the table has changed."""
        with self._lock:
            try:
                facts = self._file.path.stat()
                state: Any = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            except OSError:
                state = None
            if state != self._read[0] or state is None:
                self._read = (state, self._file.read())
            return self._read[1]

    @property
    def labels(self) -> list[str]:
        """All labels that are known, of clips and of answers, in alphabetical order."""
        said = {answer.label for answer in self.answers} - {BACKGROUND, UNSURE}
        return sorted(said | set(self.clips.categories))

    @property
    def keyed_labels(self) -> list[str]:
        """All labels in an order that new ones do not change: those of clips, then as they came."""
        said = (answer.label for answer in self.answers)
        new = dict.fromkeys(label for label in said if label not in (BACKGROUND, UNSURE))
        known = sorted(self.clips.categories)
        return [*known, *(label for label in new if label not in self.clips.categories)]

    @property
    def version(self) -> str:
        """What the model is called that thinks now."""
        n = self.taught.n_answers if self.taught else 0
        return f"{self._version}+{n}" if n else self._version

    def _answered(self) -> tuple[list[int], list[str]]:
        """Return windows that were answered, the last one last, and their labels."""
        windows, labels = [], []
        for answer in self.answers:
            number = self.index.number_at(answer.recording, answer.onset_s)
            if number is not None:
                windows.append(number)
                labels.append(answer.label)
        return windows, labels

    def answered_windows(self) -> list[int]:
        """Return the windows that were answered, the last one last."""
        return self._answered()[0]

    def next_best(self, label: str, n: int) -> list[int]:
        """Return the windows that the model is surest hold a label, answered ones left out.

        Raises:
            SoundxError: No model knows the label.
        """
        answered, labels = self._answered()
        classes = self.taught.classes if self.taught else ()
        known = Known(self.index, classes, self._probabilities, answered, labels)
        return candidates(known, "best", label=label, n=n)

    def to_ask(self, order: Order, n: int, *, label: str = "") -> list[int]:
        """Return windows to be asked about elsewhere, unlike each other, the first one first.

        Raises:
            SoundxError: As of ``ask``.
        """
        with self._lock:
            answered, labels = self._answered()
            queue = self._queue(order, label, (), answered, labels)
            if order == "spread":
                return [number for number in queue.waiting if number not in set(answered)][:n]
            chosen: list[int] = []
            while len(chosen) < n:
                number = queue.next([*answered, *chosen])
                if number is None:
                    break
                chosen.append(number)
            return chosen

    @property
    def info(self) -> EmbedderInfo:
        """The embedder of all frames."""
        return self._stored.info

    # --- asking -------------------------------------------------------------------------------

    def ask(
        self, person: str, order: Order, *, label: str = "", like: Sequence[int] = ()
    ) -> Question | None:
        """Return what somebody is asked now; the same until it is answered or skipped.

        Args:
            person: Who is asked.
            order: In which order.
            label: Of ``best`` and ``spread``: the label.
            like: Of ``like``: windows that sound as wanted.

        Returns:
            The question; None where nothing is left to ask.

        Raises:
            SoundxError: The order needs a model, a label or a sound that is not there.
        """
        with self._lock:
            me = self._people.setdefault(person := check_person(person), _Person())
            key = (order, label, tuple(like), self._n_trainings)
            answered, labels = self._answered()
            held = me.question
            if (
                held is not None
                and me.key[:3] in (key[:3], ())  # taken back before anything was asked
                and self._holds(person, held.window.number)
                and held.window.number not in set(answered)
            ):
                self._take(person, held.window.number)
                return held
            if me.queue is None or me.key != key:
                me.queue, me.key = self._queue(order, label, like, answered, labels), key
            window = self._next(me, person, order, answered)
            if window is None and me.queue.waiting:
                # all that was listed is done: list anew
                me.queue = self._queue(order, label, like, answered, labels)
                window = self._next(me, person, order, answered)
            me.question = None if window is None else self.question(window, order, label)
            if window is not None:
                self._take(person, window)
            return me.question

    def _queue(
        self,
        order: Order,
        label: str,
        like: Sequence[int],
        answered: Sequence[int],
        labels: Sequence[str],
    ) -> Queue:
        classes = self.taught.classes if self.taught else ()
        known = Known(self.index, classes, self._probabilities, answered, labels)
        drawn = self.drawn_for(label) if order == "spread" else ()
        vectors = self.index.vectors(list(like)) if len(like) else None
        listed = candidates(known, order, label=label, like=vectors, drawn=list(drawn))
        return Queue(self.index, listed)

    def _next(self, me: _Person, person: str, order: Order, answered: Sequence[int]) -> int | None:
        assert me.queue is not None
        taken = [number for number in self._taken if not self._holds(person, number)]
        if order == "spread":  # as they were drawn: leaving out what is alike would not be fair
            closed = {*answered, *me.passed, *taken}
            return next((w for w in me.queue.waiting if w not in closed), None)
        return me.queue.next([*me.passed, *answered], taken)

    def _holds(self, person: str, number: int) -> bool:
        who, since_s = self._taken.get(number, (person, 0.0))
        return who == person or time.monotonic() - since_s > RESERVED_S

    def _take(self, person: str, number: int) -> None:
        now_s = time.monotonic()
        self._taken = {
            taken: (who, since_s)
            for taken, (who, since_s) in self._taken.items()
            if who != person and now_s - since_s <= RESERVED_S
        }
        self._taken[number] = (person, now_s)

    def question(self, number: int, order: Order, label: str) -> Question:
        """Return what asking about a window in some order is."""
        probability: float | None = None
        version = self.version
        if order == "spread" and self.shipped is not None:
            column = self.shipped.labels.index(label)
            probability = float(self.shipped.probabilities[number, column])
            version = self.shipped.version
        elif self.taught is not None and self._probabilities is not None:
            row = self._probabilities[number]
            known = bool(label) and label in self.taught.classes
            probability = float(row[self.taught.classes.index(label)] if known else row.max())
        return Question(self.index.window(number), order, label, probability, version)

    # --- answering ----------------------------------------------------------------------------

    def answer(self, person: str, number: int, label: str) -> bool:
        """Keep what somebody says of the window that they were asked about.

        Args:
            person: Who.
            number: The window, as it was shown to them.
            label: A label, ``BACKGROUND`` or ``UNSURE``.

        Returns:
            Whether it was kept; what is said twice, or of another window, is not.

        Raises:
            SoundxError: It cannot be a label, or cannot be written: then nothing is changed.
        """
        with self._lock:
            me = self._people.setdefault(person := check_person(person), _Person())
            question = me.question
            if question is None or question.window.number != number:
                return False
            self._file.add([self._as_answer(person, question, label)])
            me.question = None
            self._taken.pop(number, None)
            n_new = self._n_sure() - max(self._n_learnt, 0)
        if n_new >= LEARN_EVERY:
            self.learn_soon()
        return True

    def _as_answer(self, person: str, question: Question, label: str) -> Answer:
        if label not in (BACKGROUND, UNSURE):
            label = check_label(label)
        window = question.window
        return Answer(
            recording=window.recording.file,
            onset_s=window.onset_s,
            offset_s=window.offset_s,
            label=label,
            answered_by=check_person(person),
            answered_at=now(),
            model_version=question.model_version,
            probability=question.probability,
            drawn_for=question.label if question.order == "spread" else "",
        )

    def all_background(self, person: str, numbers: Sequence[int], label: str) -> int:
        """Answer that windows which the model takes for a label hold none; return how many.

        Raises:
            SoundxError: They cannot be written: then nothing is changed.
        """
        with self._lock:
            answered = set(self._answered()[0])
            questions = [
                self.question(number, "best", label) for number in numbers if number not in answered
            ]
            self._file.add([self._as_answer(person, one, BACKGROUND) for one in questions])
        self.learn_soon()
        return len(questions)

    def skip(self, person: str, number: int) -> None:
        """Ask somebody about another window; this one stays for others."""
        with self._lock:
            me = self._people.setdefault(person := check_person(person), _Person())
            if me.question is not None and me.question.window.number == number:
                me.passed.append(number)
                me.question = None
                self._taken.pop(number, None)

    def undo(self, person: str) -> Answer | None:
        """Take back what somebody answered last, and ask them that again; None where nothing is.

        Raises:
            SoundxError: It cannot be written: then nothing is changed.
        """
        with self._lock:
            me = self._people.setdefault(person := check_person(person), _Person())
            mine = [answer for answer in self.answers if answer.answered_by == person]
            if not mine:
                return None
            last = mine[-1]
            self._file.remove([last])
            number = self.index.number_at(last.recording, last.onset_s)
            if number is not None:
                # as it was asked then, whatever is asked in between
                me.question = Question(
                    self.index.window(number),
                    "spread" if last.drawn_for else "usual",
                    last.drawn_for,
                    last.probability,
                    last.model_version,
                )
                self._take(person, number)
            return last

    def add_from_elsewhere(self, answers: Sequence[Answer]) -> int:
        """Keep answers of a page or another program; return how many are older than what stands."""
        with self._lock:
            n_older = self._file.add_newer(answers)
        self.learn_soon()
        return n_older

    # --- learning -----------------------------------------------------------------------------

    def examples(self) -> Examples:
        """Return all that is learnt from: clips, and answers that are sure."""
        return self.clips.examples + self._vectors.examples(settled(self.answers))

    def _n_sure(self) -> int:
        return sum(answer.is_sure for answer in settled(self.answers))

    @property
    def is_learning(self) -> bool:
        """Whether heads are being trained just now."""
        return self._learning.locked()

    def learn(self) -> Taught | None:
        """Train the heads on clips and answers; the queue of everybody is ordered anew."""
        with self._learning:
            answers = settled(self.answers)
            before = self.taught
            taught = learn(self.clips, self._vectors.examples(answers), separator=self._separator)
            probabilities = taught.of_windows(self.index) if taught else None
            with self._lock:
                self.taught, self._probabilities = taught, probabilities
                self.changed = changes(before, taught) if taught else []
                self._n_trainings += 1
                self._n_learnt = sum(answer.is_sure for answer in answers)
            return taught

    def learn_soon(self) -> None:
        """Train the heads while people go on answering."""

        def work() -> None:
            try:
                self.learn()
            except SoundxError as error:
                logger.warning("What was answered cannot be learnt: %s", error)

        if not self.is_learning:
            threading.Thread(target=work, name="soundx-learn", daemon=True).start()

    @property
    def probabilities(self) -> Float32 | None:
        """Of all classes for every window, by the model that thinks now."""
        return self._probabilities

    # --- what is shown ------------------------------------------------------------------------

    def guesses(self, window: Window, n: int = 5) -> list[tuple[str, float]]:
        """Return what the model takes a window for, the most probable first."""
        if self.taught is None:
            return []
        row = self.taught.probabilities(self._pooled(window)[None])[0]
        best = np.argsort(-row, kind="stable")[:n]
        return [(self.taught.classes[i], float(row[i])) for i in best]

    def _pooled(self, window: Window) -> Float32:
        frames = np.concatenate(self._stored.stretches(self.index.frames_place(window)))
        counts = np.array([len(frames)], np.int64)
        return np.asarray(pool_frames(frames, counts, self._stored.info.parts)[0])

    def neighbours(self, window: Window) -> list[tuple[str, str, float]]:
        """Return the labelled clips most like a window: clip id, label and cosine of each."""
        if not self.clips.clip_ids:
            return []
        with self._lock:
            if self._clip_units is None:
                vectors = self.index.projection(self.clips.examples.vectors.whole)
                self._clip_units, _ = unit_vectors(vectors)
        (unit,), _ = unit_vectors(self.index.vectors([window.number]))
        cosines = self._clip_units @ unit
        best = np.argsort(-cosines, kind="stable")[:_NEIGHBOURS]
        labels, ids = self.clips.examples.labels, self.clips.clip_ids
        return [(ids[i], labels[i], float(cosines[i])) for i in best]

    def sound(self, window: Window, *, context_s: float = CONTEXT_S) -> tuple[Float32, float]:
        """Return a window with what is around it, and how many seconds come before it.

        Raises:
            AudioError: The recording cannot be read any more.
        """
        begin_s = max(window.onset_s - context_s, 0.0)
        with self._on_disk(window.recording.file) as path:
            samples = decode_stretch(path, begin_s, window.offset_s + context_s)
        return samples, window.onset_s - begin_s

    @contextlib.contextmanager
    def _on_disk(self, file: str) -> Iterator[Path]:
        if "://" not in file:
            yield Path(file)
            return
        with self._lock:  # the one that was fetched last is kept: the next question may be of it
            if self._fetched is None or self._fetched[0] != file:
                if self._fetched is not None:
                    self._fetched[1].close()
                    self._fetched = None
                stack = contextlib.ExitStack()
                path = stack.enter_context(Source(file, "").on_disk())
                self._fetched = (file, stack, path)
            yield self._fetched[2]

    # --- what can be said ---------------------------------------------------------------------

    def drawn_for(self, label: str) -> npt.NDArray[np.int64]:
        """Return the windows in the order in which they are asked about for a label's estimates.

        Raises:
            SoundxError: The shipped model has not heard all recordings, or knows no such label.
        """
        if self.shipped is None:
            raise SoundxError(
                "Estimates are of the shipped model, which has not heard all of these recordings."
            )
        if label not in self._drawn:
            self._drawn[label] = draw_for(self.index, self.shipped, label)
        return self._drawn[label]

    def estimate(self, label: str) -> LabelEstimate:
        """Return what answers tell about a label of the shipped model.

        Raises:
            SoundxError: As of ``drawn_for``.
        """
        drawn = self.drawn_for(label)
        assert self.shipped is not None
        return estimate_label(self.index, self.shipped, label, drawn, self.answers)


def draw_for(index: WindowIndex, shipped: Shipped, label: str) -> npt.NDArray[np.int64]:
    """Return windows in the order in which they are asked about for a label's estimates.

    Raises:
        SoundxError: The model does not know the label.
    """
    if label not in shipped.labels:
        raise SoundxError(f"The shipped model does not know '{label}' yet.")
    apart = index.apart()
    scores = shipped.probabilities[apart, shipped.labels.index(label)]
    return np.asarray(apart[drawing_order(scores, label=label)])


def estimate_label(
    index: WindowIndex,
    shipped: Shipped,
    label: str,
    drawn: npt.NDArray[np.int64],
    answers: Sequence[Answer],
) -> LabelEstimate:
    """Return what answers tell about a label of the shipped model.

    Of the windows in the order in which they were drawn, all count up to the last one that was
    answered as drawn, in whatever order they were asked about: so they are a fair sample.

    Args:
        index: The windows.
        shipped: What the model thinks of them.
        label: The label.
        drawn: Windows in the order in which they were drawn.
        answers: All answers.
    """
    said: dict[int, bool] = {}
    last = -1
    place_of = {int(number): place for place, number in enumerate(drawn)}
    for answer in settled(answers):
        number = index.number_at(answer.recording, answer.onset_s)
        if number is None or number not in place_of:
            continue
        window = index.window(number)
        if abs(window.onset_s - answer.onset_s) > 1e-3 or not answer.is_sure:  # noqa: PLR2004
            continue
        said[number] = answer.label == label
    for answer in answers:
        if answer.drawn_for == label and answer.model_version == shipped.version:
            number = index.number_at(answer.recording, answer.onset_s)
            last = max(last, place_of.get(-1 if number is None else number, -1))
    apart = index.apart()
    asked = [int(number) for number in drawn[: last + 1] if int(number) in said]
    return estimate(
        shipped.probabilities[apart, shipped.labels.index(label)],
        np.searchsorted(apart, np.array(asked, np.int64)),
        np.array([said[number] for number in asked], bool),
        window_s=index.window_s,
    )
