"""Where events begin and end."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from soundx.errors import SoundxError
from soundx.listening.events import EventRules, Recording, cell_edges, find_events

CATEGORIES = {"dog": "animal", "siren": "alarm"}
DAWN = datetime(2024, 5, 1, 4, 30, tzinfo=UTC)


def events(dog, siren=None, *, duration_s=None, starts_at=None, **rules):
    rows = np.zeros((len(dog), 2), np.float32)
    rows[:, 0] = dog
    rows[:, 1] = 0 if siren is None else siren
    recording = Recording("a.wav", duration_s or 1 + 0.5 * len(dog), starts_at)
    given = {"on": {"dog": 0.6, "siren": 0.6}, "off": {"dog": 0.3, "siren": 0.3}, **rules}
    return find_events(rows, CATEGORIES, EventRules(**given), recording, window_s=1.0, hop_s=0.5)


def spans(found):
    return [(event.onset_s, event.offset_s) for event in found]


def test_an_event_goes_on_above_the_lower_threshold_and_begins_at_the_higher():
    found = events([0, 0.4, 0.7, 0.4, 0.2, 0.4, 0.4, 0])
    assert spans(found) == [(0.75, 2.25)]
    assert found[0].probability == pytest.approx(0.7)
    assert found[0].mean_probability == pytest.approx(0.5)
    assert (found[0].label, found[0].category) == ("dog", "animal")


def test_the_first_and_the_last_window_speak_for_the_ends():
    assert spans(events([0.9, 0, 0, 0.9], duration_s=2.7)) == [(0.0, 0.75), (1.75, 2.7)]
    assert spans(events([0.9], duration_s=0.3)) == [(0.0, 0.3)]
    assert events([]) == []


def test_gaps_are_merged_and_what_is_short_is_left_out():
    dog = [0, 0.9, 0, 0.9, 0, 0, 0, 0.9, 0]
    assert len(events(dog)) == 3
    assert spans(events(dog, gap_s=0.5)) == [(0.75, 2.25), (3.75, 4.25)]
    assert spans(events(dog, gap_s=0.5, min_s=1.0)) == [(0.75, 2.25)]


def test_background_that_is_more_probable_begins_nothing():
    assert events([0.45] * 3, on={"dog": 0.4}, off={"dog": 0.4}) == []
    assert len(events([0.55] * 3, on={"dog": 0.4}, off={"dog": 0.4})) == 1


def test_a_label_without_a_threshold_is_never_answered():
    assert events([0.9] * 3, on={"siren": 0.5}, off={}) == []


def test_labels_may_overlap_and_come_in_order_of_time():
    found = events([0, 0.6, 0.6, 0.3], [0.6, 0.4, 0.4, 0.4])
    assert [event.label for event in found] == ["siren", "dog"]


def test_the_clock_goes_along():
    (found,) = events([0, 0.9, 0], starts_at=DAWN)
    assert found.starts_at == datetime(2024, 5, 1, 4, 30, 0, 750_000, tzinfo=UTC)


def test_edges_never_go_back_or_beyond_the_end():
    for n_windows, duration_s in [(1, 0.1), (3, 1.1), (10, 5.2)]:
        edges = cell_edges(n_windows, duration_s, window_s=1.92, hop_s=0.48)
        assert len(edges) == n_windows + 1
        assert (edges[0], edges[-1]) == (0.0, duration_s)
        assert (np.diff(edges) >= 0).all()


def test_a_sound_is_told_where_it_is(classifier):
    """Frame i begins at i hops: a window of three frames around it has its middle there."""
    windowing = classifier.windowing
    assert (windowing.frames, windowing.hop_s) == (3, 0.48)
    edges = cell_edges(
        10, 9.0, window_s=windowing.window_s, hop_s=0.48, hops_before=windowing.around[0]
    )
    middles = (edges[1:-2] + edges[2:-1]) / 2
    np.testing.assert_allclose(middles, 0.48 * np.arange(1, 9) + 0.48)


@pytest.mark.parametrize(
    "rules", [{"off": {"dog": 0.9}}, {"min_s": -1.0}, {"gap_s": -0.1}], ids=str
)
def test_what_cannot_be_meant_is_refused(rules):
    with pytest.raises(SoundxError):
        events([0.9], **rules)
