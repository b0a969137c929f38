"""Learning from answers beside the labelled clips, in a moment, from frames that are stored.

An answered stretch is learnt as ingestion would have it: as a clip whose recording is its group.
What comes of it is what a whole run gives, but for what happens to samples that are cut out
(rounding, an offset that is taken off) and for which short stretches are drawn. It is a ridge over
pooled vectors, and scores every window of the index by one product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from soundx.audio import Float32
from soundx.embedders.base import EmbedderInfo
from soundx.embeddings.store import EmbeddingSet
from soundx.labels import BACKGROUND, LabelTree, category_of
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.noise import NoiseFrames, are_silent
from soundx.modelling.pooling import pool_frames, pooled_widths
from soundx.modelling.rejection import RejectionOptions, choose_thresholds
from soundx.modelling.ridge import Ridge, Summed, softmax
from soundx.modelling.training import VECTORS_IN_MEMORY, fit_vectors
from soundx.modelling.vectors import Vectors, all_vectors, draw_stretches
from soundx.review.answers import Answer
from soundx.search.index import IndexedRecording, WindowIndex

Probabilities = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_FEW_ROWS = 2000


@dataclass(frozen=True)
class Examples:
    """What can be learnt from: pooled vectors with their labels.

    Attributes:
        vectors: Of whole clips, in order, and of stretches drawn from them.
        labels: Label of each clip; ``BACKGROUND`` for none.
        groups: Its recording.
    """

    vectors: Vectors
    labels: tuple[str, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __add__(self, other: Examples) -> Examples:
        n = len(self)
        vectors = Vectors(
            np.arange(n + len(other)),
            np.concatenate([self.vectors.whole, other.vectors.whole]),
            np.concatenate([self.vectors.owners, other.vectors.owners + n]),
            np.concatenate([self.vectors.windows, other.vectors.windows]),
        )
        return Examples(vectors, self.labels + other.labels, self.groups + other.groups)


@dataclass(frozen=True)
class Clips:
    """The labelled clips that are learnt beside answers, read once.

    Attributes:
        info: The embedder of all frames.
        examples: Their vectors.
        categories: Category of each label.
        noise: Frames of noise, learnt as background; None for none.
        options: How the project's heads are trained.
        rejection: How sure an answer has to be.
        clip_ids: The clips, in the order of ``examples``.
    """

    info: EmbedderInfo
    examples: Examples
    categories: Mapping[str, str]
    noise: NoiseFrames | None
    options: TrainingOptions
    rejection: RejectionOptions = field(default_factory=RejectionOptions)
    clip_ids: tuple[str, ...] = ()

    @cached_property
    def summed(self) -> Summed | None:
        """Sums over the clips, which every fit shares; None where they are too few to matter."""
        vectors = self.examples.vectors
        if len(vectors.whole) + len(vectors.windows) < _FEW_ROWS:
            return None
        names = {name: place for place, name in enumerate(dict.fromkeys(self.examples.labels))}
        of_clips = np.array([names[label] for label in self.examples.labels], np.int64)
        of_windows = of_clips[vectors.owners]
        if self.noise is not None:  # silence is background, whatever its clip is
            whole, _, _ = self.noise.vectors(tuple(self.info.parts), seed=self.options.seed)
            of_windows = np.where(are_silent(vectors.windows, whole[0]), len(names), of_windows)
        return Summed.of(
            vectors.whole,
            vectors.windows,
            np.concatenate([of_clips, of_windows]),
            pooled_widths(self.info.parts),
            window_weight=self.options.window_weight,
        )

    @classmethod
    def none(cls, info: EmbedderInfo, noise: NoiseFrames | None = None) -> Clips:
        """Return what a project without labelled clips has."""
        dim = sum(pooled_widths(info.parts))
        nothing = Vectors(
            np.empty(0, np.int64),
            np.empty((0, dim), np.float32),
            np.empty(0, np.int64),
            np.empty((0, dim), np.float32),
        )
        return cls(info, Examples(nothing, (), ()), {}, noise, TrainingOptions())

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        embedded: EmbeddingSet,
        noise: NoiseFrames | None,
        options: TrainingOptions,
        rejection: RejectionOptions,
    ) -> Clips:
        """Read the vectors of clips.

        Args:
            table: ``clip_id``, ``label``, ``category`` and ``group`` of the clips that training
                learns from; of very many, some are drawn.
            embedded: Their frames.
            noise: Frames of noise, or None.
            options: How the project's heads are trained.
            rejection: How sure an answer has to be.
        """
        if len(table) > VECTORS_IN_MEMORY:
            table = table.sample(VECTORS_IN_MEMORY, random_state=options.seed)
        vectors = all_vectors(
            embedded,
            table["clip_id"].tolist(),
            windows_per_clip=options.windows_per_clip,
            seed=options.seed,
        )
        examples = Examples(vectors, tuple(table["label"]), tuple(table["group"]))
        labelled = table[table["label"] != BACKGROUND]
        categories = dict(zip(labelled["label"], labelled["category"], strict=True))
        return cls(
            embedded.info,
            examples,
            categories,
            noise if options.learn_noise else None,
            options,
            rejection,
            tuple(table["clip_id"]),
        )


class AnswerVectors:
    """Vectors of answered stretches, each read once.

    Args:
        index: The windows of the recordings.
        embedded: Frames of their parts.
        options: How many stretches are drawn from each, and by which seed.
    """

    def __init__(
        self, index: WindowIndex, embedded: EmbeddingSet, options: TrainingOptions
    ) -> None:
        self._embedded = embedded
        self._options = options
        self._recording_of = {one.file: one for one in index.recordings}
        self._held: dict[tuple[str, float, float], tuple[Float32, Float32]] = {}

    def examples(self, answers: Sequence[Answer]) -> Examples:
        """Return what answers teach; those about other recordings, or not sure, are left out."""
        useful = [a for a in answers if a.is_sure and a.recording in self._recording_of]
        self._read([a for a in useful if _key(a) not in self._held])
        whole, windows, owners = [], [], []
        for number, answer in enumerate(useful):
            one, drawn = self._held[_key(answer)]
            whole.append(one)
            windows.append(drawn)
            owners += [number] * len(drawn)
        dim = sum(pooled_widths(self._embedded.info.parts))
        nothing = np.empty((0, dim), np.float32)
        vectors = Vectors(
            np.arange(len(useful)),
            np.stack(whole) if whole else nothing,
            np.array(owners, np.int64),
            np.concatenate(windows) if windows else nothing,
        )
        groups = tuple(self._recording_of[a.recording].file for a in useful)
        return Examples(vectors, tuple(a.label for a in useful), groups)

    def _read(self, answers: Sequence[Answer]) -> None:
        info = self._embedded.info
        recordings = [self._recording_of[answer.recording] for answer in answers]
        stretches = [frames_of(*one, info) for one in zip(recordings, answers, strict=True)]
        places = [
            (number, place)
            for number, (recording, (first, n)) in enumerate(
                zip(recordings, stretches, strict=True)
            )
            for place in recording.places(first, n)
        ]
        read = self._embedded.stretches([place for _, place in places]) if places else []
        by_answer: dict[int, list[Float32]] = {}
        for (number, _), frames in zip(places, read, strict=True):
            by_answer.setdefault(number, []).append(frames)
        for number, answer in enumerate(answers):
            frames = np.concatenate(by_answer[number])
            counts = np.array([len(frames)], np.int64)
            identity = f"{recordings[number].recording_id}{stretches[number][0]:08d}"[-32:]
            rows, lengths, _ = draw_stretches(
                np.zeros(1, np.int64),
                counts,
                np.zeros(1, np.int64),
                [identity],
                self._options.windows_per_clip,
                self._options.seed,
            )
            self._held[_key(answer)] = (
                pool_frames(frames, counts, info.parts)[0],
                pool_frames(frames[rows], lengths, info.parts),
            )


def _key(answer: Answer) -> tuple[str, float, float]:
    return answer.recording, answer.onset_s, answer.offset_s


def frames_of(recording: IndexedRecording, answer: Answer, info: EmbedderInfo) -> tuple[int, int]:
    """Return first frame and number of frames of an answered stretch.

    They are those that lie inside it, at least the one nearest to its beginning.
    """
    first = min(max(round(answer.onset_s / info.hop_s), 0), recording.n_frames - 1)
    length_s = answer.offset_s - answer.onset_s
    n = max(1, int((length_s - info.window_s) / info.hop_s + 1e-3) + 1)
    return first, min(n, recording.n_frames - first)


@dataclass(frozen=True)
class LabelFigures:
    """What is known of one label.

    Attributes:
        n_clips: Labelled clips that were learnt.
        n_answers: Answers that were learnt.
        n_recordings: Recordings that they are of.
        recall: Share of them that a model without their recording gets right; None where none
            was left out.
    """

    n_clips: int
    n_answers: int
    n_recordings: int
    recall: float | None


@dataclass(frozen=True)
class Taught:
    """A model that has learnt from clips and answers.

    Attributes:
        tree: Labels and categories.
        ridge: The head, of pooled vectors.
        background: Whether the last class is none of the labels.
        thresholds: Probability by label below which the answer is ``unknown``.
        figures: Of each label, and of background where that is learnt.
        n_answers: How many answers were learnt.
    """

    tree: LabelTree
    ridge: Ridge
    background: bool
    thresholds: Mapping[str, float]
    figures: Mapping[str, LabelFigures]
    n_answers: int

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels in order, and background after them where it is learnt."""
        return (*self.tree.labels, BACKGROUND) if self.background else self.tree.labels

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean recall of the labels, of clips and answers whose recording was left out."""
        known = [self.figures[label].recall for label in self.tree.labels]
        found = [recall for recall in known if recall is not None]
        return float(np.mean(found)) if found else None

    def probabilities(self, pooled: Float32) -> Probabilities:
        """Return the probabilities of all classes for pooled vectors [shape=(n, n_classes)]."""
        return softmax(self.ridge.logits(pooled))

    def of_windows(self, index: WindowIndex) -> Float32:
        """Return the probabilities of all classes for every window, a little less exactly.

        Returns:
            [shape=(n_windows, n_classes), dtype=float32].
        """
        ridge = self.ridge
        weights, bias = index.projection.head(ridge.standardise, ridge.weights, ridge.bias)
        logits = index.scores(weights, bias)
        logits *= np.float32(ridge.choice.temperature)
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return logits


def learn(clips: Clips, answered: Examples, *, separator: str = "_") -> Taught | None:
    """Fit clips and answers, as training would; None where there are not two classes yet.

    Args:
        clips: The labelled clips.
        answered: What answers teach.
        separator: What ends the category in a label that is new.

    Raises:
        SoundxError: The labels do not go together.
    """
    examples = clips.examples + answered
    pairs = [
        (label, clips.categories.get(label) or category_of(label, separator=separator))
        for label in dict.fromkeys(examples.labels)
        if label != BACKGROUND
    ]
    noise = clips.noise
    background = noise is not None or BACKGROUND in examples.labels
    if len(pairs) + background < 2 or not pairs:  # noqa: PLR2004
        return None
    tree = LabelTree.build(pairs)
    number = {label: place for place, label in enumerate(tree.labels)}
    targets = np.array([number.get(label, len(number)) for label in examples.labels], np.int64)
    groups = np.unique(examples.groups, return_inverse=True)[1]
    n_classes = len(number) + background
    ridge = fit_vectors(
        examples.vectors,
        targets,
        groups,
        n_classes,
        clips.info.parts,
        clips.options,
        noise,
        clips.summed,
    )
    assert ridge.left_out is not None
    ours = ridge.left_out.clips < len(examples)  # what follows is noise
    chosen = ridge.left_out.clips[ours]
    probabilities = ridge.left_out.probabilities()[ours]
    thresholds = choose_thresholds(probabilities, targets[chosen], len(number), clips.rejection)
    right = probabilities.argmax(axis=1) == targets[chosen]
    figures = {}
    for label in (*tree.labels, *((BACKGROUND,) if background else ())):
        mine = targets == number.get(label, len(number))
        left_out = right[mine[chosen]]
        figures[label] = LabelFigures(
            n_clips=int(mine[: len(clips.examples)].sum()),
            n_answers=int(mine[len(clips.examples) :].sum()),
            n_recordings=len(np.unique(groups[mine])),
            recall=float(left_out.mean()) if len(left_out) else None,
        )
    by_label = dict(zip(tree.labels, map(float, thresholds), strict=True))
    return Taught(tree, ridge, background, by_label, figures, len(answered))


def changes(before: Taught | None, after: Taught) -> list[dict[str, Any]]:
    """Return what answers changed, a row a label: numbers learnt, and recall before and after."""
    rows = []
    for label, figures in after.figures.items():
        earlier = before.figures.get(label) if before else None
        rows.append(
            {
                "label": label,
                "clips": figures.n_clips,
                "answers": figures.n_answers,
                "recordings": figures.n_recordings,
                "recall_before": earlier.recall if earlier else None,
                "recall": figures.recall,
            }
        )
    return rows
