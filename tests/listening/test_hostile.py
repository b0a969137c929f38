"""Recordings that break decoders, never end, or claim to be gigantic: each is a row."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from soundx.listening.listen import Listener, event_rules
from soundx.listening.recordings import find_recordings
from tests.fuzz.cases import CASES, FINDINGS, SLOW

from .conftest import planted


@pytest.fixture
def listen(classifier, tmp_path):
    def run(*paths):
        listener = Listener(classifier, tmp_path / ".heard", event_rules(classifier))
        return list(listener.listen(find_recordings([str(path) for path in paths])))

    return run


def all_cases(folder, names):
    paths = []
    for name in sorted(names):
        own = folder / name
        own.mkdir()
        make, _ = CASES[name]
        try:
            paths.append(make(own))
        except pytest.skip.Exception:  # made by ffmpeg, where there is none
            continue
    return paths


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(CASES.keys() - SLOW, id="quick"),
        pytest.param(SLOW, id="slow", marks=pytest.mark.slow),
    ],
)
def test_what_once_broke_a_decoder_is_a_row_and_the_others_are_heard(listen, tmp_path, names):
    paths = all_cases(tmp_path, names)
    sound = tmp_path / "sound.wav"
    soundfile.write(sound, planted(20), 16_000)
    heard = {one.recording.file: one for one in listen(*paths, sound)}
    assert set(heard) == {str(path) for path in [*paths, sound]}
    assert heard[str(sound)].events
    for one in heard.values():
        if one.error:
            assert not one.events
        else:
            assert np.isfinite(one.probabilities).all()
            assert np.isfinite(one.rows).all()
            assert len(one.rows) == 1 + max(
                0, -(-(round(one.recording.duration_s * 16_000) - 15_600) // 7680)
            )


def test_files_that_were_found_once_are_rows_too(listen, tmp_path):
    heard = listen(FINDINGS)
    assert all(one.error or np.isfinite(one.rows).all() for one in heard)


def test_a_small_file_of_much_silence_is_heard_in_pieces(listen, tmp_path):
    """Half an hour in a few hundred bytes a minute: read once to be measured, once to be heard."""
    path = tmp_path / "silence.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16") as file:
        for _ in range(30):
            file.write(np.zeros(60 * 8_000, np.int16))
    (one,) = listen(path)
    assert one.error == ""
    assert one.recording.duration_s == pytest.approx(1800)
    assert len(one.rows) == 3749


def test_a_recording_that_is_cut_off_while_it_is_heard_is_told(classifier, tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    soundfile.write(path, planted(60), 16_000)

    def torn(file):
        from soundx.errors import AudioError

        yield planted(45)
        raise AudioError("it was changed while it was read")

    monkeypatch.setattr("soundx.listening.listen.decode_blocks", torn)
    listener = Listener(classifier, tmp_path / ".heard", event_rules(classifier))
    (one,) = listener.listen(find_recordings([str(path)]))
    assert one.error == "it was changed while it was read"
    assert one.events == ()
    monkeypatch.undo()
    (again,) = listener.listen(find_recordings([str(path)]))
    assert again.error == ""
    assert again.recording.duration_s == 60.0
