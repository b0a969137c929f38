"""What answers tell about recordings that nobody labelled, and how far from the known these lie."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from soundx.classifier.bundle import Classifier
from soundx.classifier.card import with_review
from soundx.embeddings.store import EmbeddingStore
from soundx.errors import Remedy, SoundxError
from soundx.labels import GENERAL
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.rejection import RejectionOptions
from soundx.options import Options
from soundx.progress import counted
from soundx.review.answers import Answer
from soundx.review.drift import drift_in, learnt_of
from soundx.review.estimates import threshold_for
from soundx.review.learning import Clips
from soundx.review.project import shipped_by
from soundx.review.session import draw_for, estimate_label
from soundx.search.index import WindowIndex

logger = logging.getLogger(__name__)


class ReviewOptions(Options):
    """What is told of recordings from answers.

    Attributes:
        max_false_alarms_per_day: The threshold that is told of each label gives so few false
            alarms in 24 hours, at the high end of the interval.
    """

    max_false_alarms_per_day: float = Field(10.0, ge=0)


def estimate_review(
    answers: list[Answer],
    window_index: WindowIndex,
    classifier: Classifier,
    heard: Path,
    recording_manifest: pd.DataFrame,
    review: ReviewOptions,
) -> dict[str, Any]:
    """Estimate precision, call density and false alarms of each label from answers drawn for it.

    Raises:
        SoundxError: The classifier has not heard all of these recordings.
    """
    shipped = shipped_by(window_index, classifier, heard, recording_manifest)
    if shipped is None:
        raise SoundxError(
            f"The model {classifier.version} has not heard all of these recordings, or windows of "
            "another length: listen with it first.",
            remedy=Remedy.LISTEN,
        )
    labels = {}
    for label in shipped.labels:
        mine = [a for a in answers if a.drawn_for == label and a.model_version == shipped.version]
        if not mine:
            continue
        drawn = draw_for(window_index, shipped, label)
        known = estimate_label(window_index, shipped, label, drawn, answers)
        labels[label] = {
            **known.to_dict(),
            "threshold": threshold_for(known, review.max_false_alarms_per_day),
        }
        density = known.density
        logger.info(
            "%s: %s; in %s of windows (95 %% interval %.2f %% to %.2f %%).",
            label,
            counted(known.n_answers, "answer"),
            "?" if density.value is None else f"{density.value:.2%}",
            100 * density.low,
            100 * density.high,
        )
    if not labels:
        logger.info(
            "No answer was drawn for the estimates of %s: answer some in the order 'spread'.",
            shipped.version,
        )
    return {
        "model_version": shipped.version,
        "recordings": len(window_index.recordings),
        "hours": sum(one.duration_s for one in window_index.recordings) / 3600,
        "window_s": window_index.window_s,
        "n_answers": len(answers),
        "max_false_alarms_per_day": review.max_false_alarms_per_day,
        "labels": labels,
    }


def measure_drift(
    window_index: WindowIndex,
    model_input: dict[str, pd.DataFrame],
    embeddings: EmbeddingStore,
    training: TrainingOptions,
    rejection: RejectionOptions,
) -> pd.DataFrame:
    """Tell how far each recording lies from the clips that were learnt, the farthest first.

    Raises:
        SoundxError: Clips and recordings were embedded by different embedders.
    """
    embedded = embeddings.current
    if embedded.info.fingerprint != window_index.fingerprint:
        raise SoundxError(
            f"Clips were embedded by {embedded.info.fingerprint}, recordings by "
            f"{window_index.fingerprint}.",
            remedy=Remedy.KEEP_RECORDINGS,
        )
    table = model_input[GENERAL]
    table = table[table["split"].isin(training.learnt_sides)]
    clips = Clips.of(table, embedded, None, training, rejection)
    learnt = learnt_of(window_index.projection, clips.examples)
    rows = [] if learnt is None else [vars(one) for one in drift_in(window_index, learnt)]
    return pd.DataFrame(rows, columns=["file", "drift", "novel"]).astype(
        {"file": "str", "drift": "float64", "novel": "float64"}
    )


def tell_review(review: dict[str, Any], classifier: Classifier) -> Classifier:
    """Note beside the classifier's labels, and on its card, what answers tell of it.

    Raises:
        SoundxError: The estimates are of another model.
    """
    if review["model_version"] != classifier.version:
        raise SoundxError(
            f"The estimates are of {review['model_version']}, the model is {classifier.version}.",
            remedy=Remedy.REVIEW,
        )
    return with_review(classifier, review)
