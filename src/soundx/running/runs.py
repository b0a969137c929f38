"""Runs of pipelines that the viewer starts: one at a time, watched, stopped.

A run is a folder with what was started, its log, its progress and how it ended. Whether
one is under way is a lock that the run itself holds, so browser tabs, threads, servers and
restarts all see the same, and nothing that was killed leaves it taken.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from soundx.errors import SoundxError
from soundx.modelling.heads import TrainingOptions
from soundx.progress import PROGRESS_FILE
from soundx.running import DEFAULT
from soundx.running.supervise import END, PROCESS, RUN, birth_of, write_json

PASSWORD = "SOUNDX_TRAIN_PASSWORD"  # nosec B105
"""Name of the variable with the password of the page; no run gets to see it."""

PIPELINES = DEFAULT
"""Pipelines that may be run, in their order."""

LIMITS: dict[str, tuple[int, int] | tuple[float, float]] = {
    "training.max_epochs": (1, 100_000),
    "training.learning_rate": (1e-7, 1.0),
    "training.batch_size": (1, 65_536),
    "training.dropout": (0.0, 0.95),
    "training.seed": (0, 2**32 - 1),
    "training.windows_per_clip": (0, 100),
    "training.window_weight": (0.01, 1.0),
    "splits.seed": (0, 2**32 - 1),
}
"""Parameters that may be set, least and greatest value; whole numbers where these are."""

CHOICES: dict[str, tuple[str, ...]] = {
    "training.head": typing.get_args(TrainingOptions.model_fields["head"].annotation),
}
"""Parameters that may be one of some words."""

_LOG, _PROGRESS, _STOPPED = "log.txt", "progress.json", "stopped"
_TAIL_BYTES = 65_536
_KEPT_RUNS = 20
_POLL_S = 0.05
_BETWEEN_RUNS_S = 5.0


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        nodes_done: Nodes that are done.
        nodes: Nodes in all; 0 before the first begins.
        step: What is being counted now, or empty.
        done: How much of it is done.
        total: How much there is, or None where nobody knows.
    """

    nodes_done: int = 0
    nodes: int = 0
    step: str = ""
    done: int = 0
    total: int | None = None

    @property
    def share(self) -> float:
        """Share of the nodes that is done, the current one in part, from 0 to 1."""
        part = min(self.done / self.total, 1.0) if self.step and self.total else 0.0
        return min((self.nodes_done + part) / self.nodes, 1.0) if self.nodes else 0.0


@dataclass(frozen=True)
class Run:
    """A run that is under way or over.

    Attributes:
        folder: Where its files are; the name tells it from others.
        command: What was started.
        pipelines: Which pipelines.
        env: Environment, or None.
        started: When.
        running: Whether it is under way.
        stopped: Whether somebody asked it to stop.
        ended: When it ended, or None: under way, or ended without a word.
        exit_code: What it ended with, 0 for success, negative for a signal; or None.
    """

    folder: Path
    command: tuple[str, ...]
    pipelines: tuple[str, ...]
    env: str | None
    started: datetime
    running: bool
    stopped: bool
    ended: datetime | None
    exit_code: int | None

    @property
    def elapsed_s(self) -> float | None:
        """Seconds from start to end, or to now; None where the end is not known."""
        end = datetime.now(UTC) if self.running else self.ended
        return None if end is None else (end - self.started).total_seconds()

    @property
    def progress(self) -> Progress:
        """How far it is, or was when it ended."""
        try:
            return Progress(**json.loads((self.folder / _PROGRESS).read_text()))
        except FileNotFoundError:
            return Progress()

    def log(self, lines: int = 200) -> list[str]:
        """Return the last lines of what it printed."""
        try:
            with (self.folder / _LOG).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return [line.rstrip() for line in text.rstrip().splitlines()][-lines:]

    @property
    def message(self) -> str:
        """What it said last: its error for people, or else the last line of its log."""
        lines = self.log()
        errors = [at for at, line in enumerate(lines) if line.startswith("Error: ")]
        said = lines[errors[-1] :] if errors else lines[-1:]
        return "\n".join(said).removeprefix("Error: ")


class Runs:
    """All runs of one project and environment, of which one is under way at most.

    Args:
        folder: Where they are kept, on this machine.
        project: The project's folder, with ``conf/``.
        env: Environment, or None.
    """

    def __init__(self, folder: Path, project: Path, env: str | None = None) -> None:
        self.folder = folder
        self._project = project
        self._env = env
        self._lock = folder / "lock"

    @classmethod
    def of(cls, project: Path, env: str | None = None) -> Runs:
        """Return the runs of a project, kept in its ``.soundx-runs``."""
        return cls(project / ".soundx-runs" / (env or "base"), project, env)

    def start(
        self, pipelines: Sequence[str], params: Mapping[str, float | str] | None = None
    ) -> Run:
        """Start ``kedro run`` as a process that outlives this one.

        Args:
            pipelines: Which pipelines, of ``PIPELINES``.
            params: Values for this run, of ``LIMITS`` and ``CHOICES``.

        Returns:
            The run, under way.

        Raises:
            SoundxError: A run is under way, a name or value is not one of those allowed, or
                the folder cannot be written.
        """
        chosen = _checked_pipelines(pipelines)
        command = ["kedro", "run", f"--pipelines={','.join(chosen)}"]
        if params:
            command.append(f"--params={_checked_params(params)}")
        if self._env:
            command.append(f"--env={self._env}")
        try:
            lock = self._take_lock()
            try:
                return self._launch(lock, chosen, command)
            finally:
                os.close(lock)
        except OSError as error:
            raise SoundxError(f"Runs cannot be kept in {self.folder}: {error.strerror}.") from error

    def current(self) -> Run | None:
        """Return the run that is under way, else the last one, else None."""
        newest = max(self.folder.glob(f"*/{RUN}"), default=None)
        if newest is None:
            return None
        # in this order: a run's end is written before its lock is free
        held = self._is_held()
        facts = json.loads(newest.read_text())
        end = _read_json(newest.with_name(END))
        return Run(
            folder=newest.parent,
            command=tuple(facts["command"][2:]),
            pipelines=tuple(facts["pipelines"]),
            env=facts["env"],
            started=datetime.fromisoformat(facts["started"]),
            running=held and end is None,
            stopped=newest.with_name(_STOPPED).exists(),
            ended=datetime.fromisoformat(end["ended"]) if end else None,
            exit_code=end["exit_code"] if end else None,
        )

    def stop(self, grace_s: float = 10.0) -> None:
        """Stop the run that is under way, if there is one, and wait until it is gone.

        Args:
            grace_s: Seconds it has to end by itself (SIGINT) before it is killed.

        Raises:
            SoundxError: It cannot be stopped.
        """
        run = self.current()
        if run is None or not run.running:
            return
        (run.folder / _STOPPED).touch()
        for kind in (signal.SIGINT, signal.SIGKILL):
            sent = False
            deadline = time.monotonic() + grace_s
            while time.monotonic() < deadline:
                if not self._is_running(run):
                    return
                # in its first moments a run has no process yet
                sent = sent or _send(run, kind)
                time.sleep(_POLL_S)
        raise SoundxError(f"The run does not end. Its process is named in {run.folder / PROCESS}.")

    def _launch(self, lock: int, pipelines: Sequence[str], command: Sequence[str]) -> Run:
        started = datetime.now(UTC)
        folder = self.folder / f"{started:%Y%m%dT%H%M%S.%fZ}"
        facts = {
            "command": [sys.executable, "-m", *command],
            "pipelines": list(pipelines),
            "env": self._env,
            "started": started.isoformat(),
        }
        write_json(folder / RUN, facts)
        withheld = {"KEDRO_ENV", "FORCE_COLOR", PASSWORD}
        variables = {name: value for name, value in os.environ.items() if name not in withheld}
        variables |= {
            "DO_NOT_TRACK": "1",
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
            PROGRESS_FILE: str((folder / _PROGRESS).resolve()),
        }
        supervisor = [sys.executable, "-m", "soundx.running.supervise", str(folder.resolve())]
        with (folder / _LOG).open("ab") as log:
            process = subprocess.Popen(
                [*supervisor, str(lock)],
                cwd=self._project,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lock],
            )
        # nobody else collects its exit status while this process lives
        threading.Thread(target=process.wait, daemon=True).start()
        for old in sorted(path.parent for path in self.folder.glob(f"*/{RUN}"))[:-_KEPT_RUNS]:
            shutil.rmtree(old, ignore_errors=True)
        return Run(
            folder=folder,
            command=tuple(command),
            pipelines=tuple(pipelines),
            env=self._env,
            started=started,
            running=True,
            stopped=False,
            ended=None,
            exit_code=None,
        )

    def _take_lock(self) -> int:
        """Return the lock's descriptor, held."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + _BETWEEN_RUNS_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                # or one is about to begin or to go, or somebody only looks
                run = self.current()
                if (run is not None and run.running) or time.monotonic() > deadline:
                    os.close(lock)
                    raise SoundxError(_under_way(run)) from None
                time.sleep(_POLL_S)

    def _is_held(self) -> bool:
        """Tell whether a run, or one that is about to start, holds the lock."""
        try:
            lock = os.open(self._lock, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            # shared: those who look do not take each other for runs
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(lock)

    def _is_running(self, run: Run) -> bool:
        current = self.current()
        return current is not None and current.running and current.folder == run.folder


def _under_way(run: Run | None) -> str:
    if run is None or not run.running:
        return "A run is about to begin or to end. Try again."
    return (
        f"A run of {', '.join(run.pipelines)} is under way since "
        f"{run.started.astimezone():%H:%M:%S}. One at a time: wait for it, or stop it."
    )


def _checked_pipelines(wanted: Sequence[str]) -> list[str]:
    unknown = [name for name in wanted if name not in PIPELINES]
    if unknown:
        raise SoundxError(
            f"There is no pipeline {unknown[0]!r} to run from here. There are: "
            f"{', '.join(PIPELINES)}."
        )
    if not wanted:
        raise SoundxError("Choose one pipeline or more.")
    return [name for name in PIPELINES if name in wanted]


def _checked_params(params: Mapping[str, float | str]) -> str:
    """Return parameters as ``--params`` takes them: known names, plain numbers, known words."""
    items = []
    for name, value in params.items():
        if name in CHOICES:
            items.append(f"{name}={_checked_word(name, value)}")
            continue
        if name not in LIMITS:
            raise SoundxError(
                f"Parameter {name!r} cannot be set from here. These can: "
                f"{', '.join((*CHOICES, *LIMITS))}."
            )
        low, high = LIMITS[name]
        allowed = (int,) if isinstance(low, int) else (int, float)
        # True is an int; subclasses may print as anything
        number = math.nan if isinstance(value, str) or type(value) not in allowed else value
        if not math.isfinite(number) or not low <= number <= high:
            kind = "a whole number" if isinstance(low, int) else "a number"
            raise SoundxError(f"{name} is {kind} from {low} to {high}, not {value!r}.")
        items.append(f"{name}={value!r}")
    return ",".join(items)


def _checked_word(name: str, value: object) -> str:
    """Return a word of ours that equals what was given, never what was given."""
    for word in CHOICES[name]:
        if type(value) is str and value == word:
            return word
    raise SoundxError(f"{name} is one of {', '.join(CHOICES[name])}, not {value!r}.")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def _send(run: Run, kind: signal.Signals) -> bool:
    """Send a signal to a run's processes; tell whether there were any that are ours."""
    process = _read_json(run.folder / PROCESS)
    # None where it has gone: another may have its number by now
    if process is None or birth_of(process["pid"]) != process["birth"]:
        return False
    try:
        os.killpg(process["pid"], kind)
    except ProcessLookupError:
        return False
    return True
