"""Names that others chose, in Kedro-Viz and the viewer: shown as they are, never obeyed."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Dialog, Page, expect

from tests.browser.conftest import make_project, serve
from tests.browser.helpers import LISTEN, expect_no_exception, served, settle
from tests.conftest import ROOT, run_kedro

STRIKE = "window.struck=1"
LABELS = [
    f'[x](y" onmouseover="{STRIKE}" onfocus="{STRIKE}" autofocus style="inset:0" z=")',
    f"<img src=x onerror={STRIKE}>",
    "![i](http:&sol;&sol;elsewhere.invalid&sol;i.png) **b** `c` $a_{$",
    f"[j](javascript:{STRIKE})_<svg onload={STRIKE}>",
    "www.elsewhere.invalid me@elsewhere.invalid http:&sol;&sol;elsewhere.invalid",
]
FILE = f'<b onclick={STRIKE}>[f](g" onmouseover="{STRIKE}" h=") {{}}.wav'
DATASETS = ["raw_clips", "clip_manifest", "model_card", "confusion_matrix_plot"]


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data root of a run on clips whose names are attacks."""
    source = tmp_path_factory.mktemp("hostile-clips")
    rng = np.random.default_rng(3)
    for number, label in enumerate(LABELS):
        (source / label).mkdir()
        for clip in range(8):
            seconds = np.arange(16_000) / 16_000
            tone = 0.4 * np.sin(2 * np.pi * (300 + 700 * number) * seconds)
            sound = tone + 0.02 * rng.standard_normal(16_000)
            soundfile.write(source / label / FILE.format(clip), sound, 16_000)
        (source / label / f"broken {FILE.format('x')}").write_text("words")
    root = tmp_path_factory.mktemp("hostile") / "data"
    run_kedro(source=str(source), data_root=str(root), embedder="logmel")
    return root


@pytest.fixture(scope="session", params=["with the policy", "without it"])
def viz(hostile: Path, tmp_path_factory: pytest.TempPathFactory, request) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("hostile-viz") / "site"
    where = f"--params=data_root={hostile}"
    subprocess.run(
        [sys.executable, "scripts/build_viz.py", str(folder), where],
        cwd=ROOT, check=True, timeout=300, capture_output=True,
    )  # fmt: skip
    if request.param == "without it":
        # names are made safe where they are written: the policy is the second lock, not the first
        index = folder / "index.html"
        head = index.read_text()
        assert "Content-Security-Policy" in head
        index.write_text(head.replace("Content-Security-Policy", "none"))
    with served(folder) as address:
        yield f"{address}/"


class Watched:
    """A page, and all that must not happen in it."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.page: Page = browser.new_page(viewport={"width": 1500, "height": 950})
        self.url = url
        self.asked: list[str] = []
        self.dialogs: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", self._dismiss)

    def _dismiss(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def expect_unharmed(self) -> None:
        assert self.dialogs == []
        assert self.page.evaluate("window.struck") is None
        for frame in self.page.frames:
            assert frame.evaluate("window.struck") is None
        ours = (self.url, "data:", "blob:", "about:")
        assert [url for url in self.asked if not url.startswith(ours)] == []


def touch_everything(page: Page, panel) -> None:
    """Move the pointer over whatever is shown and give it the focus: what would strike, strikes."""
    panel.evaluate(
        """panel => {
          for (const part of [panel, ...panel.querySelectorAll("*")])
            for (const kind of ["mouseover", "mouseenter", "focus", "load", "error"])
              part.dispatchEvent(new Event(kind));
        }"""
    )
    for link in panel.locator("a[href^='javascript']").all():
        link.click(force=True)


def test_the_graph_shows_hostile_names_as_they_are(viz, browser):
    watched = Watched(browser, viz)
    page = watched.page
    page.add_init_script("localStorage.KedroViz = JSON.stringify({showFeatureHints: false})")
    page.goto(viz)
    expect(page.locator(".pipeline-node", has_text="raw_clips")).to_be_visible()
    page.get_by_role("button", name="Expand all modular pipelines").click()
    panel = page.locator(".pipeline-metadata--visible")
    for name in DATASETS:
        page.get_by_role("button", name=name, exact=True).first.click()
        expect(panel.get_by_role("heading", name=name)).to_be_visible()
        preview = panel.locator(".pipeline-metadata__preview, .pipeline-metadata__preview-html")
        if name in ("raw_clips", "model_card"):
            expect(preview.first).to_contain_text("onmouseover=")
            assert panel.locator("a").count() == 0
            assert panel.locator("[onmouseover], [onerror], [onload], [onclick]").count() == 0
        touch_everything(page, panel)
        watched.expect_unharmed()
    page.close()


@pytest.fixture(scope="session")
def hostile_viewer(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(make_project(tmp_path_factory.mktemp("hostile-project"), hostile)) as url:
        yield url


@pytest.mark.parametrize("path", ["", "dataset", "evaluation", "model"])
def test_the_viewer_shows_hostile_names_as_they_are(hostile_viewer, browser, path):
    watched = Watched(browser, hostile_viewer)
    watched.page.add_init_script(LISTEN)
    page = watched.page
    page.goto(f"{hostile_viewer}/{path}")
    settle(page)
    for tab in page.get_by_role("tab").all():
        tab.click()
        settle(page)
        body = page.locator("[data-testid=stApp]")
        touch_everything(page, body)
        assert body.locator("[onmouseover], [onerror], [onload], [onclick]").count() == 0
        assert body.locator("a[href*='elsewhere.invalid']").count() == 0
    expect_no_exception(page)
    watched.expect_unharmed()
    page.close()


def test_files_of_a_run_hold_no_script(hostile: Path):
    """The confusion page and the card are opened outside of ours, too."""
    card = (hostile / "06_models/classifier/model_card.md").read_text()
    assert "\\<img src=x" in card
    assert "\\[x\\](y" in card
    pages = [*itertools.chain(hostile.rglob("*.html"))]
    for page in pages:
        assert "<img src=x" not in page.read_text()
