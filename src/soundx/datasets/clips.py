"""Where clips come from, their local mirror, and their waveforms."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import HTMLPreview

from soundx.clips.demo import SynthesisedSource
from soundx.clips.mirror import MirrorJob, mirror, print_plan
from soundx.clips.raw import RawClips
from soundx.clips.source import ClipSource, FolderSource
from soundx.clips.waveforms import ClipWaveforms
from soundx.datasets.previews import first_of_each_label, preview_clips
from soundx.datasets.tables import ParquetDataset
from soundx.errors import DryRunDone, Setting, SoundxError
from soundx.storage.folder import user_cache

logger = logging.getLogger(__name__)


class ClipSourceDataset(AbstractDataset[Any, "ClipSource | None"]):
    """The labelled clips as their owner keeps them; None where none is named.

    Args:
        path: A folder of label folders, or a bucket of them (``s3://bucket/prefix``);
            None where clips are put into ``01_raw`` by hand.
        timeout_s: How long to wait for a bucket's server.
        parallel_fetches: Objects fetched from a bucket at once.
        metadata: For Kedro-Viz.
    """

    def __init__(
        self,
        *,
        path: str | None,
        timeout_s: float = 20.0,
        parallel_fetches: int = 8,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._parallel_fetches = parallel_fetches
        self.metadata = metadata

    def load(self) -> ClipSource | None:
        if not self._path:
            return None
        if "://" in self._path:
            from soundx.clips.bucket import S3Source

            return S3Source(
                self._path,
                timeout_s=self._timeout_s,
                parallel_fetches=self._parallel_fetches,
            )
        return FolderSource(Path(self._path))

    def save(self, data: Any) -> None:
        raise SoundxError("soundx never writes to where the clips come from.")

    def _exists(self) -> bool:
        return not self._path or "://" in self._path or Path(self._path).is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path}


class SynthesisedClipsDataset(AbstractDataset[Any, SynthesisedSource]):
    """The demo's clips, made from nothing.

    Args:
        clips_per_label: Clips of each of the twelve labels.
        background_clips: Clips of sounds of none of them.
        seed: Another seed is another set of sounds.
        metadata: For Kedro-Viz.
    """

    def __init__(
        self,
        *,
        clips_per_label: int = 30,
        background_clips: int = 36,
        seed: int = 7,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._source = SynthesisedSource(
            clips_per_label=clips_per_label, background_clips=background_clips, seed=seed
        )
        self.metadata = metadata

    def load(self) -> SynthesisedSource:
        return self._source

    def save(self, data: Any) -> None:
        raise SoundxError("The demo's clips are made, not saved.")

    def _exists(self) -> bool:
        return True

    def preview(self) -> HTMLPreview:
        """Show Kedro-Viz a clip of each label."""
        with tempfile.TemporaryDirectory(prefix="soundx-") as folder:
            clips = []
            for number, key in enumerate(first_of_each_label(self._source.clips)):
                path = Path(folder, f"{number}{Path(key).suffix}")
                self._source.fetch(key, path)
                clips.append((key, path))
            return preview_clips(clips)

    def _describe(self) -> dict[str, Any]:
        return {
            "clips_per_label": self._source.clips_per_label,
            "background_clips": self._source.background_clips,
            "seed": self._source.seed,
        }


class RawClipsDataset(AbstractDataset[MirrorJob, RawClips]):
    """The exact local mirror of a clip source: saving a job makes it.

    Args:
        path: The folder. Sound files are decoded from it, so it is always on this machine:
            for a URL (``data_root=s3://...``) a folder in the user's cache takes its place.
        metadata: For Kedro-Viz.
    """

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._root = local_folder(path)
        self.metadata = metadata

    def load(self) -> RawClips:
        return RawClips(self._root)

    def save(self, data: MirrorJob) -> None:
        source = data.source
        if isinstance(source, FolderSource):
            _check_apart(source.folder, self._root.resolve())
        if data.dry_run:
            if source is not None:
                print_plan(source, self._root)
            raise DryRunDone("Dry run: nothing was changed.")
        self._root.mkdir(parents=True, exist_ok=True)
        if source is not None:
            logger.info("Mirroring %s into %s ...", source.name, self._root)
            logger.info("Mirrored: %s.", mirror(source, self._root, data.options))

    def preview(self) -> HTMLPreview:
        """Show Kedro-Viz a clip of each label."""
        clips = self.load()
        return preview_clips(
            (name, clips.path(name)) for name in first_of_each_label(clips.files())
        )

    def _exists(self) -> bool:
        return self._root.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._root)}


class WaveformsDataset(AbstractDataset[ClipWaveforms, ClipWaveforms]):
    """The waveforms of the clips in the manifest, each decoded when it is called for.

    Nothing is stored: what is saved is handed on within the run, and any other run makes it
    of the mirror and the manifest, as the node does.

    Args:
        path: The folder of the mirror, as of ``RawClipsDataset``.
        manifest: Where the manifest is, as ``{filepath: ...}``.
        metadata: For Kedro-Viz.
    """

    def __init__(
        self, *, path: str, manifest: dict[str, Any], metadata: dict[str, Any] | None = None
    ) -> None:
        self._root = local_folder(path)
        self._manifest = ParquetDataset(**manifest)
        self._saved: ClipWaveforms | None = None
        self.metadata = metadata

    def load(self) -> ClipWaveforms:
        if self._saved is not None:
            return self._saved
        return ClipWaveforms(RawClips(self._root), self._manifest.load())

    def save(self, data: ClipWaveforms) -> None:
        self._saved = data

    def _release(self) -> None:
        self._saved = None

    def _exists(self) -> bool:
        return self._saved is not None or bool(self._manifest.exists())

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._root)}


def local_folder(path: str) -> Path:
    """Return a folder on this machine: of a URL one in the user's cache stands for it."""
    protocol, found, rest = path.partition("://")
    if not found:
        return Path(path)
    return user_cache() / "mirrors" / protocol / rest


def _check_apart(source: Path, root: Path) -> None:
    if source == root or source in root.parents or root in source.parents:
        raise SoundxError(
            f"The source {source} and the mirror {root} lie inside each other. Give another "
            "data_root, or leave the source out to use the clips where they are.",
            remedy=Setting("data_root", "DIR"),
        )
