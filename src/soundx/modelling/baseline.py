"""What anybody would try first: a logistic regression on mean embeddings.

A model that is not better than this has not earned its place. Of parts of a frame the first
alone is used: what the network itself is said to give.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from soundx.audio import Float32
from soundx.embeddings.store import EmbeddingSet, starts_of_runs
from soundx.modelling.cross_validation import some_clips

BASELINE_CLIPS = 5000
"""Clips it learns from at most: more would take longer than the model it is held against."""


def baseline_answers(
    learnt: pd.DataFrame,
    asked: Sequence[str],
    embedded: EmbeddingSet,
    *,
    n_clips: int = BASELINE_CLIPS,
    seed: int = 7,
) -> npt.NDArray[np.object_]:
    """Return the label a logistic regression gives to each clip.

    Args:
        learnt: ``clip_id``, ``label`` and ``group`` of the clips to learn from; of many some are
            drawn, recording by recording.
        asked: Ids of the clips to answer.
        embedded: Frames of both.
        n_clips: Clips to learn from at most.
        seed: Draws them.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    some = some_clips(learnt, seed=seed, n_clips=n_clips)
    # empty where a single recording has more clips than that
    learnt = some if len(some) else learnt.sample(n_clips, random_state=seed)
    labels = learnt["label"].to_numpy(object)
    if len(np.unique(labels)) == 1:
        return np.full(len(asked), labels[0], object)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, tol=1e-3))
    with warnings.catch_warnings():
        # a yardstick need not be exact to the last digit
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(mean_embeddings(embedded, learnt["clip_id"].tolist()), labels)
    return np.asarray(model.predict(mean_embeddings(embedded, asked)), object)


def mean_embeddings(embedded: EmbeddingSet, clip_ids: Sequence[str]) -> Float32:
    """Return the mean of the first part of each clip's frames [shape=(n_clips, width)]."""
    width = embedded.info.parts[0].width
    sums = np.zeros((len(clip_ids), width), np.float32)
    for owners, frames in embedded.iter_frames(list(clip_ids), max_frames=8192):
        starts = starts_of_runs(owners)
        np.add.at(sums, owners[starts], np.add.reduceat(frames[:, :width], starts, axis=0))
    counts = np.asarray(embedded.n_frames(clip_ids), np.float32)
    return np.asarray(sums / counts[:, None], np.float32)
