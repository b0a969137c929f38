from __future__ import annotations

import io
import os
import re
import shutil
import struct
import subprocess
import wave

import numpy as np
import pytest
import soundfile

from soundx.audio import SAMPLE_RATE_HZ, decoding, reading
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


def mp3(samples, *, rate_hz=44_100, has_length=True):
    """An MP3 of a bit rate that varies, with a header that tells its length or without."""
    file = io.BytesIO()
    options = {"bitrate_mode": "VARIABLE", "compression_level": 0.5}
    soundfile.write(file, samples, rate_hz, format="MP3", subtype="MPEG_LAYER_III", **options)
    content = file.getvalue()
    at = content.index(b"Xing")
    return content if has_length else content[:at] + b"\0" * 120 + content[at + 120 :]


def soft_then_loud(rng, rate_hz=44_100):
    loud = 0.15 * rng.standard_normal(8 * rate_hz)
    return np.concatenate([1e-4 * loud[: 4 * rate_hz], loud])


def ways(path):
    """A file's waveform, which is the same however it is read."""
    whole = decode_clip(path)
    np.testing.assert_array_equal(np.concatenate(list(decode_blocks(path))), whole)
    assert inspect_clip(path).duration_s * SAMPLE_RATE_HZ == pytest.approx(len(whole), abs=2)
    return whole


@pytest.mark.parametrize("told", ["nothing", "too little"])
def test_of_an_mp3_all_is_heard_whatever_its_header_says(tmp_path, rng, told):
    path = tmp_path / "a.mp3"
    samples = soft_then_loud(rng)
    content = bytearray(mp3(samples, has_length=told == "too little"))
    if told == "too little":
        struct.pack_into(">I", content, content.index(b"Xing") + 8, 50)
    path.write_bytes(content)
    whole = ways(path)
    assert len(whole) / SAMPLE_RATE_HZ == pytest.approx(12.0, abs=0.15)
    stretch = decoding.decode_stretch(path, 10.0, 11.0)
    assert np.corrcoef(stretch, whole[10 * SAMPLE_RATE_HZ :][: len(stretch)])[0, 1] > 0.99
    assert inspect_clip(path).note == ""


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", "PCM_16")],
)
def test_files_that_were_joined_are_heard_one_after_another(tmp_path, rng, kind, subtype):
    parts = []
    for name in "123":
        soundfile.write(
            tmp_path / name, 0.1 * rng.standard_normal(48_000), 24_000, format=kind, subtype=subtype
        )
        parts.append(tmp_path / name)
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    whole = ways(path)
    singly = np.concatenate([decode_clip(part.rename(f"{part}.{kind.lower()}")) for part in parts])
    assert len(whole) == pytest.approx(len(singly), abs=3)
    assert np.corrcoef(whole[: len(singly)], singly[: len(whole)])[0, 1] > 0.99
    stretch = decoding.decode_stretch(path, 4.5, 5.0)
    assert np.corrcoef(stretch, whole[72_000:80_000])[0, 1] > 0.95
    assert inspect_clip(path).note == ""


def test_what_is_joined_and_of_another_rate_is_said_not_to_be_read(tmp_path, rng):
    content = b""
    for rate_hz in (16_000, 24_000):
        part = tmp_path / "part"
        soundfile.write(part, 0.2 * rng.standard_normal(2 * rate_hz), rate_hz, format="OGG")
        content += part.read_bytes()
    path = tmp_path / "a.ogg"
    path.write_bytes(content)
    assert len(ways(path)) == 2 * SAMPLE_RATE_HZ
    assert re.match(r"goes on after 2\.000 s with [\d,]+ bytes that", inspect_clip(path).note)


def test_tags_and_pictures_around_a_sound_are_no_sound(tmp_path, rng):
    content = mp3(0.1 * rng.standard_normal(88_200))
    picture = b"ID3\x03\0\0" + bytes([0, 0, len(content) >> 7 & 127, len(content) & 127])
    picture += content[: (len(content) >> 7 & 127) << 7 | len(content) & 127]
    path = tmp_path / "a.mp3"
    path.write_bytes(content)
    expected = ways(path)
    path.write_bytes(picture + content + b"TAG".ljust(128, b"\0"))
    np.testing.assert_array_equal(ways(path), expected)
    assert inspect_clip(path).note == ""


def test_a_wav_whose_sizes_have_wrapped_is_said_to_go_on(write_clip, monkeypatch):
    path = write_clip("a.wav", seconds=1.0)
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + 10_000)
    monkeypatch.setattr(reading, "_WRAPPED_BYTES", 10_000)
    assert "goes on after 1.000 s with 10,000 bytes" in reading.inspect_file(path).note


def test_a_flac_that_tells_no_length_is_read(write_clip):
    path = write_clip("a.flac", seconds=12.0)
    expected = decode_clip(path)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    np.testing.assert_array_equal(ways(path), expected)


@pytest.mark.parametrize("suffix", ["au", "snd", "vox", "gsm", "raw", "sd2", "txt"])
def test_no_name_makes_a_sound_of_what_is_none(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    for content, reason in ((b"notes " * 2000, "text file"), (bytes(60_000), "not a sound")):
        path.write_bytes(content)
        with pytest.raises(AudioError, match=reason):
            inspect_clip(path)


def test_a_header_in_a_neighbouring_file_is_not_believed(tmp_path):
    path = tmp_path / "a.sd2"  # what is hashed must hold all
    soundfile.write(path, np.zeros(16_000), 16_000, format="SD2", subtype="PCM_16")
    with pytest.raises(AudioError, match="not a sound format"):
        inspect_clip(path)


def test_a_name_need_not_be_utf_8(write_clip):
    path = write_clip("a.wav")
    expected = decode_clip(path)
    path = path.rename(path.with_name(os.fsdecode(b"caf\xe9.wav")))
    np.testing.assert_array_equal(decode_clip(path), expected)


@pytest.mark.parametrize(
    ("kind", "subtype"), [("WAV", "GSM610"), ("WAV", "NMS_ADPCM_16"), ("AU", "G721_32")]
)
def test_a_stretch_of_a_coding_that_cannot_seek_is_read_from_the_start(
    tmp_path, rng, kind, subtype
):
    path = tmp_path / f"a.{kind.lower()}"
    soundfile.write(path, 0.2 * rng.standard_normal(8000 * 6), 8000, format=kind, subtype=subtype)
    stretch = decoding.decode_stretch(path, 4.0, 5.0)
    expected = decode_clip(path)[4 * SAMPLE_RATE_HZ : 5 * SAMPLE_RATE_HZ]
    assert np.corrcoef(stretch, expected)[0, 1] > 0.99


@pytest.fixture
def m4a(write_clip):
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    wav = write_clip("a.wav", seconds=6.0)

    def coded(*options):
        path = wav.with_suffix(".m4a")
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", wav, *options, path], check=True)
        return path

    return coded


def test_a_hole_that_ffmpeg_leaves_out_is_said(m4a):
    path = m4a()
    assert inspect_clip(path).note == ""
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 5000
    content[begin : begin + 10_000] = bytes(10_000)
    path.write_bytes(content)
    assert inspect_clip(path).note.startswith("damaged, sound may be missing (ffmpeg: ")


def test_long_titles_are_no_sound_and_cost_nothing(m4a):
    expected = decode_clip(m4a())
    path = m4a("-metadata", "title=" + 100_000 * "x")
    np.testing.assert_array_equal(decode_clip(path), expected)
