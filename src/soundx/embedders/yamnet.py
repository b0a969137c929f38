"""YAMNet, loaded through TensorFlow Hub from a handle, a folder or a bucket.

Where its weights come from is settled first and without TensorFlow (``locate``), so that
a run whose embeddings are all stored need not import it.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from soundx.audio import framing
from soundx.embedders.base import Embedder, Float32
from soundx.embedders.network import (
    LiteRTNetwork,
    NotYamnetShapedError,
    PatchNetwork,
    TensorFlowNetwork,
    build_network,
    gpu_is_visible,
    load_saved_model,
)
from soundx.embedders.weights import DEFAULT_HANDLE, hash_saved_model, locate
from soundx.errors import EmbedderUnavailableError, Remedy, SoundxError
from soundx.storage.folder import Folder, user_cache, whole_file

if TYPE_CHECKING:
    import tensorflow as tf

logger = logging.getLogger(__name__)

_NETWORK_RECIPE = 1  # raise it where the way a network is made changes


class YamnetEmbedder(Embedder):
    """YAMNet's embeddings: 1024 numbers every 0.48 s.

    Args:
        source: A TF-Hub handle (``https://...``), a SavedModel folder, or the URL of one
            that fsspec can read (``s3://...``), with YAMNet's signature: one waveform in,
            (scores, embeddings, log-mel spectrogram) out. Empty for the published model.
        level_dbfs: See ``Embedder``.
    """

    name = "YAMNet"
    dim = 1024
    window_s = framing.WINDOW_S
    hop_s = framing.HOP_S
    parallel = True

    def __init__(self, source: str = "", *, level_dbfs: float | None = None) -> None:
        super().__init__(source or DEFAULT_HANDLE, level_dbfs=level_dbfs)
        self._one_at_a_time = threading.Lock()
        self._left_at: tuple[Folder, str] | None = None

    @cached_property
    def folder(self) -> Path:
        """The SavedModel's folder on this machine; fetched where it is missing."""
        return locate(self.source)

    @cached_property
    def model(self) -> Any:
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
        if shape != (1, self.dim):
            raise EmbedderUnavailableError(
                f"The SavedModel at {self.source} gives embeddings of shape {shape} for one "
                f"window; YAMNet gives (1, {self.dim})."
            )

    @cached_property
    def weights_hash(self) -> str:
        """Hash of the SavedModel's files."""
        return hash_saved_model(self.folder)

    def _identity(self) -> str:
        return self.weights_hash

    @cached_property
    def network(self) -> PatchNetwork | None:
        """The batched network; None where the SavedModel is not built like YAMNet."""
        if self._left_at is not None:
            folder, name = self._left_at
            return LiteRTNetwork(folder.read(name))
        try:
            if gpu_is_visible():
                return TensorFlowNetwork(self.model)
            return LiteRTNetwork(self._network_content())
        except NotYamnetShapedError as error:
            logger.warning(
                "The SavedModel at %s is not built like YAMNet (%s): it is asked clip by clip.",
                self.source,
                error,
            )
            return None

    def _network_content(self) -> bytes:
        """Return the network from the user's cache; made where it is not there."""
        cached = user_cache() / "networks" / f"yamnet-{_NETWORK_RECIPE}-{self.weights_hash}.tflite"
        refused = cached.with_suffix(".txt")
        if cached.exists():
            return cached.read_bytes()
        if refused.exists():
            raise NotYamnetShapedError(refused.read_text())
        logger.info("Building YAMNet's batched network (once for these weights, 10 to 20 s) ...")
        try:
            content = build_network(self.folder)
        except NotYamnetShapedError as error:
            _keep(refused, str(error).encode())
            raise
        except SoundxError:
            self._check_signature(self.model)  # tells better what is wrong with it
            raise
        _keep(cached, content)
        return content

    @property
    def span_samples(self) -> int | None:
        return None if self.network is None else framing.MIN_SAMPLES

    @property
    def engine(self) -> str:
        network = self.network
        return "SavedModel, clip by clip" if network is None else network.engine

    def _embed(self, waveforms: Sequence[Float32]) -> list[Float32]:
        network = self.network
        if network is None:
            with self._one_at_a_time:
                return [self.model(waveform)[1].numpy() for waveform in waveforms]
        patches = [framing.patches(waveform) for waveform in waveforms]
        if not patches:
            return []
        frames = network(np.concatenate(patches))
        return np.split(frames, np.cumsum([len(p) for p in patches])[:-1])

    def leave_for_workers(self, networks: Folder) -> None:
        if self._left_at is None and isinstance(self.network, LiteRTNetwork):
            name = f"{self.fingerprint}.tflite"
            if not networks.exists(name):
                networks.write(name, self._network_content())
            self._left_at = (networks, name)

    def __getstate__(self) -> dict[str, Any]:
        _ = self.fingerprint  # settled here: a worker need not have the SavedModel
        alive = ("model", "network", "_one_at_a_time")
        return {key: value for key, value in self.__dict__.items() if key not in alive}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._one_at_a_time = threading.Lock()

    def graph(self) -> Callable[[tf.Tensor], tf.Tensor]:
        model = self.model

        def embed(waveform: tf.Tensor) -> tf.Tensor:
            _, embeddings, _ = model(waveform)
            return embeddings

        return embed


class YamnetInt8Embedder(YamnetEmbedder):
    """YAMNet with its network quantised to int8: faster, a little less accurate.

    Waveform and log-mel stay float. It is calibrated once on a project's training clips; the
    quantised network is kept with the project's embeddings and is part of the fingerprint.
    What is shipped is float YAMNet.
    """

    name = "YAMNet-int8"

    def _network_content(self) -> bytes:
        if self._quantised is None:
            raise SoundxError(
                "YAMNet-int8 has to be calibrated on clips first.", remedy=Remedy.PREPROCESS
            )
        return self._quantised

    _quantised: bytes | None = None

    def settle(self, networks: Folder, sample: Callable[[], Iterable[Float32]]) -> None:
        name = f"yamnet-int8-{self.weights_hash[:16]}.tflite"
        if not networks.exists(name):
            logger.info("Calibrating YAMNet-int8 on training clips (once for this project) ...")
            patches = np.concatenate([framing.patches(waveform) for waveform in sample()])
            networks.write(name, build_network(self.folder, calibration=patches))
        self._quantised = networks.read(name)

    @cached_property
    def network(self) -> PatchNetwork | None:
        if self._left_at is not None:
            folder, name = self._left_at
            return LiteRTNetwork(folder.read(name), precision="int8")
        return LiteRTNetwork(self._network_content(), precision="int8")

    def _identity(self) -> str:
        return self.weights_hash + hashlib.sha256(self._network_content()).hexdigest()

    @property
    def served(self) -> Embedder:
        return YamnetEmbedder(self.source, level_dbfs=self.level_dbfs)

    def graph(self) -> Callable[[tf.Tensor], tf.Tensor]:
        return self.served.graph()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_quantised": None}


def _keep(path: Path, content: bytes) -> None:
    """Keep something in the user's cache; where that cannot be written, do without."""
    try:
        with whole_file(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        logger.warning("Cannot keep %s (%s): it will be made again.", path, error)
