"""What is exported beside the joint model; apart from ``export``, which imports TensorFlow."""

from __future__ import annotations

from soundx.options import Options


class ExportOptions(Options):
    """What is exported beside the joint model.

    Attributes:
        heads: Each head as a TFLite file of its own, ``soundx_model_<head>.tflite``, with its own
            copy of the embedder. Nothing in soundx needs them: what a head says follows from the
            joint answer.
    """

    heads: bool = False
