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
from soundx.errors import Setting, SoundxError
from soundx.options import Options
from soundx.storage.folder import Folder
from soundx.storage.s3 import is_md5

logger = logging.getLogger(__name__)

LATEST = "latest.json"
RELEASE = "release.json"
_CROSS_VALIDATED = "cross_validated_accuracy"


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
        """The version users get; None before the first release."""
        if not self.folder.exists(LATEST):
            return None
        return str(self.folder.read_json(LATEST)["version"])

    def __iter__(self) -> Any:
        """Iterate over finished versions, oldest first."""
        return (name for name in self.folder.names() if self.folder.exists(f"{name}/{RELEASE}"))

    def describe(self, version: str) -> dict[str, Any]:
        """Return a version's ``release.json``.

        Raises:
            SoundxError: There is no such version.
        """
        if not self.folder.exists(f"{version}/{RELEASE}"):
            known = ", ".join(self) or "none yet"
            raise SoundxError(f"{self.folder} has no release '{version}'. There are: {known}.")
        return dict(self.folder.read_json(f"{version}/{RELEASE}"))

    def load(self, version: str | None = None) -> Classifier:
        """Return a release's classifier, every file held against its checksum.

        Args:
            version: Which one; None for the latest.

        Raises:
            SoundxError: There is no such release, or a file is damaged.
        """
        version = version or self.latest
        if version is None:
            raise SoundxError(f"Nothing was ever published to {self.folder}.")
        files = {}
        for name, facts in self.describe(version)["files"].items():
            files[name] = self.folder.read(f"{version}/{name}")
            if hashlib.sha256(files[name]).hexdigest() != facts["sha256"]:
                raise SoundxError(f"{self.folder}/{version}/{name} is damaged: wrong checksum.")
        return Classifier(files)

    def publish(self, release: Release) -> str:
        """Upload a release, verify it, then make it the latest.

        Killed at any moment it leaves the old latest usable; run again it goes on.

        Returns:
            A line that compares it with the latest before it.

        Raises:
            SoundxError: It is worse than allowed, its version is taken by other files, or
                what arrived is not what was sent.
        """
        comparison = self._compare(release)
        facts = release.describe()
        if self.folder.exists(f"{release.version}/{RELEASE}"):
            if self.describe(release.version)["files"] != facts["files"]:
                raise SoundxError(
                    f"{self.folder} has a release {release.version} with other content; a release "
                    "is never overwritten. Train again for a version of its own."
                )
            logger.info("%s is already there, unchanged.", release.version)
        else:
            for name, content in release.classifier.files.items():
                path = f"{release.version}/{name}"
                self.folder.write(path, content)
                self._verify(path, content)
            published = datetime.now(UTC).isoformat(timespec="seconds")
            self.folder.write_json(
                f"{release.version}/{RELEASE}", {**facts, "published": published}
            )
        self._point_latest_at(release.version)
        return comparison

    def rollback(self, version: str) -> None:
        """Make an older release the latest again; nothing is deleted.

        Raises:
            SoundxError: There is no such release, or it is damaged.
        """
        self.load(version)
        self._point_latest_at(version)

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

    def _verify(self, path: str, content: bytes) -> None:
        info = self.folder.fs.info(self.folder.path(path))
        etag = str(info.get("ETag", "")).strip('"')
        if is_md5(etag):
            same = etag == hashlib.md5(content, usedforsecurity=False).hexdigest()
        else:
            same = self.folder.read(path) == content
        if not same or info["size"] != len(content):
            raise SoundxError(
                f"{self.folder}/{path} did not arrive as it was sent; the latest release is "
                "unchanged. Publish again."
            )
