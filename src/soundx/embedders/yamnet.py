"""YAMNet, loaded through TensorFlow Hub from a handle, a folder or a bucket.

Where its weights come from is settled first and without TensorFlow (``weights``), so that
a run whose embeddings are all stored need not import it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from soundx.audio import Float32, framing
from soundx.audio.level import normalise_level
from soundx.embedders.base import (
    Calibrated,
    Embedder,
    EmbedderSettings,
    Exportable,
    FrameModel,
    Layered,
    Network,
    Part,
    Shareable,
)
from soundx.embedders.network import (
    LiteRTNetwork,
    NotYamnetShapedError,
    PatchNetwork,
    TensorFlowNetwork,
    build_network,
    cut_out,
    frozen,
    gpu_is_visible,
    load_saved_model,
)
from soundx.embedders.weights import DEFAULT_HANDLE, hash_saved_model, locate
from soundx.errors import EmbedderUnavailableError, Remedy, SoundxError
from soundx.storage.folder import Folder, user_cache
from soundx.storage.whole import whole_file

if TYPE_CHECKING:
    import tensorflow as tf

logger = logging.getLogger(__name__)

EMBEDDING_DIM = 1024
_NETWORK_RECIPE = 1  # raise it where the way a network is made changes


LAYER_WIDTHS = (32, 32, 64, 64, 128, 128, 128, 128, 256, 256, 256, *[512] * 13, *[1024] * 3)
"""Channels of YAMNet's layers, as ``network`` counts them."""


class YamnetEmbedder(Embedder, Shareable, Layered, Exportable):
    """YAMNet's embeddings, 1024 numbers every 0.48 s, and statistics of its inner layers.

    Args:
        source: A TF-Hub handle (``https://...``), a SavedModel folder, or the URL of one
            that fsspec can read (``s3://...``), with YAMNet's signature: one waveform in,
            (scores, embeddings, log-mel spectrogram) out. Empty for the published model.
        level_dbfs: See ``Embedder``.
        networks: Where workers of a cluster find the network; None for nowhere.
        layers: Inner layers whose mean and standard deviation are part of a frame.
    """

    name = "YAMNet"
    window_s = framing.WINDOW_S
    hop_s = framing.HOP_S
    precision = "float32"

    def __init__(
        self,
        source: str = "",
        *,
        level_dbfs: float | None = None,
        networks: Folder | None = None,
        layers: Sequence[int] = (),
    ) -> None:
        super().__init__(level_dbfs=level_dbfs)
        unknown = [layer for layer in layers if not 0 <= layer < len(LAYER_WIDTHS)]
        if unknown or len(set(layers)) < len(layers):
            raise SoundxError(
                f"YAMNet's layers are numbered from 0 to {len(LAYER_WIDTHS) - 1}, each to be named "
                f"once, not {list(layers)}."
            )
        self.layers = tuple(layers)
        self.source = source or DEFAULT_HANDLE
        self._networks = networks
        self._shared: str | None = None

    @classmethod
    def create(cls, settings: EmbedderSettings) -> Self:
        return cls(
            settings.yamnet_handle, level_dbfs=settings.level_dbfs, networks=settings.networks
        )

    @property
    def dim(self) -> int:  # type: ignore[override]
        """Length of a frame."""
        return sum(part.width for part in self.parts)

    @property
    def parts(self) -> tuple[Part, ...]:
        parts = [Part("embedding", EMBEDDING_DIM, ("mean", "max"), root=True)]
        for layer in self.layers:
            # of inner layers the loudest moment tells most
            for statistic in ("mean", "std"):
                name = f"layer_{layer}_{statistic}"
                parts.append(Part(name, LAYER_WIDTHS[layer], ("max",), root=True))
        return tuple(parts)

    def with_layers(self, layers: Sequence[int]) -> Self:
        if layers and self._built_otherwise:
            logger.warning(
                "The SavedModel at %s is not built like YAMNet: frames are its embeddings alone.",
                self.source,
            )
            layers = ()
        return type(self)(
            self.source, level_dbfs=self.level_dbfs, networks=self._networks, layers=layers
        )

    @property
    def _built_otherwise(self) -> bool:
        """Whether the network cannot be cut out of the SavedModel; found out once."""
        try:
            if not gpu_is_visible():
                self._base_content(())
        except NotYamnetShapedError:
            return True
        return False

    @cached_property
    def folder(self) -> Path:
        """The SavedModel's folder on this machine; fetched where it is missing."""
        return locate(self.source)

    @cached_property
    def saved_model(self) -> Any:
        """The SavedModel, loaded by TensorFlow Hub."""
        try:
            model = load_saved_model(self.folder)
        except Exception as error:
            raise EmbedderUnavailableError(
                f"The SavedModel in {self.folder} cannot be loaded: {error}"
            ) from error
        self._check_signature(model)
        return model

    def _check_signature(self, model: Any) -> None:
        try:
            _, embeddings, _ = model(np.zeros(framing.MIN_SAMPLES, np.float32))
            shape = tuple(embeddings.shape)
        except Exception as error:
            raise EmbedderUnavailableError(
                f"The SavedModel at {self.source} does not answer as YAMNet does (one waveform "
                f"in; scores, embeddings and spectrogram out): {error}"
            ) from error
        if shape != (1, EMBEDDING_DIM):
            raise EmbedderUnavailableError(
                f"The SavedModel at {self.source} gives embeddings of shape {shape} for one "
                f"window; YAMNet gives (1, {EMBEDDING_DIM})."
            )

    @cached_property
    def weights_hash(self) -> str:
        """Hash of the SavedModel's files."""
        return hash_saved_model(self.folder)

    def _identity(self) -> str:
        return f"{self.weights_hash}{_layers_name(self.layers)}"

    def _model(self) -> FrameModel:
        network = self._network()
        if network is None:
            return FrameModel(self._clip_by_clip, engine="SavedModel, clip by clip")

        def embed(waveforms: Sequence[Float32]) -> list[Float32]:
            patches = [framing.patches(waveform) for waveform in waveforms]
            if not patches:
                return []
            frames = network(np.concatenate(patches))
            return np.split(frames, np.cumsum([len(p) for p in patches])[:-1])

        return FrameModel(
            embed, engine=network.engine, parallel=True, span_samples=framing.MIN_SAMPLES
        )

    def _clip_by_clip(self, waveforms: Sequence[Float32]) -> list[Float32]:
        return [self.saved_model(waveform)[1].numpy() for waveform in waveforms]

    def _network(self) -> PatchNetwork | None:
        """Return the batched network; None where the SavedModel is not built like YAMNet."""
        if self._shared is not None and self._networks is not None:
            return LiteRTNetwork(self._networks.read(self._shared), precision=self.precision)
        try:
            if self.precision == "float32" and gpu_is_visible():
                return TensorFlowNetwork(self.saved_model, self.layers)
            return LiteRTNetwork(self._network_content(), precision=self.precision)
        except NotYamnetShapedError as error:
            logger.warning(
                "The SavedModel at %s is not built like YAMNet (%s): it is asked clip by clip.",
                self.source,
                error,
            )
            return None

    def _network_content(self) -> bytes:
        """Return the network's file."""
        return self._base_content(self.layers)

    def _base_content(self, layers: Sequence[int]) -> bytes:
        """Return a float network from the user's cache; made where it is not there."""
        name = f"yamnet-{_NETWORK_RECIPE}-{self.weights_hash}{_layers_name(layers)}.tflite"
        cached = user_cache() / "networks" / name
        refused = cached.with_suffix(".txt")
        if cached.exists():
            return cached.read_bytes()
        if refused.exists():
            raise NotYamnetShapedError(refused.read_text())
        logger.info("Building YAMNet's batched network (once for these weights, 10 to 20 s) ...")
        try:
            content = build_network(self.folder, layers)
        except NotYamnetShapedError as error:
            _keep(refused, str(error).encode())
            raise
        except SoundxError:
            self._check_signature(self.saved_model)  # tells better what is wrong with it
            raise
        _keep(cached, content)
        return content

    def share(self) -> None:
        if self._shared is None and self._networks is not None and self.model.parallel:
            name = f"{self.fingerprint}.tflite"
            if not self._networks.exists(name):
                self._networks.write(name, self._network_content())
            self._shared = name

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k != "saved_model"}

    def graph(self) -> Callable[[tf.Tensor], tf.Tensor]:
        from soundx.embedders.tf_front_end import patches

        try:
            network = cut_out(self.saved_model, self.layers)
        except NotYamnetShapedError:
            # with its own front end, as it is asked clip by clip
            whole = frozen(self.saved_model)

            def embed(waveform: tf.Tensor) -> tf.Tensor:
                (frames,) = whole(waveform)
                return frames

            return embed
        return lambda waveform: network(patches(waveform))


class YamnetInt8Embedder(YamnetEmbedder, Calibrated):
    """YAMNet with its network quantised to int8: faster, a little less accurate.

    Waveform and log-mel stay float. It is calibrated once on a project's training clips; the
    quantised network is kept with the project's embeddings and is part of the fingerprint.
    What is shipped is float YAMNet.
    """

    name = "YAMNet-int8"
    precision = "int8"
    caveat = (
        "Trained and scored on embeddings of YAMNet quantised to int8; these files carry float "
        "YAMNet."
    )

    @property
    def _quantised(self) -> str:
        return f"yamnet-int8-{self.weights_hash[:16]}{_layers_name(self.layers)}.tflite"

    @property
    def is_calibrated(self) -> bool:
        return self._networks is not None and self._networks.exists(self._quantised)

    def calibrate(self, waveforms: Iterable[Float32]) -> Network:
        logger.info("Calibrating YAMNet-int8 on training clips (once for this project) ...")
        levelled = (normalise_level(w, level_dbfs=self.level_dbfs) for w in waveforms)
        patches = np.concatenate([framing.patches(waveform) for waveform in levelled])
        return Network(
            self._quantised, build_network(self.folder, self.layers, calibration=patches)
        )

    def _network_content(self) -> bytes:
        if self._networks is None or not self.is_calibrated:
            raise SoundxError(
                "YAMNet-int8 has to be calibrated on clips first.", remedy=Remedy.PREPROCESS
            )
        return self._networks.read(self._quantised)

    def _identity(self) -> str:
        return self.weights_hash + hashlib.sha256(self._network_content()).hexdigest()

    @property
    def shipped(self) -> Embedder:
        return self._float()

    def graph(self) -> Callable[[tf.Tensor], tf.Tensor]:
        return self._float().graph()

    def _float(self) -> YamnetEmbedder:
        return YamnetEmbedder(self.source, level_dbfs=self.level_dbfs, layers=self.layers)


def _layers_name(layers: Sequence[int]) -> str:
    return f"-layers-{'-'.join(map(str, layers))}" if layers else ""


def _keep(path: Path, content: bytes) -> None:
    """Keep something in the user's cache; where that cannot be written, do without."""
    try:
        with whole_file(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        logger.warning("Cannot keep %s (%s): it will be made again.", path, error)
