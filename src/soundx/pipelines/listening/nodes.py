"""From recordings to predictions and timed events, by the code of ``soundx predict``."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from soundx.classifier.bundle import Classifier
from soundx.errors import SoundxError
from soundx.listening.events import later
from soundx.listening.formats import write_formats
from soundx.listening.listen import Listener, Prediction, event_rules
from soundx.listening.recordings import Source
from soundx.listening.results import (
    PLACE_COLUMNS,
    PREDICTION_COLUMNS,
    prediction_row,
    window_spans,
)
from soundx.options import Options
from soundx.progress import counted, progress_bar

logger = logging.getLogger(__name__)

Probability = Field(None, gt=0, le=1)
Seconds = Field(None, ge=0)

_EVENT_COLUMNS = (
    *("file", "onset_s", "offset_s", "label", "category"),
    *("probability", "mean_probability", "starts_at"),
)


class ListeningOptions(Options):
    """What is told of recordings, and when a run of windows is an event.

    Attributes:
        threshold: Probability at which an event of any label begins; null: as ``labels.json``
            says, label by label, like all that follow.
        off_threshold: Probability above which it goes on.
        min_duration_s: Shorter events are left out.
        gap_s: Events of a label that are no further apart are one.
        formats: Formats that events are written in, beside ``events.csv``.
        combined: One Raven table over all recordings, instead of one each.
        windows: Whether every window's probabilities are kept as a table, too.
    """

    threshold: float | None = Probability
    off_threshold: float | None = Probability
    min_duration_s: float | None = Seconds
    gap_s: float | None = Seconds
    formats: tuple[Literal["audacity", "raven", "kaleidoscope", "birdnet", "dcase"], ...] = ()
    combined: bool = False
    windows: bool = False


def hear_recordings(
    recordings: list[Source], classifier: Classifier, heard: Path, listening: ListeningOptions
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Listen to recordings, as many at once as there are processors.

    Args:
        recordings: The recordings.
        classifier: The model.
        heard: Folder of what was heard before; a run that was killed goes on from there.
        listening: What is told.

    Returns:
        Predictions, a row a recording, twice: for Parquet and for CSV; events; windows, without
        rows where they were not asked for; and events as the files of other programs, by name.
    """
    single = Classifier(classifier.files, threads=1)
    rules = event_rules(
        single,
        on=listening.threshold,
        off=listening.off_threshold,
        min_s=listening.min_duration_s,
        gap_s=listening.gap_s,
    )
    listener = Listener(single, heard, rules)
    found: list[Prediction] = []
    begin, seconds, lock = time.monotonic(), 0.0, threading.Lock()
    with progress_bar() as bar:
        task = bar.add_task("Listening", total=len(recordings))

        def tick(more_s: float) -> None:
            nonlocal seconds
            with lock:
                seconds += more_s
                speed = seconds / max(time.monotonic() - begin, 1e-3)
                bar.update(task, description=f"Listening, {speed:,.0f} x real time")

        for prediction in listener.listen(recordings, tick):
            found.append(prediction)
            bar.advance(task)
    rows = [prediction_row(prediction, single) for prediction in found]
    predictions = pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS)).astype(
        {"duration_s": "float64", "probability": "float64", "n_events": "int64"}
    )
    events = [event for prediction in found for event in prediction.events]
    known = [prediction.recording for prediction in found if not prediction.error]
    files = write_formats(listening.formats, known, events, combined=listening.combined)
    logger.info(
        "Heard %s, %.2f hours: %s.",
        counted(len(known), "recording"),
        sum(recording.duration_s for recording in known) / 3600,
        counted(len(events), "event"),
    )
    table = pd.DataFrame([vars(event) for event in events], columns=list(_EVENT_COLUMNS))
    decimals = {"onset_s": 3, "offset_s": 3, "probability": 4, "mean_probability": 4}
    table = table.astype(dict.fromkeys(decimals, "float64")).round(decimals)
    windows = _windows(found if listening.windows else [], single)
    return predictions, predictions, table, windows, files


def tell_broken(predictions: pd.DataFrame) -> None:
    """End the run with a message where a recording could not be heard.

    Raises:
        SoundxError: One could not; all others are told of.
    """
    broken = predictions[predictions["error"].fillna("") != ""]
    if len(broken):
        first = broken.iloc[0]
        raise SoundxError(
            f"{counted(len(broken), 'recording')} of {len(predictions)} could not be heard, for "
            f"example {first['file']}: {first['error']}. What the others hold is written; see the "
            "column 'error' of predictions.csv."
        )


def _windows(predictions: list[Prediction], classifier: Classifier) -> pd.DataFrame:
    tables = []
    for prediction in predictions:
        recording = prediction.recording
        onsets_s, offsets_s = window_spans(prediction, classifier).T
        clocks = [later(recording.starts_at, float(onset_s)) for onset_s in onsets_s]
        places = dict(
            zip(PLACE_COLUMNS, (recording.file, onsets_s, offsets_s, clocks), strict=True)
        )
        probabilities = pd.DataFrame(np.asarray(prediction.rows), columns=list(classifier.labels))
        tables.append(pd.concat([pd.DataFrame(places), probabilities], axis=1))
    columns = [*PLACE_COLUMNS, *classifier.labels]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
