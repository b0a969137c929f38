"""What reads sound files may die of them; who asks does not."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile

from soundx.audio import decoding, reading
from soundx.audio.decoding import decode_blocks, decode_clip, inspect_clip
from soundx.audio.worker import HEADER
from soundx.errors import AudioError, ClipChangedError, DecoderLostError, SoundxError


@pytest.fixture
def long_clip(write_clip):
    return write_clip("long.wav", seconds=60.0)


def only_worker():
    """The process of a worker that is idle, and will be asked next."""
    decoding._stop_idle()
    with decoding._lend_worker() as worker:
        return worker._process


@pytest.mark.parametrize("kind", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_file_that_crashes_its_decoder_is_refused_and_the_next_is_read(
    long_clip, write_clip, kind
):
    process = only_worker()
    pieces = decode_blocks(long_clip)
    next(pieces)
    os.kill(process.pid, kind)
    with pytest.raises(DecoderLostError, match=f"its decoder crashed \\({kind.name}\\)"):
        list(pieces)
    assert len(decode_clip(write_clip("next.wav"))) == 8000


def test_a_file_that_hangs_its_decoder_is_refused(write_clip, monkeypatch):
    process = only_worker()
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr(decoding, "_PATIENCE", 0.01)
    with pytest.raises(DecoderLostError, match="takes longer than"):
        inspect_clip(write_clip("a.wav"))
    assert process.poll() is not None, "it is not left behind"


def ask(limits: str, path, do: str = "decode") -> tuple[int, list[tuple[bytes, bytes]]]:
    """What a worker with other limits answers, and how it ends."""
    asked = {"do": do, "path": str(path)}
    asked |= dict.fromkeys(("ffmpeg", "sha256", "max_s", "max_samples"))
    code = f"from soundx.audio import worker\n{limits}\nworker.main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(asked).encode(),
        capture_output=True,
        check=False,
    )
    content, answers = done.stdout, []
    while content:
        letter, length = HEADER.unpack_from(content)
        answers.append((letter, content[HEADER.size : HEADER.size + length]))
        content = content[HEADER.size + length :]
    return done.returncode, answers


def test_memory_is_limited(write_clip):
    clip = write_clip("a.wav", seconds=300.0)
    code, answers = ask("worker.MEMORY_BYTES = 2**23", clip)
    assert code == 0
    letter, told = answers[-1]
    assert letter == b"E"
    assert "more than 8 MiB of memory" in json.loads(told)["reason"]


@pytest.mark.slow
def test_processor_time_is_limited(tmp_path):
    clip = tmp_path / "a.flac"
    hour = np.zeros(48_000 * 3600, np.int16)
    with soundfile.SoundFile(clip, "w", 48_000, 1) as file:
        for _ in range(8):  # fast machines decode one in less than a second
            file.write(hour)
    code, _ = ask("worker.CPU_S = 0; worker.BYTES_PER_CPU_S = 10**9", clip, "inspect")
    assert code == -signal.SIGXCPU
    with pytest.raises(DecoderLostError, match="more than 5 s of processor time"):
        raise DecoderLostError(_told_of(code))


def _told_of(code):
    worker = object.__new__(decoding._Worker)
    worker._process = subprocess.Popen(
        [sys.executable, "-c", f"import os; os.kill(os.getpid(), {-code})"]
    )
    return worker._why_gone(5)


def test_a_file_without_end_is_refused(long_clip, monkeypatch):
    monkeypatch.setattr(reading, "_FRAMES_PER_BYTE", 0.1)
    with pytest.raises(AudioError, match="without end"):
        reading.inspect_file(long_clip)


def test_long_files_are_read_twice_and_are_the_same(tmp_path, rng, monkeypatch):
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.4 * rng.standard_normal((44_100 * 30, 2)) + 0.05, 44_100)
    held = decode_clip(path)
    monkeypatch.setattr(reading, "_HELD_SAMPLES", 2**19)
    pieces = list(reading.read_waveform(path))
    assert len(pieces) > 1
    np.testing.assert_array_equal(np.concatenate(pieces), held)


def test_other_bytes_than_were_ingested_are_not_decoded(write_clip):
    path = write_clip("a.wav")
    known = inspect_clip(path).sha256
    assert len(decode_clip(path, sha256=known)) == 8000
    write_clip("a.wav")
    for decode in (decode_clip, lambda *a, **k: list(decode_blocks(*a, **k))):
        with pytest.raises(ClipChangedError, match="changed"):
            decode(path, sha256=known)


def test_a_file_that_changes_while_it_is_read_is_refused(write_clip):
    path = write_clip("a.wav")
    pieces = reading.read_waveform(path)
    next(pieces)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ClipChangedError, match="while it was read"):
        list(pieces)


def test_who_does_not_listen_to_the_end_gets_another_worker(long_clip, write_clip):
    process = only_worker()
    pieces = decode_blocks(long_clip)
    next(pieces)
    pieces.close()
    assert process.poll() is not None
    assert len(decode_clip(write_clip("b.wav"))) == 8000


def test_without_memory_to_share_samples_come_through_the_pipe_and_are_the_same(
    long_clip, write_clip, monkeypatch
):
    clips = [write_clip("a.wav", seconds=3.0), long_clip, write_clip("b.wav", seconds=0.1)]
    shared = [decode_clip(clip) for clip in clips]
    monkeypatch.delattr(os, "memfd_create")
    only_worker()
    with decoding._lend_worker() as worker:
        assert len(worker._shared) == 0
    for clip, expected in zip(clips, shared, strict=True):
        np.testing.assert_array_equal(decode_clip(clip), expected)
    decoding._stop_idle()


def test_samples_stay_when_the_memory_they_came_through_is_used_again(write_clip):
    first, second = write_clip("a.wav", seconds=2.0), write_clip("b.wav", seconds=2.0)
    kept = decode_clip(first)
    before = kept.copy()
    assert not np.array_equal(decode_clip(second), before)
    np.testing.assert_array_equal(kept, before)


def test_threads_have_a_worker_each_and_few_are_kept(write_clip):
    clips = [write_clip(f"{n}.wav", seconds=1 + n / 10) for n in range(12)]
    lengths = {}

    def decode(path):
        lengths[path] = len(decode_clip(path))

    threads = [threading.Thread(target=decode, args=(path,)) for path in clips]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == {path: 16_000 + 1600 * n for n, path in enumerate(clips)}
    assert len(decoding._idle) <= decoding.n_workers()


def test_a_worker_ends_with_who_asked(write_clip):
    """Even where that was killed, and could end nothing."""
    code = """
import sys
from soundx.audio import decoding
with decoding._lend_worker() as worker:
    print(worker._process.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        worker = int(process.stdout.readline())
        watched = os.pidfd_open(worker)
        process.kill()
    import select

    assert select.select([watched], [], [], 30)[0], "it still waits for questions"
    os.close(watched)


def test_no_password_or_key_reaches_who_reads_strangers_files(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("SOUNDX_TRAIN_PASSWORD", "planted")
    process = only_worker()
    with open(f"/proc/{process.pid}/environ") as file:
        assert "planted" not in file.read()


def test_a_worker_that_cannot_start_is_no_fault_of_the_file(write_clip, monkeypatch):
    from soundx.errors import SoundxError

    decoding._stop_idle()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SoundxError, match="does not start") as caught:
        inspect_clip(write_clip("a.wav"))
    assert not isinstance(caught.value, AudioError)


def test_a_pipe_or_folder_is_no_clip(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    for name in ("pipe.wav", "folder.wav"):
        with pytest.raises(AudioError, match="not a file"):
            inspect_clip(tmp_path / name)


def wav(*, rate_hz=16_000, channels=1, bits=16, n_bytes=2**31, content=b"") -> bytes:
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * block % 2**32, block, bits)
    return (
        b"RIFF"
        + struct.pack("<I", n_bytes)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + (b"data" + struct.pack("<I", n_bytes) + content)
    )


def test_a_rate_that_nobody_records_at_is_refused(tmp_path):
    for number, rate_hz in enumerate((1, 3, 999, 1_000_001, 2**31 - 1)):
        path = tmp_path / f"{number}.wav"
        path.write_bytes(wav(rate_hz=rate_hz, n_bytes=2000, content=b"\1\0" * 1000))
        for look in (inspect_clip, decode_clip):
            with pytest.raises(AudioError, match="which no sound is recorded at"):
                look(path)


def test_a_header_that_promises_hours_costs_nothing(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(rate_hz=384_000, channels=64, content=b"\1\0" * 128))
    assert inspect_clip(path).duration_s == pytest.approx(2 / 384_000)


def test_numbers_beyond_any_scale_are_silence(tmp_path, rng):
    path = tmp_path / "a.wav"
    samples = (0.1 * rng.standard_normal((1600, 2))).astype(np.float32)
    samples[7] = 3e38
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    assert "2 samples were NaN or infinite" in inspect_clip(path).note
    waveform = decode_clip(path)
    assert np.isfinite(waveform).all()
    assert 0.05 < waveform.std() < 0.1


def test_a_day_of_silence_is_decoded_no_further_than_allowed(tmp_path, monkeypatch):
    silence = np.zeros(8000 * 660, np.int16)
    soundfile.write(tmp_path / "silence.flac", silence, 8000)
    with pytest.raises(AudioError, match="longer than 10 minutes"):
        decode_clip(tmp_path / "silence.flac", max_s=600.0)
    measured = []
    mix = reading._Levels.mix
    monkeypatch.setattr(reading._Levels, "mix", lambda s, b: measured.append(len(b)) or mix(s, b))
    with pytest.raises(AudioError, match="longer than 1 minutes"):
        list(reading.read_waveform(tmp_path / "silence.flac", max_s=60.0))
    assert sum(measured) < 8000 * 60 + 2**18
    assert len(decode_clip(tmp_path / "silence.flac", max_s=661.0)) == 16_000 * 660


def test_a_worker_that_does_not_start_is_told_where_it_is_needed(write_clip, monkeypatch, capfd):
    def refuse(self):
        raise SoundxError("no worker")

    monkeypatch.setattr(decoding._Worker, "__init__", refuse)
    monkeypatch.setattr(decoding, "_idle", [])
    decoding.start_ahead()
    with pytest.raises(SoundxError, match="no worker"):
        decode_clip(write_clip("a.wav"))
    assert capfd.readouterr().err == ""
