"""A small HTTP proxy in front of the S3 server that makes what networks and servers make.

It passes requests on as they are (the Host header too, or signatures would not fit) and asks
a function of the test what to do to each.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

Fault = str | None
Decide = Callable[[str, str], Fault]

ERRORS = {
    "slow down": (503, "SlowDown"),
    "forbidden": (403, "AccessDenied"),
    "skewed clock": (403, "RequestTimeTooSkewed"),
    "other region": (301, "PermanentRedirect"),
}


class FaultProxy:
    """The proxy, running between ``start`` and ``stop``.

    Attributes:
        decide: Called with method and decoded path-and-query of every request; returns
            None to pass it on, or a fault: a key of ``ERRORS``, ``reset``, ``truncate``,
            ``stall`` or ``corrupt``.
        n_faults: Faults made so far.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.decide: Decide = lambda method, path: None
        self.n_faults = 0
        self.released = threading.Event()
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                proxy._handle(self)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        with self._lock:
            fault = self.decide(request.command, unquote(request.path))
            self.n_faults += fault is not None
        if fault in ERRORS:
            self._refuse(request, *ERRORS[fault])
            return
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        try:
            connection.putrequest(
                request.command, request.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date"):
                request.send_header(name, value)
        length = answer.getheader("Content-Length") or str(len(content))
        request.send_header("Content-Length", length)
        request.end_headers()
        if fault == "corrupt" and content:
            content = bytes([content[0] ^ 0xFF]) + content[1:]
        if fault in ("reset", "truncate", "stall"):
            request.wfile.write(content[: len(content) // 2])
            request.wfile.flush()
            if fault == "stall":
                self.released.wait(30)
            if fault == "reset":
                linger = struct.pack("ii", 1, 0)
                request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            request.close_connection = True
            return
        if request.command != "HEAD":
            request.wfile.write(content)

    def _refuse(self, request: BaseHTTPRequestHandler, status: int, code: str) -> None:
        content = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
        request.send_response(status)
        request.send_header("Content-Type", "application/xml")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content.encode())
