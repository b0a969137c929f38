"""What is exported, and how exact it has to be; apart from ``export``, which imports TensorFlow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from soundx.embedders.base import EmbedderInfo
from soundx.errors import Setting, SoundxError
from soundx.options import Options


class ExportOptions(Options):
    """What is exported, and how exact it has to be.

    Attributes:
        precision: ``float32``; or smaller and a little less exact: ``float16``, ``dynamic``
            (weights of the network's convolutions in 8 bits) or ``int8`` (the network computes in
            8 bits). Front end, pooling and heads stay float: 8 bits are too few for a waveform.
        window_s: Stretch of sound that one row of ``window_probabilities`` is about, in seconds:
            a window of the embedder and as many hops as fit.
        heads: Each head as a TFLite file of its own as well, ``soundx_model_<head>.tflite``, with
            its own copy of the embedder, and its classes beside it as JSON.
        max_accuracy_drop: How much less accurate on test clips than the Keras model a file of
            less than float32 may be.
        calibration_clips: Training clips that ``int8`` chooses its scales on.
    """

    precision: Literal["float32", "float16", "dynamic", "int8"] = "float32"
    window_s: float = Field(1.92, gt=0, le=60)
    heads: bool = False
    max_accuracy_drop: float = Field(0.01, ge=0, le=1)
    calibration_clips: int = Field(64, gt=0, le=10_000)


def window_frames(embedder: EmbedderInfo, options: ExportOptions) -> int:
    """Return how many frames a window is made of.

    Raises:
        SoundxError: No number of them spans that long.
    """
    n = round((options.window_s - embedder.window_s) / embedder.hop_s) + 1
    span_s = embedder.window_s + (max(n, 1) - 1) * embedder.hop_s
    if n < 1 or abs(span_s - options.window_s) > embedder.hop_s / 100:
        raise SoundxError(
            f"No number of the embedder's windows ({embedder.window_s} s every {embedder.hop_s} s) "
            f"spans {options.window_s} s; the nearest is {span_s:g}.",
            remedy=Setting("export.window_s", f"{span_s:g}"),
        )
    return n
