"""What the shipped classifier thinks of every window of the index, as listening kept it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from soundx.audio import Float32
from soundx.classifier.bundle import JOINT_MODEL, Classifier
from soundx.listening.kept import Kept
from soundx.listening.recordings import Source
from soundx.search.index import WindowIndex
from soundx.search.recordings import usable
from soundx.storage.checksum import digest


def shipped_probabilities(
    index: WindowIndex, classifier: Classifier, heard: Path, manifest: pd.DataFrame
) -> Float32 | None:
    """Return the classifier's probabilities of its labels for every window of the index.

    Args:
        index: The windows.
        classifier: The classifier.
        heard: Where listening keeps what it hears.
        manifest: The recordings; see ``soundx.search.recordings``.

    Returns:
        [shape=(n_windows, n_labels), dtype=float32]; None where it has not heard all of them, or
        hears windows of another length.
    """
    windowing = classifier.windowing
    if windowing.frames != index.window_frames:
        return None
    model = digest(classifier.files[JOINT_MODEL])[:16]
    row_of = {row.recording_id: row for row in usable(manifest).itertuples(index=False)}
    # row i is about the window around frame i
    middle, _ = windowing.around
    found = np.empty((len(index), len(classifier.labels)), np.float32)
    place = 0
    for recording in index.recordings:
        row = row_of.get(recording.recording_id)
        if row is None:
            return None
        key = Source(row.file, row.state).key(model)
        kept = Kept(heard, key, len(classifier.labels))
        ending = kept.ending
        if ending is None or ending.error or not ending.n_rows:
            return None
        rows = np.arange(recording.n_windows) * index.stride_frames + middle
        probabilities = kept.rows()[: ending.n_rows]
        found[place : place + len(rows)] = probabilities[np.minimum(rows, ending.n_rows - 1)]
        place += recording.n_windows
    return found
