"""The viewer served on a project of its own, and Debian's Chromium to visit it with."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.helpers import LISTEN, expect_no_exception, picture
from tests.conftest import ROOT

START_S = 60
expect.set_options(timeout=30_000)  # two cores, often shared


@dataclass(frozen=True)
class Viewer:
    """A running viewer, its project, and the password of its Train page."""

    url: str
    project: Path
    data_root: Path
    password: str


def make_project(folder: Path, data_root: Path) -> Path:
    (folder / "conf/local").mkdir(parents=True)
    (folder / "src").mkdir()  # Kedro wants one inside the project
    for name in ("conf/base", "conf/demo", "conf/logging.yml", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "conf/local/globals.yml").write_text(f"data_root: {data_root}\nembedder: logmel\n")
    return folder


@pytest.fixture(scope="session")
def viewer(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """The viewer of a project that holds one run of the demo, a copy: it trains on."""
    data_root = Path(shutil.copytree(demo, tmp_path_factory.mktemp("viewer") / "data"))
    project = make_project(tmp_path_factory.mktemp("project"), data_root)
    password = "right password"
    with serve(project, SOUNDX_TRAIN_PASSWORD=password) as url:
        yield Viewer(url, project, data_root, password)


@contextmanager
def serve(project: Path, **variables: str) -> Iterator[str]:
    """Run the app in a project until the caller is done; yield its address."""
    port = free_port()
    with started(project, port, **variables):
        yield f"http://127.0.0.1:{port}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(project: Path, port: int, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the app in a project at a port until the caller is done; yield its process."""
    options = {
        "server.port": port,
        "server.address": "127.0.0.1",
        "server.headless": "true",
        "server.fileWatcherType": "none",
    }
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "src/soundx/viewer/app.py")]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    environment = {**os.environ, **variables}
    environment.pop("KEDRO_ENV", None)
    log = project / "streamlit.log"
    with log.open("wb") as output:
        # its own process group, for whatever it has started to end with it
        process = subprocess.Popen(
            command,
            cwd=project,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_healthy(process, port, log)
        yield process
    finally:
        for stop in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, stop)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)


def wait_until_healthy(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if is_healthy(port):
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
    raise AssertionError(f"The viewer does not start:\n{log.read_text()}")


def is_healthy(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--autoplay-policy=no-user-gesture-required"],
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(viewer: Viewer, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open tabs, each in a session of its own; fail on what went wrong in any of them."""
    pages: list[Page] = []
    errors: list[str] = []

    def new_page(width: int = 1280, height: int = 900) -> Page:
        context = browser.new_context(
            base_url=viewer.url,
            viewport={"width": width, "height": height},
            color_scheme="light",
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="UTC",
        )
        context.add_init_script(LISTEN)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        pages.append(page)
        return page

    yield new_page
    try:
        for page in pages:
            expect_no_exception(page)
        assert not errors
    finally:
        for page in pages:
            page.context.close()


@pytest.fixture
def page(visit: Callable[..., Page]) -> Page:
    """A window of 1280 x 900."""
    return visit()


@pytest.fixture
def phone(visit: Callable[..., Page]) -> Page:
    """A window of 420 x 900."""
    return visit(width=420)


@pytest.fixture
def shot(tmp_path: Path) -> Callable[..., None]:
    """Write ``<name>.png``: below docs/images where SOUNDX_SCREENSHOTS=1."""
    folder = ROOT / "docs/images" if os.environ.get("SOUNDX_SCREENSHOTS") == "1" else tmp_path

    def write(page: Page, name: str, height: int = 900) -> None:
        picture(page, folder / f"{name}.png", height)

    return write
