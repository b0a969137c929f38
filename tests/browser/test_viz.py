"""What a visitor of the lineage sees: the site of `make viz-build`, and `kedro viz run`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import urllib3
from playwright.sync_api import expect

from tests.browser.helpers import play, quantise, served
from tests.conftest import ROOT

LAYERS = [
    "raw", "intermediate", "primary", "feature", "model_input", "models", "model_output",
    "reporting",
]  # fmt: skip


@pytest.fixture(scope="session")
def site(demo, tmp_path_factory):
    """Folder and address of the static site of a demo that ran."""
    folder = tmp_path_factory.mktemp("viz") / "site"
    subprocess.run(
        [sys.executable, "scripts/build_viz.py", str(folder), "--env=demo",
         f"--params=data_root={demo}"],
        cwd=ROOT, check=True, timeout=300, capture_output=True,
    )  # fmt: skip
    with served(folder) as address:
        yield folder, f"{address}/"


@pytest.fixture
def graph(site, browser):
    """The graph, opened by somebody who was here before: no tour of what is new."""
    page = browser.new_page(viewport={"width": 1500, "height": 950})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.add_init_script(
        "localStorage.KedroViz = JSON.stringify({showFeatureHints: false, theme: 'light'})"
    )
    page.goto(site[1])
    expect(page.locator(".pipeline-node", has_text="raw_clips")).to_be_visible()
    yield page
    page.close()
    ours = (site[1], "data:", "blob:")
    assert [url for url in asked if not url.startswith(ours)] == []


def open_panel(page, name):
    """Click a dataset in the list, return the panel about it."""
    if not page.get_by_role("button", name=name, exact=True).count():
        page.get_by_role("button", name="Expand all modular pipelines").click()
    page.get_by_role("button", name=name, exact=True).first.click()
    panel = page.locator(".pipeline-metadata--visible")
    expect(panel.get_by_role("heading", name=name)).to_be_visible()
    return panel


def test_the_graph_is_read_at_once(graph, site, tmp_path):
    for pipeline in ("ingestion", "preprocessing", "training", "evaluation"):
        expect(graph.locator(f".pipeline-node[data-id={pipeline}]")).to_be_visible()
    shown = graph.locator(".pipeline-layer-name").all_inner_texts()
    assert shown == [layer for layer in LAYERS if layer in shown]
    api = json.loads((site[0] / "api/main").read_text())
    assert api["layers"] == LAYERS
    connected = {end for edge in api["edges"] for end in (edge["source"], edge["target"])}
    assert {node["id"] for node in api["nodes"]} <= connected, "an orphan"
    for node in api["nodes"]:
        if node["type"] == "task":
            assert node["tags"]
            assert node["modular_pipelines"]
        if node["type"] == "data":
            assert node["layer"] in LAYERS
    folder = ROOT / "docs/images" if os.environ.get("SOUNDX_SCREENSHOTS") == "1" else tmp_path
    graph.set_viewport_size({"width": 1200, "height": 1000})
    graph.get_by_role("button", name="Hide menu").click()
    graph.get_by_role("button", name="Turn minimap off").click()
    graph.mouse.move(900, 5)
    graph.wait_for_timeout(1000)  # for the picture: the graph glides to its new place
    quantise(graph.screenshot(), folder / "viz.png")
    panel = open_clips(graph)
    expect(panel.locator("audio").first).to_be_visible()
    where = panel.get_by_text("01_raw")  # a path of this machine
    quantise(graph.screenshot(mask=[where], mask_color="#fff"), folder / "viz_clips.png")


def open_clips(page):
    page.locator(".pipeline-node", has_text="raw_clips").click()
    return page.locator(".pipeline-metadata")


@pytest.mark.parametrize("name", ["raw_clips", "bucket_clips"])
def test_clips_can_be_heard_and_seen(graph, name):
    panel = open_panel(graph, name)
    expect(panel.locator("audio")).to_have_count(12)
    play(panel.locator("audio").first)
    expect(panel.get_by_text("beeper-00a.wav")).to_be_visible()
    width = panel.locator("img[alt^='Mel spectrogram']").first.evaluate("i => i.naturalWidth")
    assert width > 100


@pytest.mark.parametrize(
    ("name", "selector", "text"),
    [
        ("clip_manifest", "table", "BACKGROUND"),
        ("per_class_metrics", "table", "NATURE_RAIN"),
        ("test_predictions", "table", "predicted_label"),
        ("metrics", ".preview-json, [class*=json]", "balanced_accuracy"),
        ("confusion_matrix_plot", ".js-plotly-plot", "true label"),
        ("training_curves", ".js-plotly-plot", "no epochs"),
        ("reliability_plot", ".js-plotly-plot", "how sure it was"),
        ("model_card", "h2", "What it does"),
    ],
)
def test_datasets_have_previews(graph, name, selector, text):
    panel = open_panel(graph, name)
    expect(panel.locator(selector).filter(has_text=text).first).to_be_visible()


def test_a_folder_that_is_no_site_stays(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    command = [sys.executable, "scripts/build_viz.py", str(tmp_path), "--env=demo"]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert "is not a site of Kedro-Viz" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "keep"


def is_free(port: int) -> bool:
    """Whether nobody listens there. Kedro-Viz takes none of the ports that bind(0) gives."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_last_run_is_shown_by_the_live_server(own_demo, tmp_path):
    """Times and sizes, as Kedro-Viz notes them down in any ``kedro run``."""
    kedro = str(Path(sys.executable).with_name("kedro"))
    where = ["--env=demo", f"--params=data_root={own_demo}"]
    subprocess.run([kedro, "run", "--pipelines=evaluation", *where], cwd=ROOT, check=True)
    port = next(number for number in range(20_000, 30_000) if is_free(number))
    command = [
        kedro, "viz", "run", "--no-browser", "--autoreload", f"--port={port}", *where,
    ]  # fmt: skip
    with (tmp_path / "log.txt").open("w+") as log:
        server = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            # until it listens
            again = urllib3.Retry(90, backoff_factor=0.2, backoff_max=1)
            url = f"http://127.0.0.1:{port}/api/run-status"
            answer = urllib3.request("GET", url, retries=again, timeout=60)
            status = answer.json()
            # a web page that has its own name point here
            rebound = {"Host": f"rebound.example:{port}"}
            refused = urllib3.request("GET", url, headers=rebound, retries=False, timeout=60)
            # a page of another host may send it, and the owner's keys would carry it out
            site = {"platform": "aws", "bucket_name": "s3://somebody-elses", "endpoint": "http://h"}
            deploy = f"http://127.0.0.1:{port}/api/deploy"
            published = urllib3.request("POST", deploy, json=site, retries=False, timeout=60)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(20)
            log.seek(0)
            print(log.read())  # noqa: T201 - where the test fails, it says why
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert refused.status == 400
    assert published.status == 405
    assert status["pipeline"]["status"] == "success"
    assert len(status["nodes"]) == 5
    assert all(node["duration"] > 0 for node in status["nodes"].values())
    sizes = {data["name"]: data["size"] for data in status["datasets"].values()}
    predictions = own_demo / "07_model_output/test_predictions.parquet"
    assert sizes["test_predictions"] == predictions.stat().st_size
