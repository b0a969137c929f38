"""Releases: classifiers as others fetch them, in a bucket or folder.

``<version>/`` holds a classifier and ``release.json``, which is written last and names every
file with its checksum: a version without it was never finished and is not one. A version is
never overwritten. ``latest.json`` names the one to use; replacing that single object is the
only step that changes what users get.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from soundx.classifier.bundle import Classifier
from soundx.errors import BrokenFileError, Remedy, Setting, SoundxError
from soundx.markup import printable
from soundx.options import Options
from soundx.storage.folder import Folder
from soundx.storage.s3 import is_md5

logger = logging.getLogger(__name__)

LATEST = "latest.json"
RELEASE = "release.json"
_CROSS_VALIDATED = "cross_validated_accuracy"
_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    LATEST: {"version": str},
    RELEASE: {
        "version": str,
        "accuracy": (int, float),
        "metrics": dict,
        "files": dict,
        "published": str,
    },
}
"""What has to stand in the files that soundx writes about releases."""


class PublishingOptions(Options):
    """When a classifier may become the latest release.

    Attributes:
        max_accuracy_drop: How much less accurate than the current latest it may be:
            cross-validated where both were, else on test clips.
        force: Publish it however much worse it is.
    """

    max_accuracy_drop: float = Field(0.01, ge=0, le=1)
    force: bool = False


@dataclass(frozen=True)
class Release:
    """A classifier to be published, with what is told of it.

    Attributes:
        classifier: Its files.
        metrics: Its evaluation.
        options: When it may become the latest.
    """

    classifier: Classifier
    metrics: Mapping[str, Any]
    options: PublishingOptions

    @property
    def version(self) -> str:
        """The classifier's version."""
        return self.classifier.version

    def describe(self) -> dict[str, Any]:
        """Return what ``release.json`` says, the time of publishing apart."""
        return {
            "version": self.version,
            "accuracy": self.metrics["accuracy"],
            "metrics": dict(self.metrics),
            "manifest_digest": self.classifier.info.get("manifest_digest"),
            "parameters": self.classifier.info.get("training"),
            "files": {
                name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
                for name, content in sorted(self.classifier.files.items())
            },
        }


class Releases:
    """All releases in a bucket or folder.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    @property
    def latest(self) -> str | None:
        """The version users get; None before the first release.

        Raises:
            SoundxError: ``latest.json`` is damaged.
        """
        return str(self._read(LATEST)["version"]) if self.folder.exists(LATEST) else None

    def __iter__(self) -> Any:
        """Iterate over finished versions, oldest first."""
        return (name for name in self.folder.names() if self.folder.exists(f"{name}/{RELEASE}"))

    def describe(self, version: str) -> dict[str, Any]:
        """Return a version's ``release.json``.

        Raises:
            SoundxError: There is no such version, or the file is damaged.
        """
        if not self.folder.exists(f"{version}/{RELEASE}"):
            raise self._unknown(version)
        return self._read(f"{version}/{RELEASE}")

    def describe_all(self) -> tuple[dict[str, dict[str, Any]], list[SoundxError]]:
        """Return ``release.json`` of each version, oldest first, and of which it is damaged."""
        described, damaged = {}, []
        for version in self:
            try:
                described[version] = self.describe(version)
            except SoundxError as error:
                damaged.append(error)
        return described, damaged

    def load(self, version: str | None = None) -> Classifier:
        """Return a release's classifier, every file held against its checksum.

        Args:
            version: Which one; None for the latest.

        Raises:
            SoundxError: There is no such release, or a file is missing or damaged.
        """
        if version is None:
            version = self.latest
        if version is None:
            raise SoundxError(f"Nothing was ever published to {self.folder}.")
        files = {}
        for name, facts in self.describe(version)["files"].items():
            try:
                files[name] = self.folder.read(f"{version}/{name}")
            except FileNotFoundError:
                raise SoundxError(f"{self.folder}/{version}/{name} is missing.") from None
            if hashlib.sha256(files[name]).hexdigest() != facts["sha256"]:
                raise SoundxError(f"{self.folder}/{version}/{name} is damaged: wrong checksum.")
        return Classifier(files)

    def publish(self, release: Release) -> str:
        """Upload a release, verify it, then make it the latest.

        Killed at any moment it leaves the old latest usable; run again it goes on. Of one that
        is there already, files that are missing or damaged are written anew.

        Returns:
            A line that compares it with the latest before it.

        Raises:
            SoundxError: It is worse than allowed, its version is taken by other files, or
                what arrived is not what was sent.
        """
        comparison = self._compare(release)
        facts = release.describe()
        is_there = self.folder.exists(f"{release.version}/{RELEASE}")
        if is_there:
            self._check_same(release.version, facts["files"])
        written = self._write_files(release)
        if not is_there:
            published = datetime.now(UTC).isoformat(timespec="seconds")
            self.folder.write_json(
                f"{release.version}/{RELEASE}", {**facts, "published": published}
            )
        elif written:
            logger.warning(
                "%s was there, but damaged; written anew: %s.", release.version, ", ".join(written)
            )
        else:
            logger.info("%s is already there, unchanged.", release.version)
        self._point_latest_at(release.version)
        return comparison

    def rollback(self, version: str) -> None:
        """Make an older release the latest again; nothing is deleted.

        Raises:
            SoundxError: There is no such release, or it is damaged.
        """
        if version not in list(self):  # an empty one would be the folder itself
            raise self._unknown(version)
        self.load(version)
        self._point_latest_at(version)

    def _unknown(self, version: str) -> SoundxError:
        known = printable(", ".join(self)) or "none yet"
        return SoundxError(f"{self.folder} has no release '{version}'. There are: {known}.")

    def _point_latest_at(self, version: str) -> None:
        self.folder.write_json(LATEST, {"version": version})

    def _compare(self, release: Release) -> str:
        accuracy = float(release.metrics["accuracy"])
        latest = self.latest
        if latest is None:
            return f"{release.version}: accuracy {accuracy:.3f}; it is the first release."
        if latest == release.version:
            return f"{release.version}: accuracy {accuracy:.3f}; it is the latest already."
        theirs = self.describe(latest)
        before = float(theirs["accuracy"])
        figure = "accuracy"
        known = [release.metrics, theirs.get("metrics") or {}]
        if all(_CROSS_VALIDATED in metrics for metrics in known):
            # of all clips, not of one test side; and all there is of what learned from all
            accuracy, before = (float(metrics[_CROSS_VALIDATED]) for metrics in known)
            figure = "cross-validated accuracy"
        line = (
            f"{release.version}: {figure} {accuracy:.3f}; latest {latest}: {before:.3f}; "
            f"difference {100 * (accuracy - before):+.1f} points."
        )
        if before - accuracy > release.options.max_accuracy_drop and not release.options.force:
            raise SoundxError(
                f"Not published. {line} A drop of more than "
                f"{100 * release.options.max_accuracy_drop:.1f} points is refused; if it is meant, "
                "force it.",
                remedy=Setting("publishing.force", "true"),
            )
        return line

    def _check_same(self, version: str, files: Mapping[str, Any]) -> None:
        theirs = self.describe(version)["files"]
        names = sorted(files.keys() | theirs.keys())
        other = [name for name in names if files.get(name) != theirs.get(name)]
        if other:
            raise SoundxError(
                f"{self.folder} has a release {version} with other content "
                f"({', '.join(other)}); a release is never overwritten. Train again for a version "
                "of its own; evaluate and review before it is published."
            )

    def _write_files(self, release: Release) -> list[str]:
        """Write the files that are not there yet, or not as they should be; return which."""
        written = []
        for name, content in release.classifier.files.items():
            path = f"{release.version}/{name}"
            if self._holds(path, content):
                continue
            self.folder.write(path, content)
            if not self._holds(path, content):
                raise SoundxError(
                    f"{self.folder}/{path} did not arrive as it was sent; the latest release is "
                    "unchanged. Publish again."
                )
            written.append(name)
        return written

    def _holds(self, path: str, content: bytes) -> bool:
        """Tell whether a file is there and holds these bytes."""
        try:
            info = self.folder.fs.info(self.folder.path(path))
        except FileNotFoundError:
            return False
        if info["size"] != len(content):
            return False
        etag = str(info.get("ETag", "")).strip('"')
        if is_md5(etag):
            return etag == hashlib.md5(content, usedforsecurity=False).hexdigest()
        return self.folder.read(path) == content

    def _read(self, name: str) -> dict[str, Any]:
        """Return what stands in a JSON file about releases."""
        why = ""
        try:
            facts = self.folder.read_json(name)
        except BrokenFileError as error:
            why = error.why
        else:
            for field, kind in _FIELDS[name.rpartition("/")[2]].items():
                if not isinstance(facts, dict) or not isinstance(facts.get(field), kind):
                    why = f"it has no '{field}'"
                    break
        if why:
            raise SoundxError(
                f"{self.folder.shown(name)} is damaged: {why}.", remedy=Remedy.ROLL_BACK
            )
        return dict(facts)
