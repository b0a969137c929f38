from __future__ import annotations

import dataclasses
import itertools
import threading

import numpy as np
import pytest
import soundfile

from soundx.audio import framing
from soundx.audio.decoding import decode_clip
from soundx.clips.waveforms import ClipFile
from soundx.embedders import Embedder, EmbedderSettings, FrameModel, load_embedder
from soundx.embeddings.engine import Clip, embed_clips, n_frames_about
from soundx.errors import DecoderLostError, Remedy, SoundxError


@pytest.fixture
def clips(tmp_path, rng):
    """Short clips, a long one in the middle, at rates that have to be resampled."""
    made = []
    for number, (seconds, rate_hz) in enumerate(
        [
            (0.3, 8000),
            (5.0, 44_100),
            (130.0, 22_050),
            (1.44, 16_000),
            (70.0, 16_000),
            (0.975, 48_000),
        ]
    ):
        path = tmp_path / f"{number}.wav"
        envelope = np.linspace(0.1, 0.9, int(seconds * rate_hz))
        soundfile.write(path, 0.2 * envelope * rng.standard_normal(len(envelope)), rate_hz)
        made.append(Clip(f"id{number}", path.name, seconds, ClipFile(path)))
    return made


def joined(pieces):
    frames: dict[str, list[np.ndarray]] = {}
    for clip_id, some in pieces:
        frames.setdefault(clip_id, []).append(some)
    return {clip_id: np.concatenate(parts) for clip_id, parts in frames.items()}


@pytest.mark.parametrize("level_dbfs", [None, -23.0])
@pytest.mark.parametrize("workers", [1, 3])
def test_clips_of_all_lengths_have_the_frames_they_have_alone(clips, level_dbfs, workers):
    embedder = load_embedder("logmel", EmbedderSettings(level_dbfs=level_dbfs))
    pieces = list(embed_clips(clips, embedder, rejected={}, workers=workers))
    assert len(pieces) > len(clips), "long clips come in several pieces"
    order = list(dict.fromkeys(clip_id for clip_id, _ in pieces))
    assert order == [clip.clip_id for clip in clips]
    for clip, frames in zip(clips, joined(pieces).values(), strict=True):
        whole = embedder.embed([decode_clip(clip.waveform.path)])[0]
        assert frames.shape == whole.shape
        # matrix products of other sizes and threads: a rounding error away
        np.testing.assert_allclose(frames, whole, atol=1e-4)
        assert abs(n_frames_about(clip.duration_s, embedder) - len(frames)) <= 1


def test_pieces_end_where_a_piece_may_end(tmp_path, rng):
    """Lengths on either side of where a long clip is cut."""
    cut = framing.MIN_SAMPLES + 159 * framing.HOP_SAMPLES  # twice 80 frames
    embedder = load_embedder("logmel")
    for n_samples in (cut - 1, cut, cut + 1, cut + framing.HOP_SAMPLES):
        path = tmp_path / f"{n_samples}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(n_samples), 16_000)
        clip = Clip("a", path.name, n_samples / 16_000, ClipFile(path))
        frames = joined(embed_clips([clip], embedder, rejected={}))["a"]
        np.testing.assert_allclose(frames, embedder.embed([decode_clip(path)])[0], atol=1e-4)


def test_a_clip_that_cannot_be_decoded_any_more_says_what_to_run(clips):
    clips[1].waveform.path.write_bytes(b"RIFF")
    with pytest.raises(SoundxError, match=r"1\.wav could be decoded before"):
        list(embed_clips(clips, load_embedder("logmel"), rejected={}))
    clips[2].waveform.path.unlink()
    with pytest.raises(SoundxError, match=r"2\.wav could be decoded before"):
        list(embed_clips(clips[2:], load_embedder("logmel"), rejected={}))


def test_few_clips_are_in_memory_at_a_time(tmp_path, write_clip):
    path = write_clip("a.wav", seconds=5.0)
    taken = 0

    def many():
        nonlocal taken
        for number in range(2000):
            taken += 1
            yield Clip(str(number), "a.wav", 5.0, ClipFile(path))

    pieces = embed_clips(many(), load_embedder("logmel"), rejected={}, workers=2)
    next(pieces)
    assert taken < 100
    pieces.close()


class Lonely(Embedder):
    """An embedder of a user's own that bears only one call at a time."""

    name, dim, window_s, hop_s = "lonely", 1, 0.96, 0.48
    _busy = threading.Lock()

    def _identity(self):
        return "1"

    def _model(self):
        return FrameModel(self._embed)

    def _embed(self, waveforms):
        assert self._busy.acquire(blocking=False), "called twice at once"
        frames = [np.full((1, 1), len(w), np.float32) for w in waveforms]
        self._busy.release()
        return frames


def test_an_embedder_that_is_not_parallel_is_called_once_at_a_time_and_on_whole_clips(clips):
    pieces = list(embed_clips(clips * 20, Lonely(), rejected={}, workers=4))
    assert len(pieces) == 20 * len(clips)
    assert pieces[2][1] == 130 * 16_000


class Deadly(ClipFile):
    """A file whose decoder dies of it, a long one after the first pieces."""

    def __call__(self):
        raise DecoderLostError("its decoder crashed (SIGSEGV)")

    def blocks(self):
        yield from itertools.islice(super().blocks(), 4)
        raise DecoderLostError("its decoder crashed (SIGSEGV)")


@pytest.mark.parametrize("workers", [1, 3])
def test_a_clip_that_takes_its_decoder_down_costs_no_neighbour(clips, workers):
    embedder = load_embedder("logmel")
    deadly = [
        dataclasses.replace(clip, waveform=Deadly(clip.waveform.path))
        if clip.clip_id in ("id1", "id2")
        else clip
        for clip in clips
    ]
    rejected = {}
    pieces = list(embed_clips(deadly, embedder, rejected=rejected, workers=workers))
    assert rejected == dict.fromkeys(("id1", "id2"), "its decoder crashed (SIGSEGV)")
    assert {clip_id for clip_id, frames in pieces if not len(frames)} == {"id1", "id2"}
    assert sum(clip_id == "id2" for clip_id, _ in pieces) > 1, "it had begun well"
    found = joined(pieces)
    for clip in clips:
        if clip.clip_id not in rejected:
            whole = embedder.embed([decode_clip(clip.waveform.path)])[0]
            np.testing.assert_allclose(found[clip.clip_id], whole, atol=1e-4)


def test_a_clip_that_was_edited_stops_the_run_with_that_word(clips, write_clip):
    known = dataclasses.replace(
        clips[0], waveform=ClipFile(clips[0].waveform.path, clip_id="0" * 64)
    )
    with pytest.raises(SoundxError, match=r"0\.wav is not what was ingested") as caught:
        list(embed_clips([known], load_embedder("logmel"), rejected={}))
    assert caught.value.remedy is Remedy.INGEST_AND_PREPROCESS
