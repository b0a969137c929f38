"""The documentation, built as ``make docs`` does and read in a browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.helpers import served
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    with served(site) as address:
        yield address


def test_pages_need_no_other_host_and_fit_a_phone(browser: Browser, site: Path, url: str):
    page = browser.new_page(viewport={"width": 420, "height": 900})
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda got: wrong.append(got.url) if got.status >= 400 else None)
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    assert "tutorial.html" in pages
    for name in pages:
        page.goto(f"{url}/{name}", wait_until="networkidle")
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wider <= 0, f"{name} scrolls sideways"
    page.close()
    assert [address for address in asked if not address.startswith(url)] == []
    assert wrong == []


def test_pages_name_nothing_of_another_host_to_load(site: Path):
    """Icons too, which a browser without a window does not fetch."""
    foreign = re.compile(
        r"<(?:link|script|img|iframe|use)\b[^>]*?(?:href|src)=[\"']?((?:https?:)?//[^\"' >]+)"
        r"|url\([\"']?((?:https?:)?//[^)]+)|@import\s+[\"']?((?:https?:)?//\S+)"
    )
    found = [
        (path.name, hit.group(0))
        for path in site.rglob("*")
        if path.suffix in (".html", ".css", ".svg")
        for hit in foreign.finditer(path.read_text(errors="replace"))
    ]
    assert found == []


def test_the_search_finds_a_parameter(browser: Browser, url: str):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    # typed before the page listens, the words would be lost
    page.goto(f"{url}/index.html", wait_until="networkidle")
    page.get_by_role("textbox", name="Search").press_sequentially("patience_epochs")
    found = page.locator(".md-search-result__item", has_text="Parameters")
    expect(found).to_contain_text("training.patience_epochs")
    page.close()
