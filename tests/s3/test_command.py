"""Buckets from the command line, as a person with the wrong key or no network meets them."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import click.testing
import pandas as pd
import pytest

from soundx.storage.s3 import use_settings
from tests.conftest import ROOT, command, run_kedro
from tests.embedders.test_yamnet import saved_model


def ingest(tmp_path, *params: str, **variables: str) -> click.testing.Result:
    """Run the ingestion of environment s3; an empty variable is taken away."""
    given = ",".join([f"data_root={tmp_path / 'data'}", *params])
    ours = ("--env=s3", "--pipelines=ingestion", f"--params={given}")
    return command("run", *ours, **variables)


@dataclasses.dataclass
class Trouble:
    says: str
    variables: dict[str, str] = dataclasses.field(default_factory=dict)
    fault: str | None = None
    bucket: str | None = None


TROUBLES = {
    "no credentials": Trouble(
        "no credentials were found",
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"},
    ),
    "wrong secret": Trouble("secret key is wrong", {"AWS_SECRET_ACCESS_KEY": "not-this-one"}),
    "wrong key": Trouble("key is wrong", {"AWS_ACCESS_KEY_ID": "nobody"}),
    "missing bucket": Trouble("no bucket of that name", bucket="there-is-no-such-bucket"),
    "no permission": Trouble("may not do that", {"AWS_ACCESS_KEY_ID": "other:guest"}),
    "no network": Trouble("cannot be reached", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}),
    "no such profile": Trouble("profile", {"AWS_PROFILE": "nobody"}),
    # the server cannot be brought to these two: the proxy answers for it
    "clock skew": Trouble("clock is wrong", fault="skewed clock"),
    "wrong region": Trouble("another region", fault="other region"),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_each_trouble_is_one_line_that_names_bucket_and_way_out(name, fill, proxy, tmp_path):
    trouble = TROUBLES[name]
    bucket = trouble.bucket or fill({"A/1.wav": b"1"})
    (tmp_path / "data/01_raw/A").mkdir(parents=True)
    (tmp_path / "data/01_raw/A/mine.wav").write_bytes(b"mine")
    proxy.decide = lambda method, path: trouble.fault
    done = ingest(tmp_path, f"source=s3://{bucket}", **trouble.variables)
    assert done.exit_code == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1
    assert trouble.says in lines[0]
    assert bucket in lines[0] or "profile" in name
    assert "Traceback" not in done.output
    for secret in ("testing", "not-this-one", "Signature=", "AWS4-HMAC"):
        assert secret not in done.output
    assert (tmp_path / "data/01_raw/A/mine.wav").read_bytes() == b"mine"


def test_a_wrong_region_is_set_right_by_what_the_server_answers(fill, write_clip, tmp_path):
    bucket = fill({"A/1.wav": write_clip("clip.wav").read_bytes()})
    done = ingest(tmp_path, f"source=s3://{bucket}", AWS_DEFAULT_REGION="eu-west-9")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "data/01_raw/A/1.wav").is_file()


def test_a_dry_run_prints_and_changes_nothing(fill, write_clip, tmp_path):
    clip = write_clip("clip.wav").read_bytes()
    bucket = fill({"A/1.wav": clip})
    done = ingest(tmp_path, f"source=s3://{bucket}", "dry_run=true")
    assert done.exit_code == 0, done.output
    assert "would fetch   A/1.wav" in done.stdout
    assert not (tmp_path / "data/01_raw/A").exists()
    assert not (tmp_path / "data/02_intermediate").exists()


def test_source_and_data_root_may_both_be_buckets(fill, s3, write_clip, tmp_path):
    clips = {
        f"{label}/{i}.wav": write_clip(f"{label}-{i}.wav").read_bytes()
        for label in ("A", "B")
        for i in range(12)
    }
    source, bucket = fill(clips), fill({})
    root = f"s3://{bucket}/project"
    run_kedro(
        pipelines=["ingestion", "preprocessing"],
        source=f"s3://{source}",
        data_root=root,
        embedder="logmel",
    )
    manifest = pd.read_parquet(f"{root}/02_intermediate/clip_manifest.parquet")
    assert len(manifest) == 24
    keys = [e["Key"] for e in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert "project/05_model_input/heads/general.parquet" in keys
    assert any("04_feature/embeddings/logmel-" in key for key in keys)
    assert not any("01_raw" in key for key in keys)


def test_yamnet_may_lie_in_a_bucket(fill, s3, tmp_path):
    from soundx.embedders.weights import locate

    model = saved_model(tmp_path / "model")
    objects = {
        f"yamnet/{path.relative_to(model).as_posix()}": path.read_bytes()
        for path in model.rglob("*")
        if path.is_file()
    }
    folder = locate(f"s3://{fill(objects)}/yamnet")
    assert (folder / "saved_model.pb").read_bytes() == b"graph"


def test_keys_may_stand_in_files_and_the_environment_goes_first(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "")
    use_settings({"region": "eu-west-1"}, {"key": "k", "secret": "s"})
    assert os.environ["AWS_ACCESS_KEY_ID"] == "k"
    assert os.environ["AWS_DEFAULT_REGION"] == "eu-west-1"
    use_settings(None, {"key": "other", "secret": "other", "token": "other"})
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "s"
    assert "AWS_SESSION_TOKEN" not in os.environ


def test_credentials_yml_and_dotenv_are_read(server, fill, write_clip, tmp_path, monkeypatch):
    """A project of its own, whose conf/local holds the keys, and a process of its own."""
    bucket = fill({"A/1.wav": write_clip("clip.wav").read_bytes()})
    project = tmp_path / "project"
    (project / "conf/local").mkdir(parents=True)
    for env in ("base", "s3"):
        (project / "conf" / env).symlink_to(ROOT / "conf" / env)
    (project / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (project / "src").mkdir()
    (project / ".env").write_text(f"AWS_ENDPOINT_URL={server.endpoint}\n")
    (project / "conf/local/credentials.yml").write_text(
        "s3: {key: 'soundx:dev', secret: testing}\n"
    )
    given = f"--params=source=s3://{bucket},data_root={tmp_path / 'data'}"
    done = subprocess.run(
        [sys.executable, "-m", "kedro", "run", "--pipelines=ingestion", given],
        cwd=project,
        env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data/01_raw/A/1.wav").is_file()
    assert "testing" not in done.stdout + done.stderr
