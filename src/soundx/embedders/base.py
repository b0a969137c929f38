"""The contract between a clip's waveform and the heads: the embedder.

An embedder turns 16 kHz waveforms into one vector every ``hop_s`` seconds. To add one,
subclass ``Embedder`` and name its class in the ``embedder`` parameter. What calibration, a
cluster and export need of one beyond that are contracts of their own: ``Calibrated``,
``Shareable`` and ``Exportable``; an embedder that has no use for one leaves it out.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from soundx.audio import Float32
from soundx.audio.level import normalise_level
from soundx.errors import Remedy, SoundxError
from soundx.storage.folder import Folder

if TYPE_CHECKING:
    import tensorflow as tf


Statistic = Literal["mean", "max"]


@dataclass(frozen=True)
class Part:
    """Some numbers of a frame that belong together, and how a clip's frames of them are pooled.

    Attributes:
        name: What they are, for example ``layer_16_std``.
        width: How many.
        statistics: What is taken over a clip's frames, one after the other.
        root: Whether the square root is taken first: of what is never negative, and skewed.
    """

    name: str
    width: int
    statistics: tuple[Statistic, ...] = ("mean", "max")
    root: bool = False


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
        parts: What a frame is made of, in order.
        layers: Inner layers that some parts are statistics of.
        caveat: What a reader of the model card should know of it; empty for nothing.
    """

    name: str
    fingerprint: str
    dim: int
    window_s: float
    hop_s: float
    level_dbfs: float | None = None
    parts: tuple[Part, ...] = ()
    layers: tuple[int, ...] = ()
    caveat: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Take an embedder that tells of no parts as one part."""
        if not self.parts:
            object.__setattr__(self, "parts", (Part("embedding", self.dim),))

    @property
    def plain_width(self) -> int:
        """Numbers of a frame that are not of inner layers; they come first."""
        return self.parts[0].width if self.layers else self.dim

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Return what ``to_dict`` was given."""
        parts = tuple(
            Part(**{**part, "statistics": tuple(part["statistics"])})
            for part in fields.get("parts", ())
        )
        layers = tuple(fields.get("layers", ()))
        return cls(**{**fields, "parts": parts, "layers": layers})


@dataclass(frozen=True)
class EmbedderSettings:
    """What the catalog knows of an embedder; each class takes what concerns it.

    Attributes:
        level_dbfs: RMS level to bring every clip to first, or None.
        yamnet_handle: Where YAMNet is: a TF-Hub handle, a SavedModel folder, or its URL.
        networks: Where networks made for this project are kept; None for nowhere.
    """

    level_dbfs: float | None = None
    yamnet_handle: str = ""
    networks: Folder | None = None


@dataclass(frozen=True)
class FrameModel:
    """What computes frames, once its weights are there.

    Attributes:
        embed: Frames [shape=(n_frames, dim), dtype=float32] of each waveform; their level is
            what the embedder expects.
        engine: What computes them, for people.
        parallel: Whether several threads may call it at once.
        span_samples: Samples that one frame is made of, where frames depend on nothing else;
            then long clips come piece by piece. None: a clip always comes whole.
    """

    embed: Callable[[Sequence[Float32]], list[Float32]]
    engine: str = "NumPy"
    parallel: bool = False
    span_samples: int | None = None


class Embedder(ABC):
    """Waveforms in, one embedding a frame out.

    A clip shorter than one window gives exactly one frame, and a clip's frames do not
    depend on what else is embedded with it.

    Args:
        level_dbfs: RMS level to bring every clip to first, in dB relative to full
            scale; None leaves clips as they are.
    """

    name: ClassVar[str]
    dim: int
    layers: tuple[int, ...] = ()
    window_s: ClassVar[float]
    hop_s: ClassVar[float]
    caveat: ClassVar[str] = ""

    def __init__(self, *, level_dbfs: float | None = None) -> None:
        if level_dbfs is not None and level_dbfs >= 0:
            raise SoundxError(
                f"level_dbfs is {level_dbfs}, but a level lies below full scale: try -23."
            )
        self.level_dbfs = level_dbfs

    @classmethod
    def create(cls, settings: EmbedderSettings) -> Self:
        """Return an embedder as the catalog describes it."""
        return cls(level_dbfs=settings.level_dbfs)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What a frame is made of, in order; their widths add up to ``dim``."""
        return (Part("embedding", self.dim),)

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
            self.name,
            self.fingerprint,
            self.dim,
            self.window_s,
            self.hop_s,
            self.level_dbfs,
            self.parts,
            self.layers,
            self.caveat,
        )

    @cached_property
    def model(self) -> FrameModel:
        """What computes the frames; weights are read when it is first asked for."""
        return self._model()

    def embed(self, waveforms: Sequence[Float32]) -> list[Float32]:
        """Embed clips.

        Args:
            waveforms: Samples at 16 kHz in [-1, 1], [shape=(n_samples,)] each.

        Returns:
            One array a clip [shape=(n_frames, dim), dtype=float32].
        """
        levelled = [normalise_level(w, level_dbfs=self.level_dbfs) for w in waveforms]
        return self.model.embed(levelled)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what lives in this process; the fingerprint goes along."""
        _ = self.fingerprint  # settled here: a worker need not have the weights' files
        return {key: value for key, value in self.__dict__.items() if key != "model"}

    @abstractmethod
    def _identity(self) -> str:
        """Return a string that changes when weights or front end change."""

    @abstractmethod
    def _model(self) -> FrameModel:
        """Return what computes the frames."""


class Layered(ABC):
    """An embedder whose frames may carry statistics of its network's inner layers."""

    @abstractmethod
    def with_layers(self, layers: Sequence[int]) -> Embedder:
        """Return the same embedder with the statistics of these layers, none for plain ones."""


class Calibrated(ABC):
    """An embedder that has to hear some clips of a project before it can embed."""

    @property
    @abstractmethod
    def is_calibrated(self) -> bool:
        """Whether that has been done for this project."""

    @abstractmethod
    def calibrate(self, waveforms: Iterable[Float32]) -> Network:
        """Return the network made for clips like these, to be kept for the project."""


class Shareable(ABC):
    """An embedder whose weights a cluster's workers find where the project keeps networks."""

    @abstractmethod
    def share(self) -> None:
        """Put what pickling leaves out to where workers find it."""


class Exportable(ABC):
    """An embedder that can be shipped as part of a model."""

    @property
    def shipped(self) -> Embedder:
        """The embedder whose graph is shipped; another one where this is a shortcut to it."""
        if not isinstance(self, Embedder):
            raise TypeError("only embedders can be shipped")
        return self

    @abstractmethod
    def graph(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return the embedder as TensorFlow operations.

        The result maps a waveform float32[n_samples], its level what the embedder expects, to
        embeddings float32[n_frames, dim], and can be traced into a graph and converted to TFLite.
        """


def with_layers(embedder: Embedder, layers: tuple[int, ...]) -> Embedder:
    """Return an embedder with these inner layers, where it has any."""
    return embedder.with_layers(layers) if isinstance(embedder, Layered) else embedder


def with_layers_of(embedder: Embedder, info: EmbedderInfo) -> Embedder:
    """Return an embedder with the layers that some embeddings were made with."""
    if isinstance(embedder, Layered) and embedder.layers != info.layers:
        return embedder.with_layers(info.layers)
    return embedder


def check_embedder(embedder: Embedder, info: EmbedderInfo) -> None:
    """Hold an embedder against the one that some embeddings were made with.

    Raises:
        SoundxError: It is another one.
    """
    if embedder.fingerprint == info.fingerprint:
        return
    what = f"the embeddings are by {info.name} ({info.fingerprint})"
    if embedder.level_dbfs != info.level_dbfs:
        what += f" at level_dbfs={info.level_dbfs}"
    raise SoundxError(
        f"The embedder at hand is {embedder.name} ({embedder.fingerprint}), level_dbfs="
        f"{embedder.level_dbfs}, but {what}.",
        remedy=Remedy.PREPROCESS_AND_TRAIN,
    )


def exportable(embedder: Embedder) -> Exportable:
    """Return an embedder as one that can be shipped.

    Raises:
        SoundxError: It cannot.
    """
    if not isinstance(embedder, Exportable):
        raise SoundxError(
            f"The embedder {embedder.name} has no graph (soundx.embedders.Exportable), so a model "
            "made with it cannot be exported."
        )
    return embedder


@dataclass(frozen=True)
class Network:
    """A network made for a project, as a file.

    Attributes:
        name: Its name.
        content: Its bytes, in TFLite's format.
    """

    name: str
    content: bytes
