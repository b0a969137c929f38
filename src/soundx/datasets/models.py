"""Embedder, embeddings, heads, classifier and the versions that are kept of it."""

from __future__ import annotations

import io
import json
import logging
import tempfile
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset
from kedro.io.core import generate_timestamp
from kedro_datasets._typing import TablePreview

from soundx.classifier.bundle import LABELS, Classifier
from soundx.classifier.releases import Release, Releases
from soundx.classifier.versions import Evaluation, ModelVersions, next_version
from soundx.datasets.folder import FolderDataset
from soundx.datasets.previews import preview_table
from soundx.datasets.tables import TextDataset
from soundx.embedders import Embedder, EmbedderInfo, EmbedderSettings, load_embedder
from soundx.embedders.base import Network
from soundx.embeddings.store import EmbeddingStore, Shard
from soundx.errors import Remedy, SoundxError
from soundx.labels import LabelTree
from soundx.modelling.heads import History
from soundx.modelling.joint import TrainedHeads
from soundx.modelling.noise import NoiseFrames
from soundx.modelling.pooling import pool_frames_layer
from soundx.storage.checksum import digest, with_checksum
from soundx.storage.folder import Folder
from soundx.storage.names import file_names
from soundx.storage.s3 import explained_errors

logger = logging.getLogger(__name__)

_NOISE_AXES = 3
_UNREADABLE = (  # what NumPy and zipfile say of an archive that is not whole, or none
    ValueError, LookupError, OSError, EOFError, RuntimeError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_SHOWN = ["version", "embedder", "accuracy", "category_accuracy", "n_test_clips", "n_labels"]


class EmbedderDataset(AbstractDataset[Any, Embedder]):
    """The embedder; its weights are read when they are first needed.

    Args:
        name: ``yamnet``, ``logmel``, ``auto``, or the dotted path of a class.
        yamnet_handle: TF-Hub handle, SavedModel folder, or URL of YAMNet.
        level_dbfs: RMS level to bring clips to first, or None.
        networks: The folder of networks made for this project: ``{path: ...}``, and perhaps the
            ``storage_options`` of its filesystem.
        metadata: For Kedro-Viz.
    """

    def __init__(
        self,
        *,
        name: str = "yamnet",
        yamnet_handle: str = "",
        level_dbfs: float | None = None,
        networks: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._name = name
        self._settings = EmbedderSettings(
            level_dbfs=level_dbfs,
            yamnet_handle=yamnet_handle or "",
            networks=_folder(**networks) if networks else None,
        )
        self._embedder: Embedder | None = None
        self.metadata = metadata

    def load(self) -> Embedder:
        if self._embedder is None:
            self._embedder = load_embedder(self._name, self._settings)
            if self._name == "auto":
                logger.info("Embedder: %s (chosen by 'auto').", self._embedder.name)
        return self._embedder

    def save(self, data: Any) -> None:
        raise SoundxError("An embedder is not trained here, so it is not saved.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {
            "name": self._name,
            "yamnet_handle": self._settings.yamnet_handle,
            "level_dbfs": self._settings.level_dbfs,
        }


def _folder(path: str, storage_options: dict[str, Any] | None = None) -> Folder:
    return Folder(path, storage_options)


class NetworksDataset(FolderDataset[Network, Folder]):
    """Networks made for this project, such as a quantised one; saving one adds it."""

    def load(self) -> Folder:
        return self._folder

    def save(self, data: Network) -> None:
        self._folder.write(data.name, data.content)

    def _exists(self) -> bool:
        return bool(self._folder.names())


class EmbeddingShardsDataset(FolderDataset[Shard, EmbeddingStore]):
    """Embeddings by content; a shard that is saved is there whole or not at all."""

    REMEDY: ClassVar[Remedy] = Remedy.PREPROCESS

    def load(self) -> EmbeddingStore:
        return EmbeddingStore(self._folder, remedy=self.REMEDY)

    def save(self, data: Shard) -> None:
        self.load().save(data)

    def _exists(self) -> bool:
        return True


class EmbeddingsDataset(FolderDataset[EmbedderInfo, EmbeddingStore]):
    """The same embeddings, once all are there; saving notes which embedder's are current."""

    REMEDY: ClassVar[Remedy] = Remedy.PREPROCESS

    def load(self) -> EmbeddingStore:
        return EmbeddingStore(self._folder, remedy=self.REMEDY)

    def save(self, data: EmbedderInfo) -> None:
        self.load().set_current(data)

    def _exists(self) -> bool:
        return self._folder.exists("current.json")


class NoiseFramesDataset(FolderDataset[NoiseFrames, NoiseFrames | None]):
    """Frames of noise, learnt as background; None where there are none, or they are broken.

    That is for what makes them again; what learns from them asks ``noise_of``.
    """

    _FILE = "noise.npz"

    def load(self) -> NoiseFrames | None:
        if not self._exists():
            return None
        try:
            content = np.load(io.BytesIO(self._folder.read(self._FILE)), allow_pickle=False)
            frames = content["frames"].astype(np.float32)
            if frames.ndim != _NOISE_AXES:
                raise ValueError(f"its frames have the shape {frames.shape}")
            return NoiseFrames(str(content["fingerprint"]), frames)
        except _UNREADABLE as error:
            logger.warning("%s is not used: %s.", self._folder.shown(self._FILE), error)
            return None

    def save(self, data: NoiseFrames) -> None:
        file = io.BytesIO()
        np.savez(
            file, fingerprint=np.array(data.fingerprint), frames=data.frames.astype(np.float16)
        )
        self._folder.write(self._FILE, file.getvalue())

    def _exists(self) -> bool:
        return self._folder.exists(self._FILE)


class KerasHeadsDataset(FolderDataset[TrainedHeads, TrainedHeads]):
    """Trained heads: ``<head>.keras`` each, and ``heads.json`` with all that is not weights.

    Saving gives them a version, the time, unless they have one.

    Args:
        versions: The folder of the models that are kept, ``{path: ...}``: a version comes after
            all of theirs, whatever the clock says.
    """

    _INDEX = "heads.json"
    _SEEN = "seen_clips.npy"

    def __init__(self, *, versions: dict[str, Any] | None = None, **folder: Any) -> None:
        super().__init__(**folder)
        self._versions = ModelVersions(_folder(**versions)) if versions else None

    def load(self) -> TrainedHeads:
        if not self._exists():
            raise SoundxError(f"There are no trained heads in {self._folder}.", remedy=Remedy.TRAIN)
        import keras

        pool_frames_layer()  # known to Keras from here on
        index, files = self._read()
        tree = LabelTree(index["categories"])
        models = {}
        with tempfile.TemporaryDirectory(prefix="soundx-") as folder:
            for name, file in index["models"].items():
                path = Path(folder) / "head.keras"
                path.write_bytes(files[file])
                models[name] = keras.models.load_model(path, safe_mode=True)
        return TrainedHeads(
            tree=tree,
            models=models,
            embedder=EmbedderInfo.from_dict(index["embedder"]),
            histories={head: History(**h) for head, h in index["histories"].items()},
            training=index["training"],
            seen_clips=np.load(io.BytesIO(files[self._SEEN]), allow_pickle=False),
            clips_per_split=index["clips_per_split"],
            background=index["background"],
            thresholds=index["thresholds"],
            manifest_digest=index["manifest_digest"],
            version=index["version"],
        )

    def _read(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Return the index, and the bytes of the files it names.

        Raises:
            BrokenFileError: One is missing, or not what was saved.
        """
        index = dict(self._folder.read_json(self._INDEX, remedy=Remedy.TRAIN))
        if isinstance(index["models"], list):  # version 0.1: files are called as heads are
            index["models"] = {name: f"{name}.keras" for name in index["models"]}
        digests = index.get("files", {})
        return index, {
            name: self._folder.read_kept(name, digests, remedy=Remedy.TRAIN)
            for name in (*index["models"].values(), self._SEEN)
        }

    def _new_version(self) -> str:
        """Return the time, or what comes after the newest version where the clock went back."""
        now = generate_timestamp()
        newest = max(self._versions or [], default="")
        return next_version(newest) if now <= newest else now

    def save(self, data: TrainedHeads) -> None:
        files = {}
        names = {head: f"{name}.keras" for head, name in file_names(data.models).items()}
        with tempfile.TemporaryDirectory(prefix="soundx-") as folder:
            for head, model in data.models.items():
                path = Path(folder) / "head.keras"
                model.save(path)
                files[names[head]] = path.read_bytes()
        seen = io.BytesIO()
        np.save(seen, data.seen_clips)
        files[self._SEEN] = seen.getvalue()
        index = {
            "version": data.version or self._new_version(),
            "embedder": data.embedder.to_dict(),
            "categories": dict(data.tree.category_by_label),
            "models": names,
            "background": data.background,
            "thresholds": dict(data.thresholds),
            "training": dict(data.training),
            "clips_per_split": dict(data.clips_per_split),
            "manifest_digest": data.manifest_digest,
            "histories": {head: asdict(history) for head, history in data.histories.items()},
            "files": {name: digest(content) for name, content in files.items()},
        }
        text = json.dumps(with_checksum(index), indent=2, ensure_ascii=False)
        files[self._INDEX] = text.encode()
        self._folder.replace_files(files)

    def _exists(self) -> bool:
        return self._folder.exists(self._INDEX)


class ClassifierDataset(FolderDataset[Classifier, Classifier]):
    """The newest classifier, as files: all of one, never some of another."""

    def load(self) -> Classifier:
        if not self._exists():
            raise SoundxError(f"There is no classifier in {self._folder}.", remedy=Remedy.TRAIN)
        return Classifier(self._folder.read_files())

    def save(self, data: Classifier) -> None:
        self._folder.replace_files(data.files)

    def _exists(self) -> bool:
        return self._folder.exists(LABELS)


class ModelCardDataset(TextDataset):
    """The card of the newest classifier, a file in its folder.

    An evaluation writes it anew; where there is no classifier, there can be no card of it.
    """

    def save(self, data: str) -> None:
        folder = self._filepath.parent
        if not self._fs.exists(str(folder / LABELS)):
            raise SoundxError(f"There is no classifier in {folder} that a card could be of.")
        super().save(data)


class ModelVersionsDataset(FolderDataset[Classifier | Evaluation, ModelVersions]):
    """Every model that was trained, with its evaluation.

    Saving a classifier keeps it under its version, saving an evaluation adds it to its model.
    """

    def load(self) -> ModelVersions:
        return ModelVersions(self._folder)

    def save(self, data: Classifier | Evaluation) -> None:
        if isinstance(data, Classifier):
            self.load().keep_classifier(data)
        else:
            self.load().keep_evaluation(data)

    def preview(self) -> TablePreview:
        """Show Kedro-Viz the models that were evaluated, newest first."""
        versions = self.load()
        rows = [
            {"version": version, **versions[version].metrics}
            for version in reversed(list(versions))
            if versions[version].is_evaluated
        ]
        return preview_table(pd.DataFrame(rows, columns=_SHOWN))

    def _exists(self) -> bool:
        return len(self.load()) > 0


class ReleasesDataset(FolderDataset[Release, Releases]):
    """Published classifiers in a bucket or folder; saving one publishes it."""

    def load(self) -> Releases:
        return Releases(self._folder)

    def save(self, data: Release) -> None:
        with explained_errors(str(self._folder)):
            comparison = self.load().publish(data)
        logger.info("Published to %s. %s", self._folder, comparison)

    def _exists(self) -> bool:
        return True
