"""The classifier that is shipped: TFLite files from waveform to probabilities, and labels.

It runs through LiteRT alone: no TensorFlow, no Kedro, no soundx needed on the device.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from soundx.audio import Float32
from soundx.errors import BrokenFileError, Remedy, SoundxError
from soundx.labels import GENERAL, UNKNOWN, LabelTree
from soundx.parallel import Pool
from soundx.storage.checksum import digest, parse_json, with_checksum
from soundx.storage.names import file_names

JOINT_MODEL = "soundx.tflite"
LABELS = "labels.json"
HEADER = "Classes.h"
MODEL_CARD = "model_card.md"


def head_files(heads: Iterable[str]) -> dict[str, str]:
    """Return the name of the TFLite file of each head of a classifier."""
    return {head: f"soundx_model_{name}.tflite" for head, name in file_names(heads).items()}


class _Needed(BaseModel):
    """What of ``labels.json`` a classifier answers by; the first two have to be there."""

    version: str
    categories: dict[str, str] = Field(min_length=1)
    thresholds: dict[str, float] = {}
    unknown: str = UNKNOWN
    heads: dict[str, dict[str, Any]] = {}
    files: dict[str, str] = {}


class Classifier:
    """A classifier as a set of files.

    Args:
        files: Their bytes by name: ``soundx.tflite``, ``labels.json``, ``Classes.h``,
            ``model_card.md``, and where they were asked for ``soundx_model_<head>.tflite``.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
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
            name: Pool(partial(_interpreter, content))
            for name, content in self.files.items()
            if name.endswith(".tflite")
        }

    @cached_property
    def info(self) -> dict[str, Any]:
        """The content of ``labels.json``."""
        content = parse_json(self.files[LABELS], _shown(LABELS), remedy=Remedy.TRAIN)
        try:
            _Needed.model_validate(content, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, first["loc"])) or "its content"
            raise _broken(LABELS, f"{field}: {first['msg'].lower()}") from None
        return dict(content)

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

    def with_card(self, card: str, *, tflite_difference: float) -> Classifier:
        """Return the same classifier with its card, and its parity noted beside the labels."""
        return self._with({MODEL_CARD: card.encode()}, {"tflite_difference": tflite_difference})

    def with_checksums(self) -> Classifier:
        """Return the same classifier with the checksums of its files beside the labels.

        Not that of the card: an evaluation writes it anew.
        """
        changing = (LABELS, MODEL_CARD)
        sums = {n: digest(content) for n, content in self.files.items() if n not in changing}
        return self._with({}, {"files": sums})

    def _with(self, files: Mapping[str, bytes], info: Mapping[str, Any]) -> Classifier:
        labels = _to_json(with_checksum({**self.info, **info}))
        return Classifier({**self.files, **files, LABELS: labels})

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
        return self._run(JOINT_MODEL, waveform)

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
            return self._run(own, waveform)
        return np.asarray(self.tree.by_head(self.predict(waveform)[None])[head][0], np.float32)

    def _run(self, name: str, waveform: npt.ArrayLike) -> Float32:
        samples = np.asarray(waveform, np.float32)
        if samples.ndim != 1:
            raise SoundxError(f"A waveform has one dimension, not the shape {samples.shape}.")
        if not samples.size:
            samples = np.zeros(1, np.float32)
        with self._interpreters[name].lend() as interpreter:
            entry = interpreter.get_input_details()[0]
            if tuple(entry["shape"]) != samples.shape:
                interpreter.resize_tensor_input(entry["index"], samples.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(entry["index"], samples)
            interpreter.invoke()
            result = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
            return np.array(result, np.float32)


def _broken(name: str, why: str) -> BrokenFileError:
    return BrokenFileError(_shown(name), why, remedy=Remedy.TRAIN)


def _shown(name: str) -> str:
    return f"The classifier's {name}"


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    return interpreter


def _to_json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def labels_file(
    tree: LabelTree,
    *,
    version: str,
    embedder: Mapping[str, Any],
    training: Mapping[str, Any],
    thresholds: Mapping[str, float],
    background: bool,
    manifest_digest: str,
    sample_rate_hz: int,
    with_head_files: bool = False,
) -> bytes:
    """Return ``labels.json``: all that a program needs to use the TFLite files."""
    files = head_files(tree.heads) if with_head_files else {}
    content = {
        "version": version,
        "input": {
            "name": "waveform",
            "dtype": "float32",
            "sample_rate_hz": sample_rate_hz,
            "channels": 1,
            "range": [-1.0, 1.0],
        },
        "output": "probabilities over labels, in this order",
        "labels": list(tree.labels),
        "categories": dict(tree.category_by_label),
        "thresholds": dict(thresholds),
        "unknown": UNKNOWN,
        "background": background,
        "heads": {
            head: {**({"file": files[head]} if files else {}), "classes": list(classes)}
            for head, classes in tree.heads.items()
        },
        "embedder": dict(embedder),
        "training": dict(training),
        "manifest_digest": manifest_digest,
    }
    return _to_json(content)


def cpp_header(tree: LabelTree) -> bytes:
    """Return ``Classes.h``: the labels, and the classes of each head, as C++ arrays."""
    arrays = [("kLabels", "all labels, in the order of soundx.tflite's outputs", tree.labels)]
    if not tree.is_flat:
        for number, (head, classes) in enumerate(tree.heads.items()):
            name = "kGeneral" if head == GENERAL else f"kSpecific{number}"
            arrays.append((name, f"classes of the head {head}", classes))
    lines = ["// The classes of a soundx classifier.", "#pragma once", ""]
    for name, what, classes in arrays:
        quoted = ", ".join(json.dumps(c, ensure_ascii=False) for c in classes)
        lines += [
            f"// {what}",
            f"inline constexpr const char* {name}[] = {{{quoted}}};",
            f"inline constexpr int {name}Count = {len(classes)};",
            "",
        ]
    return "\n".join(lines).encode()
