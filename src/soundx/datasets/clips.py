"""Where clips come from, and their local mirror."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from soundx.audio.synthesis import SynthesisedSource
from soundx.clips import RawClips
from soundx.errors import SoundxError
from soundx.mirror import ClipSource, FolderSource, mirror

logger = logging.getLogger(__name__)


class NoSource:
    """No source is named: clips are put into ``01_raw`` by hand."""

    name = "nowhere"


class ClipSourceDataset(AbstractDataset[Any, "ClipSource | NoSource"]):
    """The labelled clips as their owner keeps them.

    Args:
        source: A folder of label folders; empty where clips are put into ``01_raw`` by hand.
        metadata: For Kedro-Viz.
    """

    def __init__(self, *, source: str | None, metadata: dict[str, Any] | None = None) -> None:
        self._source = source
        self.metadata = metadata

    def load(self) -> ClipSource | NoSource:
        return FolderSource(Path(self._source)) if self._source else NoSource()

    def save(self, data: Any) -> None:
        raise SoundxError("soundx never writes to where the clips come from.")

    def _exists(self) -> bool:
        return not self._source or Path(self._source).is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"source": self._source}


class SynthesisedClipsDataset(AbstractDataset[Any, SynthesisedSource]):
    """The demo's clips, made from nothing.

    Args:
        clips_per_label: Clips of each of the twelve labels.
        seed: Another seed is another set of sounds.
        metadata: For Kedro-Viz.
    """

    def __init__(
        self, *, clips_per_label: int = 30, seed: int = 7, metadata: dict[str, Any] | None = None
    ) -> None:
        self._source = SynthesisedSource(clips_per_label=clips_per_label, seed=seed)
        self.metadata = metadata

    def load(self) -> SynthesisedSource:
        return self._source

    def save(self, data: Any) -> None:
        raise SoundxError("The demo's clips are made, not saved.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"clips_per_label": self._source.clips_per_label, "seed": self._source.seed}


class RawClipsDataset(AbstractDataset["ClipSource | NoSource", RawClips]):
    """The exact local mirror of a clip source: saving a source mirrors it.

    Args:
        path: The folder; always on this machine, since sound files are decoded from it.
        metadata: For Kedro-Viz.
    """

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._root = Path(path)
        self.metadata = metadata

    def load(self) -> RawClips:
        return RawClips(self._root)

    def save(self, data: ClipSource | NoSource) -> None:
        if isinstance(data, NoSource):
            self._root.mkdir(parents=True, exist_ok=True)
            return
        if isinstance(data, FolderSource):
            _check_apart(data.folder, self._root.resolve())
        logger.info("Mirroring %s into %s ...", data.name, self._root)
        logger.info("Mirrored: %s.", mirror(data, self._root))

    def _exists(self) -> bool:
        return self._root.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._root)}


def _check_apart(source: Path, root: Path) -> None:
    if source == root or source in root.parents or root in source.parents:
        raise SoundxError(
            f"The source {source} and the mirror {root} lie inside each other. Give another "
            "--params=data_root=DIR, or leave the source out to use the clips where they are."
        )
