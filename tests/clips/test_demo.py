from __future__ import annotations

import io

import numpy as np
import pandas as pd
import soundfile

from soundx.clips.demo import BACKGROUND_SOUNDS, DEMO_LABELS, SynthesisedSource
from soundx.clips.mirror import mirror


def fetch(source: SynthesisedSource, key: str, folder) -> bytes:
    target = folder / "fetched"
    source.fetch(key, target)
    return target.read_bytes()


def test_the_set_is_what_the_demo_needs(tmp_path):
    source = SynthesisedSource()
    table = pd.read_csv(io.BytesIO(fetch(source, "metadata.csv", tmp_path)))
    background = table[table["filename"].str.startswith(":BACKGROUND")]
    assert background["label"].isna().all()
    assert len(background) == 36
    assert background["group"].nunique() < 36
    table = table.drop(background.index)
    assert table["label"].nunique() >= 10
    assert table["label"].str.split("_").str[0].nunique() >= 3
    assert table["label"].value_counts().min() >= 20
    assert (table["group"].value_counts() > 1).any()


def test_every_label_sounds_lasts_and_varies(tmp_path):
    source = SynthesisedSource(clips_per_label=5)
    rates, channels = set(), set()
    for key in source.clips:
        samples, rate_hz = soundfile.read(io.BytesIO(fetch(source, key, tmp_path)))
        assert np.isfinite(samples).all()
        assert 0.05 < np.abs(samples).max() <= 1.0
        assert 1.0 <= len(samples) / rate_hz <= 4.0
        rates.add(rate_hz)
        channels.add(samples.ndim)
    assert len(rates) >= 4
    assert channels == {1, 2}
    assert {clip.sound for clip in source.clips.values()} == {*DEMO_LABELS, *BACKGROUND_SOUNDS}
    assert {clip.label for clip in source.clips.values()} == {*DEMO_LABELS, ""}


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path):
    key = "ALARM_SIREN/alarm_siren-02.wav"
    first, again = (fetch(SynthesisedSource(clips_per_label=6), key, tmp_path) for _ in range(2))
    other = fetch(SynthesisedSource(clips_per_label=6, seed=8), key, tmp_path)
    assert first == again != other


def test_it_mirrors_once(tmp_path):
    source = SynthesisedSource(clips_per_label=1, background_clips=2)
    assert mirror(source, tmp_path).fetched == len(DEMO_LABELS) + 3
    assert mirror(source, tmp_path).unchanged == len(DEMO_LABELS) + 3
