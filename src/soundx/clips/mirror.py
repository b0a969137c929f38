"""Keep a local folder the exact mirror of wherever the clips are kept.

A ``ClipSource`` lists objects and fetches one at a time; ``mirror`` fetches what is new or
changed, removes what went away, and remembers in a ledger what it put there: a file that
the ledger does not know is somebody's own and is never touched. A file is whole or absent,
and a run that was killed goes on where it was.
"""

from __future__ import annotations

import errno
import filecmp
import logging
import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pydantic import Field
from rich.console import Console

from soundx.clips.ledger import KEPT_BY_SOUNDX, Ledger, LedgerEntry, version_of
from soundx.clips.raw import ANSWERS
from soundx.clips.source import ClipSource, SourceObject
from soundx.errors import Setting, SoundxError
from soundx.markup import printable
from soundx.options import Options
from soundx.parallel import map_in_threads
from soundx.progress import counted, track
from soundx.storage.folder import is_inside

logger = logging.getLogger(__name__)

_LONGEST_KEY_BYTES = 1024  # S3's own limit; folders inside folders without end are no clips

_OF_ONE_FILE = (
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.EISDIR, errno.ENXIO, errno.ENOTDIR, errno.ELOOP,
    errno.ENAMETOOLONG,
)  # fmt: skip
"""What one file may have against being read, where others may be read."""

_LEADS_OUT = "a link in its folder leads out of the mirror"


class MirrorOptions(Options):
    """What a run of ``mirror`` may do.

    Attributes:
        max_removed_share: Stop where more than this share of the mirror would be removed:
            a source that suddenly lists half as much is more often a mistake than a wish.
        force: Remove whatever went away, however much it is.
    """

    max_removed_share: float = Field(0.2, ge=0, le=1)
    force: bool = False


@dataclass(frozen=True)
class MirrorJob:
    """A mirror to be made: what a node hands to the catalog, which knows the folder.

    Attributes:
        source: Where the clips are; None where they are put into the folder by hand.
        options: What may be done.
        dry_run: Only tell what would be done.
    """

    source: ClipSource | None
    options: MirrorOptions
    dry_run: bool = False


@dataclass
class MirrorReport:
    """What one run of ``mirror`` did."""

    fetched: int = 0
    unchanged: int = 0
    removed: int = 0
    retries: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{self.fetched} fetched, {self.unchanged} unchanged, {self.removed} removed"
        if self.refused:
            text += f", {len(self.refused)} refused"
        return f"{text} ({self.retries} retries)" if self.retries else text


def why_refused(key: str) -> str | None:
    """Tell why a key cannot be mirrored to a file of that name; None where it can."""
    parts = key.split("/")
    if key.endswith("/") and key.strip("/"):
        return "a folder's marker, not a file"
    if not key.isprintable():
        return "control characters in its name, or it is not UTF-8 text"
    if not key or key.startswith("/") or (len(key) > 1 and key[1] == ":"):
        return "an absolute name"
    if "\\" in key:
        return "a backslash in its name"
    if any(part in ("", ".", "..") for part in parts):
        return "a name that leaves its folder, or an empty part in it"
    if parts[0].casefold() in (KEPT_BY_SOUNDX.casefold(), ANSWERS.casefold()):
        return f"'{parts[0]}' is soundx's own folder"
    if any(len(os.fsencode(part)) > 255 for part in parts):  # noqa: PLR2004
        return "a part of its name is longer than 255 bytes"
    if len(os.fsencode(key)) > _LONGEST_KEY_BYTES:
        return f"a name longer than {_LONGEST_KEY_BYTES:,} bytes"
    return None


@dataclass
class _Plan:
    wanted: list[SourceObject] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    n_unchanged: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


def mirror(source: ClipSource, root: Path, options: MirrorOptions | None = None) -> MirrorReport:
    """Make a folder the mirror of a source.

    Nothing is removed before the whole listing was read.

    Args:
        source: Where the clips are.
        root: The folder; made where it is missing.
        options: What may be done.

    Returns:
        What was done.

    Raises:
        SoundxError: The source cannot be read, or more would be removed than allowed.
    """
    root.mkdir(parents=True, exist_ok=True)
    with Ledger.to_write(root) as ledger:
        known = ledger.files()
        plan = _plan(source, root, known)
        _check_removals(plan, known, source, options or MirrorOptions())
        _fetch(source, root, ledger, known, plan)
        for key in plan.gone:
            _remove(root, key, known[key])
            ledger.forget(key)
        ledger.set_refused(plan.refused)
        ledger.set_origin(source.name)
    return MirrorReport(
        fetched=len(plan.wanted),
        unchanged=plan.n_unchanged,
        removed=len(plan.gone),
        retries=getattr(source, "n_retries", 0),
        refused=plan.refused,
    )


def _plan(source: ClipSource, root: Path, known: dict[str, LedgerEntry]) -> _Plan:
    plan = _Plan()
    present: set[str] = set()
    folds_case = _folds_case(root)
    seen_folded: set[str] = set()
    for item in source.list_objects():
        reason = item.problem or why_refused(item.key)
        if reason is None and folds_case and item.key.casefold() in seen_folded:
            reason = "its name differs from another only in case, which this disk does not tell"
        if reason is not None:
            plan.refused.append((printable(item.key), reason))
            continue
        if folds_case:
            seen_folded.add(item.key.casefold())
        present.add(item.key)
        entry = known.get(item.key)
        if entry and entry.version == version_of(item) and entry.is_untouched(root / item.key):
            plan.n_unchanged += 1
        else:
            plan.wanted.append(item)
    plan.gone = sorted(known.keys() - present)
    return plan


def _check_removals(
    plan: _Plan, known: dict[str, LedgerEntry], source: ClipSource, options: MirrorOptions
) -> None:
    if not (known or plan.wanted or plan.refused):
        raise SoundxError(
            f"{source.name} lists as empty: there is nothing to mirror. Give a folder that holds a "
            "folder per label.",
            remedy=Setting("source", "DIR"),
        )
    if options.force or not plan.gone:
        return
    share = len(plan.gone) / len(known)
    is_empty = not plan.wanted and not plan.n_unchanged
    if is_empty or share > options.max_removed_share:
        found = "lists as empty" if is_empty else f"no longer lists {len(plan.gone)} objects"
        raise SoundxError(
            f"{source.name} {found}, and {share:.0%} of the mirror ({len(plan.gone)} of "
            f"{len(known)} files) would be removed; {options.max_removed_share:.0%} is allowed. "
            "Nothing was done. If it is meant, force it; a dry run lists what would happen.",
            remedy=(Setting("mirror.force", "true"), Setting("dry_run", "true")),
        )


def _fetch(
    source: ClipSource, root: Path, ledger: Ledger, known: dict[str, LedgerEntry], plan: _Plan
) -> None:
    if not plan.wanted:
        return
    partial = root / KEPT_BY_SOUNDX / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    todo, plan.wanted = plan.wanted, []
    done = map_in_threads(
        _fetcher(source, partial), todo, workers=source.parallel_fetches, in_flight_per_worker=4
    )
    arrivals = zip(todo, done, strict=True)
    inside: dict[Path, str | None] = {}
    for item, arrived in track(arrivals, description="Mirroring clips", total=len(todo)):
        if isinstance(arrived, str):
            plan.refused.append((item.key, arrived))
            continue
        final = root / item.key
        folder = final.parent
        if folder not in inside:
            inside[folder] = _why_no_folder(root, folder)
        in_the_way = inside[folder] or _what_stands_there(final, arrived, ours=item.key in known)
        if in_the_way:
            plan.refused.append((printable(item.key), in_the_way))
            arrived.unlink()
            continue
        # noted before and after: a file is known as ours even if we are killed between
        ledger.expect(item)
        arrived.replace(final)
        ledger.put(item, final)
        plan.wanted.append(item)
    shutil.rmtree(partial, ignore_errors=True)


def print_plan(source: ClipSource, root: Path) -> None:
    """Print what ``mirror`` would do, a line a file; nothing is made or changed."""
    with Ledger.to_read(root) as ledger:
        plan = _plan(source, root, ledger.files())
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for item in plan.wanted:
        size = f" ({counted(item.size_bytes, 'byte')})" if item.size_bytes >= 0 else ""
        console.print(f"would fetch   {item.key}{size}")
    for key in plan.gone:
        console.print(f"would remove  {key}")
    for key, reason in plan.refused:
        console.print(f"would refuse  {key!r}: {reason}")
    console.print(
        f"{source.name}: {len(plan.wanted)} to fetch, {len(plan.gone)} to remove, "
        f"{plan.n_unchanged} unchanged, {len(plan.refused)} refused. Nothing was done."
    )


def _fetcher(source: ClipSource, partial: Path) -> Callable[[SourceObject], Path | str]:
    """Return what fetches an object to a file, or tells why that one cannot be had."""

    def fetch(item: SourceObject) -> Path | str:
        target = partial / uuid.uuid4().hex
        try:
            source.fetch(item.key, target)
        except shutil.SpecialFileError:
            return "cannot be read: a pipe, not a file"
        except OSError as error:
            of_the_source = error.filename and Path(error.filename) != target
            if of_the_source and error.errno in _OF_ONE_FILE:
                target.unlink(missing_ok=True)
                return f"cannot be read: {error.strerror}"
            raise SoundxError(
                f"'{item.key}' cannot be fetched from {source.name}: {error}"
            ) from error
        return target

    return fetch


def _why_no_folder(root: Path, folder: Path) -> str | None:
    """Make a folder inside the mirror; tell why where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return "another file stands where its folder would be"
    except OSError as error:
        return f"its name cannot be a file's here: {error.strerror}"
    return None if is_inside(folder, root) else _LEADS_OUT


def _what_stands_there(final: Path, arrived: Path, *, ours: bool) -> str | None:
    """Tell what stands in a file's place that is not ours to replace."""
    if ours or not os.path.lexists(final):
        return "a folder stands in its place" if final.is_dir() else None
    if final.is_file() and filecmp.cmp(final, arrived, shallow=False):
        return None
    return "a file of yours stands in its place"


def _folds_case(root: Path) -> bool:
    """Tell whether the disk takes 'A' and 'a' for one name, by a name that is there already."""
    inside = root / KEPT_BY_SOUNDX
    for path in (inside, *inside.parents):
        other = path.with_name(path.name.swapcase())
        if path.exists() and other != path:
            return other.exists() and other.samefile(path)
    return False


def _remove(root: Path, key: str, entry: LedgerEntry) -> None:
    path = root / key
    if not is_inside(path.parent, root):
        logger.warning("%s went away from the source, but %s: kept.", key, _LEADS_OUT)
        return
    if entry.version and path.exists() and not entry.is_untouched(path):
        logger.warning("%s went away from the source, but was changed here: kept.", key)
        return
    path.unlink(missing_ok=True)
    for folder in PurePosixPath(key).parents:
        if str(folder) == ".":
            break
        with suppress(OSError):  # not empty: somebody's files are in it
            (root / folder).rmdir()
