"""Buckets in: the mirror against a real S3 server, faults and kills included."""

from __future__ import annotations

import hashlib
import itertools
import os
import random

import numpy as np
import pytest

from soundx.clips.bucket import S3Source
from soundx.clips.manifest import IngestionOptions, scan_clips
from soundx.clips.mirror import MirrorOptions, mirror
from soundx.clips.raw import RawClips
from soundx.clips.waveforms import ClipWaveforms
from soundx.errors import AudioError, SoundxError
from soundx.markup import printable
from soundx.storage.s3 import Retries, split_url
from tests.clips.test_mirror import tree
from tests.conftest import KILLS
from tests.s3.conftest import PAGE
from tests.s3.killing import RandomKills

CLIPS = {f"L{i % 4}/{i:03d}.wav": os.urandom(2000 + i) for i in range(60)}


def sync(bucket, root, **options):
    return mirror(S3Source(f"s3://{bucket}", timeout_s=2), root, MirrorOptions(**options))


def test_the_mirror_follows_the_bucket(fill, s3, tmp_path):
    bucket = fill(CLIPS)
    assert sync(bucket, tmp_path).fetched == 60
    assert tree(tmp_path) == CLIPS
    report = sync(bucket, tmp_path)
    assert (report.fetched, report.unchanged) == (0, 60)
    fill({"L0/000.wav": b"changed", "New/1.wav": b"new"}, bucket)
    s3.delete_object(Bucket=bucket, Key="L1/001.wav")
    report = sync(bucket, tmp_path)
    assert (report.fetched, report.unchanged, report.removed) == (2, 58, 1)
    assert tree(tmp_path) == {
        **{k: v for k, v in CLIPS.items() if k != "L1/001.wav"},
        "L0/000.wav": b"changed",
        "New/1.wav": b"new",
    }


def test_unchanged_objects_are_not_read_again(fill, proxy, tmp_path):
    bucket = fill(CLIPS)
    sync(bucket, tmp_path)
    asked = []
    proxy.decide = lambda method, path: asked.append(path)
    sync(bucket, tmp_path)
    assert len(asked) == 1
    assert "list-type=2" in asked[0]


def test_a_prefix_is_a_source_of_its_own(fill, tmp_path):
    bucket = fill({"in/A/1.wav": b"1", "in/A/2.wav": b"2", "out/B/3.wav": b"3"})
    sync(f"{bucket}/in", tmp_path)
    assert tree(tmp_path) == {"A/1.wav": b"1", "A/2.wav": b"2"}
    assert split_url("s3://b/x/y/") == ("b", "x/y/")
    assert split_url("s3://b") == ("b", "")
    with pytest.raises(SoundxError, match="not an S3 address"):
        split_url("gs://b")


def test_more_than_a_page_is_listed_and_large_objects_arrive(fill, s3, tmp_path):
    many = {f"A/{i}": b"x" for i in range(PAGE + 1)} | {"A/large": os.urandom(3_000_000)}
    bucket = fill(many)
    assert s3.list_objects_v2(Bucket=bucket)["IsTruncated"]
    assert sync(bucket, tmp_path).fetched == PAGE + 2
    assert tree(tmp_path) == many


def test_hostile_keys_never_leave_the_mirror_and_are_reported(fill, tmp_path):
    long = "A/" + "x" * 900
    hostile = {
        "../outside.wav": b"h",
        "A/../../outside.wav": b"h",
        "A\\b.wav": b"h",
        "A/\x07bell.wav": b"h",
        "/absolute.wav": b"h",
        "A//double.wav": b"h",
        "folder/": b"",
        long: b"h",
        ".soundx/ledger.sqlite": b"h",
        "C:/windows.wav": b"h",
    }
    kept = {"A/zero.wav": b"", "A/Case.wav": b"1", "A/case.wav": b"2", "A/ünï #&+.wav": b"3"}
    kept["/".join(["part" * 20] * 10) + ".wav"] = b"4"
    bucket = fill(hostile | kept)
    root = tmp_path / "in" / "raw"
    report = sync(bucket, root)
    assert {key for key, _ in report.refused} == {printable(key) for key in hostile}
    assert RawClips(root).refused() == sorted(report.refused)
    assert tree(tmp_path) == {f"in/raw/{key}": content for key, content in kept.items()}


def test_names_that_differ_in_case_on_a_disk_that_does_not_tell_them(fill, tmp_path, monkeypatch):
    # such a disk cannot be mounted in a test: only the probe is replaced
    monkeypatch.setattr("soundx.clips.mirror._folds_case", lambda root: True)
    report = sync(fill({"A/Case.wav": b"1", "A/case.wav": b"2"}), tmp_path)
    assert report.fetched == 1
    assert "only in case" in report.refused[0][1]


def test_a_link_out_of_the_mirror_is_not_followed(fill, tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "raw"
    outside.mkdir()
    root.mkdir()
    (root / "A").symlink_to(outside)
    report = sync(fill({"A/1.wav": b"1"}), root)
    assert report.refused == [("A/1.wav", "a link in its folder leads out of the mirror")]
    assert list(outside.iterdir()) == []


def test_a_bucket_that_suddenly_lists_less_stops_the_sync(fill, s3, tmp_path):
    bucket = fill(CLIPS)
    sync(bucket, tmp_path)
    for key in list(CLIPS)[:20]:
        s3.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(SoundxError, match=r"33% of the mirror \(20 of 60 files\)"):
        sync(bucket, tmp_path)
    assert tree(tmp_path) == CLIPS
    assert sync(bucket, tmp_path, max_removed_share=0.5).removed == 20
    for key in CLIPS:
        s3.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(SoundxError, match="lists as empty"):
        sync(bucket, tmp_path, max_removed_share=1.0)
    assert len(tree(tmp_path)) == 40
    assert sync(bucket, tmp_path, force=True).removed == 40
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    "fault",
    [
        "slow down",
        pytest.param("truncate", marks=pytest.mark.slow),
        pytest.param("reset", marks=pytest.mark.slow),
        pytest.param("corrupt", marks=pytest.mark.slow),
    ],
)
def test_one_request_in_five_failing_ends_right(fill, proxy, tmp_path, fault):
    bucket = fill(CLIPS)
    count = itertools.count(1)
    proxy.decide = lambda method, path: (
        fault
        if next(count) % 5 == 0 and (fault == "slow down" or "list-type" not in path)
        else None
    )
    report = sync(bucket, tmp_path)
    assert tree(tmp_path) == CLIPS
    assert proxy.n_faults > 10
    assert report.retries == proxy.n_faults
    assert f"({report.retries} retries)" in str(report)


def test_a_stalled_answer_is_given_up_and_asked_again(fill, proxy, tmp_path):
    bucket = fill({"A/1.wav": b"1" * 5000, "A/2.wav": b"2" * 5000})
    stalls = iter(["stall"])
    proxy.decide = lambda method, path: next(stalls, None) if "1.wav" in path else None
    assert sync(bucket, tmp_path).retries == 1
    assert len(tree(tmp_path)) == 2


def entry(*, without="", key="A/1.wav", content=b"abc"):
    fields = {
        "Key": key,
        "Size": len(content),
        "ETag": hashlib.md5(content, usedforsecurity=False).hexdigest(),
    }
    text = "".join(f"<{n}>{value}</{n}>" for n, value in fields.items() if n != without)
    return f"<Contents>{text}</Contents>"


def listing(*entries, token=None, truncated=False):
    following = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return (
        "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult>"
        f"<IsTruncated>{str(truncated or token is not None).lower()}</IsTruncated>{following}"
        f"{''.join(entries)}</ListBucketResult>"
    ).encode()


def send(request, content, *, etag="", drip=None):
    """Answer with some bytes; of a drip one at a time, until nobody wants more."""
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.send_header("ETag", f'"{etag}"')
    request.end_headers()
    if drip is None:
        request.wfile.write(content)
        return
    for number in range(len(content)):
        request.wfile.write(content[number : number + 1])
        drip.wait(0.02)


def test_a_listing_without_an_end_is_given_up(stranger):
    numbers = itertools.count()
    pages = {
        "the same place again": lambda: listing(entry(key=f"A/{next(numbers)}"), token="again"),
        "the same objects again": lambda: listing(entry(), token=str(next(numbers))),
    }
    for page in pages.values():
        stranger.answer = lambda request, path, page=page: send(request, page())
        with pytest.raises(SoundxError, match="listing is broken: it has no end"):
            list(itertools.islice(S3Source("s3://bucket").list_objects(), 1000))


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (listing(entry(without="Key")), "an object in it has no Key"),
        (listing(entry(without="Size")), "an object in it has no Size"),
        (listing(entry(without="ETag")), "an object in it has no ETag"),
        (listing(entry(), truncated=True), "it goes on, and does not say where"),
    ],
)
def test_a_listing_that_lacks_something_is_told(stranger, page, said):
    stranger.answer = lambda request, path: send(request, page)
    with pytest.raises(SoundxError, match=f"listing is broken: {said}"):
        list(S3Source("s3://bucket").list_objects())


@pytest.mark.parametrize("what", ["listing", "object"])
def test_a_byte_now_and_then_is_no_answer(stranger, tmp_path, what):
    source = S3Source("s3://bucket", timeout_s=0.1)
    source.retries = Retries(max_tries=1)
    content = b"x" * 100

    def answer(request, path):
        page = listing(entry(content=content))
        is_listing = "list-type" in path
        drip = stranger.stopped if is_listing == (what == "listing") else None
        send(request, page if is_listing else content, drip=drip)

    stranger.answer = answer
    with pytest.raises(SoundxError, match=r"did not arrive whole.* in 0\.\d+ s"):
        [source.fetch(item.key, tmp_path / "target") for item in source.list_objects()]


def test_no_more_is_taken_of_an_object_than_was_listed(stranger, tmp_path):
    source = S3Source("s3://bucket")
    source.retries = Retries(max_tries=1)
    listed = hashlib.md5(b"abc", usedforsecurity=False).hexdigest()
    stranger.answer = lambda request, path: (
        send(request, listing(entry()))
        if "list-type" in path
        else send(request, b"x" * 10_000_000, etag=listed)
    )
    (item,) = source.list_objects()
    with pytest.raises(SoundxError, match="more than 3 bytes came"):
        source.fetch(item.key, tmp_path / "target")
    assert (tmp_path / "target").stat().st_size == 0


def test_a_refusal_in_the_middle_of_a_listing_deletes_nothing(fill, proxy, s3, tmp_path):
    many = {f"A/{i:04d}": b"x" for i in range(PAGE + 10)}
    bucket = fill(many)
    sync(bucket, tmp_path)
    proxy.decide = lambda method, path: "forbidden" if "continuation-token" in path else None
    with pytest.raises(SoundxError, match=rf"s3://{bucket}: these credentials may not"):
        sync(bucket, tmp_path)
    assert proxy.n_faults == 1
    assert tree(tmp_path) == many


def test_a_server_that_never_recovers_is_said_and_leaves_whole_files(
    fill, proxy, tmp_path, monkeypatch
):
    monkeypatch.setattr("soundx.storage.s3._LONGEST_WAIT_S", 0.2)  # it is given up sooner
    bucket = fill(CLIPS)
    proxy.decide = lambda method, path: "truncate" if path.endswith("/040.wav") else None
    with pytest.raises(SoundxError, match=f"s3://{bucket}"):
        sync(bucket, tmp_path)
    assert tree(tmp_path).items() <= CLIPS.items()
    proxy.decide = lambda method, path: None
    sync(bucket, tmp_path)
    assert tree(tmp_path) == CLIPS


@pytest.mark.parametrize("kills", KILLS)
def test_killed_at_any_moment_it_goes_on_and_ends_equal_to_the_bucket(fill, s3, tmp_path, kills):
    rng = random.Random(7)
    content = {f"L{i % 4}/{i:03d}.wav": os.urandom(20_000) for i in range(250)}
    ever = {key: {value} for key, value in content.items()}
    bucket = fill(content)
    code = (
        "import sys; from pathlib import Path; from soundx.clips.mirror import mirror; "
        "from soundx.clips.bucket import S3Source; print('ready', flush=True); "
        f"mirror(S3Source('s3://{bucket}'), Path(sys.argv[1]))"
    )
    fetch = RandomKills(code, seed=7)
    while fetch.n_killed < kills:
        fetch.run(tmp_path)
        here = tree(tmp_path)
        assert all(here[key] in ever[key] for key in here), "a file is not whole"
        # more to do for the next one: some change in the bucket, some are lost here
        for key in rng.sample(sorted(content), 15):
            content[key] = os.urandom(20_000)
            ever[key].add(content[key])
            s3.put_object(Bucket=bucket, Key=key, Body=content[key])
        for key in rng.sample(sorted(here), len(here) // 2):
            (tmp_path / key).unlink()
    sync(bucket, tmp_path)
    assert tree(tmp_path) == content


def test_a_machine_without_the_mirror_reads_the_bucket(fill, s3, tmp_path, write_clip):
    """As a cluster's worker does; what it finds must be what was mirrored."""
    write_clip("made/a.wav", seconds=1.0)
    content = (tmp_path / "made/a.wav").read_bytes()
    bucket = fill({"clips/A/a.wav": content})
    sync(f"{bucket}/clips", tmp_path / "mirror")
    raw = RawClips(tmp_path / "mirror")
    assert raw.origin() == f"s3://{bucket}/clips"
    manifest, _ = scan_clips(raw, IngestionOptions())
    waveform = ClipWaveforms(raw, manifest)["A/a.wav"]
    expected = waveform()
    (tmp_path / "mirror/A/a.wav").unlink()
    np.testing.assert_array_equal(waveform(), expected)
    np.testing.assert_array_equal(np.concatenate(list(waveform.blocks())), expected)
    fill({"clips/A/a.wav": content + b"more"}, bucket)
    with pytest.raises(AudioError, match="changed since it was ingested"):
        waveform()
    s3.delete_object(Bucket=bucket, Key="clips/A/a.wav")
    with pytest.raises(AudioError, match="cannot be read"):
        waveform()
