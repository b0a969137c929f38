from __future__ import annotations

import pytest
from botocore.exceptions import ClientError
from s3fs import S3FileSystem

from soundx.embedders.weights import locate
from soundx.errors import SoundxError
from soundx.listening.recordings import find_recordings
from soundx.storage.folder import Folder
from soundx.storage.s3 import check_address, explain, split_url, without_key
from tests.conftest import FORGED

SECRETS = [
    "s3://AKIAPLANTED:pl/an+ted@bucket/clips",
    "s3a://AKIAPLANTED@bucket",
    "https://me:planted@host.example/yamnet",
    "https://host.example/yamnet?X-Amz-Signature=planted&x=1",
    "s3://bucket/clips?secret_key=planted",
    "https://host.example/y?v=1&token=planted",
    "s3:/AKIAPLANTED:planted@bucket/clips",
    "s3:///AKIAPLANTED:planted@bucket/clips",
    "s3:AKIAPLANTED:planted@bucket/clips",
    "https://host.example/yamnet#access_token=planted",
    "https://host.example/yamnet?code=planted",
]


def find_one(address):
    return find_recordings([address])


def test_a_store_that_cannot_be_read_is_told_without_its_answer(monkeypatch):
    """boto3 repeats the address of the server, which may be signed."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9/?code=planted")
    S3FileSystem.clear_instance_cache()  # or one of another test would answer
    with pytest.raises(SoundxError, match=r"s3://bucket/x\.wav: the connection failed") as refused:
        find_recordings(["s3://bucket/x.wav"])
    assert "planted" not in str(refused.value)


@pytest.mark.parametrize("address", SECRETS)
@pytest.mark.parametrize("use", [check_address, split_url, Folder, locate, find_one])
def test_a_key_in_an_address_is_refused_and_never_repeated(use, address):
    with pytest.raises(SoundxError, match="with a key in it") as refused:
        use(address)
    assert "planted" not in str(refused.value).lower()
    assert "***" in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "s3://bucket/a prefix/of clips",
        "https://tfhub.dev/google/yamnet/1",
        "data/me@home",
        "/clips/monkeys?/keys=1",
        "memory://x",
        "s3://bucket/me@home/clips",
        "file:///home/me@home/clips",
        "http://127.0.0.1:9000/a@b",
        "data/site:me@home",
        "data/night 12:30:15@home",
        "/clips/dog #1",
    ],
)
def test_an_ordinary_address_passes(address):
    check_address(address)
    assert without_key(address) == address


def test_what_a_server_calls_its_error_writes_no_line_of_its_own():
    refused = ClientError({"Error": {"Code": FORGED}}, "ListObjectsV2")
    assert str(explain(refused, "s3://bucket")).isprintable()


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out"])
def test_no_name_leads_out_of_a_folder(tmp_path, name):
    folder = Folder(str(tmp_path / "in"))
    with pytest.raises(SoundxError, match="leads out"):
        folder.write(name, b"x")
    with pytest.raises(SoundxError, match="leads out"):
        folder.replace_files({name: b"x"})
    assert not list(tmp_path.glob("out"))
