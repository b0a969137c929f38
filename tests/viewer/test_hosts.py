"""Whom the viewer's server answers: a real server, and handshakes as a browser writes them."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

WAYS = {
    "python -m soundx.viewer": ["-m", "soundx.viewer"],
    "make app": ["-m", "streamlit", "run", "src/soundx/viewer/app.py"],
}
REFUSED, SWITCHED = 403, 101


@pytest.fixture(
    scope="module",
    params=[name if name.startswith("python") else pytest.param(name, marks=pytest.mark.slow)
            for name in WAYS],
)  # fmt: skip
def port(request, tmp_path_factory) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    command = [sys.executable, *WAYS[request.param], f"--server.port={number}"]
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    hung = threading.Timer(60, server.kill)
    hung.start()
    # it says where it is as soon as it listens
    for line in server.stdout:
        if str(number) in line:
            break
    threading.Thread(target=server.stdout.read, daemon=True).start()
    yield number
    hung.cancel()
    server.send_signal(signal.SIGTERM)
    server.wait(20)


def handshake(port: int, host: str, origin: str | None) -> int:
    """Ask for a session, as a page of ``origin`` that was found under ``host`` does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {
        "Host": host,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "c291bmR4IHNheXMgaGV5IQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "streamlit",
    }
    if origin is not None:
        headers["Origin"] = origin
    connection.request("GET", "/_stcore/stream", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_sessions_are_for_the_names_that_are_served(port):
    for name in ("127.0.0.1", "localhost"):
        assert handshake(port, f"{name}:{port}", f"http://{name}:{port}") == SWITCHED
    # its own name made to point here: origin and host agree, and are not ours
    rebound = f"rebound.example:{port}"
    assert handshake(port, rebound, f"http://{rebound}") == REFUSED
    assert handshake(port, rebound, None) == REFUSED
    assert handshake(port, "127.0.0.1.evil.example", "http://127.0.0.1.evil.example") == REFUSED
    assert handshake(port, "", None) == REFUSED
