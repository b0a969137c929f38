"""Files beside the code that have to agree with it, and with each other."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from soundx import __version__
from tests.conftest import ROOT
from tests.packaging.locks import pinned

LOCKS = ("requirements.lock", "requirements-mlflow.lock", "requirements-s3.lock")


def test_one_version_is_named_everywhere():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert str(cited["version"]) == __version__
    assert newest is not None
    assert newest[1] == __version__


def test_the_citation_has_what_its_format_asks_for():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert cited["license"] == project["license"]
    assert cited["authors"] == project["authors"]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host(lock):
    assert not re.search(
        r"https?://|file:|--(extra-)?index-url|--find-links", (ROOT / lock).read_text()
    )


def test_what_two_locks_name_is_of_one_version_in_both():
    ours, with_mlflow, s3_server = (pinned(ROOT / lock) for lock in LOCKS)
    assert len(ours.keys() & with_mlflow.keys()) > 100
    for other in (with_mlflow, s3_server):
        differing = {name for name in ours.keys() & other.keys() if ours[name] != other[name]}
        assert not differing
    assert {"mlflow", "kedro-mlflow"} <= with_mlflow.keys() - ours.keys()
