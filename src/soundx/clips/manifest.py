"""The manifest: finding the clips of the mirror, telling what they are, listing them.

One pass over ``01_raw`` decides for every file whether it is a clip of some label or is
rejected, and why; nothing is found and then forgotten.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from soundx.audio.decoding import FFMPEG_SUFFIXES, ClipInfo, inspect_clip
from soundx.clips.raw import METADATA, RawClips
from soundx.clips.scans import Found, ScanMemory
from soundx.errors import AudioError, ClipChangedError, DecoderLostError, Remedy, SoundxError
from soundx.labels import BACKGROUND, category_of, shown_label, usable_as_label
from soundx.parallel import map_in_threads
from soundx.progress import counted, track

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 20_000
_EXAMPLES = 3

MANIFEST_DTYPES = {
    "clip_id": "str",
    "path": "str",
    "label": "str",
    "category": "str",
    "group": "str",
    "fold": "Int64",
    "duration_s": "float64",
    "sample_rate_hz": "int64",
    "channels": "int64",
    "format": "str",
    "size_bytes": "int64",
    "evaluation_only": "bool",
    "note": "str",
    "licence": "str",
}
"""Columns of the manifest, in order, and their types."""


class IngestionOptions(BaseModel):
    """How clips are found and named.

    Attributes:
        category_separator: What ends the category in a label; empty for flat labels.
        exclude: Patterns of top-level folders whose clips are never trained on, but are
            an evaluation set of their own.
        background: Patterns of top-level folders whose clips hold sounds of none of the labels:
            the model learns not to answer them.
        min_duration_s: Shorter clips are rejected.
        max_duration_s: Longer clips are rejected; None for no limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    category_separator: str = "_"
    exclude: tuple[str, ...] = (":TEST*",)
    background: tuple[str, ...] = (":BACKGROUND*",)
    min_duration_s: float = Field(0.0, ge=0)
    max_duration_s: float | None = Field(None, gt=0)


@dataclass(frozen=True)
class _Naming:
    label: str
    category: str
    group: str
    fold: int | None
    evaluation_only: bool
    licence: str
    note: str = ""


def scan_clips(clips: RawClips, options: IngestionOptions) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Look at every file of the mirror.

    Args:
        clips: The mirror.
        options: How clips are found and named.

    Returns:
        The manifest, one row a usable clip (columns of ``MANIFEST_DTYPES``), and the
        rejected files, ``path`` and ``reason``; no path stands in both.

    Raises:
        SoundxError: There is nothing to look at, nothing is usable, or ``metadata.csv``
            cannot be used.
    """
    metadata = clips.metadata()
    files = list(clips.files())
    if not files:
        raise SoundxError(f"There are no clips in {clips.root} yet.", remedy=Remedy.BRING_CLIPS)
    rejected: list[tuple[str, str]] = list(clips.refused())
    rows: list[tuple[Any, ...]] = []
    tables: list[pd.DataFrame] = []
    with ScanMemory(clips.root) as memory:

        def files_to_look_at() -> Iterator[_Look]:
            for path in files:
                yield _Look.at(clips, path, memory, metadata, options)

        looked = map_in_threads(_Look.read_file, files_to_look_at(), in_flight_per_worker=32)
        for look in track(looked, description="Scanning clips", total=len(files)):
            look.remember(memory)
            found = look.row(options)
            if isinstance(found, str):
                rejected.append((look.path, found))
            else:
                rows.append(found)
            if len(rows) == _ROWS_AT_ONCE:  # columns take a quarter of what tuples do
                tables.append(_table(rows))
                rows = []
    manifest = pd.concat([*tables, _table(rows)], ignore_index=True)
    del tables, rows
    manifest, duplicates = _without_duplicates(manifest)
    rejected += duplicates
    _warn_of_missing(metadata, set(files))
    table = pd.DataFrame(sorted(rejected), columns=["path", "reason"], dtype="str")
    _report(manifest, table)
    if not (~manifest["evaluation_only"] & (manifest["label"] != BACKGROUND)).any():
        raise SoundxError(
            f"{counted(len(files), 'file')} in {clips.root}, and none can be used as a clip of a "
            "label. "
            + "; ".join(f"{path}: {reason}" for path, reason in sorted(rejected)[:_EXAMPLES])
        )
    return manifest, table


def _table(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(MANIFEST_DTYPES)).astype(MANIFEST_DTYPES)


def _name(path: str, metadata: pd.DataFrame | None, options: IngestionOptions) -> _Naming:
    """Tell label, category, group and fold of a file; a background folder overrules metadata.

    Raises:
        AudioError: It has no label, or one that cannot be used.
    """
    parts = PurePosixPath(path).parts
    if parts[-1].startswith("."):
        raise AudioError("a hidden file")
    folder = parts[0] if len(parts) > 1 else ""
    evaluation_only = any(fnmatchcase(folder, pattern) for pattern in options.exclude)
    if evaluation_only:
        # :TEST_field/<label>/<clip>: the label is one folder further down
        folder = parts[1] if len(parts) > 2 else ""  # noqa: PLR2004
    row = metadata.loc[path] if metadata is not None and path in metadata.index else {}
    label = str(row.get("label", "")).strip()
    group = str(row.get("group", "")).strip()
    licence = str(row.get("licence", "") or row.get("license", "")).strip()
    fold_number = _fold(row)
    if any(fnmatchcase(folder, pattern) for pattern in options.background):
        note = ""
        if label and label != folder:
            note = f"background: the label '{label}' in {METADATA} is not taken"
        return _Naming(BACKGROUND, BACKGROUND, group, fold_number, evaluation_only, licence, note)
    label = label or folder
    if not label:
        where = "in an evaluation folder without a folder for its label"
        raise AudioError(
            (where if evaluation_only else "not in a label's folder")
            + f", and {METADATA} gives it no label"
        )
    category = str(row.get("category", "")).strip()
    category = category or category_of(label, separator=options.category_separator)
    if not (usable_as_label(label) and usable_as_label(category)):
        raise AudioError(f"its label {label!r} or category {category!r} has unusable characters")
    return _Naming(label, category, group, fold_number, evaluation_only, licence)


def _fold(row: Any) -> int | None:
    fold = str(row.get("fold", "")).strip()
    try:
        return int(float(fold)) if fold else None
    except ValueError:
        raise AudioError(f"its fold in {METADATA}, {fold!r}, is not a number") from None


@dataclass
class _Look:
    """A file that is looked at: what it is called, what is known of it, what is found."""

    file: Path
    path: str
    naming: _Naming | None = None
    stat: os.stat_result | None = None
    found: Found | None = None
    reason: str = ""
    is_new: bool = False

    @classmethod
    def at(
        cls,
        clips: RawClips,
        path: str,
        memory: ScanMemory,
        metadata: pd.DataFrame | None,
        options: IngestionOptions,
    ) -> _Look:
        look = cls(clips.path(path), path)
        try:
            look.naming = _name(path, metadata, options)
            look.stat = look.file.stat()
            look.found = memory.recall(path, look.stat)
        except AudioError as error:
            look.reason = str(error)
        except OSError as error:
            look.reason = f"cannot be read: {error.strerror}"
        return look

    def read_file(self) -> _Look:
        """Read the file, unless what is in it is known already."""
        if self.reason or self.found is not None:
            return self
        try:
            self.found = [*astuple(inspect_clip(self.file))]
            self.is_new = True
        except AudioError as error:
            self.found = [str(error)]
            # ffmpeg may be there tomorrow, and more time or memory
            passing = isinstance(error, DecoderLostError | ClipChangedError)
            self.is_new = not passing and self.file.suffix.lower() not in FFMPEG_SUFFIXES
        return self

    def remember(self, memory: ScanMemory) -> None:
        if self.is_new and self.stat is not None and self.found is not None:
            memory.remember(self.path, self.stat, self.found)

    def row(self, options: IngestionOptions) -> tuple[Any, ...] | str:
        """Return the file's row of the manifest, or why it has none."""
        if self.reason or self.found is None or self.naming is None or self.stat is None:
            return self.reason
        if len(self.found) == 1:
            return str(self.found[0])
        info = ClipInfo(*self.found)  # type: ignore[arg-type]  # as astuple gave them
        clip_id = info.sha256
        if info.duration_s < options.min_duration_s:
            return f"too short: {info.duration_s:.3f} s"
        if options.max_duration_s is not None and info.duration_s > options.max_duration_s:
            return f"too long: {info.duration_s:.1f} s"
        return (
            clip_id,
            self.path,
            self.naming.label,
            self.naming.category,
            self.naming.group or clip_id,
            self.naming.fold,
            info.duration_s,
            info.sample_rate_hz,
            info.channels,
            info.format,
            self.stat.st_size,
            self.naming.evaluation_only,
            "; ".join(filter(None, (info.note, self.naming.note))),
            self.naming.licence,
        )


def _without_duplicates(manifest: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Drop clips with the same bytes: one is kept of one label, none of two labels."""
    rejected = []
    drop = []
    # what is trained on comes first: an evaluation set must not hold the same clip
    ordered = manifest.sort_values(["evaluation_only", "path"], kind="stable")
    twins = ordered[ordered["clip_id"].duplicated(keep=False)]
    for _, same in twins.groupby("clip_id", sort=False):
        paths = same["path"].tolist()
        labels = same["label"].tolist()
        if len(set(labels)) > 1:
            for path, label in zip(paths, labels, strict=True):
                other = next(
                    f"{p} ('{shown_label(name)}')"
                    for p, name in zip(paths, labels, strict=True)
                    if name != label
                )
                rejected.append((path, f"the same bytes stand under another label: {other}"))
            drop += list(same.index)
        else:
            rejected += [(path, f"a duplicate of {paths[0]}") for path in paths[1:]]
            drop += list(same.index[1:])
    return manifest.drop(index=drop).reset_index(drop=True), rejected


def _warn_of_missing(metadata: pd.DataFrame | None, files: set[str]) -> None:
    if metadata is None:
        return
    missing = [name for name in metadata.index if name not in files]
    if missing:
        logger.warning(
            "%s names %s not there, for example '%s'.",
            METADATA,
            counted(len(missing), "file that is", "files that are"),
            missing[0],
        )


def _report(manifest: pd.DataFrame, rejected: pd.DataFrame) -> None:
    labels = manifest["label"][manifest["label"] != BACKGROUND]
    n_background = len(manifest) - len(labels)
    logger.info(
        "%s of %s%s, %.2f hours; %s rejected%s",
        counted(len(labels), "clip"),
        counted(labels.nunique(), "label"),
        f", and {n_background:,} of background" if n_background else "",
        manifest["duration_s"].sum() / 3600,
        counted(len(rejected), "file"),
        _examples(rejected, "reason"),
    )
    odd = manifest[manifest["note"] != ""]
    if len(odd):
        logger.info(
            "%s mended or odd (column 'note' of the manifest)%s",
            counted(len(odd), "clip is", "clips are"),
            _examples(odd, "note"),
        )


def _examples(table: pd.DataFrame, column: str) -> str:
    """Return the end of a sentence: the first few files, and what is said of each."""
    if not len(table):
        return "."
    first = table.head(_EXAMPLES)
    listed = "; ".join(f"{p}: {said}" for p, said in zip(first["path"], first[column], strict=True))
    return f": {listed}{'; ...' if len(table) > _EXAMPLES else '.'}"
