"""What people answered when they heard a stretch of a recording, in a table that is always whole.

One row is one person's answer about one stretch; who answers again replaces what they said, and
what comes from elsewhere does not replace what was said after it. Every change is written whole
beside the table and takes its place, under a lock that sessions and processes share, so that no
answer is lost and none stands there twice.
"""

from __future__ import annotations

import csv
import fcntl
import io
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from soundx.errors import SoundxError
from soundx.labels import BACKGROUND, usable_as_label
from soundx.markup import guarded, printable, unguarded
from soundx.storage.whole import whole_file

COLUMNS = (
    *("recording", "onset_s", "offset_s", "label", "answered_by", "answered_at"),
    *("model_version", "probability", "drawn_for"),
)
"""Columns of the table; ``drawn_for`` may be missing in one from elsewhere."""

BACKGROUND_ANSWER = ":BACKGROUND"
"""What stands in the table for sounds of none of the labels, as in the names of folders."""

UNSURE = ":UNSURE"
"""What stands there, and in ``Answer.label``, where a person could not tell."""

LONGEST_LABEL = 200
"""Bytes, as in the manifest."""

LONGEST_NAME = 60
MAX_BYTES = 200_000_000

_LOCK = ".answers.lock"


@dataclass(frozen=True)
class Answer:
    """One person's answer about one stretch of a recording.

    Attributes:
        recording: Path or URL of the recording, as it was listened to.
        onset_s: Where the stretch begins, in seconds.
        offset_s: Where it ends.
        label: A label; ``BACKGROUND`` where there is none of the labels; ``UNSURE``.
        answered_by: Who.
        answered_at: When, ISO 8601, in UTC where it names no zone; empty where nobody knows.
        model_version: Which model asked; empty where none did.
        probability: What that model gave the label it asked about; None where it gave none.
        drawn_for: The label for whose estimates the stretch was drawn at random; empty where it
            was chosen in another way.
    """

    recording: str
    onset_s: float
    offset_s: float
    label: str
    answered_by: str = ""
    answered_at: str = ""
    model_version: str = ""
    probability: float | None = None
    drawn_for: str = ""

    @property
    def stretch(self) -> Stretch:
        """What it is about."""
        return Stretch(self.recording, round(self.onset_s, 3), round(self.offset_s, 3))

    @property
    def is_sure(self) -> bool:
        """Whether it says something that can be learnt."""
        return self.label != UNSURE


@dataclass(frozen=True, order=True)
class Stretch:
    """A stretch of a recording, to the millisecond."""

    recording: str
    onset_s: float
    offset_s: float


def now() -> str:
    """Return the time as answers have it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def check_label(label: str) -> str:
    """Return a label that a person typed, without spaces around it.

    Raises:
        SoundxError: It cannot be one.
    """
    label = label.strip()
    if (
        not usable_as_label(label)
        or label.startswith((".", ":"))
        or len(label.encode("utf-8", "surrogatepass")) > LONGEST_LABEL
    ):
        raise SoundxError(
            f"{label[:40]!r} cannot be a label: clips are put in a folder called so. It is not "
            f"empty, begins with no dot or colon, and has no slash and at most {LONGEST_LABEL} "
            "bytes."
        )
    try:
        label.encode()
    except UnicodeEncodeError:
        raise SoundxError(f"{label!r} cannot be a label: it is not whole text.") from None
    return label


def check_person(name: str) -> str:
    """Return a person's name without spaces around it.

    Raises:
        SoundxError: It is none.
    """
    name = name.strip()
    if not name or not name.isprintable() or len(name) > LONGEST_NAME:
        raise SoundxError(f"A name has 1 to {LONGEST_NAME} characters that can be printed.")
    return name


class AnswersFile:
    """The table of a project's answers.

    Args:
        path: Where it is; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def read(self) -> list[Answer]:
        """Return all answers, in the order in which they were given.

        Raises:
            SoundxError: The table is not what soundx wrote; file and line are named.
        """
        try:
            if self.path.stat().st_size > MAX_BYTES:
                raise SoundxError(f"{self.path} is too large to be a table of answers.")
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SoundxError(f"{self.path} cannot be read: {error.strerror}.") from error
        return read_answers(content, str(self.path))

    def add(self, answers: Sequence[Answer]) -> None:
        """Add answers; each takes the place of what the same person said of the same stretch.

        Raises:
            SoundxError: One cannot be an answer, or the table cannot be written: then nothing is
                changed.
        """
        for answer in answers:
            _check(answer)
        with self._changed() as kept:
            _put(kept, answers)

    def add_newer(self, answers: Iterable[Answer]) -> int:
        """Add answers that were given before now, save those older than what stands.

        Returns:
            How many were: somebody has said something else of that stretch since.

        Raises:
            SoundxError: As of ``add``.
        """
        answers = list(answers)
        for answer in answers:
            _check(answer)
        newer = []
        with self._changed() as kept:
            last = {(a.answered_by, a.stretch): _moment(a.answered_at) for a in kept}
            for answer in answers:
                key, moment = (answer.answered_by, answer.stretch), _moment(answer.answered_at)
                if moment >= last.get(key, moment):
                    last[key] = moment
                    newer.append(answer)
            _put(kept, newer)
        return len(answers) - len(newer)

    def remove(self, answers: Iterable[Answer]) -> int:
        """Take answers back; return how many were there."""
        gone = set(answers)
        with self._changed() as kept:
            before = len(kept)
            kept[:] = [answer for answer in kept if answer not in gone]
            return before - len(kept)

    @contextmanager
    def _changed(self) -> Iterator[list[Answer]]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_name(_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel gives it back when we are killed
            answers = self.read()
            before = list(answers)
            yield answers
            if answers != before:
                self._write(answers)
        finally:
            os.close(lock)

    def _write(self, answers: Sequence[Answer]) -> None:
        try:
            with whole_file(self.path) as partial, partial.open("wb") as file:
                file.write(write_answers(answers).encode())
                file.flush()
                os.fsync(file.fileno())  # an evening's work, and a disk that loses power
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> SoundxError:
        return SoundxError(
            f"{self.path} cannot be written: {error.strerror}. Nothing of it was changed."
        )


def _put(kept: list[Answer], answers: Iterable[Answer]) -> None:
    new = {(answer.answered_by, answer.stretch): answer for answer in answers}
    kept[:] = [a for a in kept if (a.answered_by, a.stretch) not in new]
    kept.extend(new.values())


def write_answers(answers: Iterable[Answer]) -> str:
    """Return answers as a table, CSV."""
    text = io.StringIO(newline="")
    # only with this line end are both of its characters quoted inside a text
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for answer in answers:
        label = BACKGROUND_ANSWER if answer.label == BACKGROUND else answer.label
        times = (f"{answer.onset_s:.3f}", f"{answer.offset_s:.3f}")
        probability = "" if answer.probability is None else f"{answer.probability:.4f}"
        row = (
            *(answer.recording, *times, label, answer.answered_by, answer.answered_at),
            *(answer.model_version, probability, answer.drawn_for),
        )
        writer.writerow(map(guarded, row))
    return text.getvalue()


def read_answers(content: bytes, name: str) -> list[Answer]:
    """Return the answers in a table.

    Args:
        content: The file.
        name: What to call it in messages.

    Raises:
        SoundxError: It is no such table, or a row is no answer; the line is named.
    """
    try:
        rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = [cell.strip().lower() for cell in next(rows, [])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SoundxError(f"{name} is no table of answers: {error}.") from None
    missing = [column for column in COLUMNS[:4] if column not in header]
    twice = [column for column, n in Counter(header).items() if n > 1 and column in COLUMNS]
    for mark in (";", "\t") if header and missing else ():
        if set(COLUMNS[:4]) <= {cell.strip(' "') for cell in header[0].split(mark)}:
            between = "tabs" if mark == "\t" else f"'{mark}'"
            raise SoundxError(
                f"{name} has {between} between its fields, as some spreadsheets write them: save "
                "it with commas."
            )
    if missing or twice:
        what = f"it has no column '{missing[0]}'" if missing else f"it has two of '{twice[0]}'"
        raise SoundxError(
            f"{name} is no table of answers: {what}. Its columns are {', '.join(COLUMNS)}."
        )
    answers = []
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise SoundxError(f"{len(row)} fields where there should be {len(header)}")
            cells = dict(zip(header, map(unguarded, row), strict=True))
            answers.append(_answer(cells))
    except (SoundxError, csv.Error) as error:
        raise SoundxError(f"{name}, line {rows.line_num}: {printable(str(error))}") from None
    return answers


def _answer(cells: Mapping[str, str]) -> Answer:
    label = cells["label"].strip()
    told = cells.get("probability", "").strip()
    answer = Answer(
        recording=cells["recording"],
        onset_s=_number(cells["onset_s"], "onset_s"),
        offset_s=_number(cells["offset_s"], "offset_s"),
        label=BACKGROUND if label == BACKGROUND_ANSWER else label,
        answered_by=cells.get("answered_by", ""),
        answered_at=cells.get("answered_at", "").strip(),
        model_version=cells.get("model_version", ""),
        probability=_number(told, "probability") if told else None,
        drawn_for=cells.get("drawn_for", ""),
    )
    if label == BACKGROUND:
        raise SoundxError(f"there is no label: {BACKGROUND_ANSWER} stands for none of the labels.")
    _check(answer)
    return answer


def _number(text: str, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SoundxError(f"'{text[:40]}' is no number (column {column}).")
    return value


def _moment(answered_at: str) -> datetime:
    """Return when that was; without a zone it is UTC, and no time is before all others."""
    if not answered_at:
        return datetime.min.replace(tzinfo=UTC)
    try:
        told = datetime.fromisoformat(answered_at)
    except ValueError:
        raise SoundxError(
            f"{answered_at[:40]!r} is no time (column answered_at): write it as "
            "2026-11-28T21:30:00Z, or leave it empty."
        ) from None
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def _check(answer: Answer) -> None:
    if answer.label not in (BACKGROUND, UNSURE) and check_label(answer.label) != answer.label:
        raise SoundxError(f"{answer.label!r} cannot be a label: there are spaces around it.")
    if not answer.recording or "\0" in answer.recording:
        raise SoundxError("There is no recording.")
    texts = (answer.recording, answer.answered_at, answer.model_version, answer.drawn_for)
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise SoundxError(f"{answer.recording!r}: a name in an answer is not whole text.") from None
    _moment(answer.answered_at)
    # as it will be read back
    if not (0 <= answer.stretch.onset_s < answer.stretch.offset_s < 1e7):  # noqa: PLR2004  four months
        raise SoundxError(
            f"A stretch from {answer.onset_s:g} s to {answer.offset_s:g} s is none: it begins at "
            "0 or later and ends after that."
        )
    if answer.probability is not None and not 0 <= answer.probability <= 1:
        raise SoundxError(f"A probability of {answer.probability:g} is none: it is 0 to 1.")
    if answer.answered_by:
        check_person(answer.answered_by)


def settled(answers: Iterable[Answer]) -> list[Answer]:
    """Return one answer a stretch: what all agree on who were sure, and ``UNSURE`` where not.

    Of those who agree the first one's answer is returned; the order is that of the stretches'
    first answers.
    """
    by_stretch: dict[Stretch, list[Answer]] = {}
    for answer in answers:
        by_stretch.setdefault(answer.stretch, []).append(answer)
    found = []
    for same in by_stretch.values():
        sure = [answer for answer in same if answer.is_sure]
        if len({answer.label for answer in sure}) == 1:
            found.append(sure[0])
        else:
            found.append(replace(same[0], label=UNSURE))
    return found


def known_only(
    answers: Sequence[Answer],
    durations_s: Mapping[str, float],
    *,
    same: Callable[[str], str | None],
) -> tuple[list[Answer], list[str]]:
    """Return the answers from elsewhere that are about recordings of ours, and why others are not.

    Args:
        answers: Answers, for example of a page that was sent back.
        durations_s: Length of each recording by its name.
        same: Returns our name of a recording that goes by another there, None for none.
    """
    kept, why = [], []
    for answer in answers:
        ours = answer.recording if answer.recording in durations_s else same(answer.recording)
        if ours is None:
            why.append(f"{printable(answer.recording)}: not a recording that was listened to here")
        elif answer.onset_s >= durations_s[ours]:
            why.append(f"{printable(answer.recording)}: it ends before {answer.onset_s:g} s")
        else:
            offset_s = min(answer.offset_s, max(durations_s[ours], answer.onset_s + 1e-3))
            kept.append(replace(answer, recording=ours, offset_s=offset_s))
    return kept, why
