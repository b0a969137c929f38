from __future__ import annotations

from streamlit.testing.v1 import AppTest

from soundx.datasets.catalog import open_catalog
from tests.conftest import ROOT


def run_app(monkeypatch, tmp_path, data_root):
    """Run the page on a project whose data lie where we say."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "conf").mkdir()
    for env in ("base", "demo"):
        (project / "conf" / env).symlink_to(ROOT / "conf" / env)
    (project / "conf/local").mkdir()
    (project / "conf/local/globals.yml").write_text(f"data_root: {data_root}\n")
    monkeypatch.chdir(project)
    monkeypatch.delenv("KEDRO_ENV", raising=False)
    return AppTest.from_file(str(ROOT / "src/soundx/viewer/app.py"), default_timeout=60).run()


def test_it_shows_what_the_demo_came_to(demo, monkeypatch, tmp_path):
    app = run_app(monkeypatch, tmp_path, demo)
    assert not app.exception
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Clips"] == "360"
    assert shown["Labels"] == "12"
    assert shown["Accuracy on clips it never heard"].endswith("%")


def test_an_empty_project_says_how_to_begin(monkeypatch, tmp_path):
    app = run_app(monkeypatch, tmp_path, tmp_path / "none")
    assert not app.exception
    assert "make run" in app.info[0].value


def test_the_catalog_opens_without_a_session():
    catalog = open_catalog(ROOT, "demo")
    assert "data/demo/02_intermediate" in str(catalog["clip_manifest"])
