"""The manifest: finding the clips of the mirror, telling what they are, listing them.

One pass over ``01_raw`` decides for every file whether it is a clip of some label or is
rejected, and why; nothing is found and then forgotten.
"""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from pydantic import Field

from soundx.audio.decoding import FFMPEG_SUFFIXES, ClipInfo, inspect_clip
from soundx.clips.listing import is_hidden
from soundx.clips.metadata import METADATA, check_names
from soundx.clips.raw import ANSWERS, RawClips
from soundx.clips.scans import Found, ScanMemory
from soundx.errors import AudioError, ClipChangedError, DecoderLostError, Remedy, SoundxError
from soundx.labels import BACKGROUND, LabelTree, category_of, shown_label, usable_as_label
from soundx.markup import printable
from soundx.options import Options
from soundx.parallel import map_in_threads
from soundx.progress import counted, track

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 20_000
_EXAMPLES = 3
_NOTES = frozenset(
    {".csv", ".json", ".md", ".pdf", ".tsv", ".txt", ".xlsx", ".xml", ".yaml", ".yml"}
)
_SIDE_NAMES = frozenset(
    {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval",
     "evaluation", "holdout"}
)  # fmt: skip
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}(\.0*)?")

LONGEST_LABEL = 200
"""Bytes of a label or category at most: files are called after them."""

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
    "answered": "bool",
    "note": "str",
    "licence": "str",
}
"""Columns of the manifest, in order, and their types."""


class IngestionOptions(Options):
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
    answered: bool = False


def scan_clips(
    clips: RawClips, options: IngestionOptions, answered: Mapping[str, str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Look at every file of the mirror.

    Args:
        clips: The mirror.
        options: How clips are found and named.
        answered: Recording of each clip that was cut out of one as people answered, by path.

    Returns:
        The manifest, one row a usable clip (columns of ``MANIFEST_DTYPES``), and the
        rejected files, ``path`` and ``reason``; no path stands in both.

    Raises:
        SoundxError: There is nothing to look at, nothing is usable, ``metadata.csv`` cannot be
            used, or the labels cannot be learnt (see ``LabelTree.build``).
    """
    metadata = clips.metadata()
    entries = list(clips.entries())
    files = [name for name, problem in entries if not problem]
    if not entries:
        raise SoundxError(f"There are no clips in {clips.root} yet.", remedy=Remedy.BRING_CLIPS)
    rejected: list[tuple[str, str]] = list(clips.refused())
    missing = (
        [] if metadata is None or not files else check_names(metadata, files, clips.root / METADATA)
    )
    _warn_of_missing(missing)
    inside = _sides(files, options)
    names = _Names(metadata, options, inside, answered or {})
    rows: list[tuple[Any, ...]] = []
    tables: list[pd.DataFrame] = []
    with ScanMemory(clips.root) as memory:

        def files_to_look_at() -> Iterator[_Look]:
            for path, problem in entries:
                yield _Look.at(clips, path, problem, memory, names)

        looked = map_in_threads(_Look.read_file, files_to_look_at(), in_flight_per_worker=32)
        for look in track(looked, description="Scanning clips", total=len(entries)):
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
    _categories_as_known(manifest)
    manifest, duplicates = _without_duplicates(manifest)
    rejected += duplicates
    table = pd.DataFrame(sorted(rejected), columns=["path", "reason"], dtype="str")
    _report(manifest, table)
    if not (~manifest["evaluation_only"] & (manifest["label"] != BACKGROUND)).any():
        raise SoundxError(
            f"{counted(len(entries), 'file')} in {clips.root}, and none can be used as a clip of "
            f"a label. {_why_none(manifest, rejected, options)}"
        )
    learnt = manifest[~manifest["evaluation_only"] & (manifest["label"] != BACKGROUND)]
    LabelTree.build(zip(learnt["label"], learnt["category"], strict=True))  # or it says why not
    return manifest, table


def _categories_as_known(manifest: pd.DataFrame) -> None:
    """Put answered clips into the categories that their labels have among the owner's clips."""
    answered = manifest["answered"]
    if answered.any():
        owned = manifest[~answered & ~manifest["evaluation_only"]]
        known = dict(zip(owned["label"], owned["category"], strict=True))
        labels = manifest.loc[answered, "label"]
        categories = labels.map(known).fillna(manifest.loc[answered, "category"])
        manifest.loc[answered, "category"] = categories.astype("str")


def _table(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(MANIFEST_DTYPES)).astype(MANIFEST_DTYPES)


def _why_none(
    manifest: pd.DataFrame, rejected: list[tuple[str, str]], options: IngestionOptions
) -> str:
    apart = int(manifest["evaluation_only"].sum())
    background = len(manifest) - apart
    reasons = [f"{path}: {reason}" for path, reason in sorted(rejected)[:_EXAMPLES]]
    if apart:
        listed = ", ".join(options.exclude)
        reasons.append(
            f"{counted(apart, 'clip is', 'clips are')} kept for evaluation alone, as "
            f"ingestion.exclude says ({listed}): name fewer folders there"
        )
    if background:
        reasons.append(
            f"{counted(background, 'clip is', 'clips are')} of background, as "
            f"ingestion.background says ({', '.join(options.background)})"
        )
    return f"{'; '.join(reasons)}. Expected: a folder per label with clips in it."


def _sides(files: Iterable[str], options: IngestionOptions) -> frozenset[str]:
    """Return top-level folders that are sides of somebody's split: labels are inside them.

    They are where all folders are called so, and hold nothing but folders.
    """
    deep: dict[str, bool] = {}
    special = (*options.exclude, *options.background, ANSWERS)
    for name in files:
        top, *below = name.split("/")
        if below and not is_hidden(name) and not _matches(top, special):
            is_note = len(below) == 1 and PurePosixPath(name).suffix.lower() in _NOTES
            deep[top] = deep.get(top, True) and (len(below) > 1 or is_note)
    named = sorted(top for top in deep if top.casefold() in _SIDE_NAMES)
    if named and all(top in named and only_folders for top, only_folders in deep.items()):
        logger.warning(
            "%s named like sides of a split: labels are taken from the folders inside, and clips "
            "are split anew, by recording. To keep to those sides, give clips a 'fold' in %s and "
            "set splits.by to fold.",
            f"{', '.join(named)}: folders",
            METADATA,
        )
        return frozenset(named)
    for top in named:
        if any(name.startswith(f"{top}/") and name.count("/") > 1 for name in files):
            logger.warning(
                "The folder '%s' is taken for a label, and those inside it are not. If they are "
                "the labels, move them up, or name labels in %s.",
                top,
                METADATA,
            )
    return frozenset()


@dataclass(frozen=True)
class _Names:
    """What names are made from, the same for every file.

    Attributes:
        metadata: The table of the owner's, or None.
        options: How clips are named.
        inside: Top-level folders whose own folders are the labels.
        answered: Recording of each clip that people's answers made, by path.
    """

    metadata: pd.DataFrame | None
    options: IngestionOptions
    inside: frozenset[str]
    answered: Mapping[str, str]


def _name(path: str, names: _Names) -> _Naming:
    """Tell label, category, group and fold of a file; a background folder overrules metadata.

    A label in metadata that is called like a background folder means the same.

    Raises:
        AudioError: It has no label, or one that cannot be used.
    """
    options, metadata = names.options, names.metadata
    parts = PurePosixPath(path).parts
    if is_hidden(path):
        raise AudioError("a hidden file" if parts[-1].startswith(".") else "in a hidden folder")
    if parts[0] == ANSWERS:
        return _name_answered(path, names)
    if parts[0] in names.inside:
        parts = parts[1:]
    folder = parts[0] if len(parts) > 1 else ""
    evaluation_only = _matches(folder, options.exclude)
    if evaluation_only:
        # :TEST_field/<label>/<clip>: the label is one folder further down
        folder = parts[1] if len(parts) > 2 else ""  # noqa: PLR2004
    row = metadata.loc[path] if metadata is not None and path in metadata.index else {}
    label = str(row.get("label", "")).strip()
    group = str(row.get("group", "")).strip()
    licence = str(row.get("licence", "") or row.get("license", "")).strip()
    fold_number = _fold(row)
    named_background = _matches(label, options.background)
    if named_background or _matches(folder, options.background):
        note = ""
        if label and not named_background:
            note = f"background: the label '{label}' in {METADATA} is not taken"
        return _Naming(BACKGROUND, BACKGROUND, group, fold_number, evaluation_only, licence, note)
    if label and not evaluation_only and _matches(label, options.exclude):
        raise AudioError(
            f"its label in {METADATA}, {label!r}, is what evaluation folders are called "
            "(ingestion.exclude): put the file into such a folder"
        )
    label = label or folder
    if not label:
        where = "in an evaluation folder (ingestion.exclude) without a folder for its label"
        raise AudioError(
            (where if evaluation_only else "not in a label's folder")
            + f", and {METADATA} gives it no label"
        )
    category = str(row.get("category", "")).strip()
    category = category or category_of(label, separator=options.category_separator)
    if too_long := [name for name in (label, category) if len(name.encode()) > LONGEST_LABEL]:
        raise AudioError(
            f"its label or category, '{too_long[0][:20]}...', is longer than {LONGEST_LABEL} bytes"
        )
    if not (usable_as_label(label) and usable_as_label(category)):
        raise AudioError(f"its label {label!r} or category {category!r} has unusable characters")
    return _Naming(label, category, group, fold_number, evaluation_only, licence)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _name_answered(path: str, names: _Names) -> _Naming:
    recording = names.answered.get(path)
    if recording is None:
        raise AudioError("no answer that stands is about it")
    label = PurePosixPath(path).parts[1]
    if _matches(label, names.options.background):
        label = category = BACKGROUND
    else:
        category = category_of(label, separator=names.options.category_separator)
    return _Naming(label, category, recording, None, False, "", answered=True)


def _fold(row: Any) -> int | None:
    fold = str(row.get("fold", "")).strip()
    if not fold:
        return None
    # spreadsheets make 3.0 of 3
    if not _WHOLE.fullmatch(fold):
        raise AudioError(f"its fold in {METADATA}, {fold!r}, is not a whole number")
    return int(fold.partition(".")[0])


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
        problem: str,
        memory: ScanMemory,
        names: _Names,
    ) -> _Look:
        look = cls(clips.path(path), printable(path), reason=problem)
        if problem:
            return look
        try:
            look.naming = _name(path, names)
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
            self.naming.answered,
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


def _warn_of_missing(missing: list[str]) -> None:
    if missing:
        logger.warning(
            "%s names %s not there, for example '%s'.",
            METADATA,
            counted(len(missing), "file that is", "files that are"),
            missing[0],
        )


def _warn_of_alike(labels: Iterable[str]) -> None:
    """Tell of labels that a person would take for one."""
    alike: dict[str, list[str]] = {}
    for label in labels:
        seen = unicodedata.normalize("NFKC", label).casefold()
        alike.setdefault("".join(c for c in seen if c.isalnum()) or seen, []).append(label)
    for same in alike.values():
        if len(same) > 1:
            logger.warning(
                "The labels %s differ in case, spaces or signs alone, and are learnt apart. Rename "
                "folders where one is meant.",
                " and ".join(map(repr, sorted(same))),
            )


def _report(manifest: pd.DataFrame, rejected: pd.DataFrame) -> None:
    labels = manifest["label"][manifest["label"] != BACKGROUND]
    n_background = len(manifest) - len(labels)
    _warn_of_alike(labels.unique())
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
