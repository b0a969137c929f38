"""A real S3 server for the tests of this folder: started before the first, stopped at the end."""

from __future__ import annotations

import importlib.util
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest

from tests.conftest import ROOT
from tests.s3.proxy import FaultProxy

_spec = importlib.util.spec_from_file_location("s3_server", ROOT / "scripts" / "s3_server.py")
assert _spec is not None
assert _spec.loader is not None
s3_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(s3_server)

PAGE = 100
"""Objects in one answer to a listing: a tenth of AWS's, so that more than a page is soon there."""

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    server = s3_server.S3Server(tmp_path_factory.mktemp("s3"), page=PAGE)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """A client, and an environment in which boto3 and s3fs find the server and nothing else."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("SOUNDX_CACHE", str(tmp_path / "cache"))
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    return boto3.client("s3")


@pytest.fixture
def stranger(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server that answers a request as the test has it, by ``answer(request, path)``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):  # whom it writes to may have gone
                found.answer(self, self.path)

        def log_message(self, *args: object) -> None:
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.daemon_threads = True
    found.stopped = threading.Event()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{found.server_port}")
    yield found
    found.stopped.set()
    found.shutdown()
    found.server_close()


@pytest.fixture
def fill(s3: Any) -> Callable[..., str]:
    """Put objects into a bucket, a new one unless it is named; return its name."""

    def put(objects: dict[str, bytes], bucket: str | None = None) -> str:
        if bucket is None:
            bucket = f"test-bucket-{next(_numbers)}"
            s3.create_bucket(Bucket=bucket)

        def one(item: tuple[str, bytes]) -> None:
            s3.put_object(Bucket=bucket, Key=item[0], Body=item[1])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, objects.items()))
        return bucket

    return put


@pytest.fixture
def proxy(server: Any, s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy before the server, which boto3 and s3fs now take for the server."""
    proxy = FaultProxy(server.endpoint)
    proxy.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    yield proxy
    proxy.stop()
