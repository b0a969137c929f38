"""What was heard, as tables: a row a recording, and, if asked, a row a window.

Texts are made here; whoever asks writes them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from soundx.classifier.bundle import Classifier
from soundx.listening.events import later
from soundx.listening.listen import Prediction
from soundx.markup import guarded

PREDICTION_COLUMNS = (
    "file",
    "duration_s",
    "starts_at",
    "answer",
    "probability",
    "predicted_label",
    "predicted_category",
    "n_events",
    "error",
)


PLACE_COLUMNS = ("file", "onset_s", "offset_s", "starts_at")
"""Of a table of windows, before a column a label."""


def prediction_row(prediction: Prediction, classifier: Classifier) -> dict[str, Any]:
    """Return what is said of a recording, by column; no label where it could not be heard."""
    recording = prediction.recording
    row: dict[str, Any] = dict.fromkeys(PREDICTION_COLUMNS)
    row["file"] = recording.file
    row["error"] = prediction.error
    row["n_events"] = len(prediction.events)
    if prediction.error:
        return row
    answer, probability = classifier.answer_to(prediction.probabilities)
    label = classifier.labels[int(np.argmax(prediction.probabilities))]
    row["duration_s"] = round(recording.duration_s, 3)
    row["starts_at"] = recording.starts_at.isoformat() if recording.starts_at else None
    row["answer"], row["probability"] = answer, round(probability, 4)
    row["predicted_label"] = label
    row["predicted_category"] = classifier.info["categories"][label]
    return row


def predictions_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of predictions as CSV."""
    return "".join(
        _csv([PREDICTION_COLUMNS, *([row[c] for c in PREDICTION_COLUMNS] for row in rows)])
    )


def windows_csv(predictions: Iterable[Prediction], classifier: Classifier) -> Iterator[str]:
    """Yield the lines of a table with a row a window: where it lies, and every probability.

    Args:
        predictions: What was heard.
        classifier: By which model.
    """
    yield from _csv([[*PLACE_COLUMNS, *classifier.labels]])
    for prediction in predictions:
        recording = prediction.recording
        spans = window_spans(prediction, classifier)
        for (onset_s, offset_s), row in zip(spans, prediction.rows, strict=True):
            clock = later(recording.starts_at, float(onset_s))
            place = [recording.file, f"{onset_s:.2f}", f"{offset_s:.2f}"]
            clock_text = clock.isoformat() if clock else ""
            yield from _csv([[*place, clock_text, *(f"{value:.4f}" for value in row)]])


def window_spans(prediction: Prediction, classifier: Classifier) -> npt.NDArray[np.float64]:
    """Return where each window begins and ends, in seconds [shape=(n_windows, 2)]."""
    windowing = classifier.windowing
    before, _ = windowing.around
    begins = (np.arange(len(prediction.rows)) - before) * windowing.hop_s
    ends = np.minimum(begins + windowing.window_s, prediction.recording.duration_s)
    return np.column_stack([np.maximum(begins, 0.0), ends])


def _csv(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    for row in rows:
        line = io.StringIO()
        csv.writer(line).writerow(
            [guarded(cell) if isinstance(cell, str) else cell for cell in row]
        )
        yield line.getvalue()
