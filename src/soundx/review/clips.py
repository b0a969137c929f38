"""Answers to clips: each answered stretch cut out of its recording, as a file that is learnt from.

The folder holds just the clips of answers that stand; what it holds is ours alone, and a
``metadata.csv`` in it tells the recording of each.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from soundx.errors import AudioError, SoundxError
from soundx.labels import BACKGROUND, category_of
from soundx.listening.events import Event
from soundx.listening.groups import METADATA, forget, read_rows
from soundx.listening.recordings import Source
from soundx.listening.segments import PartlyCutError, cut_segments, remove_partial, segment_names
from soundx.markup import printable
from soundx.progress import counted
from soundx.review.answers import Answer, settled
from soundx.storage.folder import is_inside

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnsweredClipsJob:
    """Clips to be cut: what a node hands to the catalog.

    Attributes:
        folder: Where to.
        answers: All answers.
        separator: What ends the category in a label.
    """

    folder: Path
    answers: Sequence[Answer]
    separator: str = "_"


def cut_answers(job: AnsweredClipsJob) -> None:
    """Make a folder hold the clips of all answers that stand, each once; others are taken away.

    Recordings that cannot be read now are told of; clips that were cut of them before stay.

    Raises:
        SoundxError: The folder cannot be written.
    """
    sure = [answer for answer in settled(job.answers) if answer.is_sure]
    if not sure and not job.folder.exists():
        return
    # nobody else cuts here: what is there of it, a killed run left
    remove_partial(job.folder, older_than_s=0.0)
    events = [_event(answer, job.separator) for answer in sure]
    paths = {file: Path(file) for file in dict.fromkeys(event.file for event in events)}
    names = segment_names(paths, events)
    removed = _remove_others(job.folder, set(names.values()))
    missing = [event for event, name in names.items() if not (job.folder / name).exists()]
    n_cut = 0
    try:
        with contextlib.ExitStack() as fetched:
            lost: dict[str, str] = {}
            for file in dict.fromkeys(event.file for event in missing):
                if "://" in file:
                    try:
                        paths[file] = fetched.enter_context(Source(file, "").on_disk())
                    except AudioError as error:
                        lost[file] = str(error)
            wanted = [event for event in missing if event.file not in lost]
            n_cut = len(cut_segments(paths, wanted, job.folder))
    except PartlyCutError as error:
        n_cut = len(error.cut)
        lost |= {file: why[0] for file, why in error.reasons.items()}
    for file, why in lost.items():
        logger.warning("No clip can be cut from %s: %s.", printable(file), why)
    if sure or removed:
        logger.info(
            "%s that are sure: %s cut now%s.",
            counted(len(sure), "answer"),
            counted(n_cut, "clip"),
            f", {removed:,} taken away whose answers changed" if removed else "",
        )


def answered_clips(folder: Path, within: Path) -> dict[str, str]:
    """Return the recording of each clip in a folder, by its path from another folder on.

    Args:
        folder: Where clips were cut to.
        within: Where paths begin.
    """
    rows = _rows(folder)
    prefix = folder.relative_to(within).as_posix()
    return {f"{prefix}/{name}": group for name, group in rows.items()}


def _event(answer: Answer, separator: str) -> Event:
    label = answer.label
    category = BACKGROUND if label == BACKGROUND else category_of(label, separator=separator)
    probability = 1.0 if answer.probability is None else answer.probability
    return Event(
        answer.recording,
        answer.onset_s,
        answer.offset_s,
        label,
        category,
        probability,
        probability,
    )


def _rows(folder: Path) -> dict[str, str]:
    """Return the recording of each clip that is named in a folder's table."""
    rows = read_rows(folder)
    if rows is None:
        # a name of somebody else's in it would be a file to remove, wherever that lies
        raise SoundxError(
            f"{folder / METADATA} is broken, or not of soundx's making. Move it away; what stands "
            "in its folder is cut again from the recordings."
        )
    return {name: row.group for name, row in rows.items()}


def _remove_others(folder: Path, wanted: set[str]) -> int:
    """Remove clips that no answer stands for any more; only what our table names is touched."""
    gone = [name for name in _rows(folder) if name not in wanted]
    for name in gone:
        path = folder / name
        if not is_inside(path.parent, folder):
            continue  # a link put in its folder's place
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other clips of that label
            path.parent.rmdir()
    forget(folder, gone)
    return len(gone)
