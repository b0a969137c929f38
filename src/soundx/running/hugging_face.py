"""A run's clips and predictions as a Hugging Face ``Dataset``: for what others built on those.

Needs the extra ``soundx[datasets]``; it is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from soundx.errors import Remedy, SoundxError
from soundx.labels import BACKGROUND, BACKGROUND_NAME
from soundx.modelling.splitting import LEFT_OUT

if TYPE_CHECKING:
    from datasets import Dataset
    from kedro.io import CatalogProtocol

_NEEDED = ("clip_manifest", "splits", "test_predictions", "confusion_matrix")
_OF_A_PREDICTION = (
    "predicted_label", "probability", "predicted_category", "certainty", "probabilities",
)  # fmt: skip


def clips_and_predictions(catalog: CatalogProtocol[Any, Any]) -> Dataset:
    """Return every clip of a project, with what the newest model said of the test clips.

    Sound files are neither copied nor decoded: the column ``audio`` holds their paths. It is
    an ``Audio`` column that does not decode, so that it can be read without PyTorch;
    ``soundx.audio.decoding.decode_clip(row["audio"]["path"])`` gives a clip's waveform, and
    ``dataset.cast_column("audio", datasets.Audio())`` lets ``torchcodec`` decode where that is
    installed.

    Args:
        catalog: The project's, as ``kedro ipython``, a notebook or ``open_catalog`` has it.

    Returns:
        One row a clip, in the manifest's order: ``audio``, ``clip_id``, ``path`` (below
        ``01_raw``), ``label`` (a ``ClassLabel``; null of background), ``category``, ``group``,
        ``split`` (train, validation, test or field), ``duration_s``; and of clips that were
        scored, null of others, ``predicted_label`` (a ``ClassLabel``), ``predicted_category``,
        ``probability`` (of the predicted label), ``certainty`` (probability of the true label) and
        ``probabilities`` (of all labels the model knows, in their order, which is that of
        ``label``; labels it does not know come after them).

    Raises:
        SoundxError: The extra is not installed, nothing has been evaluated yet, the splits
            have changed since, or the sound files are not on this machine.
    """
    try:
        from datasets import Audio, ClassLabel, Dataset, Features, List, Value
    except ImportError as error:
        raise SoundxError(
            "This needs Hugging Face's datasets. Run: pip install 'soundx[datasets]'"
        ) from error
    import pyarrow as pa

    clips, known = _read(catalog)
    more = sorted(set(clips["label"]) - {*known, BACKGROUND})
    label = ClassLabel(names=[*known, *more])
    features = Features(
        {
            "audio": Audio(decode=False),
            "clip_id": Value("string"),
            "path": Value("string"),
            "label": label,
            "category": Value("string"),
            "group": Value("string"),
            "split": Value("string"),
            "duration_s": Value("float64"),
            "predicted_label": label,
            "predicted_category": Value("string"),
            "probability": Value("float64"),
            "certainty": Value("float64"),
            "probabilities": List(Value("float32"), length=len(known)),
        }
    )
    number = {name: index for index, name in enumerate(label.names)}
    for column in ("label", "predicted_label"):
        clips[column] = clips[column].map(number).astype("Int64")
    # by hand: datasets itself would ask for torchcodec even where nothing is decoded
    columns = {name: pa.array(clips[name], from_pandas=True) for name in features}
    return Dataset(pa.table(columns, features.arrow_schema))


def _read(catalog: CatalogProtocol[Any, Any]) -> tuple[pd.DataFrame, list[str]]:
    """Return clips with their predictions, and the labels that the model knows, in order."""
    if not all(catalog.exists(name) for name in _NEEDED):
        raise SoundxError("No model has been evaluated here yet.", remedy=Remedy.RUN)
    clips = catalog.load("clip_manifest").merge(
        catalog.load("splits")[["clip_id", "split"]], on="clip_id", validate="one_to_one"
    )
    predictions = catalog.load("test_predictions").rename(columns={"split": "split_then"})
    predictions = predictions[["clip_id", "split_then", *_OF_A_PREDICTION]]
    clips = clips.merge(predictions, how="left", on="clip_id", validate="one_to_one")
    then = clips["split_then"].mask(clips["split_then"].isin([BACKGROUND_NAME, LEFT_OUT]))
    moved = then.notna() & (then != clips["split"])
    if moved.any():
        raise SoundxError(
            f"{int(moved.sum())} scored clips are on another side of the split now, for example "
            f"{clips['path'][moved].iloc[0]}.",
            remedy=Remedy.TRAIN_AND_EVALUATE,
        )
    raw_clips = catalog.load("raw_clips")
    files = [raw_clips.path(path) for path in clips["path"]]
    absent = [file for file in files if not file.is_file()]
    if absent:
        raise SoundxError(
            f"{len(absent)} of {len(files)} sound files are not on this machine, for example "
            f"{absent[0]}.",
            remedy=Remedy.INGEST,
        )
    clips["audio"] = [{"bytes": None, "path": str(file.absolute())} for file in files]
    # the table's head: its labels are never taken for numbers or gaps, as an index is
    return clips, list(catalog.load("confusion_matrix").columns)
