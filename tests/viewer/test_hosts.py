"""Whom the viewer's server answers, and as whom: a real server, and what a browser sends it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from soundx.running.runs import PASSWORD
from tests.conftest import ROOT

REFUSED, SWITCHED = 403, 101


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    command = [sys.executable, "-m", "soundx.viewer", f"--server.port={number}"]
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1", PASSWORD: "right"},
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


def drawn(session: ClientConnection) -> list[Any]:
    """The elements of a page, once it is drawn whole."""
    elements = []
    while True:
        message = ForwardMsg.FromString(session.recv(60))
        kind = message.WhichOneof("type")
        if kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            elements.append(message.delta.new_element)
        if kind == "script_finished":
            return elements


@pytest.mark.slow
def test_nobody_gets_more_guesses_by_naming_other_addresses(port):
    with ExitStack() as opened:
        sessions = [
            opened.enter_context(
                connect(
                    f"ws://127.0.0.1:{port}/_stcore/stream",
                    subprotocols=[Subprotocol("streamlit")],
                    additional_headers={"X-Forwarded-For": f"10.1.0.{number}"},
                )
            )
            for number in range(4)
        ]
        guesses = []
        for session in sessions:
            show = BackMsg()
            show.rerun_script.page_name = "train"
            session.send(show.SerializeToString())
            shown = {element.WhichOneof("type"): element for element in drawn(session)}
            widgets = show.rerun_script.widget_states.widgets
            widgets.add(id=shown["text_input"].text_input.id, string_value="wrong")
            widgets.add(id=shown["button"].button.id, trigger_value=True)
            guesses.append(show.SerializeToString())
        for session, guess in zip(sessions, guesses, strict=True):
            session.send(guess)
        answers = [element for session in sessions for element in drawn(session)]
    said = [answer.alert.body for answer in answers if answer.WhichOneof("type") == "alert"]
    assert len(said) == len(sessions)
    assert any(message.startswith("Too soon") for message in said)
