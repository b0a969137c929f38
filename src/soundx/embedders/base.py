"""The contract between a clip's waveform and the heads: the embedder.

An embedder turns 16 kHz waveforms into one vector every ``hop_s`` seconds. To add one,
subclass ``Embedder`` and name its class in the ``embedder`` parameter.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from soundx.audio import Float32
from soundx.audio.level import normalise_level
from soundx.errors import SoundxError
from soundx.storage.folder import Folder

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class EmbedderInfo:
    """Which embedder made a set of embeddings; stored beside them.

    Attributes:
        name: What people call it, for example ``YAMNet``.
        fingerprint: Hash of weights, front end and windowing.
        dim: Length of an embedding.
        window_s: Stretch of sound one embedding sees, in seconds.
        hop_s: Time from one embedding to the next, in seconds.
        level_dbfs: RMS level that clips are brought to first, or None.
    """

    name: str
    fingerprint: str
    dim: int
    window_s: float
    hop_s: float
    level_dbfs: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


class Embedder(ABC):
    """Waveforms in, one embedding a frame out.

    A clip shorter than one window gives exactly one frame, and a clip's frames do not
    depend on what else is embedded with it.

    Args:
        source: Where the weights are (a handle, folder or URL); unused by embedders
            without weights.
        level_dbfs: RMS level to bring every clip to first, in dB relative to full
            scale; None leaves clips as they are.
    """

    name: ClassVar[str]
    dim: ClassVar[int]
    window_s: ClassVar[float]
    hop_s: ClassVar[float]
    parallel: ClassVar[bool] = False
    """Whether several threads may embed at once."""

    def __init__(self, source: str = "", *, level_dbfs: float | None = None) -> None:
        if level_dbfs is not None and level_dbfs >= 0:
            raise SoundxError(
                f"level_dbfs is {level_dbfs}, but a level lies below full scale: try -23."
            )
        self.source = source
        self.level_dbfs = level_dbfs

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that an embedding depends on besides the clip."""
        parts = {
            "name": self.name,
            "dim": self.dim,
            "window_s": self.window_s,
            "hop_s": self.hop_s,
            "level_dbfs": self.level_dbfs,
            "identity": self._identity(),
        }
        text = json.dumps(parts, sort_keys=True)
        return f"{self.name.lower()}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def info(self) -> EmbedderInfo:
        """What is stored beside the embeddings."""
        return EmbedderInfo(
            self.name, self.fingerprint, self.dim, self.window_s, self.hop_s, self.level_dbfs
        )

    def embed(self, waveforms: Sequence[Float32]) -> list[Float32]:
        """Embed clips.

        Args:
            waveforms: Samples at 16 kHz in [-1, 1], [shape=(n_samples,)] each.

        Returns:
            One array a clip [shape=(n_frames, dim), dtype=float32].
        """
        return self.embed_levelled([self.level(waveform) for waveform in waveforms])

    def level(self, waveform: Float32) -> Float32:
        """Bring a clip to the level that the embedder expects."""
        return normalise_level(waveform, level_dbfs=self.level_dbfs)

    def embed_levelled(self, waveforms: Sequence[Float32]) -> list[Float32]:
        """Embed clips, or pieces of clips, whose level is settled; else like ``embed``."""
        return self._embed(waveforms)

    @property
    def span_samples(self) -> int | None:
        """Samples that one frame is made of, where frames depend on nothing else.

        Then long clips are embedded piece by piece; for None a clip is always embedded whole.
        """
        return None

    @property
    def engine(self) -> str:
        """What computes the embeddings, for people."""
        return "NumPy"

    @property
    def served(self) -> Embedder:
        """The embedder whose graph is shipped; another one where this is a shortcut to it."""
        return self

    def settle(  # noqa: B027  nothing to do for most
        self, networks: Folder, sample: Callable[[], Iterable[Float32]]
    ) -> None:
        """Get ready for a project's clips, before the fingerprint is asked for.

        Args:
            networks: Where the project keeps what is made of its clips.
            sample: Yields waveforms of some training clips.
        """

    def leave_for_workers(self, networks: Folder) -> None:  # noqa: B027  nothing for most
        """Put what pickling leaves out to where a cluster's workers find it."""

    @abstractmethod
    def _identity(self) -> str:
        """Return a string that changes when weights or front end change."""

    @abstractmethod
    def _embed(self, waveforms: Sequence[Float32]) -> list[Float32]:
        """Embed clips whose level is settled."""

    @abstractmethod
    def graph(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return the embedder as TensorFlow operations, for the served model.

        The result maps a waveform float32[n_samples], its level settled, to embeddings
        float32[n_frames, dim], and can be traced into a graph and converted to TFLite.
        """
