"""Ridge regression as a classifier: closed form, with its own honest predictions.

One against the rest: least squares on targets of +1 and -1 over standardised vectors, each part
scaled by the root of its width so that wide parts do not drown narrow ones. What a clip's score
would be had its whole group been left out is closed form too (the block form of the
leave-one-out formula, for example Hastie, Tibshirani & Friedman 2009, 7.10); penalty and
temperature are chosen by those scores, so that they need no validation side. Nothing here knows
Keras or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from soundx.audio import Float32

Float64 = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

PENALTIES = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Tried penalties, in units of the mean squared length of a standardised vector."""
CHOOSE_CLIPS = 2500
"""So many clips choose penalty and temperature; more would only take time."""
DUAL_ROWS = 9000
"""With more rows the normal equations are added up block by block instead."""

_FLOOR = 0.5  # of a part's mean variance: what hardly moved must not be blown up later
_INTERCEPT = 100.0  # squared length of a constant feature: its weight is next to free
_SHORTEST = 1e-9  # mean squared length of a vector that says anything
_WIDEST = 20.0
_ROWS_AT_A_TIME = 2048


@dataclass(frozen=True)
class Standardiser:
    """Subtracts means and divides by scales, part by part.

    Attributes:
        mean: [shape=(dim,), dtype=float32].
        scale: What to multiply with afterwards [shape=(dim,), dtype=float32].
    """

    mean: Float32
    scale: Float32

    def __call__(self, vectors: Float32) -> Float32:
        """Return standardised vectors [shape=(n, dim)]."""
        return np.asarray((vectors - self.mean) * self.scale, np.float32)

    @classmethod
    def of(cls, blocks: Iterator[Float32], widths: Sequence[int]) -> Standardiser:
        """Return what standardises vectors.

        Args:
            blocks: The vectors, some at a time [shape=(n, dim)].
            widths: Width of each part; they add up to ``dim``.
        """
        n = 0
        mean: Float64 = np.zeros(sum(widths))
        squares: Float64 = np.zeros(sum(widths))
        for block in blocks:  # joined by the rule of Chan, Golub & LeVeque (1983)
            away = block.mean(axis=0, dtype=np.float64) - mean
            squares += len(block) * block.var(axis=0, dtype=np.float64)
            squares += away**2 * (n * len(block) / (n + len(block)))
            n += len(block)
            mean += away * (len(block) / n)
        variance = squares / max(n, 1)
        scale = np.empty_like(variance)
        first = 0
        for width in widths:
            part = slice(first, first + width)
            floor = max(_FLOOR * float(variance[part].mean()), 1e-12)
            scale[part] = 1 / np.sqrt((variance[part] + floor) * width)
            first += width
        return cls(mean.astype(np.float32), scale.astype(np.float32))


@dataclass(frozen=True)
class Choice:
    """What was chosen by predictions of groups that were left out.

    Attributes:
        penalty: In units of the mean squared length of a standardised vector.
        temperature: What scores are multiplied with before the softmax.
        log_loss: Of those predictions, in nats.
        left_out_accuracy: Of those predictions.
    """

    penalty: float
    temperature: float
    log_loss: float
    left_out_accuracy: float


@dataclass(frozen=True)
class LeftOut:
    """What was chosen, and the predictions it was chosen by.

    Attributes:
        choice: Penalty and temperature.
        clips: Which clips were predicted, ascending [shape=(n,)].
        scores: Their scores by a model without their group, at that penalty
            [shape=(n, n_classes)].
    """

    choice: Choice
    clips: Indices
    scores: Float64

    def probabilities(self) -> Float64:
        """Return calibrated probabilities of those clips [shape=(n, n_classes)]."""
        return softmax(self.scores * self.choice.temperature)


@dataclass(frozen=True)
class Summed:
    """Sums over clips and stretches of them, for fits that share these and have others besides.

    Attributes:
        standardise: What was done to vectors first.
        products: Of all pairs of numbers, a one after the last; the upper half
            [shape=(dim + 1, dim + 1), dtype=float32].
        sums: Of rows by group [shape=(dim + 1, n_groups)].
        groups: Group of each clip, then of each stretch: rows that are always of one class
            [shape=(n_clips + n_windows,)].
        n_clips: How many clips.
        n_windows: How many stretches.
    """

    standardise: Standardiser
    products: Float32
    sums: Float64
    groups: Indices
    n_clips: int
    n_windows: int

    @classmethod
    def of(
        cls,
        vectors: Float32,
        windows: Float32,
        groups: Indices,
        widths: Sequence[int],
        *,
        window_weight: float,
    ) -> Summed:
        """Sum clips and stretches.

        Args:
            vectors: One a clip [shape=(n_clips, dim)].
            windows: One a stretch [shape=(n_windows, dim)].
            groups: Group of each clip, then of each stretch, from 0 on.
            widths: Width of each part of a vector.
            window_weight: Weight of a stretch, where a clip's is 1.
        """
        standardise = Standardiser.of(iter([vectors]), widths)
        equations = NormalEquations(vectors.shape[1], int(groups.max(initial=-1)) + 1)
        for rows, mine, weight in (
            (vectors, groups[: len(vectors)], 1.0),
            (windows, groups[len(vectors) :], window_weight),
        ):
            members = (mine[:, None] == np.arange(equations.n_classes)).astype(np.float32)
            weights = np.full(len(rows), weight, np.float32)
            equations.add(standardise(rows), members, weights)
        return cls(
            standardise,
            equations.products,
            equations.answers,
            groups,
            len(vectors),
            len(windows),
        )


@dataclass(frozen=True)
class Ridge:
    """A fitted classifier.

    Attributes:
        standardise: What is done to vectors first.
        weights: [shape=(dim, n_classes), dtype=float32].
        bias: [shape=(n_classes,), dtype=float32].
        choice: Penalty and temperature.
        left_out: The predictions they were chosen by; None where they were given.
    """

    standardise: Standardiser
    weights: Float32
    bias: Float32
    choice: Choice
    left_out: LeftOut | None = None

    def logits(self, vectors: Float32) -> Float64:
        """Return calibrated logits of vectors [shape=(n, n_classes)]."""
        scores = self.standardise(vectors) @ self.weights + self.bias
        return np.asarray(scores, np.float64) * self.choice.temperature


def signs(targets: Indices, n_classes: int) -> Float32:
    """Return +1 at each target and -1 elsewhere [shape=(n, n_classes)]."""
    return np.where(targets[:, None] == np.arange(n_classes), 1.0, -1.0).astype(np.float32)


def fit_ridge(
    vectors: Float32,
    targets: Indices,
    groups: npt.NDArray[np.generic],
    n_classes: int,
    widths: Sequence[int],
    *,
    windows: tuple[Float32, Indices] | None = None,
    window_weight: float = 0.25,
    choice: Choice | None = None,
    summed: Summed | None = None,
) -> Ridge:
    """Fit vectors that are in memory.

    Args:
        vectors: One a clip [shape=(n_clips, dim)].
        targets: Class of each clip [shape=(n_clips,)].
        groups: Recording of each clip [shape=(n_clips,)].
        n_classes: Number of classes.
        widths: Width of each part of a vector.
        windows: Vectors of short stretches of these clips, and which clip each is of.
        window_weight: Weight of a stretch, where a clip's is 1.
        choice: Penalty and temperature; chosen by left-out groups unless given.
        summed: Sums over the first clips and the first stretches, which many fits share.
    """
    standardise = Standardiser.of(iter([vectors]), widths)
    standardised = standardise(vectors)
    left_out = None
    if choice is None:
        left_out = choose(standardised, targets, groups, n_classes)
        choice = left_out.choice
    length = float(np.einsum("ij,ij->", standardised, standardised) / max(len(standardised), 1))
    n_rows = len(standardised) + (0 if windows is None else len(windows[0]))
    is_dual = n_rows <= min(DUAL_ROWS, standardised.shape[1])
    n_whole, n_windows = (0, 0) if summed is None or is_dual else (summed.n_clips, summed.n_windows)
    rows, signed = standardised[n_whole:], signs(targets[n_whole:], n_classes)
    weights = np.ones(len(rows), np.float32)
    if windows is not None and len(windows[0]) > n_windows:
        stretches, owners = windows[0][n_windows:], windows[1][n_windows:]
        rows = np.concatenate([rows, standardise(stretches)])
        signed = np.concatenate([signed, signs(targets[owners], n_classes)])
        weights = np.concatenate([weights, np.full(len(stretches), window_weight, np.float32)])
    if is_dual:
        solved = _dual(rows, signed, weights, choice.penalty, length)
    else:
        equations = NormalEquations(rows.shape[1], n_classes)
        if summed is not None:
            owners = np.empty(0, np.int64) if windows is None else windows[1][:n_windows]
            equations.add_summed(summed, standardise, targets[:n_whole], targets[owners])
        equations.add(rows, signed, weights)
        solved = equations.solve(choice.penalty, length)
    return Ridge(standardise, *solved, choice, left_out)


def choose(
    standardised: Float32,
    targets: Indices,
    groups: npt.NDArray[np.generic],
    n_classes: int,
    *,
    seed: int = 7,
) -> LeftOut:
    """Choose penalty and temperature by the log loss of groups that were left out.

    Args:
        standardised: Standardised vectors [shape=(n_clips, dim)].
        targets: Class of each [shape=(n_clips,)].
        groups: Group of each [shape=(n_clips,)].
        n_classes: Number of classes.
        seed: Draws clips where there are more than ``CHOOSE_CLIPS``.
    """
    some = np.arange(len(standardised))
    if len(standardised) > CHOOSE_CLIPS:
        some = _draw_groups(groups, CHOOSE_CLIPS, seed)
        standardised, targets, groups = standardised[some], targets[some], groups[some]
    kernel = np.asarray(standardised @ standardised.T, np.float64)
    signed = signs(targets, n_classes)

    @cache
    def tried(place: int) -> LeftOut:
        ((penalty, scores),) = left_out_scores(kernel, signed, groups, PENALTIES[place : place + 1])
        temperature, loss = fit_temperature(scores, targets)
        right = scores.argmax(axis=1) == targets
        return LeftOut(Choice(penalty, temperature, loss, float(right.mean())), some, scores)

    # downhill from the middle: the loss has one valley, and each try costs an inversion
    best = len(PENALTIES) // 2
    while True:
        beside = range(max(best - 1, 0), min(best + 2, len(PENALTIES)))
        better = min(beside, key=lambda place: tried(place).choice.log_loss)
        if tried(better).choice.log_loss >= tried(best).choice.log_loss:
            return tried(best)
        best = better


def left_out_scores(
    kernel: Float64,
    signed: Float32,
    groups: npt.NDArray[np.generic],
    penalties: Sequence[float] = PENALTIES,
) -> Iterator[tuple[float, Float64]]:
    """Yield each penalty, and what clips would score had their groups been left out.

    Args:
        kernel: Products of all pairs of standardised vectors [shape=(n, n)].
        signed: Targets of +1 and -1 [shape=(n, n_classes)].
        groups: Group of each; if there is only one, clips are left out one by one.
        penalties: Penalties to try.

    Yields:
        The penalty, and scores [shape=(n, n_classes)].
    """
    length = float(np.trace(kernel) / len(kernel))
    members = _members(groups)
    for penalty in penalties:
        system = kernel + _INTERCEPT * unit_of(length)
        system[np.diag_indices_from(system)] += penalty * unit_of(length)
        inverse = _inverse(system)
        duals = inverse @ signed
        scores = np.empty_like(duals)
        alone = members[0]
        scores[alone] = signed[alone] - duals[alone] / np.diag(inverse)[alone, None]
        for group in members[1:]:
            block = np.linalg.solve(inverse[np.ix_(group, group)], duals[group])
            scores[group] = signed[group] - block
        yield penalty, scores


def _inverse(system: Float64) -> Float64:
    """Return the inverse of a symmetric, positive definite matrix, which is overwritten."""
    from scipy.linalg import lapack

    factor, failed = lapack.dpotrf(system.T, lower=0, overwrite_a=1, clean=0)
    inverse, failed_too = lapack.dpotri(factor, lower=0, overwrite_c=1)
    if failed or failed_too:
        raise np.linalg.LinAlgError("The system is not positive definite.")
    # one half is computed; the other is the same
    return np.asarray(np.triu(inverse) + np.triu(inverse, 1).T)


def _members(groups: npt.NDArray[np.generic]) -> list[Indices]:
    """Return the clips that are alone in their group, then those of each larger group."""
    _, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(counts) == 1:
        return [np.arange(len(groups))]
    order = np.argsort(index, kind="stable")
    parts = np.split(order, np.cumsum(counts)[:-1])
    alone = [part for part in parts if len(part) == 1]
    together = [part for part in parts if len(part) > 1]
    return [np.concatenate(alone) if alone else np.empty(0, np.int64), *together]


def fit_temperature(scores: Float64, targets: Indices) -> tuple[float, float]:
    """Return the temperature that makes ``softmax(temperature * scores)`` most likely.

    Args:
        scores: [shape=(n, n_classes)].
        targets: [shape=(n,)].

    Returns:
        The temperature, and the log loss at it, in nats.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(np.exp(log_temperature) * scores)[rows, targets].mean())

    rows = np.arange(len(targets))
    found = minimize_scalar(loss, bounds=(-1.0, np.log(_WIDEST)), method="bounded")
    return float(np.exp(found.x)), float(found.fun)


def unit_of(length: float) -> float:
    """Return what penalties are measured in, of the mean squared length of a vector.

    Clips that all sound alike are vectors of no length, which any penalty holds at nothing.
    """
    return length if length > _SHORTEST else 1.0


def log_softmax(logits: Float64) -> Float64:
    """Return the logarithm of the softmax over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def softmax(logits: Float64) -> Float64:
    """Return the softmax over the last axis."""
    return np.asarray(np.exp(log_softmax(logits)))


class NormalEquations:
    """Normal equations of weighted ridge regression, added up block by block.

    Args:
        dim: Length of a vector.
        n_classes: Number of classes.
    """

    def __init__(self, dim: int, n_classes: int) -> None:
        # float32 sums within a block, float64 across blocks would be twice the memory: the
        # penalty is far above what rounding does
        self._products = np.zeros((dim + 1, dim + 1), np.float32, order="F")
        self._answers = np.zeros((dim + 1, n_classes), np.float64)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self._answers.shape[1]

    @property
    def products(self) -> Float32:
        """Sums of products, the upper half [shape=(dim + 1, dim + 1)]."""
        return self._products

    @property
    def answers(self) -> Float64:
        """Sums of rows times their targets [shape=(dim + 1, n_classes)]."""
        return self._answers

    def add(self, rows: Float32, signed: Float32, weights: Float32) -> None:
        """Add standardised vectors, their targets of +1 and -1, and their weights."""
        from scipy.linalg.blas import ssyrk

        held = np.empty((min(len(rows), _ROWS_AT_A_TIME), rows.shape[1] + 1), np.float32)
        for first in range(0, len(rows), _ROWS_AT_A_TIME):
            some = slice(first, first + _ROWS_AT_A_TIME)
            root = np.sqrt(weights[some])[:, None]
            with_one = held[: len(root)]
            np.multiply(rows[some], root, out=with_one[:, :-1])
            with_one[:, -1:] = root
            # the upper half is enough, and is added up in place
            self._products = ssyrk(1.0, with_one.T, beta=1.0, c=self._products, overwrite_c=True)
            self._answers += with_one.T @ (signed[some] * root)

    def add_summed(
        self, summed: Summed, standardise: Standardiser, clips: Indices, stretches: Indices
    ) -> None:
        """Add rows that were summed before, first of all.

        Args:
            summed: The sums.
            standardise: What is done to the other rows; these had another one done to them.
            clips: Class of each clip in the sums [shape=(n_clips,)].
            stretches: Class of each stretch [shape=(n_windows,)].
        """
        from scipy.linalg.blas import ssyr2

        # x = d z + e, of what stands there as z: of sums of products that is a scaling and two
        # products of vectors
        scale = standardise.scale / summed.standardise.scale
        shift = (summed.standardise.mean - standardise.mean) * standardise.scale
        d, e = np.append(scale, np.float32(1)), np.append(shift, np.float32(0))
        products = np.multiply(summed.products, d[:, None], order="F")
        products *= d
        last = summed.products[:, -1]
        self._products = ssyr2(1.0, e, d * last + e * (last[-1] / 2), a=products, overwrite_a=True)
        classes = np.zeros((summed.sums.shape[1], self._answers.shape[1]))
        # all rows of a group are of one class: its first one tells
        of_rows = np.concatenate([clips, stretches])
        groups, first = np.unique(summed.groups, return_index=True)
        classes[groups, of_rows[first]] = 1.0
        sums = summed.sums @ classes
        moved = d[:, None] * sums + e[:, None] * sums[-1]
        self._answers = 2.0 * moved - moved.sum(axis=1, keepdims=True)

    def solve(self, penalty: float, length: float) -> tuple[Float32, Float32]:
        """Return weights [shape=(dim, n_classes)] and bias [shape=(n_classes,)].

        Args:
            penalty: In units of ``length``.
            length: Mean squared length of a vector.
        """
        from scipy.linalg import lapack

        system = self._products
        inside = np.arange(len(system) - 1)
        system[inside, inside] += np.float32(penalty * unit_of(length))
        system[-1, -1] += np.float32(1e-6)
        answers = np.asarray(self._answers, np.float32, order="F")
        _, found, failed = lapack.sposv(system, answers, lower=0, overwrite_a=1, overwrite_b=1)
        if failed:
            raise np.linalg.LinAlgError("The normal equations are not positive definite.")
        return np.asarray(found[:-1], np.float32), np.asarray(found[-1], np.float32)


def _dual(
    rows: Float32, signed: Float32, weights: Float32, penalty: float, length: float
) -> tuple[Float32, Float32]:
    from scipy.linalg import solve

    system = np.asarray(rows @ rows.T, np.float64) + _INTERCEPT * unit_of(length)
    system[np.diag_indices_from(system)] += penalty * unit_of(length) / weights
    duals = solve(system, signed, assume_a="pos", overwrite_a=True, check_finite=False)
    bias = _INTERCEPT * unit_of(length) * duals.sum(axis=0)
    return np.asarray(rows.T @ duals.astype(np.float32)), np.asarray(bias, np.float32)


def _draw_groups(groups: npt.NDArray[np.generic], n_clips: int, seed: int) -> Indices:
    """Return clips of whole groups drawn at random, about so many."""
    names, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    taken = order[: max(2, int(np.searchsorted(np.cumsum(counts[order]), n_clips)))]
    chosen = np.flatnonzero(np.isin(index, taken))
    return chosen[: 2 * n_clips]


Blocks = Callable[[], Iterator[tuple[Float32, Indices, Float32]]]
"""Returns vectors, targets and weights, some at a time, from the beginning."""


def fit_ridge_in_blocks(
    blocks: Blocks, n_classes: int, widths: Sequence[int], left_out: LeftOut, length: float,
    standardise: Standardiser,
) -> Ridge:  # fmt: skip
    """Fit more vectors than are held at a time; penalty and temperature are given.

    Args:
        blocks: The vectors.
        n_classes: Number of classes.
        widths: Width of each part of a vector.
        left_out: Penalty and temperature, chosen on some of them.
        length: Mean squared length of a standardised vector.
        standardise: What is done to vectors first.
    """
    equations = NormalEquations(sum(widths), n_classes)
    for vectors, targets, weights in blocks():
        equations.add(standardise(vectors), signs(targets, n_classes), weights)
    solved = equations.solve(left_out.choice.penalty, length)
    return Ridge(standardise, *solved, left_out.choice, left_out)
