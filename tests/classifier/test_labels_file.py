"""``labels.json``: what is wrong with it is told by the name of the field."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from soundx.classifier.bundle import JOINT_MODEL, LABELS, Classifier
from soundx.classifier.labels_file import (
    Windowing,
    check_labels,
    frames_around,
    head_classes_file,
    head_files,
    labels_file,
)
from soundx.errors import BrokenFileError, SoundxError
from soundx.labels import LabelTree
from soundx.listening.listen import event_rules
from tests.conftest import FORGED

FEW = settings(
    max_examples=int(os.environ.get("HYPOTHESIS", "200")),
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TREE = LabelTree.build([("A_x", "A"), ("A_y", "A"), ("B", "B")])
WINDOWING = Windowing(frames=3, window_s=1.92, hop_s=0.48, frame_samples=15_600, hop_samples=7_680)


def written(**more: Any) -> dict[str, Any]:
    """Return what an export writes, as it is read."""
    content = labels_file(
        TREE,
        version="v1",
        embedder={"name": "logmel"},
        training={"head": "ridge"},
        thresholds={"A_x": 0.5, "A_y": 0.7, "B": 2.0},
        background=True,
        manifest_digest="d",
        sample_rate_hz=16_000,
        windowing=WINDOWING,
        with_head_files=True,
        **more,
    )
    return dict(json.loads(content))


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return what an export writes with one field another."""
    content = written() | {"files": {"soundx.tflite": "sum"}}
    *above, last = path.split(".")
    place = content
    for name in above:
        place = place[name]
    assert last in place or above  # a field that there is, or one more entry
    place[last] = value
    return content


def classifier_of(content: dict[str, Any]) -> Classifier:
    return Classifier({JOINT_MODEL: b"", LABELS: json.dumps(content).encode()})


def test_what_an_export_writes_is_right_and_says_all_that_a_listener_needs():
    content = written(precision="int8")
    assert check_labels(content) == ""
    assert content["labels"] == list(content["categories"]) == ["A_x", "A_y", "B"]
    assert content["precision"] == "int8"
    assert Windowing.from_dict(content["window"]) == WINDOWING
    # what is never answered is no event either
    assert content["events"]["on"] == {"A_x": 0.5, "A_y": 0.7}
    assert content["events"]["off"] == pytest.approx({"A_x": 0.3, "A_y": 0.42})
    assert content["heads"]["A"] == {"file": "soundx_model_A.tflite", "classes": ["A_x", "A_y"]}
    classifier = classifier_of(content)
    assert classifier.labels == TREE.labels
    assert classifier.windowing == WINDOWING
    assert event_rules(classifier).on == content["events"]["on"]


WRONG = [
    ("version", 1),
    ("version", None),
    ("categories", {}),
    ("categories", []),
    ("categories", "A"),
    ("categories.A_x", 1),
    ("categories.A_x", ["A"]),
    ("labels", "A_x"),
    ("labels", {"A_x": 1}),
    ("labels.0", 7),
    ("thresholds", []),
    ("thresholds.A_x", "0.5"),
    ("thresholds.A_x", True),
    ("thresholds.A_x", -0.1),
    ("thresholds.A_x", 11),
    ("thresholds.A_x", float("nan")),
    ("thresholds.A_x", float("inf")),
    ("thresholds.A_x", 10**400),
    ("unknown", None),
    ("background", 1),
    ("background", "true"),
    ("precision", 32),
    ("window", None),
    ("window", [3]),
    ("window.frames", 3.0),
    ("window.frames", 0),
    ("window.frames", 1001),
    ("window.frames", True),
    ("window.window_s", 0),
    ("window.window_s", "1.92"),
    ("window.hop_s", -0.48),
    ("window.hop_s", 1e9),
    ("window.frame_samples", 15600.5),
    ("window.hop_samples", 0),
    ("events", 0.5),
    ("events.on", [0.5]),
    ("events.on.A_x", None),
    ("events.off.A_x", "0.3"),
    ("events.min_s", -1),
    ("events.gap_s", float("nan")),
    ("heads", []),
    ("heads.A", "A_x"),
    ("heads.A.classes", "A_x"),
    ("heads.A.classes.1", 2),
    ("heads.A.file", 1),
    ("files", ["soundx.tflite"]),
    ("files.soundx", None),
    ("embedder", "logmel"),
    ("training", None),
    ("manifest_digest", 0),
]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=[f"{p}={str(v)[:9]}" for p, v in WRONG])
def test_a_field_that_is_wrong_is_named(path, value):
    content = changed(path, value) if not path[-1].isdigit() else with_entry(path, value)
    said = check_labels(content)
    assert said.startswith(f"{path} "), said
    with pytest.raises(BrokenFileError, match=r"The classifier's labels\.json is broken: ") as told:
        _ = classifier_of(content)
    assert said in str(told.value)


def with_entry(path: str, value: Any) -> dict[str, Any]:
    """Return what an export writes with one entry of a list another."""
    *above, number = path.split(".")
    content = written()
    place: Any = content
    for name in above:
        place = place[name]
    place[int(number)] = value
    return content


@pytest.mark.parametrize(
    "path",
    [
        "version",
        "categories",
        *(f"window.{name}" for name in Windowing.__dataclass_fields__),
        *(f"events.{name}" for name in ("on", "off", "min_s", "gap_s")),
    ],
)
def test_a_field_that_is_missing_is_named(path):
    content = written()
    *above, last = path.split(".")
    del (content[above[0]] if above else content)[last]
    assert check_labels(content) == f"{path} is missing"


@pytest.mark.parametrize(
    "change", [{"categories": {FORGED: 1}}, {"files": {FORGED: "digest"}}, {"window": {FORGED: 1}}]
)
def test_a_name_in_it_writes_no_line_of_its_own(change):
    content = json.dumps(written() | change).encode()
    with pytest.raises(BrokenFileError) as told:
        Classifier({JOINT_MODEL: b"", LABELS: content})
    assert str(told.value).isprintable()


@pytest.mark.parametrize("content", [None, [], "text", 7, True])
def test_what_is_no_object_is_told(content):
    assert check_labels(content) == "its content has to be an object"


def test_labels_have_to_be_those_of_the_categories_in_their_order():
    for labels in (["A_y", "A_x", "B"], ["A_x", "A_y"], ["A_x", "A_y", "B", "C"]):
        assert "the same labels in the same order" in check_labels(written() | {"labels": labels})


@pytest.mark.parametrize(
    "change",
    [
        {"version": "\ud800"},
        {"unknown": "\udfff"},
        {"labels": ["\ud800"], "categories": {"\ud800": "A"}},
        {"labels": ["A"], "categories": {"A": "\ud800"}},
    ],
)
def test_what_cannot_be_written_down_is_no_name(change):
    assert "is no text" in check_labels(written() | change)


def test_a_file_of_an_older_version_is_read():
    """It has none of the fields that came later, and answers to whole clips."""
    old = {name: written()[name] for name in ("version", "labels", "categories", "embedder")}
    for content in (old, {"version": "v0", "categories": {"A": "A"}}):
        assert check_labels(content) == ""
        classifier = classifier_of(content)
        assert classifier.answer_to([0.9] + [0.0] * (len(classifier.labels) - 1))[0] != "unknown"
        with pytest.raises(SoundxError, match="exported by an older soundx"):
            _ = classifier.windowing
        with pytest.raises(SoundxError, match="exported by an older soundx"):
            event_rules(classifier)


def test_fields_that_nobody_knows_are_left_alone():
    content = written() | {"of_tomorrow": [1, {"a": None}]}
    content["window"]["more"] = "x"
    assert check_labels(content) == ""
    assert classifier_of(content).windowing == WINDOWING


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """Draw a file as it is written, in which some fields, however deep, are others or gone."""
    content: Any = written()
    for _ in range(draw(st.integers(1, 3))):
        place: Any = content
        while True:
            names = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not names:
                break
            name = draw(st.sampled_from(names))
            inner = place[name]
            if isinstance(inner, dict | list) and inner and draw(st.booleans()):
                place = inner
                continue
            if draw(st.booleans()):
                place[name] = draw(values)
            else:
                del place[name]
            break
    return content


@FEW
@given(st.one_of(values, damaged()))
@example([[[]]])
@example({"version": "v", "categories": {"": ""}})
def test_whatever_it_holds_it_is_right_or_told_in_words(content):
    said = check_labels(content)
    assert isinstance(said, str)
    try:
        classifier = classifier_of(content)
    except SoundxError as error:
        told = str(error)
        assert said in told
        # only what is beside the file may be wrong where the file is right
        assert said or content.get("files")
        return
    assert not said
    assert classifier.labels == tuple(content["categories"])
    try:
        windowing, rules = classifier.windowing, event_rules(classifier)
    except SoundxError as error:
        told = str(error)
        assert told.strip()
        return
    assert windowing.frames >= 1
    assert rules.on.keys() == content["events"]["on"].keys()


def test_windows_lie_around_their_middle():
    for n_frames in range(1, 12):
        before, after = frames_around(n_frames)
        assert before + 1 + after == n_frames
        assert after - before in (0, 1)


def test_heads_have_files_of_different_names():
    files = head_files(["general", "a/b", "A/B", "ä"])
    assert len({name.casefold() for name in files.values()}) == 4
    assert all(name.startswith("soundx_model_") for name in files.values())
    assert head_classes_file(files["general"]) == "soundx_model_general.json"
