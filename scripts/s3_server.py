#!/usr/bin/env python3
"""A real S3 server on this machine, to try soundx's buckets or to test them.

OpenStack Swift with its S3 interface, from the package index, in an environment of its own
(``.venv-s3``); one node, four processes, on loopback only.

    python scripts/s3_server.py            start, print endpoint and keys, stop on Ctrl-C
    python scripts/s3_server.py --port 8100 --data build/s3
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv-s3"
LOCK = ROOT / "requirements-s3.lock"
KEY, SECRET = "soundx:dev", "testing"

_SERVERS = {"object": 1, "container": 2, "account": 3, "proxy": 0}
"""Server and its port, counted from the proxy's."""

_BACKEND = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
devices = {data}/srv
mount_check = false
disable_fallocate = true
workers = 0
swift_dir = {data}/etc
log_level = WARNING
log_address = /dev/null
user = {user}
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""

_FILTERS = {
    "catch_errors": "",
    "gatekeeper": "",
    "healthcheck": "",
    "cache": "use = egg:swift#memcache\nmemcache_servers = 127.0.0.1:1",
    "listing_formats": "",
    "bulk": "",
    "s3api": "s3_acl = no\nlocation = us-east-1\nmax_bucket_listing = {page}",
    "tempauth": "{users}",
    "copy": "",
    "slo": "",
    "dlo": "",
    "versioned_writes": "allow_versioned_writes = true\nallow_object_versioning = true",
    "symlink": "",
}

_PROXY = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {data}/etc
user = {user}
log_level = WARNING
log_address = /dev/null
[pipeline:main]
pipeline = {pipeline} proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
"""


class S3Server:
    """The server, running between ``start`` and ``stop``.

    Args:
        data: Folder for its configuration and objects; what is in it is served again.
        port: Its port; the three after it are used too. 0 looks for four free ones.
        page: Objects in one answer to a listing.
    """

    def __init__(self, data: Path, port: int = 0, *, page: int = 1000) -> None:
        self.data = data.resolve()
        self.page = page
        self.port = port or _free_ports()
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """What boto3, s3fs and the AWS command line read to use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self, *, patience_s: float = 60.0) -> None:
        """Install it where that is needed, start its processes, wait for all four ports."""
        install()
        self._configure()
        log = (self.data / "server.log").open("wb")
        for name in _SERVERS:
            command = [VENV / "bin" / f"swift-{name}-server", self.data / "etc" / f"{name}.conf"]
            # a session of its own: a Swift server that ends signals its whole process group
            self._processes.append(
                subprocess.Popen(
                    [str(c) for c in command], stdout=log, stderr=log, start_new_session=True
                )
            )
        deadline = time.monotonic() + patience_s
        for offset in sorted(_SERVERS.values(), reverse=True):
            while True:
                try:
                    socket.create_connection(("127.0.0.1", self.port + offset), 1).close()
                    break
                except OSError:
                    died = any(process.poll() is not None for process in self._processes)
                    if died or time.monotonic() > deadline:
                        self.stop()
                        raise RuntimeError(f"the S3 server did not start: {log.name}") from None
                    time.sleep(0.05)

    def stop(self) -> None:
        """End the processes that were started here."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        self._processes.clear()

    def _configure(self) -> None:
        etc = self.data / "etc"
        for folder in ("etc", "srv/d1"):
            (self.data / folder).mkdir(parents=True, exist_ok=True)
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True)
        fill = {"data": self.data, "user": user.stdout.strip()}
        (etc / "swift.conf").write_text(
            "[swift-hash]\nswift_hash_path_prefix = soundx\nswift_hash_path_suffix = soundx\n"
            "[storage-policy:0]\nname = default\ndefault = yes\n"
            "[swift-constraints]\nmax_header_size = 16384\n"
        )
        for name, offset in _SERVERS.items():
            if name == "proxy":
                continue
            port = self.port + offset
            (etc / f"{name}.conf").write_text(_BACKEND.format(name=name, port=port, **fill))
            self._build_ring(name, port)
        pipeline = " ".join(_FILTERS)
        proxy = _PROXY.format(port=self.port, pipeline=pipeline, **fill)
        # the second user may read and write nothing: to see what a refusal looks like
        users = f"user_soundx_dev = {SECRET} .admin\nuser_other_guest = {SECRET}"
        for name, options in _FILTERS.items():
            use = "" if options.startswith("use") else f"use = egg:swift#{name}\n"
            proxy += f"[filter:{name}]\n{use}{options.format(users=users, page=self.page)}\n"
        (etc / "proxy.conf").write_text(proxy)

    def _build_ring(self, name: str, port: int) -> None:
        etc = self.data / "etc"
        builder = [str(VENV / "bin" / "swift-ring-builder"), f"{name}.builder"]
        for old in (f"{name}.builder", f"{name}.ring.gz"):
            (etc / old).unlink(missing_ok=True)
        device = f"r1z1-127.0.0.1:{port}/d1"
        for step in (["create", "4", "1", "0"], ["add", device, "1"], ["rebalance"]):
            subprocess.run([*builder, *step], cwd=etc, check=False, capture_output=True)
        if not (etc / f"{name}.ring.gz").exists():
            raise RuntimeError(f"swift-ring-builder made no ring for {name}")


def install() -> None:
    """Install Swift into its own environment, once."""
    if (VENV / "bin" / "swift-proxy-server").exists():
        return
    print("Installing the S3 server into .venv-s3 (once) ...", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-qq"]
    # as bootstrap.sh, but one of its packages has wheels for Linux alone
    exactly = ["--no-deps", "--require-hashes", "-r", str(LOCK)]
    subprocess.run([*pip, "install", *exactly], check=True)
    subprocess.run([*pip, "check"], check=True)


def _free_ports() -> int:
    """Return the first of four free ports in a row."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        if first > 65_000:  # noqa: PLR2004
            continue
        try:
            for port in range(first, first + 4):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


def main() -> None:
    """Start the server, make the two buckets, say how to use it, wait for Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--data", type=Path, default=ROOT / "build" / "s3")
    options = parser.parse_args()
    server = S3Server(options.data, options.port)
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    try:
        server.start()
        _make_buckets(server, "soundx-audio-dataset", "soundx-models")
        print("An S3 server runs here, with the buckets soundx-audio-dataset and soundx-models.")
        print("To use it, in another terminal:\n")
        for name, value in server.variables.items():
            print(f"export {name}={value}")
        print("\nCtrl-C stops it; its objects stay in", options.data, flush=True)
        signal.pause()
    except KeyboardInterrupt:
        print("Stopping ...")
    finally:
        server.stop()


def _make_buckets(server: S3Server, *names: str) -> None:
    import boto3

    os.environ.update(server.variables)
    client = boto3.client("s3")
    known = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for name in names:
        if name not in known:
            client.create_bucket(Bucket=name)


if __name__ == "__main__":
    main()
