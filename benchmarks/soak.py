"""Long use: the viewer with many sessions that predict, and many runs in one process.

python benchmarks/soak.py viewer [--sessions 20] [--minutes 5]
python benchmarks/soak.py runs [--runs 100]

Sessions speak Streamlit's own protocol over WebSockets to a real server, as browsers do: each
opens the page Model and chooses one clip after another, with a pause between. Memory is what
the process holds (RSS), files are its open descriptors; the end is held against the time when
everything had been used once. It fails on an error, or where either has grown.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PAUSE_S = 3.0
ANSWER_S = 120.0
MORE_MEMORY = 1.15
MORE_FILES = 5
START_S = 90.0


def make_project(root: Path, clips_per_label: int) -> Path:
    """Write a project whose clips are the demo's, fewer of each label."""
    (root / "conf/local").mkdir(parents=True)
    (root / "src").mkdir()
    for name in ("conf/base", "conf/logging.yml", "pyproject.toml"):
        (root / name).symlink_to(ROOT / name)
    clips = f"clips_per_label: {clips_per_label}, background_clips: {clips_per_label}"
    (root / "conf/local/catalog.yml").write_text(
        f"bucket_clips: {{ type: soundx.datasets.clips.SynthesisedClipsDataset, {clips} }}\n"
    )
    (root / "conf/local/globals.yml").write_text(f"data_root: {root}/data\nembedder: logmel\n")
    return root


def run_once(project: Path) -> None:
    """Run all pipelines in this process, as ``kedro run`` does."""
    from kedro.framework.session import KedroSession

    with KedroSession.create(project_path=project) as session:
        session.run(  # type: ignore[call-arg]  # as of Kedro's own class, which this is
            pipeline_names=["__default__"]
        )


def held(pid: int) -> tuple[float, int]:
    """Return MiB and open files of a process, as Linux tells them."""
    process = Path("/proc", str(pid))
    pages = int((process / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir(process / "fd"))


def judge(what: str, before: tuple[float, int], after: tuple[float, int]) -> int:
    """Say whether memory and files stayed; return 0 where they did."""
    flat = after[0] <= before[0] * MORE_MEMORY and after[1] <= before[1] + MORE_FILES
    print(
        f"{what}: {before[0]:.0f} MiB and {before[1]} files, then {after[0]:.0f} MiB and "
        f"{after[1]} files: {'flat' if flat else 'GROWN'}"
    )
    return 0 if flat else 1


def soak_runs(n_runs: int, clips_per_label: int) -> int:
    """Run the demo so many times in this process, each time from nothing."""
    import logging

    from kedro.framework.startup import bootstrap_project

    seen: dict[int, tuple[float, int]] = {}
    with tempfile.TemporaryDirectory(prefix="soundx-soak-") as folder:
        project = make_project(Path(folder), clips_per_label)
        os.chdir(project)
        bootstrap_project(project)
        for number in range(1, n_runs + 1):
            shutil.rmtree(project / "data", ignore_errors=True)
            begin = time.perf_counter()
            run_once(project)
            logging.getLogger("kedro").setLevel(logging.WARNING)
            logging.getLogger("soundx").setLevel(logging.WARNING)
            gc.collect()
            seen[number] = held(os.getpid())
            print(
                f"run {number:>3}: {time.perf_counter() - begin:5.1f} s, "
                f"{seen[number][0]:6.0f} MiB, {seen[number][1]} files",
                flush=True,
            )
        os.chdir(ROOT)
    middle, last = n_runs // 3, 2 * n_runs // 3  # the first third is for warming up
    thirds = [[seen[n] for n in range(a + 1, b + 1)] for a, b in ((middle, last), (last, n_runs))]
    typical = [
        (statistics.median(m for m, _ in third), max(files for _, files in third))
        for third in thirds
    ]
    return judge("middle third and last third", *typical)


class Session:
    """One browser's session, without the browser."""

    def __init__(self, url: str, seed: int) -> None:
        self._url = url
        self._random = random.Random(seed)
        self._states: dict[str, str] = {}
        self._clips: list[str] = []
        self._clip_box = ""
        self._socket: Any = None
        self.seconds: list[float] = []
        self.errors: list[str] = []

    async def use(self, until_s: float) -> None:
        """Open the page, and choose clips until it is time."""
        from websockets.asyncio.client import connect
        from websockets.typing import Subprotocol

        try:
            where, spoken = f"{self._url}/_stcore/stream", [Subprotocol("streamlit")]
            async with connect(
                where, subprotocols=spoken, max_size=None, ping_interval=None
            ) as self._socket:  # browsers send no pings either
                await self._rerun()
                while time.monotonic() < until_s:
                    await asyncio.sleep(self._random.uniform(0.5, 1.5) * PAUSE_S)
                    self._states[self._clip_box] = self._random.choice(self._clips)
                    begin = time.perf_counter()
                    await self._rerun()
                    self.seconds.append(time.perf_counter() - begin)
        except Exception as error:  # every kind is one that a visitor would meet
            self.errors.append(f"{type(error).__name__}: {error}")

    async def _rerun(self) -> None:
        from streamlit.proto.BackMsg_pb2 import BackMsg
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        ask = BackMsg()
        ask.rerun_script.page_name = "model"
        for widget, value in self._states.items():
            ask.rerun_script.widget_states.widgets.add(id=widget, string_value=value)
        await self._socket.send(ask.SerializeToString())
        while True:
            told = ForwardMsg()
            told.ParseFromString(await asyncio.wait_for(self._socket.recv(), ANSWER_S))
            kind = told.WhichOneof("type")
            if kind == "delta" and told.delta.WhichOneof("type") == "new_element":
                self._look_at(told.delta.new_element)
            if kind == "script_finished":
                if told.script_finished != ForwardMsg.FINISHED_SUCCESSFULLY:
                    raise RuntimeError(f"the page ended with {told.script_finished}")
                return

    def _look_at(self, element: Any) -> None:
        kind = element.WhichOneof("type")
        if kind == "exception":
            self.errors.append(element.exception.message)
        if kind == "alert" and element.alert.format == element.alert.ERROR:
            self.errors.append(element.alert.body)
        if kind == "selectbox" and element.selectbox.label == "Clip" and not self._clip_box:
            self._clip_box = element.selectbox.id
            self._clips = list(element.selectbox.options)


async def _all_sessions(sessions: list[Session], seconds: float, pid: int) -> Any:
    begin = time.monotonic()
    work = [asyncio.create_task(one.use(begin + seconds)) for one in sessions]
    seen: list[tuple[float, tuple[float, int]]] = []
    while not all(task.done() for task in work):
        await asyncio.sleep(seconds / 60)
        seen.append((time.monotonic() - begin, held(pid)))
    await asyncio.gather(*work)
    return seen


def soak_viewer(n_sessions: int, minutes: float, clips_per_label: int) -> int:
    """Serve the viewer and use it from many sessions at once."""
    with tempfile.TemporaryDirectory(prefix="soundx-soak-") as folder:
        project = make_project(Path(folder), clips_per_label)
        subprocess.run(
            [sys.executable, "-m", "kedro", "run"], cwd=project, check=True, capture_output=True
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "soundx.viewer", f"--server.port={port}"]
        with Path(folder, "viewer.log").open("wb") as log:
            server = subprocess.Popen(command, cwd=project, stdout=log, stderr=subprocess.STDOUT)
            try:
                _wait_for(port)
                sessions = [Session(f"ws://127.0.0.1:{port}", n) for n in range(n_sessions)]
                seen = asyncio.run(_all_sessions(sessions, 60 * minutes, server.pid))
            finally:
                server.kill()  # there is nothing that it would have to put in order
                server.wait()
        errors = [error for session in sessions for error in session.errors]
        errors += [line for line in Path(folder, "viewer.log").read_text().splitlines()
                   if "Traceback" in line or "Error" in line]  # fmt: skip
    print("\n".join(errors[:5]))
    times = np.array([seconds for session in sessions for seconds in session.seconds])
    if not len(times):
        return 1
    for at_s, (mib, files) in seen[:: max(1, len(seen) // 10)]:
        print(f"after {at_s:4.0f} s: {mib:6.0f} MiB, {files} files")
    median, p95, worst = np.quantile(times, [0.5, 0.95, 1.0])
    print(
        f"{n_sessions} sessions, {minutes:g} minutes: {len(times)} predictions, {len(errors)} "
        f"errors; median {median:.2f} s, p95 {p95:.2f} s, longest {worst:.2f} s"
    )
    third = len(seen) // 3
    middle = tuple(np.median([one for _, one in seen[third : 2 * third]], axis=0))
    end = tuple(np.median([one for _, one in seen[2 * third :]], axis=0))
    grown = judge("middle third and last third", middle, end)
    return 1 if errors else grown


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise SystemExit("The viewer does not start.")


def main() -> int:
    """Soak what is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("viewer", "runs"))
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--clips", type=int, default=8, help="clips of each label")
    options = parser.parse_args()
    if options.what == "runs":
        return soak_runs(options.runs, options.clips)
    return soak_viewer(options.sessions, options.minutes, options.clips)


if __name__ == "__main__":
    sys.exit(main())
