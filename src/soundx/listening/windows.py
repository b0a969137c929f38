"""A recording to window probabilities, piece by piece, as if it had been heard in one.

Pieces overlap by as many frames as a window reaches beyond its middle, and what an overlap would
tell twice is left out: rows join exactly, however long the recording is. Pieces are computed in
threads, a few at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from soundx.audio import Float32
from soundx.classifier.bundle import Classifier, Windowing
from soundx.parallel import map_in_order, n_workers

PIECE_ROWS = 62
"""Rows of a piece: half a minute. More cost memory, fewer are computed twice more often."""


@dataclass(frozen=True)
class Piece:
    """Some samples of a recording, and which rows they are for.

    Attributes:
        samples: Samples at 16 kHz [shape=(n_samples,)].
        skip: Rows at the beginning that belong to the piece before.
        n_rows: Rows that are this piece's; None for all that follow.
        n_samples_before: Samples of the recording before it.
    """

    samples: Float32
    skip: int
    n_rows: int | None
    n_samples_before: int


@dataclass(frozen=True)
class Heard:
    """What was heard in a piece.

    Attributes:
        rows: Window probabilities [shape=(n_rows, n_labels), dtype=float32].
        whole: Probabilities of the recording, where the piece is all of it
            [shape=(n_labels,)]; else None.
        n_samples: Samples of the recording up to the end of the piece.
    """

    rows: Float32
    whole: Float32 | None
    n_samples: int


class Whole:
    """What a model says of all of a recording, while its pieces are heard.

    Args:
        n_labels: Numbers of a row.
        rows: Rows that were heard before, of whole pieces [shape=(n_rows, n_labels)].
    """

    def __init__(self, n_labels: int, rows: Float32 | None = None) -> None:
        self._total = np.zeros(n_labels, np.float64)
        self._at_once: Float32 | None = None
        self.n_rows = 0
        if rows is not None:
            self._add(rows)

    def add(self, heard: Heard) -> None:
        """Take in the next piece."""
        self._add(heard.rows)
        self._at_once = heard.whole

    def _add(self, rows: Float32) -> None:
        self._total += rows.sum(axis=0, dtype=np.float64)
        self.n_rows += len(rows)

    @property
    def probabilities(self) -> Float32:
        """As of a clip where one piece was all of it, else the mean of the rows [(n_labels,)]."""
        if self._at_once is not None:
            return self._at_once
        return (self._total / max(self.n_rows, 1)).astype(np.float32)


def cut_pieces(
    blocks: Iterable[Float32], windowing: Windowing, *, first_row: int = 0
) -> Iterator[Piece]:
    """Cut a recording into pieces whose rows join.

    Args:
        blocks: Its samples at 16 kHz, some at a time.
        windowing: What a row is about.
        first_row: The first row that is wanted, a multiple of ``PIECE_ROWS``.
    """
    before, after = windowing.around
    hop, span = windowing.hop_samples, windowing.frame_samples
    row = first_row
    begin = max(row - before, 0) * hop  # of the piece, in samples of the recording
    held: list[Float32] = []
    held_from, held_to = 0, 0

    def end_of_piece() -> int:
        return (row + PIECE_ROWS + after - 1) * hop + span

    for block in blocks:
        held.append(block)
        held_to += len(block)
        if held_to <= begin:
            held_from, held = held_to, []
        while held_to > end_of_piece():  # more follows: it is not the last one
            joined = np.concatenate(held)
            samples = joined[begin - held_from : end_of_piece() - held_from]
            yield Piece(samples, row - begin // hop, PIECE_ROWS, begin)
            row += PIECE_ROWS
            begin = max(row - before, 0) * hop
            held, held_from = [joined[begin - held_from :]], begin
    n_frames = 1 + max(0, -(-(held_to - span) // hop))
    if row < n_frames:
        rest = np.concatenate(held)[begin - held_from :]
        yield Piece(rest, row - begin // hop, None, begin)


def hear(
    blocks: Iterable[Float32], classifier: Classifier, executor: Executor, *, first_row: int = 0
) -> Iterator[Heard]:
    """Yield what the model hears in a recording, piece by piece, in order.

    Args:
        blocks: Its samples at 16 kHz, some at a time.
        classifier: The model; its interpreters compute with one thread each.
        executor: Threads that compute.
        first_row: The first row that is wanted, a multiple of ``PIECE_ROWS``.
    """

    def compute(piece: Piece) -> Heard:
        answer = classifier.hear(piece.samples)
        last = None if piece.n_rows is None else piece.skip + piece.n_rows
        is_whole = piece.n_samples_before == 0 and piece.n_rows is None
        return Heard(
            rows=answer.windows[piece.skip : last],
            whole=answer.labels if is_whole else None,
            n_samples=piece.n_samples_before + len(piece.samples),
        )

    pieces = cut_pieces(blocks, classifier.windowing, first_row=first_row)
    yield from map_in_order(compute, pieces, executor, in_flight=n_workers() + 1)
