"""Embedders: YAMNet, and ``logmel``, which needs no weights.

Nothing here imports TensorFlow until it is needed.
"""

from __future__ import annotations

import importlib

from soundx.embedders.base import (
    Calibrated,
    Embedder,
    EmbedderInfo,
    EmbedderSettings,
    Exportable,
    FrameModel,
    Shareable,
)
from soundx.errors import SoundxError

EMBEDDERS = {
    "yamnet": "soundx.embedders.yamnet.YamnetEmbedder",
    "yamnet-int8": "soundx.embedders.yamnet.YamnetInt8Embedder",
    "logmel": "soundx.embedders.logmel.LogMelEmbedder",
}
"""Short names; any other embedder is named by its class, ``package.module.Class``."""

__all__ = [
    "EMBEDDERS",
    "Calibrated",
    "Embedder",
    "EmbedderInfo",
    "EmbedderSettings",
    "Exportable",
    "FrameModel",
    "Shareable",
    "load_embedder",
]


def load_embedder(name: str, settings: EmbedderSettings | None = None) -> Embedder:
    """Return the embedder of that name.

    Args:
        name: ``yamnet``, ``yamnet-int8`` (faster, a little less accurate), ``logmel``,
            ``auto`` (YAMNet where it can be had without a download, else ``logmel``), or the
            dotted path of an ``Embedder`` class.
        settings: What is set for this project.

    Raises:
        SoundxError: There is no such embedder.
    """
    settings = settings or EmbedderSettings()
    if name == "auto":
        from soundx.embedders.weights import available_offline

        name = "yamnet" if available_offline(settings.yamnet_handle) else "logmel"
    module_name, _, class_name = EMBEDDERS.get(name, name).rpartition(".")
    try:
        embedder_class = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SoundxError(
            f"There is no embedder '{name}'. Known: {', '.join(EMBEDDERS)}, auto, or the "
            "dotted path of a class of your own."
        ) from error
    if not (isinstance(embedder_class, type) and issubclass(embedder_class, Embedder)):
        raise SoundxError(f"'{name}' is not a subclass of soundx.embedders.Embedder.")
    return embedder_class.create(settings)
