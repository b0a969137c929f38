from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.conftest import ROOT
from tests.running.projects import project, project_on  # noqa: F401  fixtures

PAGE = """
from pathlib import Path
from soundx.viewer import {name}
from soundx.viewer.project import Project, guarded

guarded(lambda: {name}.page(Project(Path.cwd(), None)))()
"""


@pytest.fixture
def project_at(monkeypatch, tmp_path) -> Callable[[Path], Path]:
    """Make a project whose data lie where we say, and go there."""

    def make(data_root: Path) -> Path:
        root = tmp_path / "project"
        (root / "conf/local").mkdir(parents=True)
        for env in ("base", "demo"):
            (root / "conf" / env).symlink_to(ROOT / "conf" / env)
        (root / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
        settings = f"data_root: {data_root}\nreleases: {tmp_path}/releases\n"
        (root / "conf/local/globals.yml").write_text(settings)
        monkeypatch.chdir(root)
        monkeypatch.delenv("KEDRO_ENV", raising=False)
        return root

    return make


def open_page(name: str) -> AppTest:
    """Open one page of the viewer in the project that we are in."""
    page = AppTest.from_string(PAGE.format(name=name), default_timeout=120).run()
    assert not page.exception
    return page
