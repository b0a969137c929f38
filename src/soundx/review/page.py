"""A page that a person without soundx opens from disk, listens with, and sends answers back from.

It is one file that needs nothing else and asks nothing of any network: sounds (MP3) and pictures
(PNG) stand in it, and what it gives back is the table of :mod:`soundx.review.answers`. What a
visitor sees and does is in ``page.html``; here it is filled. Names are anybody's: they stand in it
as JSON without a ``<``, and a policy lets nothing run but the page's own script.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.audio.pictures import draw_mel_spectrogram, mp3_file
from soundx.errors import SoundxError
from soundx.labels import shown_label
from soundx.review.answers import (
    BACKGROUND_ANSWER,
    COLUMNS,
    LONGEST_LABEL,
    LONGEST_NAME,
    UNSURE,
    Answer,
    check_label,
    read_answers,
    write_answers,
)

LABEL_KEYS = "1234567890acefghijkmopqrtvwxy"
"""Keys of the labels, in order, here and in the viewer; those after them have none. The other
letters do something else in one of the two."""

_TEMPLATE = Path(__file__).with_name("page.html")
_COLOURS = 32  # steps of 2 dB: a third of the bytes, and it looks the same


@dataclass(frozen=True, eq=False)
class PageItem:
    """A stretch of a recording that is asked about.

    Attributes:
        recording: Path or URL of the recording, as it was listened to.
        onset_s: Where the stretch begins in the recording, in seconds.
        offset_s: Where it ends.
        samples: The stretch and what is around it, at 16 kHz [shape=(n_samples,)].
        stretch_begin_s: Where the stretch begins in the samples, in seconds.
        stretch_end_s: Where it ends there.
        guesses: Labels and what the model gave each, best first.
        probability: What the model gave the label it asks about; None where it gave none.
        drawn_for: As in ``Answer``.
    """

    recording: str
    onset_s: float
    offset_s: float
    samples: Float32
    stretch_begin_s: float
    stretch_end_s: float
    guesses: tuple[tuple[str, float], ...] = ()
    probability: float | None = None
    drawn_for: str = ""

    @property
    def duration_s(self) -> float:
        """How long the samples are."""
        return len(self.samples) / SAMPLE_RATE_HZ


def review_page(
    items: Sequence[PageItem], labels: Sequence[str], *, title: str, model_version: str
) -> str:
    """Return a page that asks what is heard in stretches of recordings, HTML in ASCII.

    Args:
        items: What is asked about, in order.
        labels: What can be answered besides background and not sure, in order; it may be empty,
            since a person can add to them.
        title: What the page is called.
        model_version: Which model asks; empty where none does.

    Raises:
        SoundxError: There is nothing to ask, a label cannot be one, an item's answer could not
            stand in a table of answers, its stretch is not inside its samples, or a guess has no
            number.
    """
    if not items:
        raise SoundxError("There is nothing to ask: a review page needs a stretch to listen to.")
    for item in items:
        if not 0 <= item.stretch_begin_s < item.stretch_end_s <= item.duration_s + 1e-3:
            raise SoundxError(
                f"The stretch at {item.onset_s:g} s of {item.recording!r} is not in its samples: "
                f"{item.stretch_begin_s:g} s to {item.stretch_end_s:g} s of {item.duration_s:g} s."
            )
        if not np.isfinite([p for _, p in item.guesses]).all():
            raise SoundxError(f"A guess about {item.recording!r} has no number as probability.")
    content: dict[str, Any] = {
        "title": title,
        "labels": list(dict.fromkeys(map(check_label, labels))),
        "keys": LABEL_KEYS,
        "columns": COLUMNS,
        "background": BACKGROUND_ANSWER,
        "unsure": UNSURE,
        "longest_label": LONGEST_LABEL,
        "longest_name": LONGEST_NAME,
        "items": [
            _told(item, cells)
            for item, cells in zip(items, _cells(items, model_version), strict=True)
        ],
    }
    # what a browser keeps for one page is not taken for another's answers
    content["id"] = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    template = _TEMPLATE.read_text(encoding="ascii")
    parts = {
        "POLICY": _policy(template),
        "TITLE": html.escape(title).encode("ascii", "xmlcharrefreplace").decode(),
        # a browser looks for the end of a script, or a comment in it, before it reads JSON
        "DATA": json.dumps(content).replace("<", "\\u003c"),
    }
    return re.sub("@@([A-Z]+)@@", lambda found: parts[found[1]], template)


def _policy(template: str) -> str:
    """Return the policy under which only the template's own script and style count."""
    sources = {
        f"{tag}-src": _hash_source(found)
        for tag in ("script", "style")
        for found in re.findall(f"<{tag}>(.*?)</{tag}>", template, re.DOTALL)
    }
    rules = {
        "default-src": "'none'",
        **sources,
        "img-src": "data:",
        "media-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",  # nothing becomes markup later on, either
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _cells(items: Sequence[PageItem], model_version: str) -> list[dict[str, str]]:
    """Return what stands in each item's row whatever is answered, by column.

    Raises:
        SoundxError: Such a row could not be read back.
    """
    rows = write_answers(
        Answer(
            recording=item.recording,
            onset_s=item.onset_s,
            offset_s=item.offset_s,
            label=UNSURE,
            model_version=model_version,
            probability=item.probability,
            drawn_for=item.drawn_for,
        )
        for item in items
    )
    try:
        read_answers(rows.encode(), "What is asked")
    except UnicodeEncodeError:
        raise SoundxError(
            "What is asked cannot stand in a table of answers: a recording's name, or the "
            "model's, is not whole text."
        ) from None
    return list(csv.DictReader(io.StringIO(rows, newline="")))


def _told(item: PageItem, cells: dict[str, str]) -> dict[str, Any]:
    return {
        "recording": item.recording,
        "onset_s": float(item.onset_s),
        "offset_s": float(item.offset_s),
        "begin_s": float(item.stretch_begin_s),
        "end_s": float(item.stretch_end_s),
        "duration_s": item.duration_s,
        "guesses": [[shown_label(label), round(float(p), 4)] for label, p in item.guesses],
        "cells": cells,
        "sound": base64.b64encode(mp3_file(item.samples)).decode(),
        "picture": base64.b64encode(_smaller(draw_mel_spectrogram(item.samples))).decode(),
    }


def _smaller(png: bytes) -> bytes:
    """Return a spectrogram's picture in ``_COLOURS`` of its colours, evenly from quiet to loud."""
    from matplotlib import colormaps
    from PIL import Image

    palette = Image.new("P", (1, 1))
    colours = colormaps["magma"](np.linspace(0, 1, _COLOURS))[:, :3]
    palette.putpalette((colours * 255).astype(np.uint8).tobytes())
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    file = io.BytesIO()
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()
