"""Answers that come from elsewhere, and answers as other programs read them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from soundx.errors import SoundxError
from soundx.labels import BACKGROUND, BACKGROUND_NAME, category_of
from soundx.listening.events import Event, Recording, later
from soundx.listening.formats import CSV_HEADER
from soundx.listening.truth import read_events
from soundx.review.answers import (
    BACKGROUND_ANSWER,
    COLUMNS,
    MAX_BYTES,
    UNSURE,
    Answer,
    check_label,
    check_person,
    known_only,
    now,
    read_answers,
)
from soundx.search.index import WindowIndex

_POINT_S = 0.05
_SUFFIXES = (".csv", ".tsv", ".txt")


def answers_in(
    name: str,
    content: bytes,
    index: WindowIndex,
    person: str,
    *,
    label_column: str | None = None,
) -> tuple[list[Answer], list[str]]:
    """Return the answers in a file from elsewhere, and why others in it are not taken.

    Args:
        name: The file's name: what a label track is about, it alone tells.
        content: A table of answers, or of events of Audacity, Raven, BirdNET, Kaleidoscope, DCASE.
        index: The recordings that answers may be about.
        person: Who stands beside answers that name nobody.
        label_column: Column of the labels in another program's table, as of ``read_events``.

    Raises:
        SoundxError: It is no such file; the line is named. Or it is what soundx found itself.
    """
    person = check_person(person)
    if len(content) > MAX_BYTES:
        raise SoundxError(f"{name} is too large to be a list of answers.")
    durations_s = {one.file: one.duration_s for one in index.recordings}
    first = content[:4096].decode("utf-8-sig", "replace").partition("\n")[0].lower()
    if all(column in first for column in CSV_HEADER):
        raise SoundxError(
            f"{name} is a table of events as soundx writes it: what a model found is nobody's "
            "answer. Answer on a review page, or mark in another program what is true."
        )
    if all(column in first for column in COLUMNS[:4]):
        found = read_answers(content, name)
    else:
        found = _of_events(name, content, index.window_s, label_column)
    by_name = _by_name(index)
    kept, why_not = known_only(found, durations_s, same=lambda file: by_name.get(_plain(file)))
    stamp = now()
    return [
        replace(
            answer,
            answered_by=answer.answered_by or person,
            answered_at=answer.answered_at or stamp,
        )
        for answer in kept
    ], why_not


def _of_events(
    name: str, content: bytes, window_s: float, label_column: str | None
) -> list[Answer]:
    suffix = PurePosixPath(name).suffix.lower()
    stem = PurePosixPath(name.replace("\\", "/")).name
    with tempfile.TemporaryDirectory(prefix="soundx-") as folder:
        path = Path(folder) / f"table{suffix if suffix in _SUFFIXES else '.txt'}"
        path.write_bytes(content)
        try:
            events = read_events(path, label_column=label_column)
        except SoundxError as error:
            raise SoundxError(str(error).replace(str(path), stem)) from None
    answers = []
    for event in events:
        # a label track names no recording: its own name does
        file = event.file if event.file != "table" else stem
        label = BACKGROUND if event.label in (BACKGROUND_ANSWER, BACKGROUND_NAME) else event.label
        if label not in (BACKGROUND, UNSURE):
            label = check_label(label)
        onset_s, offset_s = event.onset_s, event.offset_s
        if offset_s - onset_s < _POINT_S:  # Audacity marks points as well: a window around it
            onset_s = round(max(onset_s - window_s / 2, 0.0), 3)
            offset_s = round(onset_s + window_s, 3)
        answers.append(Answer(file, onset_s, offset_s, label))
    return answers


def _by_name(index: WindowIndex) -> dict[str, str]:
    """Return recordings by their plain names; those that two have are left out."""
    found: dict[str, str] = {}
    twice = set()
    for one in index.recordings:
        name = _plain(one.file)
        twice |= {name} & found.keys()
        found[name] = one.file
    return {name: file for name, file in found.items() if name not in twice}


def _plain(file: str) -> str:
    """Return a recording's name without folders and without what programs append to it."""
    name = file.replace("\\", "/").rpartition("/")[2]
    while (cut := PurePosixPath(name)).suffix and len(cut.suffix) <= _LONGEST_SUFFIX:
        name = cut.stem
    return name.casefold()


_LONGEST_SUFFIX = 12


def answers_as_events(answers: Sequence[Answer]) -> list[Event]:
    """Return answers that are sure as events, for other programs to read."""
    return [
        Event(
            file=answer.recording,
            onset_s=answer.onset_s,
            offset_s=answer.offset_s,
            label=answer.label or BACKGROUND_ANSWER,
            category=category_of(answer.label) if answer.label else "",
            probability=1.0,
            mean_probability=1.0,
        )
        for answer in answers
        if answer.is_sure
    ]


def recordings_of(index: WindowIndex) -> list[Recording]:
    """Return the recordings of an index, as formats of events want them."""
    return [Recording(one.file, one.duration_s, later(one.clock, 0.0)) for one in index.recordings]
