"""From the newest classifier to a release."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from kedro.io import DatasetError

from soundx.classifier.releases import PublishingOptions
from soundx.classifier.versions import Evaluation, ModelVersions
from soundx.datasets.models import ReleasesDataset
from soundx.errors import Remedy, Setting, SoundxError, find_soundx_error
from soundx.pipelines.publishing import create_pipeline
from soundx.storage.checksum import with_checksum
from soundx.storage.folder import Folder
from tests.classifier.test_releases import make_release
from tests.conftest import FORGED, ROOT, command
from tests.pipelines.runs import run, steps

V1, V2, V3 = (f"2026-01-0{day}T00.00.00.000Z" for day in (1, 2, 3))


@pytest.fixture
def publish(tmp_path):
    """Publish a model of some accuracy, which was evaluated unless that is None."""

    def publish(version, accuracy, **options):
        release = make_release(version, accuracy or 0.5)
        versions = ModelVersions(Folder(str(tmp_path / "versions")))
        versions.keep_classifier(release.classifier)
        if accuracy is not None:
            tables = [pd.DataFrame({"label": ["A"]})] * 4
            versions.keep_evaluation(Evaluation(version, release.metrics, *tables, "# Card"))
        made = run(
            create_pipeline(),
            {
                "classifier": release.classifier,
                "model_versions": versions,
                "params:publishing": PublishingOptions(**options),
                "releases": ReleasesDataset(path=str(tmp_path / "releases")),
            },
        )
        return made["releases"]

    return publish


def test_the_newest_classifier_is_the_latest_release_with_its_own_score(publish):
    publish(V1, 0.9)
    releases = publish(V2, 0.95)
    assert releases.latest == V2
    assert list(releases) == [V1, V2]
    assert releases.describe(V2)["metrics"]["accuracy"] == 0.95
    assert releases.load().version == V2


def test_what_was_not_evaluated_is_not_published(publish):
    releases = publish(V1, 0.9)
    with pytest.raises(SoundxError, match=f"{V2} was not evaluated") as caught:
        publish(V2, None)
    assert caught.value.remedy is Remedy.EVALUATE
    assert releases.latest == V1


def test_what_is_worse_is_published_only_by_force(publish):
    publish(V1, 0.9)
    with pytest.raises(DatasetError, match=r"-20\.0 points") as caught:
        publish(V2, 0.7)
    assert find_soundx_error(caught.value).remedy == Setting("publishing.force", "true")
    assert publish(V3, 0.7, force=True).latest == V3


def test_its_step_is_this():
    assert steps(create_pipeline()) == ["publishing.publish_classifier"]


def test_what_is_told_of_a_release_is_shown_and_not_obeyed(publish, tmp_path):
    facts = publish(V1, 0.9).describe(V1)
    marked = f"[/nope][link=http://evil.example]{FORGED}"
    facts |= {"version": marked, "published": marked}
    facts["metrics"]["n_test_clips"] = marked
    whole = json.dumps(with_checksum(facts))
    (tmp_path / f"releases/{V1}/release.json").write_text(whole)
    project = tmp_path / "project"
    (project / "conf/local").mkdir(parents=True)
    (project / "conf/base").symlink_to(ROOT / "conf/base")
    (project / "src").mkdir()  # Kedro wants one inside the project
    (project / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    (project / "conf/local/globals.yml").write_text(f"releases: {tmp_path}/releases\n")
    told = command("releases", "--env=local", project=project)
    assert told.exit_code == 0, told.output
    assert "[/nope][link=" in told.output
    assert told.output.replace("\n", "").isprintable()
    assert not any(line.startswith("Error: ") for line in told.output.splitlines())
