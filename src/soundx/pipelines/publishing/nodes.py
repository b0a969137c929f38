"""From the newest classifier to a release that others fetch."""

from __future__ import annotations

from soundx.classifier.bundle import Classifier
from soundx.classifier.releases import PublishingOptions, Release
from soundx.classifier.versions import ModelVersions
from soundx.errors import Remedy, SoundxError


def prepare_release(
    classifier: Classifier, model_versions: ModelVersions, publishing: PublishingOptions
) -> Release:
    """Gather the classifier and its own evaluation; saving the release publishes it.

    Raises:
        SoundxError: The classifier was not evaluated.
    """
    version = model_versions.get(classifier.version)
    if version is None or not version.is_evaluated:
        raise SoundxError(
            f"The classifier {classifier.version} was not evaluated, so nobody knows how good it "
            "is.",
            remedy=Remedy.EVALUATE,
        )
    return Release(classifier, version.metrics, publishing)
