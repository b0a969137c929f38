"""Runs that are killed, and what their folders hold afterwards."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import soundfile

from soundx.running import DEFAULT
from soundx.storage.checksum import CHECKSUM
from tests.conftest import ROOT

PATIENCE_S = 300.0

CATALOG = """
bucket_clips:
  type: soundx.datasets.clips.SynthesisedClipsDataset
  clips_per_label: 6
  background_clips: 6
  seed: 7
"""
GLOBALS = "embedder: logmel\ndata_root: data\n"

PIPELINES = (*DEFAULT, "publishing", "listening", "review")
"""The pipelines, each on what those before it left."""

# times and speeds
_NEVER_THE_SAME = {"last_run.json", "embedding_report.json", "recording_report.json"}
_TIME = re.compile(rb"20\d\d-\d\d-\d\dT\d\d[.:]\d\d[.:]\d\d[^\s\"',`|)]*")
_VERSION = re.compile(rb"20\d\d-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{3}Z")
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OBJECT = re.compile(rb"\"shared_object_id\": \d+")
_OF_TIMES = {CHECKSUM, "files"}  # checksums of what holds a time


def make_project(folder: Path) -> Path:
    """Make a project whose clips are few and made from nothing."""
    (folder / "conf/crash").mkdir(parents=True)
    (folder / "src").mkdir()
    (folder / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    for shared in ("base", "logging.yml"):
        (folder / "conf" / shared).symlink_to(ROOT / "conf" / shared)
    (folder / "conf/crash/catalog.yml").write_text(CATALOG)
    (folder / "conf/crash/globals.yml").write_text(GLOBALS)
    rng = np.random.default_rng(7)
    (folder / "recordings").mkdir()
    for number, seconds in enumerate((20, 400, 700)):
        noise = 0.1 * rng.standard_normal(seconds * 16_000)
        soundfile.write(folder / "recordings" / f"{number}.flac", noise, 16_000)
    return folder


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        status: Exit status, negative for a signal.
        seconds: How long it took.
        said: What it printed.
    """

    status: int
    seconds: float
    said: str


class Runs:
    """Runs of a project, each a process of its own."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self._log = project / "log.txt"
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.server", str(project)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._answer() == "ready"

    def close(self) -> None:
        """End the process that forks."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(PATIENCE_S)

    def run(
        self,
        pipeline: str,
        data_root: Path,
        *,
        kill_after_s: float | None = None,
        at: tuple[float, Callable[[], object]] | None = None,
        largest_file: int | None = None,
        **params: Any,
    ) -> Ended:
        """Run a pipeline to its end, or to the moment it is killed at.

        Args:
            pipeline: Which.
            data_root: On which data.
            kill_after_s: When it is killed, unless it has ended.
            at: When something happens to it, and what.
            largest_file: Bytes that a file may have; more is as if the disk were full.
            params: Parameters.
        """
        self._log.unlink(missing_ok=True)
        params |= {"data_root": str(data_root), "releases": str(data_root / "releases")}
        params |= {"recordings": str(self.project / "recordings")}
        asked = {"pipelines": [pipeline], "params": params, "log": str(self._log)}
        if largest_file is not None:
            asked["largest_file"] = largest_file
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(asked).encode() + b"\n")
        self._server.stdin.flush()
        begin = time.perf_counter()
        process = int(self._answer())
        if kill_after_s is not None and not self._ends_within(kill_after_s):
            os.kill(process, signal.SIGKILL)
        if at is not None and not self._ends_within(at[0]):
            at[1]()
        status = int(self._answer())
        seconds = time.perf_counter() - begin
        return Ended(status, seconds, self._log.read_text(errors="replace"))

    def _ends_within(self, seconds: float) -> bool:
        return bool(select.select([self._server.stdout], [], [], max(seconds, 0.0))[0])

    def _answer(self) -> str:
        assert self._server.stdout is not None
        assert self._ends_within(PATIENCE_S), "the run does not end"
        # unbuffered: what has been read ahead, select does not see
        line = b""
        while not line.endswith(b"\n"):
            piece = os.read(self._server.stdout.fileno(), 1)
            assert piece, "the process that forks has died"
            line += piece
        return line.decode().strip()


def state_of(root: Path) -> dict[str, str]:
    """Return a digest of every file that two runs must leave the same.

    Left out are the times and speeds of runs; versions and other times are taken as one; what
    is older than the newest model, and what a killed run left hidden, is left out too.
    """
    versions = root / "06_models/versions"
    kept = sorted(versions.iterdir()) if versions.is_dir() else []
    state = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if not path.is_file() or path.name in _NEVER_THE_SAME:
            continue
        if any(part.startswith(".") and part != ".soundx" for part in relative.parts):
            continue
        if any(old in path.parents for old in kept[:-1]):
            continue
        if "partial" in relative.parts or path.name.endswith(("-wal", "-shm")):
            continue
        name = _TIME.sub(b"TIME", str(relative).encode()).decode()
        state[name] = hashlib.sha256(_same(path)).hexdigest()[:16]
    return state


def _same(path: Path) -> bytes:
    """Return what must be the same of a file."""
    if path.suffix == ".sqlite":
        return _rows(path)
    if path.suffix == ".keras":
        return _weights(path)
    content = path.read_bytes()
    if path.suffix == ".tflite":  # its metadata names the version, and nothing else is of a time
        return _VERSION.sub(b"VERSION", content)
    if path.name in ("heads.json", "labels.json", "release.json", "latest.json"):
        content = json.dumps(_without(json.loads(content)), sort_keys=True).encode()
    if path.suffix in (".json", ".md", ".csv", ".html"):
        content = _UUID.sub(b"UUID", _TIME.sub(b"TIME", content))
    if path.suffix == ".json" and CHECKSUM.encode() in content:
        content = json.dumps(_without(json.loads(content)), sort_keys=True).encode()
    return content


def _without(content: Any) -> Any:
    if isinstance(content, dict):
        return {k: _without(v) for k, v in content.items() if k not in _OF_TIMES}
    return content


def _rows(path: Path) -> bytes:
    said = []
    copy = path.with_name(".copy-to-read")
    for end in ("", "-wal"):
        if Path(f"{path}{end}").exists():
            shutil.copyfile(f"{path}{end}", f"{copy}{end}")
    try:
        with closing(sqlite3.connect(copy)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            for table, columns in (
                ("files", "key, version, size"),
                ("refused", "key, reason"),
                ("origin", "url"),
                ("scans", "path, found"),
            ):
                if table in tables:
                    rows = database.execute(f"SELECT {columns} FROM {table} ORDER BY 1")
                    said.append([table, *rows])
    finally:
        for end in ("", "-wal", "-shm"):
            Path(f"{copy}{end}").unlink(missing_ok=True)
    return json.dumps(said).encode()


def _weights(path: Path) -> bytes:
    said = hashlib.sha256()
    with zipfile.ZipFile(path) as packed:
        said.update(_OBJECT.sub(b"", packed.read("config.json")))
        with h5py.File(io.BytesIO(packed.read("model.weights.h5")), "r") as weights:
            weights.visititems(
                lambda name, entry: (
                    said.update(name.encode() + entry[()].tobytes())
                    if isinstance(entry, h5py.Dataset)
                    else None
                )
            )
    return said.digest()
