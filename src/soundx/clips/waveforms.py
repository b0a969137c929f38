"""The waveforms of clips, each decoded when it is asked for."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pandas as pd

from soundx.audio import Float32
from soundx.audio.decoding import decode_blocks, decode_clip
from soundx.clips.raw import RawClips
from soundx.errors import AudioError, ClipChangedError


@dataclass(frozen=True)
class ClipFile:
    """A clip's waveform, decoded when it is asked for.

    Attributes:
        path: Its file in the mirror.
        origin: URL of what was mirrored, for machines that do not see the mirror.
        clip_id: Hash of its bytes, which what is decoded must have; empty where any will do.
        clips: The mirror; it is told of a file whose bytes have changed.
    """

    path: Path
    origin: str = ""
    clip_id: str = ""
    clips: RawClips | None = None

    def __call__(self) -> Float32:
        """Return all of it; see ``decode_clip``."""
        with self._file() as path:
            return decode_clip(path, sha256=self.clip_id or None)

    def blocks(self) -> Iterator[Float32]:
        """Yield it piece by piece; see ``decode_blocks``."""
        with self._file() as path:
            yield from decode_blocks(path, sha256=self.clip_id or None)

    @contextmanager
    def _file(self) -> Iterator[Path]:
        if not self.origin or self.path.exists():
            try:
                yield self.path
            except ClipChangedError:
                if self.clips is not None:
                    self.clips.doubt(self.path.relative_to(self.clips.root).as_posix())
                raise
            return
        with tempfile.TemporaryDirectory(prefix="soundx-") as folder:
            path = Path(folder) / self.path.name
            try:
                with fsspec.open(self.origin, "rb") as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target)
            except OSError as error:
                raise AudioError(
                    f"{self.path} is not on this machine, and {self.origin} cannot be read: {error}"
                ) from error
            yield path


class ClipWaveforms(Mapping[str, ClipFile]):
    """The waveforms of clips by path, each decoded when it is asked for.

    Args:
        clips: Where they are.
        manifest: ``path`` and ``clip_id`` of each.
    """

    def __init__(self, clips: RawClips, manifest: pd.DataFrame) -> None:
        self._clips = clips
        self._id_of = manifest.set_index("path")["clip_id"]
        self._origin = clips.origin()

    def __getitem__(self, path: str) -> ClipFile:
        origin = f"{self._origin.rstrip('/')}/{path}" if self._origin else ""
        return ClipFile(self._clips.path(path), origin, self._id_of[path], self._clips)

    def __iter__(self) -> Iterator[str]:
        return iter(self._id_of.index)

    def __len__(self) -> int:
        return len(self._id_of)
