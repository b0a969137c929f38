"""A project's review, put together from what its catalog holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from soundx.classifier.bundle import Classifier
from soundx.embeddings.store import EmbeddingStore
from soundx.errors import Remedy, SoundxError
from soundx.labels import GENERAL
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.noise import noise_of
from soundx.modelling.rejection import RejectionOptions
from soundx.review.answers import AnswersFile
from soundx.review.learning import Clips
from soundx.review.session import Review, Shipped
from soundx.review.shipped import shipped_probabilities
from soundx.search.index import WindowIndex

USES = (
    "window_index",
    "recording_embeddings",
    "recording_manifest",
    "model_input",
    "clip_manifest",
    "embeddings",
    "noise_frames",
    "classifier",
    "heard",
)
"""Entries of the catalog that a review is made of."""


class Entries(Protocol):
    """What is known of a catalog here."""

    def has(self, name: str) -> bool:
        """Tell whether an entry is there."""

    def load(self, name: str) -> Any:
        """Return what it holds."""


def open_review(
    entries: Entries,
    answers: AnswersFile,
    training: TrainingOptions,
    rejection: RejectionOptions,
    *,
    separator: str = "_",
    tell: Callable[[str], None] = lambda _: None,
) -> Review:
    """Return the review of a project's recordings; heads have learnt what is answered.

    Args:
        entries: Its catalog.
        answers: Its table of answers.
        training: How its heads are trained.
        rejection: How sure an answer has to be.
        separator: What ends the category in a label.
        tell: Is told what is being done.

    Raises:
        SoundxError: No recordings were kept, or by another embedder than the clips; or noise is
            to be learnt beside clips, and there are no frames of it.
    """
    index: WindowIndex = entries.load("window_index")
    store: EmbeddingStore = entries.load("recording_embeddings")
    stored = store.named(index.fingerprint)
    tell("Reading clips ...")
    noise = entries.load("noise_frames") if entries.has("noise_frames") else None
    if entries.has("model_input") and entries.has("embeddings"):
        clips = _clips(entries, index, noise, training, rejection)
    else:  # nor is there noise before clips are embedded
        known = training.learn_noise and noise is not None
        clips = Clips.none(stored.info, noise_of(stored.info, noise) if known else None)
    version, shipped = "", None
    if entries.has("classifier"):
        classifier: Classifier = entries.load("classifier")
        version = classifier.version
        shipped = shipped_by(
            index, classifier, entries.load("heard"), entries.load("recording_manifest")
        )
    review = Review(
        index, stored, clips, answers, version=version, shipped=shipped, separator=separator
    )
    tell("Learning ...")
    review.learn()
    return review


def shipped_by(
    index: WindowIndex, classifier: Classifier, heard: Path, manifest: pd.DataFrame
) -> Shipped | None:
    """Return what a classifier thinks of every window; None where it has not heard them all."""
    try:
        found = shipped_probabilities(index, classifier, heard, manifest)
    except SoundxError:  # an older classifier, which hears no windows
        return None
    if found is None:
        return None
    return Shipped(classifier.version, tuple(classifier.labels), found)


def _clips(
    entries: Entries,
    index: WindowIndex,
    noise: Any,
    training: TrainingOptions,
    rejection: RejectionOptions,
) -> Clips:
    embedded = entries.load("embeddings").current
    if embedded.info.fingerprint != index.fingerprint:
        raise SoundxError(
            f"Clips were embedded by {embedded.info.fingerprint}, recordings by "
            f"{index.fingerprint}: keep the recordings again.",
            remedy=Remedy.KEEP_RECORDINGS,
        )
    table: pd.DataFrame = entries.load("model_input")[GENERAL]
    table = table[table["split"].isin(training.learnt_sides)]
    manifest: pd.DataFrame = entries.load("clip_manifest")
    if "answered" in manifest:  # the answers themselves tell of those
        cut = set(manifest.loc[manifest["answered"].astype(bool), "clip_id"])
        table = table[~table["clip_id"].isin(list(cut))]
    noise = noise_of(embedded.info, noise) if training.learn_noise else None
    return Clips.of(table, embedded, noise, training, rejection)
