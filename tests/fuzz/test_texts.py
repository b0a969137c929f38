"""Texts that other people write: metadata.csv, labels.json, and the names of what a bucket holds.

Only ``SoundxError`` may come out of them, or what is promised of the result.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from soundx.classifier.bundle import JOINT_MODEL, LABELS, Classifier
from soundx.clips.manifest import MANIFEST_DTYPES, IngestionOptions, scan_clips
from soundx.clips.mirror import mirror, why_refused
from soundx.clips.raw import METADATA, RawClips
from soundx.clips.source import SourceObject
from soundx.errors import SoundxError
from soundx.labels import BACKGROUND, LabelTree, usable_as_label
from soundx.listening.listen import event_rules
from soundx.markup import printable
from soundx.review.answers import read_answers, write_answers
from soundx.review.elsewhere import answers_in
from soundx.search.index import IndexedRecording

# the same texts every time, and no list of them in the folder; by hand more: HYPOTHESIS=5000
FEW = settings(
    max_examples=int(os.environ.get("HYPOTHESIS", "25")),
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

# --- metadata.csv -------------------------------------------------------------------------

PATHS = ("dog/1.wav", "dog/2.wav", ":TEST/cat/3.wav", ":BACKGROUND/4.wav", "5.wav", "é/ü.ogg")
COLUMNS = ("filename", "label", "category", "group", "fold", "licence", "Filename ", "esc50", "")
ODD = (
    "", " ", "1", "-1", "1e3", "2.7", "inf", "nan", "1e400", "NA", "null", "..", "a/b", "a\\b",
    "\0", "\N{RIGHT-TO-LEFT OVERRIDE}x", "=1+1", "x" * 300, '"', "'", "\n", "9" * 30,
)  # fmt: skip

cells = st.one_of(st.sampled_from(ODD), st.sampled_from(PATHS), st.text(max_size=8))
tables = st.tuples(
    st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=7),
    st.lists(st.lists(cells, max_size=8), max_size=6),
    st.sampled_from([",", ";", "\t", "|"]),
)


def as_text(table: tuple[list[str], list[list[str]], str]) -> bytes:
    columns, rows, separator = table
    lines = [columns, *rows]
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in line] for line in lines]
    return "\n".join(separator.join(line) for line in quoted).encode("utf-8", "surrogatepass")


metadata = st.one_of(
    tables.map(as_text),
    st.lists(cells, max_size=9).map(lambda found: ",".join(found).encode("utf-8", "replace")),
    st.binary(max_size=80),
    st.binary(max_size=60).map(lambda rest: b"filename,label\n" + rest),
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> RawClips:
    """Return six clips, which are decoded once."""
    root = tmp_path_factory.mktemp("clips")
    for number, path in enumerate(PATHS, start=1):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / path, np.arange(400) / (400 * number), 16_000, format="WAV")
    return RawClips(root)


@FEW
@given(metadata)
@example(b"filename,label,label\ndog/1.wav,a,b\n")
@example(b"filename,filename,label\ndog/1.wav,a,b\n")
@example(b"filename,label,fold\ndog/1.wav,a,inf\n")
@example(b"filename,label,fold\ndog/1.wav,a,1e400\n")
@example(b"filename,label,fold\ndog/1.wav,a," + b"9" * 30 + b"\n")
@example(b"filename;label\ndog/1.wav;a\n")
@example(b"filename,label\ndog/1.wav,a,b\n")
@example(b"\xff\xfef\0i\0l\0e\0n\0a\0m\0e\0")
def test_metadata_is_refused_in_words_or_names_clips(clips, content):
    (clips.root / METADATA).write_bytes(content)
    try:
        manifest, rejected = scan_clips(clips, IngestionOptions())
    except SoundxError as error:
        told = str(error)
        assert told.strip()
        return
    assert sorted([*manifest["path"], *rejected["path"]]) == sorted(PATHS)
    assert (rejected["reason"] != "").all()
    assert dict(manifest.dtypes.astype(str)) == MANIFEST_DTYPES
    labelled = manifest[manifest["label"] != BACKGROUND]
    assert labelled["label"].map(usable_as_label).all()
    assert labelled["category"].map(usable_as_label).all()
    assert (manifest["group"].str.strip() != "").all()


# --- labels.json --------------------------------------------------------------------------

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
WHOLE = {
    "version": "2026-01-01T00.00.00.000Z",
    "labels": ["A_x", "A_y", "B_z"],
    "categories": {"A_x": "A", "A_y": "A", "B_z": "B"},
    "thresholds": {"A_x": 0.5, "A_y": 0.5, "B_z": 0.5},
    "unknown": "unknown",
    "background": True,
    "precision": "float32",
    "window": {
        "frames": 3,
        "window_s": 1.92,
        "hop_s": 0.48,
        "frame_samples": 15600,
        "hop_samples": 7680,
    },
    "events": {"on": {"A_x": 0.5, "B_z": 0.5}, "off": {"A_x": 0.3}, "min_s": 0.9, "gap_s": 1.0},
    "files": {},
    "embedder": {"name": "logmel", "fingerprint": "logmel-1"},
    "training": {"head": "ridge"},
    "manifest_digest": "d",
    "heads": {"general": {"classes": ["A", "B"]}, "A": {"classes": ["A_x", "A_y"]}},
}
labels = st.one_of(
    st.dictionaries(st.sampled_from([*WHOLE]), values).map(
        lambda some: json.dumps({**WHOLE, **some}).encode()
    ),
    st.sets(st.sampled_from([*WHOLE])).map(
        lambda gone: json.dumps({k: v for k, v in WHOLE.items() if k not in gone}).encode()
    ),
    values.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=30),
)


@FEW
@given(labels)
@example(json.dumps(WHOLE).encode())
@example(json.dumps(WHOLE).encode()[:-20])
@example(b"[" * 3000)
@example(b'{"categories": {"a": ["b"]}, "version": "1"}')
@example(json.dumps({**WHOLE, "thresholds": {"A_x": "high"}}).encode())
@example(json.dumps({**WHOLE, "window": {**WHOLE["window"], "frames": 0}}).encode())
@example(json.dumps({**WHOLE, "events": {**WHOLE["events"], "off": {"A_x": 0.9}}}).encode())
@example(json.dumps({**WHOLE, "events": {**WHOLE["events"], "on": {"?": 10**400}}}).encode())
@example(json.dumps({**WHOLE, "version": "\ud800"}).encode())
def test_labels_are_refused_in_words_or_answer(content):
    try:
        classifier = Classifier({JOINT_MODEL: b"", LABELS: content})
        tree, version = classifier.tree, classifier.version
        rows = np.eye(len(tree.labels), dtype=np.float32)
        answers = [classifier.answer_to(row) for row in rows]
        if {"window", "events"} <= classifier.info.keys():
            rules = event_rules(classifier)
            before, after = classifier.windowing.around
            assert 0 <= before <= after < classifier.windowing.frames
            assert all(rules.off.get(label, p) <= p for label, p in rules.on.items())
    except SoundxError as error:
        told = str(error)
        assert told.strip()
        return
    assert isinstance(tree, LabelTree)
    for name in (version, *tree.labels, *tree.categories):
        assert name.encode().decode() == name  # it can be written down
    assert set(tree.heads)
    for (answer, probability), label in zip(answers, tree.labels, strict=True):
        assert answer == label or probability < 2
        assert isinstance(answer, str)


# --- keys of a bucket ---------------------------------------------------------------------


class Bucket:
    """A source of keys, each an object of a few bytes."""

    name = "a bucket"
    parallel_fetches = 2

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = sorted(set(keys))

    def list_objects(self) -> Iterable[SourceObject]:
        return [SourceObject(key, 3, "1") for key in self.keys]

    def fetch(self, key: str, target: Path) -> None:
        target.write_bytes(b"abc")


parts = st.one_of(
    st.sampled_from(["..", ".", "", "dog", "1.wav", "~", ".soundx", "C:", "c:x", "a\\b", "\\\\x",
                     "con", "metadata.csv", "%2e%2e", "x" * 255, "x" * 256, "é" * 127 + "x",
                     "..\N{FULLWIDTH SOLIDUS}", " ", "-rf", "$(x)", ".soundx.", "\ud800"]),
    st.text(max_size=6),
)  # fmt: skip
keys = st.lists(parts, max_size=5).map("/".join)


@FEW
@given(st.lists(keys, min_size=1, max_size=12))
@example(["../x", "dog/../../x", "/etc/x", "dog", "dog/1.wav", "dog/1.wav/x", "a//b", "./x"])
@example(["x/" * 2000 + "y", "x" * 255 + "/" + "y" * 255])
@example([".soundx/ledger.sqlite", ".soundx", "dog/.soundx/x"])
@example(["dog/\ud800.wav"])
def test_nothing_is_written_outside_the_mirror(tmp_path_factory, bucket):
    around = tmp_path_factory.mktemp("around")
    root = around / "inside" / "01_raw"
    root.mkdir(parents=True)
    mine = root / "mine.wav"
    mine.write_bytes(b"my own")
    outside = around / "outside"
    outside.mkdir()
    (root / "link").symlink_to(outside)
    report = mirror(Bucket([*bucket, "link/x.wav", "mine.wav"]), root)
    assert mine.read_bytes() == b"my own"
    assert not list(outside.iterdir())
    assert sorted(p.name for p in around.iterdir()) == ["inside", "outside"]
    assert [p.name for p in (around / "inside").iterdir()] == ["01_raw"]
    refused = dict(report.refused)
    assert {"link/x.wav", "mine.wav"} <= refused.keys()
    assert all(reason.strip() for reason in refused.values())
    for key in Bucket(bucket).keys:
        if printable(key) not in refused:
            assert (root / key).read_bytes() == b"abc"
            assert (root / key).resolve().is_relative_to(root.resolve())
            assert why_refused(key) is None


@pytest.mark.parametrize("key", ["../x", "/x", "a/../x", "c:x", "a\\b", "a\nb", ".soundx/x", ""])
def test_keys_that_lead_elsewhere_are_refused(key):
    assert why_refused(key)


# --- answers ------------------------------------------------------------------------------

ANSWER_COLUMNS = (
    "recording", "onset_s", "offset_s", "label", "answered_by", "answered_at", "model_version",
    "probability", "drawn_for", "start (s)", "selection", "",
)  # fmt: skip
answer_cells = st.one_of(
    st.sampled_from([*ODD, "/nights/a.wav", "0", "1.92", ":BACKGROUND", ":UNSURE", "owl", "'=1"]),
    st.text(max_size=8),
)
answer_tables = st.tuples(
    st.one_of(
        st.just(list(ANSWER_COLUMNS[:4])),
        st.lists(st.sampled_from(ANSWER_COLUMNS), min_size=1, max_size=9),
    ),
    st.lists(st.lists(answer_cells, max_size=9), max_size=6),
    st.sampled_from([",", "\t", ";"]),
)


@dataclass(frozen=True)
class Index:
    """Stands for the windows of one recording: nothing of them is read here."""

    window_s = 1.92
    recordings = (IndexedRecording("0", "/nights/a.wav", "", 60.0, 125, 1, 0, 62, 0),)


@FEW
@given(table=answer_tables)
@example(table=(list(ANSWER_COLUMNS[:4]), [["/nights/a.wav", "0", "1.92", "=owl"]], ","))
@example(table=(list(ANSWER_COLUMNS[:4]), [["/etc/passwd", "0", "1.92", "owl"]], ","))
def test_answers_from_elsewhere_are_taken_or_told_of(table):
    content = as_text(table)
    try:
        found, why_not = answers_in("answers.csv", content, Index(), "Ada")
    except SoundxError:
        return
    assert {answer.recording for answer in found} <= {"/nights/a.wav"}
    assert all(isinstance(reason, str) for reason in why_not)
    text = write_answers(found).encode()
    assert [replace(a, probability=None) for a in read_answers(text, "again")] == [
        replace(
            a, probability=None, onset_s=round(a.onset_s, 3), offset_s=round(a.offset_s, 3)
        )
        for a in found
    ]  # fmt: skip


@FEW
@given(content=st.binary(max_size=200))
def test_bytes_that_are_no_answers_are_told_of(content):
    for read in (
        lambda: read_answers(content, "x"),
        lambda: answers_in("x.txt", content, Index(), "Ada"),
    ):
        with contextlib.suppress(SoundxError):
            read()
