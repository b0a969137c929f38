"""The classifier that is shipped: a TFLite file from waveform to probabilities, and labels.

It runs through LiteRT alone: no TensorFlow, no Kedro, no soundx needed on the device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from soundx.audio import Float32
from soundx.classifier.labels_file import (
    LABELS,
    Windowing,
    check_labels,
    frames_around,
    head_classes_file,
    head_files,
    labels_file,
)
from soundx.classifier.runner import RUNNER, runner
from soundx.errors import BrokenFileError, Remedy, SoundxError
from soundx.labels import GENERAL, UNKNOWN, LabelTree
from soundx.markup import printable
from soundx.parallel import Pool
from soundx.storage.checksum import digest, parse_json, why_broken, with_checksum

__all__ = [
    "HEADER",
    "JOINT_MODEL",
    "LABELS",
    "MODEL_CARD",
    "RUNNER",
    "Answer",
    "Classifier",
    "Windowing",
    "cpp_header",
    "frames_around",
    "head_classes_file",
    "head_files",
    "labels_file",
    "runner",
]

JOINT_MODEL = "soundx.tflite"
HEADER = "Classes.h"
MODEL_CARD = "model_card.md"


@dataclass(frozen=True)
class Answer:
    """What the model says of a waveform.

    Attributes:
        labels: Probabilities over the labels [shape=(n_labels,), dtype=float32].
        windows: The same for a window around each frame [shape=(n_frames, n_labels)].
        frames: The embedder's frames [shape=(n_frames, dim)].
    """

    labels: Float32
    windows: Float32
    frames: Float32


class Classifier:
    """A classifier as a set of files.

    Args:
        files: Their bytes by name: ``soundx.tflite``, ``labels.json``, ``Classes.h``,
            ``soundx.pyz``, ``model_card.md``, and where they were asked for
            ``soundx_model_<head>.tflite`` and ``.json``.
        threads: Threads of each interpreter; None for as many as LiteRT thinks best.
    """

    def __init__(self, files: Mapping[str, bytes], *, threads: int | None = None) -> None:
        missing = {JOINT_MODEL, LABELS} - files.keys()
        if missing:
            raise SoundxError(
                f"The classifier is not whole: {', '.join(sorted(missing))} missing.",
                remedy=Remedy.TRAIN,
            )
        self.files = dict(files)
        self.check()
        # sessions of the viewer share one classifier
        self._interpreters = {
            name: Pool(partial(_interpreter, name, content, threads))
            for name, content in self.files.items()
            if name.endswith(".tflite")
        }

    @cached_property
    def info(self) -> dict[str, Any]:
        """The content of ``labels.json``."""
        content = parse_json(self.files[LABELS], _shown(LABELS), remedy=Remedy.TRAIN)
        wrong = check_labels(content)
        if wrong:
            raise _broken(LABELS, wrong)
        return dict(content)

    @classmethod
    def of_folder(cls, folder: Path, *, threads: int | None = None) -> Self:
        """Return the classifier in a folder of this machine.

        Raises:
            SoundxError: There is none, or it is broken.
        """
        if not (folder / LABELS).is_file():
            raise SoundxError(f"There is no classifier in {folder}.", remedy=Remedy.TRAIN)
        files = [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."]
        return cls({path.name: path.read_bytes() for path in files}, threads=threads)

    @cached_property
    def windowing(self) -> Windowing:
        """What a row of window probabilities is about.

        Raises:
            SoundxError: It was exported before there were any.
        """
        if "window" not in self.info:
            raise SoundxError(
                f"The model {self.version} was exported by an older soundx: it answers to whole "
                "clips alone.",
                remedy=Remedy.TRAIN,
            )
        return Windowing.from_dict(self.info["window"])

    def check(self) -> None:
        """Hold the files against the checksums in ``labels.json``, where those are.

        Raises:
            BrokenFileError: One is not what was trained.
        """
        for name, expected in self.info.get("files", {}).items():
            if name not in self.files:
                raise _broken(name, "it is missing")
            if digest(self.files[name]) != expected:
                raise _broken(name, "its checksum is of something else")

    def with_files(self, files: Mapping[str, bytes], info: Mapping[str, Any]) -> Classifier:
        """Return the same classifier with other files, and more beside its labels."""
        labels = _to_json(with_checksum({**self.info, **info}))
        return Classifier({**self.files, **files, LABELS: labels})

    def with_card(self, card: str, *, tflite_difference: float) -> Classifier:
        """Return the same classifier with its card, and its parity noted beside the labels."""
        return self.with_files(
            {MODEL_CARD: card.encode()}, {"tflite_difference": tflite_difference}
        )

    def with_checksums(self) -> Classifier:
        """Return the same classifier with the checksums of its files beside the labels.

        Not that of the card: an evaluation writes it anew.
        """
        changing = (LABELS, MODEL_CARD)
        sums = {n: digest(content) for n, content in self.files.items() if n not in changing}
        return self.with_files({}, {"files": sums})

    @property
    def version(self) -> str:
        """The version it is kept under."""
        return str(self.info["version"])

    @cached_property
    def tree(self) -> LabelTree:
        """Its labels and categories."""
        return LabelTree(self.info["categories"])

    @property
    def labels(self) -> tuple[str, ...]:
        """Its labels, in the order of the probabilities."""
        return self.tree.labels

    def predict(self, waveform: npt.ArrayLike) -> Float32:
        """Classify one clip with the exported joint model.

        Args:
            waveform: Samples at 16 kHz in [-1, 1], any number of them [shape=(n_samples,)].

        Returns:
            Probabilities over ``labels`` [shape=(n_labels,), dtype=float32]. They sum to one;
            to less where background was learnt: the rest is background's.
        """
        return self._run(JOINT_MODEL, waveform)[0].reshape(-1)

    def hear(self, waveform: npt.ArrayLike) -> Answer:
        """Return all that the joint model says of a waveform.

        Args:
            waveform: Samples at 16 kHz in [-1, 1], any number of them [shape=(n_samples,)].
        """
        _ = self.windowing  # an older one has the first output alone
        labels, _, windows, frames = self._run(JOINT_MODEL, waveform)
        return Answer(labels[0], windows, frames)

    def answer(self, waveform: npt.ArrayLike) -> tuple[str, float]:
        """Return one clip's label, or ``unknown``, and the probability of its best label.

        Args:
            waveform: Samples at 16 kHz in [-1, 1], any number of them [shape=(n_samples,)].
        """
        return self.answer_to(self.predict(waveform))

    def answer_to(self, probabilities: Float32) -> tuple[str, float]:
        """Return the label, or ``unknown``, and the probability of the best label.

        It is unknown where the best label's probability does not reach that label's threshold,
        or is less than background's.

        Args:
            probabilities: What ``predict`` gave [shape=(n_labels,)].
        """
        best = int(np.argmax(probabilities))
        label, probability = self.labels[best], float(probabilities[best])
        # one made before there were thresholds always answers
        threshold = self.info.get("thresholds", {}).get(label, 0.0)
        rest = 1.0 - float(np.sum(probabilities, dtype=np.float64))
        is_known = probability >= max(threshold, rest)
        return (label if is_known else self.info.get("unknown", UNKNOWN)), probability

    def predict_head(self, head: str, waveform: npt.ArrayLike) -> Float32:
        """Classify one clip as one head does: over categories, or inside one of them.

        The head's own TFLite file is asked where there is one; else its answer is worked out
        from that of the joint model.

        Args:
            head: ``general`` or a category.
            waveform: Samples at 16 kHz in [-1, 1], [shape=(n_samples,)].

        Returns:
            Probabilities over the head's classes [shape=(n_classes,), dtype=float32].
        """
        if head not in self.tree.heads:
            raise SoundxError(f"There is no head '{head}'; there are {', '.join(self.tree.heads)}.")
        own = self.info.get("heads", {}).get(head, {}).get("file")
        if own in self.files:
            return self._run(own, waveform)[0].reshape(-1)
        return np.asarray(self.tree.by_head(self.predict(waveform)[None])[head][0], np.float32)

    def signature(self, name: str, waveform: Float32) -> dict[str, Float32]:
        """Return the outputs of one of the joint model's signatures, by name.

        Args:
            name: ``serving_default`` or ``window``.
            waveform: Samples at 16 kHz [shape=(n_samples,)]; of ``window`` exactly 15,600.
        """
        with self._interpreters[JOINT_MODEL].lend() as interpreter:
            answers = interpreter.get_signature_runner(name)(waveform=waveform[None])
            return {output: np.array(values) for output, values in answers.items()}

    def _run(self, name: str, waveform: npt.ArrayLike) -> list[Float32]:
        samples = np.asarray(waveform, np.float32)
        if samples.ndim != 1:
            raise SoundxError(f"A waveform has one dimension, not the shape {samples.shape}.")
        if not samples.size:
            samples = np.zeros(1, np.float32)
        with self._interpreters[name].lend() as interpreter:
            entry = interpreter.get_input_details()[0]
            if len(entry["shape_signature"]) > 1:  # of older ones it has one dimension
                samples = samples[None]
            if tuple(entry["shape"]) != samples.shape:
                interpreter.resize_tensor_input(entry["index"], samples.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(entry["index"], samples)
            interpreter.invoke()
            outputs = interpreter.get_output_details()
            answers = [interpreter.get_tensor(output["index"]) for output in outputs]
        if name == JOINT_MODEL and (found := answers[0].shape[-1]) != len(self.labels):
            raise _broken(LABELS, f"it names {len(self.labels)} labels, {name} has {found}")
        return answers


def _broken(name: str, why: str) -> BrokenFileError:
    return BrokenFileError(_shown(name), why, remedy=Remedy.TRAIN)


def _shown(name: str) -> str:
    return f"The classifier's {printable(name)}"


def _interpreter(name: str, content: bytes, threads: int | None) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise _broken(name, why_broken(error) or "it cannot be read") from error
    return interpreter


def _to_json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def cpp_header(tree: LabelTree) -> bytes:
    """Return ``Classes.h``: the labels, and the classes of each head, as C++ arrays."""
    arrays = [("kLabels", "all labels, in the order of soundx.tflite's outputs", tree.labels)]
    if not tree.is_flat:
        for number, (head, classes) in enumerate(tree.heads.items()):
            name = "kGeneral" if head == GENERAL else f"kSpecific{number}"
            arrays.append((name, f"classes of the head {_cpp_string(head)}", classes))
    lines = ["// The classes of a soundx classifier. Names are UTF-8.", "#pragma once", ""]
    for name, what, classes in arrays:
        quoted = ", ".join(_cpp_string(c) for c in classes)
        lines += [
            f"// {what}",
            f"inline constexpr const char* {name}[] = {{{quoted}}};",
            f"inline constexpr int {name}Count = {len(classes)};",
            "",
        ]
    return "\n".join(lines).encode("ascii")


def _cpp_string(text: str) -> str:
    """Return a C++ string literal of plain ASCII, whatever the text holds.

    Octal escapes end after three digits, whatever follows; question marks could be trigraphs.
    """
    plain = {ord(c) for c in " !#$%&'()*+,-./:;<=>@[]^_`{|}~"} | set(b"0123456789")
    plain |= set(range(ord("A"), ord("Z") + 1)) | set(range(ord("a"), ord("z") + 1))
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'
