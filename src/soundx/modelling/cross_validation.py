"""Predictions of clips whose recording was left out, fold by fold.

What a fold's model learns from, standardisation included, are the other folds alone. Embeddings
are never computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from soundx.audio import Float32
from soundx.embeddings.store import EmbeddingSet
from soundx.labels import BACKGROUND, GENERAL, LabelTree
from soundx.modelling.heads import TrainingOptions, clip_probabilities
from soundx.modelling.joint import LABELS, clip_logits
from soundx.modelling.noise import NoiseFrames
from soundx.modelling.pooling import pooled_widths
from soundx.modelling.ridge import (
    CHOOSE_CLIPS,
    Choice,
    Standardiser,
    fit_ridge,
    signs,
    softmax,
    unit_of,
)
from soundx.modelling.splitting import class_weights
from soundx.modelling.training import Trained, train_by_head, train_labels, with_noise
from soundx.modelling.vectors import Vectors, all_vectors
from soundx.progress import track

Probabilities = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_TEMPERATURE = 8.0  # for analyses that only compare
_PENALTY = 0.1


@dataclass(frozen=True)
class Labelled:
    """Clips with the numbers of their labels.

    Attributes:
        tree: Labels and categories.
        targets: Label of each clip; one past the last for background [shape=(n_clips,)].
        groups: Recording of each [shape=(n_clips,)].
        folds: Fold of each [shape=(n_clips,)].
        n_classes: Number of labels, and one more where there is background.
    """

    tree: LabelTree
    targets: Indices
    groups: Indices
    folds: Indices
    n_classes: int

    @classmethod
    def of(cls, table: pd.DataFrame) -> Labelled:
        """Number the labels of a table of folds."""
        labelled = table[table["label"] != BACKGROUND]
        tree = LabelTree.build(zip(labelled["label"], labelled["category"], strict=True))
        number = {label: index for index, label in enumerate(tree.labels)}
        targets = table["label"].map(number).fillna(len(number)).to_numpy(np.int64)
        return cls(
            tree,
            targets,
            np.unique(table["group"], return_inverse=True)[1],
            table["fold"].to_numpy(np.int64),
            len(number) + int((targets == len(number)).any()),
        )


def predict_left_out(
    table: pd.DataFrame,
    embedded: EmbeddingSet,
    options: TrainingOptions,
    noise: NoiseFrames | None = None,
) -> tuple[Probabilities, Probabilities]:
    """Predict every clip by a model that did not learn from its fold.

    Args:
        table: Folds; see ``soundx.modelling.folds``.
        embedded: Frames of the clips.
        options: What is trained.
        noise: Frames of noise, learnt in every fold as background.

    Returns:
        Probabilities of all classes, and what they would be without calibration
        [shape=(n_clips, n_classes)] each; background is a class where it or noise is learnt.
    """
    known = Labelled.of(table)
    noise = noise if options.learns_noise else None
    if noise is not None:
        known = replace(known, n_classes=len(known.tree.labels) + 1)
    if options.head == "ridge":
        return _ridge(table, known, embedded, options, noise)
    calibrated = np.zeros((len(table), known.n_classes))
    for fold in track(np.unique(known.folds), description="Cross-validating"):
        held_out = known.folds == fold
        trained = train_without(table, known, embedded, options, held_out, noise)
        clips = table.loc[held_out, "clip_id"].tolist()
        calibrated[held_out] = probabilities_by(
            trained,
            known,
            embedded.info.plain_width,
            embedded.frames(clips),
            embedded.n_frames(clips),
        )
    return calibrated, calibrated


def _ridge(
    table: pd.DataFrame,
    known: Labelled,
    embedded: EmbeddingSet,
    options: TrainingOptions,
    noise: NoiseFrames | None,
) -> tuple[Probabilities, Probabilities]:
    vectors = all_vectors(
        embedded,
        table["clip_id"].tolist(),
        windows_per_clip=options.windows_per_clip,
        seed=options.seed,
    )
    widths = pooled_widths(embedded.info.parts)
    probabilities = np.zeros((len(table), known.n_classes))
    raw = np.zeros_like(probabilities)
    for fold in track(np.unique(known.folds), description="Cross-validating"):
        held_out = known.folds == fold
        learnt = np.flatnonzero(~held_out)
        place = np.full(len(table), -1)
        place[learnt] = np.arange(len(learnt))
        mine = ~held_out[vectors.owners]
        own = Vectors(
            np.arange(len(learnt)),
            vectors.whole[learnt],
            place[vectors.owners[mine]],
            vectors.windows[mine],
        )
        own, targets, groups = with_noise(
            own,
            known.targets[learnt],
            known.groups[learnt],
            noise,
            embedded.info.parts,
            options,
            known.n_classes,
        )
        ridge = fit_ridge(
            own.whole,
            targets,
            groups,
            known.n_classes,
            widths,
            windows=(own.windows, own.owners),
            window_weight=options.window_weight,
        )
        logits = ridge.logits(vectors.whole[held_out])
        probabilities[held_out] = softmax(logits)
        raw[held_out] = softmax(logits / ridge.choice.temperature)
    return probabilities, raw


def train_without(
    table: pd.DataFrame,
    known: Labelled,
    embedded: EmbeddingSet,
    options: TrainingOptions,
    held_out: npt.NDArray[np.bool_],
    noise: NoiseFrames | None = None,
) -> Trained:
    """Train what ``training.head`` names on all clips but those held out.

    Args:
        table: Folds; see ``soundx.modelling.folds``.
        known: Their labels.
        embedded: Frames of the clips.
        options: What is trained. ``dense`` and ``seed`` stop by some of the recordings.
        held_out: Which clips nothing is learnt from [shape=(n_clips,)].
        noise: Frames of noise, learnt as the last class.
    """
    rng = np.random.default_rng(options.seed)
    groups = rng.permutation(np.unique(known.groups[~held_out]))
    stopping = np.isin(known.groups, groups[: max(1, len(groups) * 15 // 100)])
    clips = table[["clip_id", "label", "category", "group"]].assign(target=known.targets)
    clips["n_frames"] = embedded.n_frames(clips["clip_id"])
    clips["split"] = np.where(held_out, "test", np.where(stopping, "validation", "train"))
    if options.head != "seed":
        learnt = clips[~held_out].assign(weight=np.float32(1.0))
        return train_labels(learnt, embedded, known.n_classes, options, noise)
    tables = {}
    for head, classes in known.tree.heads.items():
        numbers = clips["label"].map(
            {name: known.tree.target(head, name) for name in known.tree.labels}
        )
        mine = clips[numbers.notna() & ~held_out].assign(target=numbers.dropna().astype(np.int64))
        mine["weight"] = np.float32(0.0)
        for _, side in mine.groupby("split"):
            mine.loc[side.index, "weight"] = class_weights(
                side["target"].to_numpy(), side["n_frames"].to_numpy(), len(classes)
            )
        tables[head] = mine
    return train_by_head(tables, embedded, known.tree, options)


def probabilities_by(
    trained: Trained,
    known: Labelled,
    plain_width: int,
    frames: Float32,
    frames_per_clip: Indices,
) -> Probabilities:
    """Return what trained models say of clips, or of stretches of clips.

    Args:
        trained: What ``train_without`` gave.
        known: Labels of the clips it learnt from.
        plain_width: How many numbers of a frame ``seed`` learns from.
        frames: Frames of all clips, one clip after the other [shape=(n_frames, dim)].
        frames_per_clip: Number of frames of each clip [shape=(n_clips,)].

    Returns:
        Probabilities of all classes [shape=(n_clips, n_classes)].
    """
    if GENERAL not in trained.models:  # not one a head of the tree
        return softmax(clip_logits(trained.models[LABELS], frames, frames_per_clip))
    plain = frames[:, :plain_width]
    joint = known.tree.joint_probabilities(
        {
            head: clip_probabilities(model, plain, frames_per_clip)
            for head, model in trained.models.items()
        }
    )
    return np.pad(joint, [(0, 0), (0, known.n_classes - joint.shape[1])])


class Kernel:
    """Products of all pairs of clips, for analyses that fit many small models.

    Vectors are standardised once over all clips, labels apart, so these figures are for
    comparison with each other; ``predict_left_out`` is the one to be quoted.

    Args:
        vectors: Pooled vectors of the clips.
        widths: Width of each part of a vector.
    """

    def __init__(self, vectors: Vectors, widths: Sequence[int]) -> None:
        standardised = Standardiser.of(iter([vectors.whole]), widths)(vectors.whole)
        self._products = np.asarray(standardised @ standardised.T, np.float64)

    def predict(
        self,
        learnt: Indices,
        targets: Indices,
        n_classes: int,
        asked: Indices,
        choice: Choice | None = None,
    ) -> Probabilities:
        """Fit some clips and predict others.

        Args:
            learnt: Which clips to learn from.
            targets: Their classes [shape=(len(learnt),)].
            n_classes: Number of classes.
            asked: Which clips to predict.
            choice: Penalty and temperature; usual ones unless given.

        Returns:
            Probabilities [shape=(len(asked), n_classes)].
        """
        from scipy.linalg import solve

        penalty = choice.penalty if choice else _PENALTY
        inside = self._products[np.ix_(learnt, learnt)]
        length = unit_of(float(np.trace(inside) / len(inside)))
        intercept = 100.0 * length
        inside = inside + intercept
        inside[np.diag_indices_from(inside)] += penalty * length
        duals = solve(inside, signs(targets, n_classes), assume_a="pos", overwrite_a=True)
        scores = (self._products[np.ix_(asked, learnt)] + intercept) @ duals
        return softmax(scores * (choice.temperature if choice else _TEMPERATURE))


def some_clips(table: pd.DataFrame, *, seed: int = 7, n_clips: int = CHOOSE_CLIPS) -> pd.DataFrame:
    """Return clips of recordings drawn at random, about so many; all where there are fewer."""
    if len(table) <= n_clips:
        return table.reset_index(drop=True)
    sizes = table.groupby("group", sort=True).size()
    order = np.random.default_rng(seed).permutation(len(sizes))
    taken = sizes.index[order][np.cumsum(sizes.to_numpy()[order]) <= n_clips]
    return table[table["group"].isin(taken)].reset_index(drop=True)


def leaky_accuracy(kernel: Kernel, known: Labelled, *, seed: int = 7) -> float | None:
    """Return the accuracy where recordings stand on both sides; None where none could.

    What a split by clip instead of by recording would have flattered.
    """
    labelled = known.targets < len(known.tree.labels)
    if len(np.unique(known.groups)) == len(known.groups):
        return None
    folds = np.random.default_rng(seed).permutation(len(known.folds)) % len(np.unique(known.folds))
    right = np.zeros(len(known.folds), bool)
    for fold in np.unique(folds):
        learnt, asked = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        found = kernel.predict(learnt, known.targets[learnt], known.n_classes, asked)
        right[asked] = found.argmax(axis=1) == known.targets[asked]
    return float(right[labelled].mean())


def left_out_labels(kernel: Kernel, known: Labelled) -> float | None:
    """Return how well clips of known labels are told from clips of labels never learnt.

    Each fifth of the labels is left out in turn; the score is the highest probability.

    Returns:
        Area under the ROC curve, mean over the fifths; None with fewer than three labels.
    """
    from sklearn.metrics import roc_auc_score

    n_labels = len(known.tree.labels)
    if n_labels < 3:  # noqa: PLR2004
        return None
    n_parts = min(5, n_labels)
    part = np.arange(n_labels) % n_parts
    labelled = known.targets < n_labels
    areas = []
    for number in range(n_parts):
        gone = labelled & (part[np.minimum(known.targets, n_labels - 1)] == number)
        names = np.flatnonzero(part != number)
        renumber = np.full(n_labels + 1, -1)
        renumber[names] = np.arange(len(names))
        renumber[n_labels] = len(names)
        scores, is_known = [], []
        for fold in np.unique(known.folds):
            learnt = np.flatnonzero((known.folds != fold) & ~gone)
            asked = np.flatnonzero((known.folds == fold) & labelled)
            if not len(asked) or not len(learnt):
                continue
            n_classes = len(names) + int(known.n_classes > n_labels)
            found = kernel.predict(learnt, renumber[known.targets[learnt]], n_classes, asked)
            scores.append(found[:, : len(names)].max(axis=1))
            is_known.append(~gone[asked])
        truth = np.concatenate(is_known)
        if truth.any() and not truth.all():
            areas.append(float(roc_auc_score(truth, np.concatenate(scores))))
    return float(np.mean(areas)) if areas else None


def learning_curve(
    kernel: Kernel, known: Labelled, shares: Sequence[float], *, seed: int = 7
) -> Iterator[tuple[float, npt.NDArray[np.bool_], Indices]]:
    """Yield how it would be with fewer recordings.

    Args:
        kernel: Of the clips.
        known: Their labels.
        shares: Shares of the recordings of each label to learn from.
        seed: Draws them.

    Yields:
        The share; whether each clip was right; recordings of each label learnt from, mean over
        the folds [shape=(n_labels,)].
    """
    rng = np.random.default_rng(seed)
    rank = np.zeros(len(known.targets))
    for label in np.unique(known.targets):
        mine = np.flatnonzero(known.targets == label)
        groups, inverse = np.unique(known.groups[mine], return_inverse=True)
        rank[mine] = rng.permutation(len(groups))[inverse] / len(groups)
    n_labels = len(known.tree.labels)
    for share in shares:
        right = np.zeros(len(known.targets), bool)
        counts = []
        for fold in np.unique(known.folds):
            learnt = np.flatnonzero(known.folds != fold)
            few = learnt[rank[learnt] < share]
            # a label that would be left with none keeps its first recording
            lacking = np.setdiff1d(known.targets[learnt], known.targets[few])
            first = [
                learnt[known.targets[learnt] == label][
                    np.argmin(rank[learnt][known.targets[learnt] == label])
                ]
                for label in lacking
            ]
            few = np.sort(np.concatenate([few, np.array(first, np.int64)]))
            asked = np.flatnonzero(known.folds == fold)
            found = kernel.predict(few, known.targets[few], known.n_classes, asked)
            right[asked] = found.argmax(axis=1) == known.targets[asked]
            counts.append(
                [
                    len(np.unique(known.groups[few][known.targets[few] == label]))
                    for label in range(n_labels)
                ]
            )
        yield share, right, np.mean(counts, axis=0)
