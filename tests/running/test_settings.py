"""What stands in two places because two readers look for it there: they agree."""

from __future__ import annotations

import soundx.settings
from soundx.running.catalog import LOADER_ARGS, ConfLoader
from tests.conftest import ROOT


def test_the_package_logs_as_the_project_does():
    project, package = ROOT / "conf/logging.yml", ROOT / "src/soundx/logging.yml"
    assert package.read_text() == project.read_text()


def test_a_run_and_the_viewer_read_conf_alike():
    assert soundx.settings.CONFIG_LOADER_ARGS is LOADER_ARGS
    assert soundx.settings.CONFIG_LOADER_CLASS is ConfLoader
