"""Every model that was trained is kept, with its evaluation, under its version.

A version is the time of training, in the form Kedro uses. It belongs to the model, not to
the run that looked at it: an evaluation made a day later is kept beside its model. (Kedro's
own versioned datasets would file it under the later run, and turn the plain path into a
folder.)
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import pandas as pd

from soundx.classifier.bundle import MODEL_CARD, Classifier
from soundx.errors import BrokenFileError, Remedy, SoundxError
from soundx.storage.checksum import digest, why_broken
from soundx.storage.csv import guarded_table, read_csv
from soundx.storage.folder import Folder


@dataclass(frozen=True)
class Evaluation:
    """What the evaluation of one model found; kept beside the model.

    Attributes:
        version: The model's version.
        metrics: As in ``metrics.json``.
        per_class: As in ``per_class_metrics.csv``.
        predictions: As in ``test_predictions.parquet``.
        confusion: As in ``confusion_matrix.csv``.
        reliability: As in ``reliability.csv``.
        model_card: The card with these figures in it.
    """

    version: str
    metrics: Mapping[str, Any]
    per_class: pd.DataFrame
    predictions: pd.DataFrame
    confusion: pd.DataFrame
    reliability: pd.DataFrame
    model_card: str


_FILES = "files"  # of metrics.json: checksums of what lies beside it
_FORMAT = "%Y-%m-%dT%H.%M.%S.%f"


def is_version(name: str) -> bool:
    """Tell whether a name is a version, in the form Kedro uses.

    >>> is_version("2026-11-24T20.23.09.999Z"), is_version("backup")
    (True, False)
    """
    try:
        datetime.strptime(name[:-1], _FORMAT)
    except ValueError:
        return False
    return name.endswith("Z")


def next_version(version: str) -> str:
    """Return the version a millisecond later, in the form Kedro uses.

    >>> next_version("2026-11-24T20.23.09.999Z")
    '2026-11-24T20.23.10.000Z'
    """
    later = datetime.strptime(version[:-1], _FORMAT) + timedelta(milliseconds=1)
    return f"{later.strftime(_FORMAT)[:-3]}Z"


class ModelVersion:
    """One kept model: its classifier, metrics and predictions, each read when asked for.

    Args:
        folder: Its folder.
        version: Its name.
    """

    def __init__(self, folder: Folder, version: str) -> None:
        self.folder = folder
        self.version = version

    @cached_property
    def classifier(self) -> Classifier:
        """The classifier, ready to predict."""
        return Classifier(self.folder.sub("classifier").read_files())

    @property
    def is_evaluated(self) -> bool:
        """Whether there are metrics of it."""
        return self.folder.exists("metrics.json")

    @cached_property
    def _index(self) -> dict[str, Any]:
        if not self.is_evaluated:
            return {}
        return dict(self.folder.read_json("metrics.json", remedy=Remedy.EVALUATE))

    @property
    def metrics(self) -> dict[str, Any]:
        """Its ``metrics.json``, without the checksums in it; empty while it was not evaluated."""
        return {name: value for name, value in self._index.items() if name != _FILES}

    @cached_property
    def per_class(self) -> pd.DataFrame:
        """Its ``per_class_metrics.csv``."""
        return self._table("per_class_metrics.csv")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Its ``test_predictions.parquet``."""
        name = "test_predictions.parquet"
        content = self._read(name)
        try:
            return pd.read_parquet(io.BytesIO(content))
        except (ValueError, OSError) as error:  # of an evaluation before there were checksums
            why = why_broken(error) or "it is no table"
            raise BrokenFileError(self.folder.shown(name), why, remedy=Remedy.EVALUATE) from None

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """Its ``confusion_matrix.csv``."""
        return self._table("confusion_matrix.csv", index_col=0)

    @cached_property
    def reliability(self) -> pd.DataFrame | None:
        """Its ``reliability.csv``; None of models evaluated before there was one."""
        name = "reliability.csv"
        if name not in self._index.get(_FILES, {}) and not self.folder.exists(name):
            return None
        return self._table(name)

    def _table(self, name: str, **options: Any) -> pd.DataFrame:
        content = self._read(name)
        return read_csv(content, self.folder.shown(name), remedy=Remedy.EVALUATE, **options)

    def _read(self, name: str) -> bytes:
        return self.folder.read_kept(name, self._index.get(_FILES, {}), remedy=Remedy.EVALUATE)


class ModelVersions(Mapping[str, ModelVersion]):
    """All kept models by version, oldest first.

    Args:
        folder: Where they are, one sub-folder each.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def __getitem__(self, version: str) -> ModelVersion:
        if version not in self._names():
            raise KeyError(version)
        return ModelVersion(self.folder.sub(version), version)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> list[str]:
        """Return the versions there; people keep copies and archives beside them."""
        return [name for name in self.folder.names() if is_version(name)]

    def keep_classifier(self, classifier: Classifier) -> None:
        """Keep a classifier under its version."""
        self.folder.sub(classifier.version).sub("classifier").replace_files(classifier.files)

    def keep_evaluation(self, evaluation: Evaluation) -> None:
        """Keep an evaluation beside its model."""
        folder = self.folder.sub(evaluation.version)
        if not folder.exists("classifier"):
            raise SoundxError(
                f"There is no model of version {evaluation.version} in {self.folder}."
            )
        per_class, confusion = map(guarded_table, (evaluation.per_class, evaluation.confusion))
        files = {
            "per_class_metrics.csv": per_class.to_csv(index=False).encode(),
            "confusion_matrix.csv": confusion.to_csv().encode(),
            "reliability.csv": evaluation.reliability.to_csv(index=False).encode(),
            "test_predictions.parquet": evaluation.predictions.to_parquet(),
        }
        for name, content in files.items():
            folder.write(name, content)
        folder.sub("classifier").write(MODEL_CARD, evaluation.model_card.encode())
        # last: where there are metrics, all the rest is there too
        digests = {name: digest(content) for name, content in files.items()}
        folder.write_json("metrics.json", {**evaluation.metrics, _FILES: digests})
