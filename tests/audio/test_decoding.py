from __future__ import annotations

import shutil
import subprocess
import wave

import numpy as np
import pytest
import soundfile

from soundx.audio import SAMPLE_RATE_HZ, decoding
from soundx.audio.decoding import (
    FFMPEG_SUFFIXES,
    decode_blocks,
    decode_clip,
    decode_start,
    inspect_clip,
    standardise,
)
from soundx.errors import AudioError

FORMATS = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "opus": "OGG", "mp3": "MP3"}
FORMATS |= {"aiff": "AIFF", "aif": "AIFF", "au": "AU"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_libsndfile_format_decodes_to_16_khz_mono(write_clip, suffix):
    options = {"subtype": "OPUS"} if suffix == "opus" else {}
    path = write_clip(
        f"a.{suffix}", seconds=1.0, rate_hz=48_000, channels=2, format=FORMATS[suffix], **options
    )
    waveform = decode_clip(path)
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert abs(len(waveform) - SAMPLE_RATE_HZ) < 0.1 * SAMPLE_RATE_HZ
    assert 0.3 < np.sqrt(np.mean(waveform**2)) < 0.4  # a sine of 0.5


@pytest.mark.parametrize("rate_hz", [4000, 8000, 11_025, 12_345, 44_100, 96_000, 192_000])
def test_pitch_and_length_survive_resampling(tmp_path, rate_hz):
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz), rate_hz)
    waveform = decode_clip(path)
    assert len(waveform) == SAMPLE_RATE_HZ
    assert np.abs(np.fft.rfft(waveform)).argmax() == 440


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "ALAW"])
def test_all_codings_have_the_same_scale(write_clip, subtype):
    waveform = decode_clip(write_clip("a.wav", subtype=subtype))
    assert np.abs(waveform).max() == pytest.approx(0.5, abs=0.02)


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "a.wav"
    tone = np.sin(np.arange(16_000) / 5) * 0.8
    soundfile.write(path, np.stack([tone, 0 * tone], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(decode_clip(path), (tone - tone.mean()) / 2, atol=1e-4)


def test_channels_that_cancel_are_said_to(tmp_path):
    path = tmp_path / "a.wav"
    tone = np.sin(np.arange(16_000) / 5) * 0.8
    soundfile.write(path, np.stack([tone, -tone], axis=1), 16_000)
    assert "cancel" in inspect_clip(path).note


def test_nan_and_infinity_become_silence_and_are_counted(tmp_path):
    path = tmp_path / "a.wav"
    samples = np.full(1000, 0.1, np.float32) * np.sin(np.arange(1000, dtype=np.float32))
    samples[[3, 4, 5]] = [np.nan, np.inf, -np.inf]
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    assert np.isfinite(decode_clip(path)).all()
    assert "3 samples" in inspect_clip(path).note


def test_an_offset_is_removed_and_said(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.3 + 0.1 * np.sin(np.arange(16_000) / 7), 16_000)
    assert abs(decode_clip(path).mean()) < 1e-4
    assert "offset of +0.30" in inspect_clip(path).note


def test_float_over_full_scale_is_scaled_down_and_said(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, 40 * np.sin(np.arange(16_000) / 7), 16_000, subtype="FLOAT")
    waveform = decode_clip(path)
    assert np.abs(waveform).max() == pytest.approx(1.0, abs=1e-3)
    assert "over full scale (peak 40.0" in inspect_clip(path).note


def test_an_ordinary_file_at_full_scale_is_left_as_it_is(tmp_path):
    path = tmp_path / "a.wav"
    samples = np.round(32_767 * np.sin(np.arange(16_000) / 7)).astype(np.int16) // 2
    samples[:10] = -32_768  # the lowest of 16 bits: the offset that is taken off is a positive one
    samples[10:] += 40
    soundfile.write(path, samples, 16_000, subtype="PCM_16")
    offset = samples.mean() / 32_768
    expected = np.clip(samples / 32_768 - offset, -1, 1)
    assert (samples / 32_768 - offset).min() < -1
    np.testing.assert_allclose(decode_clip(path), expected, atol=1e-6)
    np.testing.assert_array_equal(np.concatenate(list(decode_blocks(path))), decode_clip(path))
    assert inspect_clip(path).note == ""


def test_a_resampled_square_wave_stays_within_full_scale(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.sign(np.sin(np.arange(44_100) / 20)), 44_100)
    assert np.abs(decode_clip(path)).max() <= 1.0


def test_one_sample_is_a_clip(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([0.5]), 192_000)
    assert len(decode_clip(path)) == 1
    assert inspect_clip(path).duration_s == pytest.approx(1 / 192_000)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"hello, this is only text\n" * 9, "text file"),
        ("grüße " * 100, "text file"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (bytes(range(256)) * 4, "not a sound format"),
    ],
)
def test_what_is_not_a_sound_says_what_it_is(tmp_path, content, reason):
    path = tmp_path / "a.wav"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(AudioError, match=reason):
        inspect_clip(path)


def test_a_header_without_sound_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
    for look in (inspect_clip, decode_clip):
        with pytest.raises(AudioError, match="0 samples"):
            look(path)


def test_a_flac_broken_in_the_middle_is_refused(write_clip):
    path = write_clip("a.flac", seconds=3.0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\x55" * (len(content) - len(content) // 2)
    path.write_bytes(content)
    with pytest.raises(AudioError, match="broken inside"):
        inspect_clip(path)


def test_length_is_what_decodes_not_what_the_header_says(write_clip):
    path = write_clip("a.mp3", seconds=4.0, rate_hz=44_100, format="MP3")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert inspect_clip(path).duration_s < 3.0


def test_a_clip_longer_than_a_block_is_whole(write_clip):
    path = write_clip("a.wav", seconds=40.0, rate_hz=16_000)
    assert len(decode_clip(path)) == 640_000
    assert inspect_clip(path).duration_s == 40.0


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize("suffix", sorted(FFMPEG_SUFFIXES))
def test_containers_of_ffmpeg_decode_where_it_is_installed(write_clip, suffix):
    wav = write_clip("a.wav", seconds=1.0)
    path = wav.with_suffix(suffix)
    coder = {".webm": "libopus", ".3gp": "aac", ".caf": "pcm_s16le"}.get(suffix, "aac")
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", wav, "-strict", "-2", "-c:a", coder, path], check=True
    )
    assert inspect_clip(path).duration_s == pytest.approx(1.0, abs=0.1)
    assert np.abs(decode_clip(path)).max() == pytest.approx(0.5, abs=0.1)


def test_without_ffmpeg_its_containers_are_refused_with_that_reason(write_clip, monkeypatch):
    path = write_clip("a.wav").rename(write_clip("b.wav").with_suffix(".m4a"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AudioError, match=r"\.m4a needs ffmpeg, which is not installed"):
        inspect_clip(path)


def test_samples_in_memory_are_brought_to_the_same_form():
    whole = (np.sin(np.arange(8000) / 9) * 2**14).astype(np.int16)
    waveform = standardise(np.stack([whole, whole], axis=1), sample_rate_hz=8000)
    assert waveform.shape == (16_000,)
    assert np.abs(waveform).max() == pytest.approx(0.5, abs=0.02)
    with pytest.raises(AudioError, match="found"):
        standardise(np.zeros(0), sample_rate_hz=8000)


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100, 96_000])
@pytest.mark.parametrize(("channels", "subtype"), [(1, "PCM_16"), (2, "PCM_24"), (3, "FLOAT")])
def test_piece_by_piece_is_the_same_waveform(tmp_path, rng, rate_hz, channels, subtype):
    path = tmp_path / "a.wav"
    noise = 0.4 * rng.standard_normal((int(20.3 * rate_hz), channels)) + 0.05
    soundfile.write(path, noise, rate_hz, subtype=subtype)
    pieces = list(decode_blocks(path))
    assert max(map(len, pieces)) <= 2**18
    np.testing.assert_array_equal(np.concatenate(pieces), decode_clip(path))


@pytest.mark.parametrize(("seconds", "is_more"), [(1.9, False), (2.0, False), (2.1, True)])
def test_the_beginning_is_that_of_the_whole_and_tells_whether_there_is_more(
    write_clip, seconds, is_more
):
    path = write_clip("a.flac", seconds=seconds, rate_hz=48_000, channels=2)
    start, more = decode_start(path, max_s=2.0)
    assert more is is_more
    np.testing.assert_array_equal(start, decode_clip(path)[:32_000])


def test_of_a_long_file_only_the_beginning_is_handed_on(write_clip, monkeypatch):
    path = write_clip("a.wav", seconds=120.0)
    received = []
    read = decoding._Worker._read
    monkeypatch.setattr(
        decoding._Worker, "_read", lambda self, n: received.append(n) or read(self, n)
    )
    decode_start(path, max_s=2.0)
    assert sum(received) < 4 * 3 * SAMPLE_RATE_HZ


def test_piece_by_piece_finds_the_same_faults(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([0.1]), 96_000)
    assert [len(piece) for piece in decode_blocks(path)] == [1]
    soundfile.write(path, np.zeros(0), 16_000)
    with pytest.raises(AudioError, match="only a header"):
        list(decode_blocks(path))
    with pytest.raises(AudioError, match="cannot be read"):
        list(decode_blocks(tmp_path / "nowhere.wav"))
    broken = np.full(1000, np.nan, np.float32)
    broken[::2] = np.inf
    broken[1::4] = -np.inf
    soundfile.write(path, broken, 16_000, subtype="FLOAT")
    assert not np.concatenate(list(decode_blocks(path))).any()


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_a_stretch_is_heard_without_what_lies_before_it(tmp_path, rng, form, rate_hz):
    path = tmp_path / f"a.{form}"
    times = np.arange(30 * rate_hz) / rate_hz
    sweep = 0.3 * np.sin(2 * np.pi * (200 + 100 * times) * times)
    soundfile.write(path, sweep, rate_hz)
    whole = decode_clip(path)
    found = decoding.decode_stretch(path, 20.0, 22.0)
    assert len(found) == 2 * SAMPLE_RATE_HZ
    middle = slice(1000, -1000)  # resampling begins and ends elsewhere
    expected = whole[20 * SAMPLE_RATE_HZ : 22 * SAMPLE_RATE_HZ]
    # MP3 carries a little over from before
    np.testing.assert_allclose(
        found[middle], expected[middle], atol=2e-2 if form == "mp3" else 2e-3
    )
    assert len(decoding.decode_stretch(path, 29.5, 40.0)) in range(7_000, 9_100)
    with pytest.raises(AudioError, match="no sound in it at 50 s"):
        decoding.decode_stretch(path, 50.0, 52.0)
