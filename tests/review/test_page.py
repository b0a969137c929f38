from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from PIL import Image

from soundx.audio.pictures import draw_mel_spectrogram
from soundx.errors import SoundxError
from soundx.review.answers import COLUMNS, UNSURE, Answer, read_answers
from soundx.review.page import LABEL_KEYS, PageItem, review_page

HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!--<script>",
    "]]>&lt;b&amp;",
    "=cmd()",
    "'=1",
    "a\u2028b\u2029c",
    "'tis",
    "\U0001f989 鳥",
    "@@DATA@@ @@POLICY@@",
    "\\u003cb\\1 $& ${1}",
]
LABELS = ["siren", "ANIMAL_dog"]


def noise(seconds, seed=0):
    samples = np.random.default_rng(seed).standard_normal(int(seconds * 16_000))
    return (0.1 * samples).astype(np.float32)


def item(samples=None, **changes):
    whole = PageItem(
        recording="site/rec.wav",
        onset_s=10.25,
        offset_s=10.75,
        samples=noise(1) if samples is None else samples,
        stretch_begin_s=0.25,
        stretch_end_s=0.75,
        guesses=(("siren", 0.75), ("", 0.25)),
        probability=0.75,
        drawn_for="siren",
    )
    return replace(whole, **changes)


def page(*items, labels=LABELS, title="Which sounds?", model_version="v1"):
    return review_page(items or [item()], labels, title=title, model_version=model_version)


class Reader(HTMLParser):
    """What a browser would find in a page: tags, what stands in scripts and styles, texts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.inside, self.title = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside.append([tag, dict(attrs), ""])

    def handle_data(self, data):
        tag = self.tags[-1][0] if self.tags else ""
        if self.inside and tag in ("script", "style"):
            self.inside[-1][2] += data
        self.title += data if tag == "title" else ""

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}", {}))


def data(text):
    (found,) = [inside for _, attrs, inside in Reader(text).inside if attrs.get("id") == "data"]
    return json.loads(found)


def policy(text):
    (found,) = [a["content"] for tag, a in Reader(text).tags if tag == "meta" and "http-equiv" in a]
    return dict(rule.split(" ", 1) for rule in found.split("; "))


def test_a_page_names_nothing_outside_itself():
    text = page()
    without_data = re.sub(r'(id="data">).*?(</script>)', r"\1\2", text, flags=re.DOTALL)
    assert len(without_data) < len(text) - 10_000
    assert not re.search(r"[a-z]+://|[\"'(=]\s*//|@import|url\(", without_data)
    for tag, attributes in Reader(text).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)


def test_nothing_runs_but_the_pages_own_script():
    text = page()
    reader = Reader(text)
    rules = policy(text)
    assert rules["default-src"] == "'none'"
    for rule, tag in (("script-src", "script"), ("style-src", "style")):
        (own,) = [i for t, attrs, i in reader.inside if t == tag and "type" not in attrs]
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert rules["img-src"] == rules["media-src"] == "data:"
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(name):
    label = name.replace("/", "").replace("\\", "").replace("\u2028", "").replace("\u2029", "")
    asked = item(recording=name, guesses=((name, 0.5),), drawn_for=name)
    text = page(asked, labels=[label], title=name, model_version=name)
    assert text.isascii()
    shape = [(tag, attributes.keys()) for tag, attributes in Reader(text).tags]
    assert shape == [(tag, attributes.keys()) for tag, attributes in Reader(page()).tags]
    assert policy(text) == policy(page())
    assert Reader(text).title == name
    found = data(text)
    assert found["title"] == name
    assert found["labels"] == [label]
    assert found["items"][0]["recording"] == name
    assert found["items"][0]["guesses"] == [[name, 0.5]]


def test_rows_are_ready_but_for_the_answer():
    text = page(item(recording="=a.wav", probability=None), item())
    rows = [one["cells"] for one in data(text)["items"]]
    assert [tuple(row) for row in rows] == [COLUMNS, COLUMNS]
    assert rows[0]["recording"] == "'=a.wav"
    lines = [",".join(cells) for cells in (COLUMNS, *(row.values() for row in rows))]
    assert read_answers("\n".join(lines).encode(), "t") == [
        Answer("=a.wav", 10.25, 10.75, UNSURE, model_version="v1", drawn_for="siren"),
        Answer("site/rec.wav", 10.25, 10.75, UNSURE, "", "", "v1", 0.75, "siren"),
    ]


def test_sound_and_picture_are_those_of_the_samples():
    samples = noise(2)
    samples[8000:16000] *= 0.01
    (told,) = data(page(item(samples, stretch_end_s=1.5)))["items"]
    heard, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(told["sound"])))
    assert rate_hz == 16_000
    assert abs(len(heard) / rate_hz - told["duration_s"]) < 0.1
    assert np.abs(heard[9000:15000]).mean() < 0.1 * np.abs(heard[1000:7000]).mean()
    seen, whole = (
        np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), int)
        for png in (base64.b64decode(told["picture"]), draw_mel_spectrogram(samples))
    )
    assert seen.shape == whole.shape
    assert np.abs(seen - whole).max() < 16


@pytest.mark.slow
def test_a_hundred_windows_are_a_few_megabytes():
    text = page(*[item(noise(3, seed)) for seed in range(100)])
    assert len(data(text)["items"]) == 100
    assert len(text) < 4_000_000


def test_the_scale_beside_the_picture_is_the_pictures():
    marks = re.findall(r"#hz(\d+) { bottom: ([\d.]+)%; }", page())
    assert len(marks) == 3
    for hz, percent in marks:
        tone = np.sin(2 * np.pi * int(hz) * np.arange(16_000) / 16_000).astype(np.float32)
        picture = np.asarray(Image.open(io.BytesIO(draw_mel_spectrogram(tone))).convert("L"), int)
        height = 100 * (1 - (picture.sum(axis=1).argmax() + 0.5) / len(picture))
        assert abs(height - float(percent)) < 1.5, hz


def test_keys_of_labels_are_single_and_do_nothing_else():
    assert len(set(LABEL_KEYS)) == len(LABEL_KEYS) == 29
    assert not set(LABEL_KEYS) & set("buzsndl ")
    assert data(page())["keys"] == LABEL_KEYS


def test_a_label_given_twice_is_there_once():
    assert data(page(labels=["siren", " siren ", "dog"]))["labels"] == ["siren", "dog"]


def test_pages_of_other_content_are_others():
    ids = [data(text)["id"] for text in (page(), page(title="x"), page(item(onset_s=10.0)))]
    assert len(set(ids)) == 3
    assert data(page())["id"] == ids[0]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"recording": ""}, "There is no recording"),
        ({"recording": "\udcff.wav"}, "not whole text"),
        ({"onset_s": 11.0}, "begins at"),
        ({"probability": float("nan")}, "no number"),
        ({"probability": 1.5}, "0 to 1"),
        ({"guesses": (("siren", float("nan")),)}, "no number"),
        ({"stretch_end_s": 1.5}, "not in its samples"),
        ({"stretch_begin_s": -0.1}, "not in its samples"),
        ({"samples": noise(0)}, "not in its samples"),
    ],
)
def test_what_cannot_be_asked_is_said(changes, named):
    with pytest.raises(SoundxError, match=named):
        page(item(), item(**changes))


def test_a_page_that_asks_nothing_is_none():
    with pytest.raises(SoundxError, match="nothing to ask"):
        review_page([], LABELS, title="t", model_version="")


@pytest.mark.parametrize("label", ["", ".a", ":BACKGROUND", "a/b", "a\nb"])
def test_a_label_that_cannot_be_one_is_refused(label):
    with pytest.raises(SoundxError, match="cannot be a label"):
        page(labels=["siren", label])


def test_there_may_be_no_labels_yet():
    assert data(page(labels=[]))["labels"] == []
