"""What a visitor does in the viewer: open, wait, click, upload, play, tab; and folders served."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, expect

SCREENSHOT_BYTES = 300_000
# A click starts a rerun only when the server has heard of it.
LISTEN = """
window.WebSocket = class extends WebSocket {
  constructor(...options) {
    super(...options);
    this.addEventListener("message", () => { window.unanswered = false; });
  }
  send(data) {
    window.unanswered = true;
    super.send(data);
  }
};
"""
# Still for a while, because some widgets wait a little before they ask for a rerun, and charts
# draw themselves after the script has ended.
SETTLED = """quiet => {
  const app = document.querySelector('[data-testid="stApp"]');
  const busy = !app
    || window.unanswered
    || app.dataset.testScriptState !== "notRunning"
    || app.dataset.testConnectionState !== "CONNECTED"
    || document.fonts.status !== "loaded"
    || [...document.images].some(image => !image.complete)
    || document.querySelector('[data-testid="stSkeleton"], [data-testid="stAppSkeleton"], '
      + '[data-testid="stStatusWidget"], [data-testid="stSpinner"], [data-stale="true"]');
  const shape = document.body.innerHTML.length;
  if (busy || shape !== window.lastShape) {
    window.lastShape = shape;
    window.stillSince = performance.now();
  }
  return performance.now() - window.stillSince > quiet;
}"""
# Streamlit scrolls inside the page: the document itself never overflows.
OVERFLOW = """() => {
  const inner = [...document.querySelectorAll('[data-testid="stMain"]')];
  return [document.scrollingElement, ...inner].map(box => box.scrollWidth - innerWidth);
}"""
# Only what can be used: Streamlit's scrolling box takes the focus too, and contains every text.
FOCUSED = """() => {
  const focused = document.activeElement;
  const usable = "a, button, input, textarea, select, summary, audio, [role=button], [role=tab], "
    + "[role=radio], [role=checkbox], [role=slider], [role=combobox], [role=option], [role=grid]";
  if (!focused.matches(usable)) return "";
  const labels = [...(focused.labels ?? [])].map(label => label.innerText);
  return [focused.ariaLabel, focused.innerText, ...labels].filter(Boolean).join(" ");
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder on loopback, and give the address, without a slash."""
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def settle(page: Page, timeout_s: float = 60) -> None:
    """Wait until Streamlit has run, drawn and loaded everything; fail on an exception shown."""
    page.evaluate("window.lastShape = null")
    page.wait_for_function(SETTLED, arg=300, polling=50, timeout=timeout_s * 1000)
    expect_no_exception(page)


def expect_no_exception(page: Page) -> None:
    shown = page.get_by_test_id("stException").all_inner_texts()
    assert not shown, "\n".join(shown)


def open_page(page: Page, url_path: str = "") -> None:
    """Open a page of the viewer by its ``url_path``; the first page has none."""
    page.goto(f"/{url_path}")
    settle(page)
    expect(page.get_by_text("Page not found")).to_have_count(0)


def upload(page: Page, *files: Path, label: str = "") -> None:
    """Give files to the uploader with this label."""
    uploader = page.get_by_test_id("stFileUploader").filter(has_text=label)
    uploader.locator("input[type=file]").set_input_files(files)
    for file in files:
        expect(uploader.get_by_text(file.name)).to_be_visible()
    expect(uploader.get_by_test_id("stFileChipIconSpinner")).to_have_count(0)
    settle(page)


def play(audio: Locator) -> None:
    """Play an ``<audio>`` element until its time has moved on."""
    audio.evaluate("audio => audio.play()")
    expect(audio).not_to_have_js_property("currentTime", 0)
    audio.evaluate("audio => audio.pause()")


def tab_to(page: Page, text: str, presses: int = 60) -> None:
    """Press Tab until what has the focus is named so."""
    seen = []
    for _ in range(presses):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUSED))
        if text in seen[-1]:
            return
    raise AssertionError(f"Tab never reaches {text!r}: {seen}")


def expect_fits(page: Page) -> None:
    """Expect nothing to be wider than the window."""
    assert max(page.evaluate(OVERFLOW)) <= 1


def picture(page: Page, path: Path, height: int) -> None:
    """Write a screenshot, the window made so high for it."""
    window = page.viewport_size
    assert window
    page.set_viewport_size({"width": window["width"], "height": height})
    settle(page)
    image = page.screenshot(animations="disabled")
    page.set_viewport_size(window)
    quantise(image, path)


def quantise(png: bytes, path: Path) -> None:
    """Write a picture small enough to be kept."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < SCREENSHOT_BYTES
