"""The parity gate: every exported file against the model it was made of, before anything is saved.

Each signature answers to every test clip and to clips that are hard in their own way; its
probabilities are held against those of the Keras model on frames of the same embedder. A float
file may stray by rounding alone; one that is quantised may lose so much accuracy and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from soundx.audio import SAMPLE_RATE_HZ, Float32, framing
from soundx.classifier.bundle import JOINT_MODEL, Classifier, head_files
from soundx.classifier.options import ExportOptions
from soundx.embedders.base import Embedder, exportable
from soundx.errors import SoundxError
from soundx.modelling.joint import TrainedHeads
from soundx.parallel import map_in_threads
from soundx.progress import track

TOLERANCE = 1e-3
"""How far a probability of a float file may lie from the Keras model's."""

_TIED = 1e-5  # of two labels as probable as that, either may come first
_AT_A_TIME = 32
_TEN_MINUTES_S = 600
_EDGE = "edge clip: "

Probabilities = npt.NDArray[np.floating]


@dataclass(frozen=True)
class ParityClip:
    """A clip that the export is held against.

    Attributes:
        name: What to call it in messages: its path.
        load: Returns its samples at 16 kHz [shape=(n_samples,)].
        label: Its label; empty where it has none.
    """

    name: str
    load: Callable[[], Float32]
    label: str = ""


def edge_clips() -> list[ParityClip]:
    """Return what no data set holds, and every microphone sends one day."""
    rng = np.random.default_rng(7)
    second = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    square = np.sign(np.sin(2 * np.pi * 440 * np.tile(second, 5)) + 1e-9).astype(np.float32)
    tone = (0.5 * np.sin(2 * np.pi * 1000 * second[: SAMPLE_RATE_HZ // 2])).astype(np.float32)

    def ten_minutes() -> Float32:
        noise = rng.standard_normal(_TEN_MINUTES_S * SAMPLE_RATE_HZ).astype(np.float32)
        return noise * np.float32(0.05)

    clips: dict[str, Callable[[], Float32]] = {
        "silence": lambda: np.zeros(SAMPLE_RATE_HZ, np.float32),
        "one sample": lambda: np.full(1, 0.5, np.float32),
        "half a second": lambda: tone,
        "full-scale square wave": lambda: square,
        "ten minutes": ten_minutes,
    }
    return [ParityClip(_EDGE + name, load) for name, load in clips.items()]


class _Tally:
    """What was found of one signature of one file."""

    def __init__(self, file: str, signature: str, *, exact: bool) -> None:
        self._what = f"{file} ({signature})"
        self._exact = exact
        self.largest = 0.0
        self.worst = ""
        self.n_changed = 0

    def add(self, clip: str, found: Probabilities, expected: Probabilities) -> None:
        """Hold answers [shape=(n, n_classes)] against those expected.

        Raises:
            SoundxError: They are not what may be saved.
        """
        if found.shape != expected.shape:
            raise self._failed(f"gives {found.shape} numbers instead of {expected.shape}", clip)
        # NaN where one of them is NaN
        difference = float(np.max(np.abs(found - expected), initial=0.0))
        if not np.isfinite(difference):
            raise self._failed("answers with NaN", clip)
        if difference > self.largest or not self.worst:
            self.largest, self.worst = max(difference, self.largest), clip
        rows = np.arange(len(found))
        first = found.argmax(axis=1)
        changed = expected[rows, first] < expected.max(axis=1) - _TIED
        self.n_changed += int(changed.sum())
        if self._exact and difference > TOLERANCE:
            raise self._failed(
                f"strays by {difference:.4f} from the model it was made of (allowed: {TOLERANCE})",
                clip,
            )
        if self._exact and changed.any():
            raise self._failed("puts another label first than the model it was made of", clip)

    def report(self) -> dict[str, Any]:
        """Return it for ``parity.json``."""
        return {
            "max_difference": self.largest,
            "worst_clip": self.worst,
            "changed_top1": self.n_changed,
        }

    def _failed(self, how: str, clip: str) -> SoundxError:
        return SoundxError(
            f"{self._what} {how}, on {clip}. It was not saved: the model before it stays."
        )


def check_parity(
    classifier: Classifier,
    heads: TrainedHeads,
    embedder: Embedder,
    clips: Sequence[ParityClip],
    options: ExportOptions,
) -> dict[str, Any]:
    """Hold every exported file against the heads it was made of.

    Args:
        classifier: What was exported.
        heads: The heads.
        embedder: The embedder they were trained on.
        clips: Clips with labels; the edge clips are added.
        options: How exact it has to be.

    Returns:
        The content of ``parity.json``.

    Raises:
        SoundxError: A file strays too far, answers with NaN, or puts another label first.
    """
    exact = options.precision == "float32"
    signatures = ["serving_default", "window"]
    tallies = {name: _Tally(JOINT_MODEL, name, exact=exact) for name in signatures}
    windows = _Tally(JOINT_MODEL, "serving_default, window_probabilities", exact=exact)
    names = {
        h: file for h, file in head_files(heads.tree.heads).items() if file in classifier.files
    }
    by_head = {head: _Tally(file, "serving_default", exact=exact) for head, file in names.items()}
    right = {"keras": 0, "exported": 0}
    n_scored = 0
    edges = edge_clips()
    checked = _checked(classifier, heads, embedder, [*clips, *edges], list(names))
    for clip, expected, found in track(
        checked, description="Holding export to its model", total=len(clips) + len(edges)
    ):
        for name, tally in tallies.items():
            for output in ("label_probabilities", "category_probabilities"):
                tally.add(clip.name, found[name][output], expected[name][output])
        windows.add(
            clip.name,
            found["serving_default"]["window_probabilities"],
            expected["serving_default"]["window_probabilities"],
        )
        for head, tally in by_head.items():
            tally.add(clip.name, found["heads"][head][None], expected["heads"][head])
        if clip.label in heads.tree.labels:
            target = heads.tree.labels.index(clip.label)
            n_scored += 1
            for side, answers in (("keras", expected), ("exported", found)):
                best = answers["serving_default"]["label_probabilities"][0].argmax()
                right[side] += int(best == target)
    accuracy = {side: n / n_scored if n_scored else None for side, n in right.items()}
    drop = (right["keras"] - right["exported"]) / max(n_scored, 1)
    if drop > options.max_accuracy_drop:
        raise SoundxError(
            f"{JOINT_MODEL} in {options.precision} is right on {accuracy['exported']:.3f} of the "
            f"test clips, the model it was made of on {accuracy['keras']:.3f}: more is lost than "
            f"export.max_accuracy_drop ({options.max_accuracy_drop}) allows. It was not saved: the "
            "model before it stays."
        )
    files: dict[str, Any] = {
        JOINT_MODEL: {
            "size_bytes": len(classifier.files[JOINT_MODEL]),
            **{name: tally.report() for name, tally in tallies.items()},
            "window_probabilities": windows.report(),
        }
    }
    for head, tally in by_head.items():
        size = len(classifier.files[names[head]])
        files[names[head]] = {"size_bytes": size, "serving_default": tally.report()}
    return {
        "version": classifier.version,
        "precision": options.precision,
        "max_difference": max(t.largest for t in [*tallies.values(), windows, *by_head.values()]),
        "changed_top1": sum(t.n_changed for t in [*tallies.values(), *by_head.values()]),
        "n_clips": len(clips),
        "edge_clips": [clip.name.removeprefix(_EDGE) for clip in edges],
        "accuracy": accuracy,
        "accuracy_drop": drop,
        "files": files,
    }


Answers = dict[str, Any]


def _checked(
    classifier: Classifier,
    heads: TrainedHeads,
    embedder: Embedder,
    clips: Sequence[ParityClip],
    own_files: Sequence[str],
) -> Iterator[tuple[ParityClip, Answers, Answers]]:
    """Yield each clip with what the heads say of it, and what the exported files do."""
    shipped = exportable(embedder).shipped

    def exported(waveform: Float32) -> Answers:
        # a ten-minute clip takes gigabytes that an interpreter would keep
        long = len(waveform) > 60 * SAMPLE_RATE_HZ
        asked = Classifier(classifier.files) if long else classifier
        found: Answers = {"serving_default": asked.signature("serving_default", waveform)}
        found["window"] = asked.signature("window", _first_window(waveform))
        found["heads"] = {head: asked.predict_head(head, waveform) for head in own_files}
        return found

    for some in _batches(clips):
        waveforms = [clip.load() for clip in some]
        frames = shipped.embed(waveforms)
        firsts = shipped.embed([_first_window(waveform) for waveform in waveforms])
        found = map_in_threads(exported, waveforms)
        expected = (
            _of_heads(heads, of_clip, of_first, classifier)
            for of_clip, of_first in zip(frames, firsts, strict=True)
        )
        yield from zip(some, expected, found, strict=True)


def _batches(clips: Sequence[ParityClip]) -> Iterator[list[ParityClip]]:
    rest = iter(clips)
    while some := list(islice(rest, _AT_A_TIME)):
        yield some


def _of_heads(
    heads: TrainedHeads, frames: Float32, first: Float32, classifier: Classifier
) -> Answers:
    def answers(values: Float32, lengths: Iterable[int]) -> dict[str, Probabilities]:
        labels = heads.predict(values, np.array(list(lengths)))
        by_category = heads.tree.category_probabilities(labels)
        return {"label_probabilities": labels, "category_probabilities": by_category}

    before, after = classifier.windowing.around
    n = classifier.windowing.frames
    around = np.arange(len(frames))[:, None] + np.arange(-before, after + 1)
    rows = np.clip(around, 0, len(frames) - 1).ravel()
    windows = heads.predict(frames[rows], np.full(len(frames), n))
    whole: Mapping[str, Any] = answers(frames, [len(frames)])
    return {
        "serving_default": {**whole, "window_probabilities": windows},
        "window": answers(first, [1]),
        "heads": heads.predict_heads(frames, np.array([len(frames)])),
    }


def _first_window(waveform: Float32) -> Float32:
    return framing.pad_to_patches(waveform[: framing.MIN_SAMPLES])
