"""Events and recordings to write, read and score."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from soundx.labels import category_of
from soundx.listening.events import Event, Recording

DAWN = datetime(2024, 5, 1, 4, 30, tzinfo=UTC)

RECORDINGS = [
    Recording("site1/rec.wav", 60.0, DAWN),
    Recording("site2/rec.wav", 30.0),
    Recording("site2/silence.wav", 10.0),
]


def event(file: str, onset_s: float, offset_s: float, label: str = "dog", **more) -> Event:
    told = {"category": category_of(label), "probability": 1.0, "mean_probability": 1.0}
    return Event(file, onset_s, offset_s, label, **{**told, **more})


EVENTS = [
    Event(
        *("site1/rec.wav", 0.24, 1.5, "ANIMAL_dog", "ANIMAL", 0.91234, 0.75),
        starts_at=DAWN + timedelta(seconds=0.24),
    ),
    event("site1/rec.wav", 10.0, 59.9, "siren", probability=0.5, mean_probability=0.5),
    event("site2/rec.wav", 2.0, 3.0, "ANIMAL_dog", category="ANIMAL"),
]
