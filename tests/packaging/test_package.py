"""The packaged project: a wheel and an archive of conf/ that run anywhere."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import BytesParser
from http.client import HTTPConnection
from importlib.metadata import distributions
from pathlib import Path

import pytest

from soundx import __version__
from tests.conftest import ROOT
from tests.packaging.conftest import (
    SECRET,
    UV,
    Dist,
    environment,
    nobody_calls_home,
    run,
    variables,
)
from tests.packaging.locks import (
    installed,
    part_of,
    pinned,
    project_requirements,
    reached,
)


@pytest.fixture(scope="module")
def python(dist: Dist, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Python of an environment with the wheel, and that part of the lock which it asks for."""
    folder = tmp_path_factory.mktemp("plain")
    whole, part = ROOT / "requirements.lock", folder / "part.lock"
    names, _ = reached(project_requirements(), pinned(whole), distributions())
    part.write_text(part_of(whole, names))
    with environment(folder / "env", part) as python:
        # uv sees for itself, extras included, that nothing is wanting: there is no index
        install = (UV, "pip", "install", "--no-index", "--offline", "--python", python)
        run(*install, dist.wheel, cwd=folder)
        yield python


@pytest.fixture(scope="module")
def demo(dist: Dist, python: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder that was empty before the demo ran in it, and what the demo printed."""
    folder = tmp_path_factory.mktemp("empty")
    with nobody_calls_home() as proxy:
        command = (python, "-m", "soundx", f"--conf-source={dist.conf}", "--env=demo")
        done = run(*command, cwd=folder, **proxy)
    return folder, done.stdout + done.stderr


def test_the_wheel_holds_the_package_and_says_what_it_is(dist):
    with zipfile.ZipFile(dist.wheel) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("soundx/")}
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        facts = BytesParser().parsebytes(wheel.read(name))
        assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "soundx").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == wanted
    assert "soundx/py.typed" in packed
    assert facts["Name"] == "soundx"
    assert facts["Version"] == __version__
    assert facts["License-Expression"] == "Apache-2.0"
    assert facts["Author"] == "The soundx developers"
    assert facts["Description-Content-Type"] == "text/markdown"
    assert {"dask", "mlflow", "notebook"} <= set(facts.get_all("Provides-Extra"))


def test_the_archive_holds_the_configuration_and_no_secrets(dist):
    with tarfile.open(dist.conf) as archive:
        names = archive.getnames()
        contents = [archive.extractfile(member).read() for member in archive if member.isfile()]
    assert {"conf/base/globals.yml", "conf/demo/globals.yml", "conf/logging.yml"} <= set(names)
    assert "conf/base/catalog/training.yml" in names
    assert not any("credentials" in name for name in names)
    assert not any(SECRET.encode() in content for content in contents)


@pytest.mark.parametrize("name", ["conf/s3/credentials.yml", "conf/local/credentials.json"])
def test_secrets_that_would_be_packed_are_refused(dist, name):
    file = dist.project / name
    file.write_text(SECRET)
    try:
        command = (sys.executable, "-m", "kedro", "package")
        done = run(*command, cwd=dist.project, check=False, DO_NOT_TRACK="1")
    finally:
        file.unlink()
    assert done.returncode == 1
    assert f"{name} would be packed" in done.stderr


def test_without_extras_nothing_of_theirs_is_installed(python):
    names = installed(python.parents[1]).keys()
    assert {"soundx", "kedro", "tensorflow", "streamlit"} <= names
    extras = {"dask", "distributed", "datasets", "jupyterlab", "notebook", "ipywidgets", "mlflow"}
    extras |= {"kedro-mlflow", "mkdocs", "mkdocs-material", "playwright", "pytest", "ruff", "uv"}
    assert not names & extras


def test_the_demo_runs_to_its_end_in_an_empty_folder(demo):
    folder, printed = demo
    assert [path.name for path in folder.iterdir()] == ["data"]
    metrics = json.loads((folder / "data/demo/08_reporting/metrics.json").read_text())
    assert 0.85 <= metrics["accuracy"] <= 1
    assert metrics["n_labels"] == 12
    assert (folder / "data/demo/06_models/classifier/soundx.tflite").stat().st_size > 100_000
    assert f"{metrics['accuracy']:.3f} (95 % interval" in printed
    assert "Loading data from" not in printed  # Kedro's own logging: a line for every dataset


def test_an_env_file_in_the_folder_is_read(demo, dist, python, tmp_path):
    clips = demo[0] / "data/demo/01_raw"
    (tmp_path / ".env").write_text("SOUNDX_YAMNET=/no/such/yamnet\n")
    command = (python, "-m", "soundx", f"--conf-source={dist.conf}", f"--params=source={clips}")
    done = run(*command, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "/no/such/yamnet" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_help_tells_how_to_begin(python, tmp_path):
    done = run(python, "-m", "soundx", "--help", cwd=tmp_path)
    for said in ("--env=demo", "--params=source=DIR", "--conf-source", "training", "publishing"):
        assert said in done.stdout.split("Options:")[0]
    assert done.stdout.startswith("Usage: python -m soundx")


def test_without_a_configuration_a_message_says_what_is_missing(python, tmp_path):
    done = run(python, "-m", "soundx", "--env=demo", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert f"There is no configuration in {tmp_path}/conf" in done.stderr
    assert "--conf-source" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_mlflow_that_is_wanted_and_missing_is_named(dist, python, tmp_path):
    command = (python, "-m", "soundx", f"--conf-source={dist.conf}", "--env=demo")
    done = run(*command, cwd=tmp_path, check=False, SOUNDX_MLFLOW="1")
    assert done.returncode == 1
    assert "pip install 'soundx[mlflow]'" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_viewer_starts_from_the_wheel_on_this_machine_alone(demo, dist, python):
    folder, _ = demo
    with tarfile.open(dist.conf) as archive:
        archive.extractall(folder, filter="data")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [python, "-m", "soundx.viewer", f"--server.port={port}"],
        cwd=folder,
        env=variables(KEDRO_ENV="demo", PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as viewer:
        try:
            assert viewer.stdout is not None
            said = next((line for line in viewer.stdout if "http://" in line), "")
            # the address stands in a file that has to travel with the wheel
            assert f"http://127.0.0.1:{port}" in said
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/_stcore/health")
            assert connection.getresponse().status == 200
            connection.close()
        finally:
            os.killpg(viewer.pid, signal.SIGTERM)
            viewer.communicate()  # it says good-bye, and hangs if nobody listens
