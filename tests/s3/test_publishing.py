"""Buckets out: releases on a real S3 server, killed at any moment."""

from __future__ import annotations

import itertools

import pytest

from soundx.classifier.releases import Releases
from soundx.errors import SoundxError
from soundx.storage.folder import Folder
from soundx.storage.s3 import explained_errors
from tests.classifier.test_releases import make_release
from tests.conftest import KILLS
from tests.s3.killing import RandomKills

PUBLISH = """
import sys
from soundx.classifier.releases import Releases
from soundx.storage.folder import Folder
from tests.classifier.test_releases import make_release
bucket, version = sys.argv[1:]
release = make_release(version, content=version.encode() * 200_000)
print("ready", flush=True)
Releases(Folder(f"s3://{bucket}/models")).publish(release)
"""


def test_a_release_goes_to_the_bucket_and_comes_back(fill):
    releases = Releases(Folder(f"s3://{fill({})}/models"))
    releases.publish(make_release("v1"))
    releases.publish(make_release("v2", 0.95, content=b"x" * 3_000_000))
    assert list(releases) == ["v1", "v2"]
    assert len(releases.load().files["soundx.tflite"]) == 3_000_000
    releases.rollback("v1")
    assert (
        Releases(Folder(releases.folder.fs.unstrip_protocol(releases.folder.root))).latest == "v1"
    )


def test_another_writer_is_seen_at_once(fill, s3):
    bucket = fill({})
    folder = Folder(f"s3://{bucket}/x")
    assert folder.names() == []
    s3.put_object(Bucket=bucket, Key="x/new.txt", Body=b"1")
    assert folder.names() == ["new.txt"]
    assert folder.exists("new.txt")
    s3.put_object(Bucket=bucket, Key="x/new.txt", Body=b"other length")
    assert folder.read("new.txt") == b"other length"


def test_what_arrives_damaged_leaves_the_old_latest(fill, proxy):
    releases = Releases(Folder(f"s3://{fill({})}/models"))
    releases.publish(make_release("v1"))

    def lose(method, path):
        return "forbidden" if method == "PUT" and "v2/soundx.tflite" in path else None

    proxy.decide = lose
    with pytest.raises(SoundxError, match="may not do that"), explained_errors("s3://releases"):
        releases.publish(make_release("v2"))
    proxy.decide = lambda method, path: None
    assert releases.load().version == "v1"


def test_a_busy_server_is_asked_again(fill, proxy):
    releases = Releases(Folder(f"s3://{fill({})}/models"))
    proxy.decide = lambda method, path: (
        "slow down" if method == "PUT" and proxy.n_faults < 2 else None
    )
    releases.publish(make_release("v1"))
    assert proxy.n_faults == 2
    assert releases.load().version == "v1"


@pytest.mark.parametrize("kills", KILLS)
def test_killed_at_any_moment_the_latest_always_loads(fill, kills):
    bucket = fill({})
    releases = Releases(Folder(f"s3://{bucket}/models"))
    releases.publish(make_release("v00"))
    publish, seen = RandomKills(PUBLISH, seed=7), {releases.latest}
    for number in itertools.count(1):
        if publish.n_killed >= kills and len(seen) > 1:
            break
        version = f"v{number:02d}"
        was_killed = publish.run(bucket, version)
        seen.add(releases.latest)
        assert releases.load().version == releases.latest
        assert was_killed or releases.latest == version
    # a version that was left half done is finished by publishing it again
    releases.publish(make_release(version, content=version.encode() * 200_000))
    assert releases.load().version == version
