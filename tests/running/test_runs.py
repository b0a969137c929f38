from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from soundx.errors import SoundxError
from soundx.running.runs import PASSWORD

PATIENCE_S = 60

RACER = """
import sys, threading
from pathlib import Path
from soundx.errors import SoundxError
from soundx.running.runs import Runs

def press():
    try:
        Runs.of(Path(sys.argv[1]), "waiting").start(["ingestion"])
    except SoundxError as error:
        print(f"refused: {error}\\n", end="", flush=True)
    else:
        print("started\\n", end="", flush=True)

tabs = [threading.Thread(target=press) for _ in range(3)]
print("ready", flush=True)
sys.stdin.readline()
for tab in tabs: tab.start()
for tab in tabs: tab.join()
"""


def process_of(run):
    return json.loads((run.folder / "process.json").read_text())["pid"]


def test_a_run_does_its_work_and_says_how_it_ended(project, tmp_path, monkeypatch):
    monkeypatch.setenv(PASSWORD, "secret")
    monkeypatch.setenv("KEDRO_ENV", "waiting")  # the viewer says which, not what it inherited
    started = project.runs().start(["ingestion"], {"splits.seed": 3, "training.dropout": 0.1})
    assert started.running
    assert started.command == (
        "kedro",
        "run",
        "--pipelines=ingestion",
        "--params=splits.seed=3,training.dropout=0.1",
    )
    project.wait_until_it_is_over()
    run = project.runs().current()
    assert run.folder == started.folder
    assert (run.running, run.exit_code, run.stopped) == (False, 0, False)
    assert 0 < run.elapsed_s < PATIENCE_S
    assert (tmp_path / "data/02_intermediate/clip_manifest.parquet").exists()
    assert (run.progress.nodes_done, run.progress.nodes, run.progress.share) == (3, 3, 1.0)
    assert any("24" in line for line in run.log())


def test_a_failed_run_says_why_in_its_own_words(project):
    project.runs().start(["training"])
    project.wait_until_it_is_over()
    run = project.runs().current()
    assert run.exit_code == 1
    assert "clip_manifest.parquet is not there. Run what makes it first" in run.message
    assert "Traceback" not in run.message


def test_many_tabs_of_two_servers_press_start_at_once_and_one_run_begins(project):
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(project.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for server in servers:
        assert server.stdout.readline() == "ready\n"
    for server in servers:
        server.stdin.write("go\n")
        server.stdin.flush()
    told = "".join(server.communicate(timeout=PATIENCE_S)[0] for server in servers)
    said = told.splitlines()
    assert sum(line == "started" for line in said) == 1
    assert sum(line.startswith("refused: A run") for line in said) == 5
    # both servers are gone, and another one sees the run that they left
    project.wait_until_it_waits()
    runs = project.runs("waiting")
    assert runs.current().running
    with pytest.raises(SoundxError, match="A run of ingestion is under way since"):
        runs.start(["training"])
    assert len(list(runs.folder.glob("*/run.json"))) == 1
    project.let_it_go_on()
    project.wait_until_it_is_over("waiting")
    assert runs.current().exit_code == 1
    assert "<b>told</b> to go on" in runs.current().message


def test_a_stopped_run_is_gone_and_the_next_may_start(project):
    runs = project.runs("waiting")
    runs.start(["ingestion"])
    project.wait_until_it_waits()
    pid = process_of(runs.current())
    project.runs("waiting").stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    run = runs.current()
    assert (run.running, run.stopped) == (False, True)
    assert run.exit_code != 0
    assert "Traceback" not in "\n".join(run.log())
    runs.start(["ingestion"])
    runs.stop()  # at once, before it is a process
    assert not runs.current().running


def test_a_run_that_will_not_stop_is_killed_after_the_grace(project):
    runs = project.runs("stubborn")
    runs.start(["ingestion"])
    project.wait_until_it_waits()
    runs.stop(grace_s=1)
    assert not runs.current().running
    assert runs.current().exit_code == -signal.SIGKILL


def test_without_its_supervisor_a_run_still_counts_and_can_be_stopped(project):
    runs = project.runs("waiting")
    runs.start(["ingestion"])
    project.wait_until_it_waits()
    run = runs.current()
    os.kill(os.getsid(process_of(run)), signal.SIGKILL)
    assert runs.current().running
    os.kill(process_of(run), signal.SIGKILL)
    project.wait_until_it_is_over("waiting")
    ended = runs.current()
    assert (ended.running, ended.exit_code, ended.ended, ended.stopped) == (
        False,
        None,
        None,
        False,
    )


def test_a_process_that_only_has_the_same_number_is_left_alone(project):
    runs = project.runs("waiting")
    runs.start(["ingestion"])
    project.wait_until_it_waits()
    noted = runs.current().folder / "process.json"
    ours = noted.read_text()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        noted.write_text(json.dumps({"pid": stranger.pid, "birth": "another time"}))
        with pytest.raises(SoundxError, match="does not end"):
            runs.stop(grace_s=0.2)
        assert stranger.poll() is None
        stranger.kill()
    noted.write_text(ours)
    runs.stop()
    assert not runs.current().running


@pytest.mark.parametrize(
    ("pipelines", "params", "message"),
    [
        ([], {}, "Choose one"),
        (["publishing"], {}, "no pipeline 'publishing'"),
        (["training,--env=s3"], {}, "no pipeline"),
        (["training"], {"data_root": 1}, "cannot be set"),
        (["training"], {"training.seed=1,data_root": 1}, "cannot be set"),
        (["training"], {"training.seed": "1,data_root=/tmp"}, "whole number"),
        (["training"], {"training.seed": True}, "whole number"),
        (["training"], {"training.seed": 1.5}, "whole number"),
        (["training"], {"training.seed": -1}, "from 0"),
        (["training"], {"training.learning_rate": float("nan")}, "a number from"),
        (["training"], {"training.learning_rate": float("inf")}, "a number from"),
        (["training"], {"training.head": "seed,data_root=/tmp"}, "one of ridge, dense, seed, not"),
        (["training"], {"training.head": 1}, "one of ridge"),
        (["training"], {"training.max_epochs": "ridge"}, "whole number"),
    ],
)
def test_only_known_names_plain_numbers_and_known_words_reach_the_command(
    project, pipelines, params, message
):
    runs = project.runs()
    with pytest.raises(SoundxError, match=message):
        runs.start(pipelines, params)
    assert runs.current() is None


def test_a_folder_that_cannot_be_written_is_named(project):
    (project.folder / ".soundx-runs").write_text("in the way")
    with pytest.raises(SoundxError, match=r"\.soundx-runs"):
        project.runs().start(["ingestion"])
