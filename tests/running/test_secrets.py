"""Planted keys and passwords, searched for in everything that a run writes and prints."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from soundx.running.runs import PASSWORD
from tests.viewer.conftest import open_page

PLANTED = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDPLANTED01",
    "AWS_SECRET_ACCESS_KEY": "plantedSecret/of+the+environment0000001",
    "AWS_SESSION_TOKEN": "plantedToken0000001",
    PASSWORD: "planted password of the train page",
}
CREDENTIALS = {
    "key": "AKIAPLANTEDPLANTED02",
    "secret": "plantedSecretOfTheFile00000000000000002",
    "token": "plantedToken0000002",
}
IN_A_URL = "plantedSecret/in+the+address00000000003"
SECRETS = [text.encode() for text in (*PLANTED.values(), *CREDENTIALS.values(), IN_A_URL)]


def contents(path: Path):
    """Yield what a file holds, and what lies packed in it."""
    data = path.read_bytes()
    yield data
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(path) as archive:
            yield from map(archive.read, archive.namelist())
    if path.suffix == ".parquet":
        yield pd.read_parquet(path).to_csv().encode()


def expect_no_secret(where: str, data: bytes) -> None:
    for secret in SECRETS:
        assert secret not in data, f"{secret!r} stands in {where}"


def kedro(project, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kedro", "run", *arguments],
        cwd=project.folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture
def planted(project, monkeypatch, tmp_path):
    """A project of its own with keys and a password in every place where they may stand."""
    for name, secret in PLANTED.items():
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("SOUNDX_CACHE", str(tmp_path / "cache"))
    keys = "".join(f"  {name}: {secret}\n" for name, secret in CREDENTIALS.items())
    conf = project.folder / "conf"
    (conf / "bucket").mkdir()
    (conf / "bucket/globals.yml").write_text((conf / "local/globals.yml").read_text())
    for env in ("local", "bucket"):
        (conf / env / "credentials.yml").write_text(f"s3:\n{keys}")
    clips = "{ type: soundx.datasets.clips.SynthesisedClipsDataset, clips_per_label: 8 }"
    (conf / "local/catalog.yml").write_text(f"bucket_clips: {clips}\n")
    return project


def search(project, *said: str) -> None:
    """Look through all that was said, and all that was written but where we planted it."""
    for text in said:
        expect_no_secret("what was printed", text.encode())
    planted_here = list((project.folder / "conf").glob("*/credentials.yml"))
    assert planted_here
    # the project, its data, its cache
    files = [path for path in project.folder.parent.rglob("*") if path.is_file()]
    for path in files:
        if path not in planted_here and not path.is_symlink():
            for data in contents(path):
                expect_no_secret(str(path), data)


def test_a_refused_address_and_a_dead_server_repeat_no_key(planted):
    refused = kedro(
        planted, "--pipelines=ingestion", f"--params=source=s3://AKIA:{IN_A_URL}@bucket/clips"
    )
    assert "with a key in it" in refused
    search(planted, refused)


@pytest.mark.slow
def test_no_key_or_password_stands_in_what_a_run_leaves(planted, monkeypatch):
    runs = planted.runs()
    for pipeline in ("ingestion", "preprocessing", "training", "evaluation"):
        runs.start([pipeline])
        planted.wait_until_it_is_over()
        run = runs.current()
        assert run.exit_code == 0, run.message
    dead = kedro(planted, "--env=bucket", "--pipelines=ingestion", "--params=source=s3://bucket/x")
    assert "s3://bucket/x: the server cannot be reached" in dead
    unpublished = kedro(planted, "--pipelines=publishing", "--params=releases=s3://bucket/models")
    assert "s3://bucket/models" in unpublished
    monkeypatch.chdir(planted.folder)
    monkeypatch.delenv("KEDRO_ENV", raising=False)
    shown = [repr(list(open_page(name))) for name in ("home", "dataset", "evaluation", "model")]
    assert list(planted.folder.parent.rglob("model_card.md"))
    search(planted, dead, unpublished, *shown)
