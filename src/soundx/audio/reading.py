"""Bring a sound file to the one waveform soundx works with: 16 kHz, mono, float32.

What is done to a file, in this order: decode (integers scaled to [-1, 1]), replace NaN,
infinities and what is far beyond any scale by silence, average the channels, remove the
constant offset (DC), scale down what is over full scale (a trifle is clipped instead:
rounding, or what taking off a small offset adds), resample (soxr, quality HQ).

Files are other people's, and libraries that read them crash, hang and ask for memory without
end: only a worker (``soundx.audio.worker``) reads them, and all others ask it through
``soundx.audio.decoding``. What a header says is never believed, only what really decodes.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import math
import mmap
import os
import stat
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.audio.links import LINKED, Link, next_link
from soundx.errors import AudioError, ClipChangedError

DEMUXERS = {".m4a": "mov", ".3gp": "mov", ".aac": "aac", ".caf": "caf", ".webm": "matroska"}
"""Containers libsndfile cannot open, and what ffmpeg is to take them for, whatever they hold:
left to guess, it would follow a playlist to other files."""

LIBC = ctypes.CDLL(None)
"""The system's C library: what Python has no name for."""

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 1_000_000
"""Sample rates that sound is recorded at: bats take 500 kHz."""

_BLOCK_SAMPLES = 1 << 18
_HELD_SAMPLES = 1 << 24  # six minutes at 44.1 kHz; what is longer is read twice, and never held
# silence packs densest: FLAC puts 4608 frames of it into some 14 bytes, Opus 960 into one or two
_FRAMES_PER_BYTE = 2048
_LARGEST = 2.0**33  # integers of 32 bits, taken for floats, are within it
_ONLY_A_HEADER = "no sound in it: only a header, 0 samples"
_FULL_SCALE = 1.001  # rounding, and the lowest number of 16 bits, reach a little over 1
_SMALL_OFFSET = 0.01  # not worth a word
_LEAD_S = 0.5
_HEAD_BYTES = 2**16  # no part of what ffmpeg tells before the sound is longer
_UNKNOWN_FRAMES = 2**62  # as libsndfile tells it, of a FLAC that was written to a pipe
_WRAPPED_BYTES = 2**32  # of a longer file, sizes of 32 bits tell the rest
_SILENCE_PEAK = 1e-5  # -100 dBFS
_M_PERTURB = -6  # of glibc's malloc.h


@dataclass(frozen=True)
class ClipInfo:
    """What a whole pass over a sound file found.

    Attributes:
        sha256: Hash of the file's bytes.
        duration_s: Length of what really decodes, in seconds; headers may promise more.
        sample_rate_hz: The file's own sample rate.
        channels: The file's own number of channels.
        format: Container and coding, for example ``WAV/PCM_16``.
        note: What was mended or looks odd, in plain words; empty for an ordinary clip.
    """

    sha256: str
    duration_s: float
    sample_rate_hz: int
    channels: int
    format: str
    note: str


@dataclass
class _Levels:
    """Running statistics of the channel-averaged signal, gathered block by block."""

    n_frames: int = 0
    n_broken: int = 0
    total: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    channel_peak: float = 0.0

    def mix(self, block: npt.NDArray[Any]) -> Float32:
        """Average the channels of a block [shape=(n_frames, n_channels)] and take its measure.

        Integers are 16 bits wide, as ``_read`` leaves them.
        """
        if block.dtype == np.int16:
            block = np.multiply(block, np.float32(1 / 32768), dtype=np.float32)
        with np.errstate(invalid="ignore", over="ignore"):  # infinities of both signs
            mono = _average(block)
            total = float(mono.sum(dtype=np.float64))
            low, high = float(mono.min()), float(mono.max())
        # one NaN or infinity is enough; NaN is not within anything
        if not (math.isfinite(total) and low >= -_LARGEST and high <= _LARGEST):
            with np.errstate(invalid="ignore"):
                sound = np.abs(block) <= _LARGEST
            self.n_broken += block.size - int(np.count_nonzero(sound))
            block = np.where(sound, block, np.float32(0.0))
            mono = _average(block)
            total = float(mono.sum(dtype=np.float64))
            low, high = float(mono.min()), float(mono.max())
        self.n_frames += len(mono)
        self.total += total
        self.low = min(self.low, low)
        self.high = max(self.high, high)
        if block.shape[1] > 1:
            self.channel_peak = max(self.channel_peak, float(np.abs(block).max()))
        return mono

    def correct(self, mono: Float32) -> Float32:
        """Remove offset and excess from samples of the whole signal, in place."""
        mono -= np.float32(self.offset)
        if self.is_over_full_scale:
            mono /= np.float32(self.peak)
        return mono

    @property
    def offset(self) -> float:
        return self.total / self.n_frames

    @property
    def peak(self) -> float:
        """Largest magnitude once the offset is removed."""
        return max(self.high - self.offset, self.offset - self.low)

    @property
    def is_over_full_scale(self) -> bool:
        # taking off a small offset is no reason to scale an ordinary file
        return self.peak > _FULL_SCALE + min(abs(self.offset), _SMALL_OFFSET)


def inspect_file(path: Path, *, ffmpeg: str | None = None) -> ClipInfo:
    """Decode a file from end to end without keeping it, and tell what is in it.

    Memory does not grow with the length of the file.

    Args:
        path: The file.
        ffmpeg: Where ffmpeg is, for the containers that need it.

    Raises:
        AudioError: The file is empty, not a sound, of no length, or broken inside.
    """
    with _unchanged(path) as sha256, _open(path, ffmpeg) as sound:
        levels = _measure(sound)
        return ClipInfo(
            sha256=sha256,
            duration_s=levels.n_frames / sound.rate_hz,
            sample_rate_hz=sound.rate_hz,
            channels=sound.channels,
            format=sound.format,
            note="; ".join((*sound.notes, *_notes(levels))),
        )


def read_waveform(
    path: Path,
    *,
    ffmpeg: str | None = None,
    sha256: str | None = None,
    max_s: float | None = None,
) -> Iterator[Float32]:
    """Decode a file to the waveform soundx works with, piece by piece.

    Memory does not grow with its length: a long file is read twice, as offset and peak have to
    be known before the first sample.

    Args:
        path: A sound file of any sample rate and number of channels.
        ffmpeg: Where ffmpeg is, for the containers that need it.
        sha256: Hash that its bytes must have; None where any will do.
        max_s: Longer files are refused, and read no further than that.

    Yields:
        Consecutive samples at 16 kHz [shape=(n_samples,), dtype=float32].

    Raises:
        ClipChangedError: The bytes have another hash, or changed while they were read.
        AudioError: The file is empty, not a sound, of no length, broken inside, or too long.
    """
    with _unchanged(path, sha256):
        with _open(path, ffmpeg) as sound:
            levels = _Levels()
            held: list[Float32] | None = []
            rate_hz = sound.rate_hz
            for block in sound.blocks():
                mono = levels.mix(block)
                if max_s is not None and levels.n_frames > max_s * rate_hz:
                    raise AudioError(f"longer than {_span(max_s)}")
                if held is not None:
                    held.append(mono)
                    if levels.n_frames * max(1.0, SAMPLE_RATE_HZ / rate_hz) > _HELD_SAMPLES:
                        held = None
            if levels.n_frames == 0:
                raise AudioError(_ONLY_A_HEADER)
        if held is not None:
            signal = held[0] if len(held) == 1 else np.concatenate(held)
            del held
            yield _to_standard(signal, levels, rate_hz)
            return
        with _open(path, ffmpeg) as sound:
            yield from _stream(sound, levels)


def read_stretch(path: Path, begin_s: float, end_s: float, *, ffmpeg: str | None = None) -> Float32:
    """Decode a stretch of a file, for somebody to hear: nothing before it is decoded.

    Offset and peak are its own, and half a second's before it: no more than that differs from the
    same stretch of ``read_waveform``.

    Args:
        path: A sound file of any sample rate and number of channels.
        begin_s: Where it begins, in seconds.
        end_s: Where it ends; what lies beyond the file's end is not there.
        ffmpeg: Where ffmpeg is, for the containers that need it.

    Returns:
        Samples at 16 kHz [shape=(n_samples,), dtype=float32].

    Raises:
        AudioError: There is no sound there.
    """
    # MP3 decoders need some of what lies before, and so do resamplers
    lead_s = min(begin_s, _LEAD_S)
    with _open(path, ffmpeg, begin_s - lead_s) as sound:
        wanted = round((end_s - begin_s + lead_s) * sound.rate_hz)
        levels = _Levels()
        held: list[Float32] = []
        for block in sound.blocks():
            held.append(levels.mix(block[: wanted - levels.n_frames]))
            if levels.n_frames >= wanted:
                break
        if levels.n_frames <= round(lead_s * sound.rate_hz):
            raise AudioError(f"no sound in it at {begin_s:g} s")
        signal = _to_standard(np.concatenate(held), levels, sound.rate_hz)
        return signal[round(lead_s * SAMPLE_RATE_HZ) :]


def _span(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds < 2 * 3600 else f"{seconds / 3600:g} hours"


def _stream(sound: _Sound, levels: _Levels) -> Iterator[Float32]:
    resampler = None
    if sound.rate_hz != SAMPLE_RATE_HZ:
        resampler = soxr.ResampleStream(
            sound.rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ"
        )
    again = _Levels()
    for block in sound.blocks():
        signal = levels.correct(again.mix(block))
        if resampler is not None:
            signal = resampler.resample_chunk(signal)
        if len(signal):
            yield np.clip(signal, -1.0, 1.0, dtype=np.float32)
    if resampler is not None:
        # the end of the stream brings what the filter still holds
        rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        yield np.clip(rest, -1.0, 1.0, dtype=np.float32)
    if again.n_frames != levels.n_frames:
        raise AudioError("broken inside: read again, it had another length")


def standardise(signal: npt.ArrayLike, *, sample_rate_hz: int) -> Float32:
    """Bring samples that are already in memory to soundx's waveform.

    Args:
        signal: Samples [shape=(n_samples,) or (n_samples, n_channels)]; integers are
            scaled by their type's range, floats taken as they are.
        sample_rate_hz: Their sample rate, in Hz.

    Returns:
        Samples at 16 kHz, mono, within [-1, 1], [shape=(n_samples,), dtype=float32].

    Raises:
        AudioError: There are no samples, or the array is not one- or two-dimensional.
    """
    samples = np.asarray(signal)
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise AudioError(f"expected samples in one or two dimensions, found {samples.shape}")
    if np.issubdtype(samples.dtype, np.integer):
        span = np.iinfo(samples.dtype)
        middle = 0 if span.min < 0 else (span.max + 1) / 2
        samples = (samples - middle) / ((span.max + 1) - middle)
    block = np.atleast_2d(samples.T).T.astype(np.float32)
    levels = _Levels()
    mono = levels.mix(block)
    return _to_standard(mono, levels, sample_rate_hz)


def _to_standard(signal: Float32, levels: _Levels, rate_hz: int) -> Float32:
    signal = levels.correct(signal)
    if rate_hz != SAMPLE_RATE_HZ:
        signal = soxr.resample(signal, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    if signal.size == 0:  # a few samples at a high rate round to none at 16 kHz
        signal = np.zeros(1, np.float32)
    # resampling a full-scale edge overshoots by a few per cent
    return np.clip(signal, -1.0, 1.0, out=signal)


def _notes(levels: _Levels) -> Iterator[str]:
    if levels.n_broken:
        yield f"{levels.n_broken} samples were NaN or infinite, taken as silence"
    if levels.is_over_full_scale:
        yield f"over full scale (peak {levels.peak:.3f}), scaled down"
    if abs(levels.offset) > _SMALL_OFFSET:
        yield f"constant offset of {levels.offset:+.3f} removed"
    # 60 dB: antiphase channels leave a rest of rounding errors
    if levels.peak < 1e-3 * levels.channel_peak:
        yield "silent: the channels cancel each other when averaged"
    elif levels.peak < _SILENCE_PEAK:
        yield "silent"


def _average(block: Float32) -> Float32:
    return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


class _Sound:
    """An opened sound: what its header says, and its samples as they come.

    Args:
        rate_hz: Its sample rate.
        channels: Its number of channels.
        format: Container and coding.
        read: Returns up to so many frames [shape=(n_frames, n_channels), dtype=float32 or int16].
        size_bytes: Size of the file.
        notes: What looks odd, in plain words; known once all of it was read.
    """

    def __init__(
        self,
        rate_hz: int,
        channels: int,
        format: str,
        read: Callable[[int], npt.NDArray[Any]],
        size_bytes: int,
        notes: list[str],
    ) -> None:
        if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
            raise AudioError(f"a sample rate of {rate_hz:,} Hz, which no sound is recorded at")
        self.rate_hz = rate_hz
        self.channels = channels
        self.format = format
        self.notes = notes
        self._read = read
        self._most = _FRAMES_PER_BYTE * size_bytes

    def blocks(self) -> Iterator[npt.NDArray[Any]]:
        """Yield all samples [shape=(n_frames, n_channels), dtype=float32 or int16].

        Raises:
            AudioError: It is broken inside, or does not end.
        """
        # bounded in samples: a block of 32 channels is not larger than one of mono
        n_frames = max(_BLOCK_SAMPLES // self.channels, 1)
        n_read = 0
        while True:
            block = self._read(n_frames)
            if len(block) == 0:
                return
            n_read += len(block)
            if n_read > self._most:
                raise AudioError("broken inside: it goes on and on without end")
            yield block


def _measure(sound: _Sound) -> _Levels:
    levels = _Levels()
    for block in sound.blocks():
        levels.mix(block)
    if levels.n_frames == 0:
        raise AudioError(_ONLY_A_HEADER)
    return levels


@contextlib.contextmanager
def _unchanged(path: Path, sha256: str | None = None) -> Iterator[str]:
    """Yield the hash of a file's bytes, and see that they stay the same until the block ends."""
    try:
        before = os.stat(path)
        if not stat.S_ISREG(before.st_mode):
            raise AudioError("not a file, but a folder, pipe, socket or device")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AudioError(f"cannot be read: {error.strerror}") from error
    if sha256 is not None and found != sha256:
        raise ClipChangedError("its bytes have changed since it was ingested")
    yield found
    after = os.stat(path)
    if (before.st_ino, before.st_size, before.st_mtime_ns) != (
        after.st_ino,
        after.st_size,
        after.st_mtime_ns,
    ):
        raise ClipChangedError("it was changed while it was read")


@contextlib.contextmanager
def _open(path: Path, ffmpeg: str | None, begin_s: float = 0.0) -> Iterator[_Sound]:
    suffix = path.suffix.lower()
    with path.open("rb", buffering=0) as file:
        head = file.read(512)
        if not head:
            raise AudioError("empty file: 0 bytes")
        size_bytes = os.fstat(file.fileno()).st_size
        if suffix in DEMUXERS:
            if ffmpeg is None:
                raise AudioError(f"{suffix} needs ffmpeg, which is not installed")
            with _through_ffmpeg(path, ffmpeg, size_bytes, begin_s) as sound:
                yield sound
            return
        with _through_libsndfile(path, file, head, size_bytes, begin_s) as sound:
            yield sound


@contextlib.contextmanager
def _through_libsndfile(
    path: Path, file: IO[bytes], head: bytes, size_bytes: int, begin_s: float
) -> Iterator[_Sound]:
    with contextlib.closing(_Chain(path, file, head)) as chain:
        opened = chain.opened
        with _filled_memory() if opened.subtype == "OPUS" else contextlib.nullcontext():
            if begin_s:
                chain.go_to(round(begin_s * opened.samplerate))
            form = f"{opened.format}/{opened.subtype}"
            yield _Sound(
                opened.samplerate, opened.channels, form, chain.read, size_bytes, chain.notes
            )


class _Chain:
    """What libsndfile reads of a file: of joined ones, one after another.

    Args:
        path: The file.
        file: It, open, without a buffer.
        head: How it begins.
    """

    def __init__(self, path: Path, file: IO[bytes], head: bytes) -> None:
        self.notes: list[str] = []
        self._path, self._file = path, file
        self.opened: Any = None
        self._link: Link | None = None
        self._n_read = 0
        file.seek(0)
        try:
            # not by its name, from which libsndfile would guess that a text is a sound without
            # header, or take the header from a file beside it
            with _filled_memory():
                self.opened = soundfile.SoundFile(file.fileno(), closefd=False)
        except soundfile.LibsndfileError as error:
            # an MP3 that was cut begins within a frame
            found = self._find_link("MP3", 0, 0) if path.suffix.lower() == ".mp3" else None
            if found is None or not self._open_link(*found):
                raise AudioError(_why_not_sound(path.suffix.lower(), head, error)) from error
        if self.opened.format == "MP3" and self._link is None:
            found = self._find_link("MP3", 0, 0)
            if found is not None and found[1]:
                self._open_link(*found)
        self._leave_seeking()
        # what is stored in 16 bits comes in 16 bits: soundx scales faster than libsndfile does
        self._dtype = "int16" if self.opened.subtype == "PCM_16" else "float32"

    def close(self) -> None:
        self.opened.close()
        if self._link is not None:
            self._link.close()

    def read(self, n_frames: int) -> npt.NDArray[Any]:
        """Return up to so many frames [shape=(n_frames, n_channels)], none at the end.

        Raises:
            AudioError: It is broken inside.
        """
        while True:
            try:
                # read(), not blocks(): the latter trusts the header's length
                block = self.opened.read(n_frames, dtype=self._dtype, always_2d=True)
            except soundfile.LibsndfileError as error:
                raise AudioError(f"broken inside: {_sndfile_reason(error)}") from error
            self._n_read += len(block)
            if len(block) or not self._goes_on():
                return block

    def go_to(self, frame: int) -> None:
        """Have the next read begin at a frame, or at the end where there is no such."""
        if frame < self.opened.frames:
            with contextlib.suppress(soundfile.LibsndfileError):  # some codings cannot
                self.opened.seek(frame)
                return
        while frame and len(block := self.read(min(frame, _BLOCK_SAMPLES))):
            frame -= len(block)

    def _goes_on(self) -> bool:
        if self._link is None:
            start, until = 0, os.lseek(self._file.fileno(), 0, os.SEEK_CUR)
        else:
            start, until = self._link.start, self._link.read_until
        found = self._find_link(self.opened.format, start, until)
        if found is not None and self._open_link(*found):
            return True
        left = os.fstat(self._file.fileno()).st_size - (until if found is None else found[0])
        if found is not None or left >= _WRAPPED_BYTES:
            seconds = self._n_read / self.opened.samplerate
            self.notes.append(
                f"goes on after {seconds:.3f} s with {left:,} bytes that are not read"
            )
        return False

    def _leave_seeking(self) -> None:
        # soundfile seeks after each read: MP3 sounds a little other, FLAC of no known length fails
        if self.opened.format == "MP3" or self.opened.frames >= _UNKNOWN_FRAMES:
            self.opened.seekable = lambda: False

    def _find_link(self, kind: str, start: int, until: int) -> tuple[int, bytes] | None:
        if kind not in LINKED:
            return None
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return next_link(content, kind, start, until)

    def _open_link(self, start: int, ahead: bytes) -> bool:
        link = Link(self._path, start, ahead)
        try:
            opened = soundfile.SoundFile(link)
        except soundfile.LibsndfileError:
            link.close()
            return False
        if self.opened is not None:
            if _form(opened) != _form(self.opened):
                opened.close()
                link.close()
                return False
            self.close()
        self.opened, self._link = opened, link
        self._leave_seeking()
        return True


def _form(opened: soundfile.SoundFile) -> tuple[int, int, str]:
    return opened.samplerate, opened.channels, opened.subtype


@contextlib.contextmanager
def _filled_memory() -> Iterator[None]:
    """Let memory that is asked for hold the same always, where the system's C library can.

    libopus reads of a broken file what it has never written: otherwise that would be what other
    files have left, and other samples each time.
    """
    if not hasattr(LIBC, "mallopt"):
        yield
        return
    LIBC.mallopt(_M_PERTURB, 1)
    try:
        yield
    finally:
        LIBC.mallopt(_M_PERTURB, 0)


@contextlib.contextmanager
def _through_ffmpeg(path: Path, ffmpeg: str, size_bytes: int, begin_s: float) -> Iterator[_Sound]:
    """Open a file through ffmpeg; samples come through a pipe, nothing is unpacked to disk."""
    # file: keeps ffmpeg from reading a name with a colon as a protocol
    command = [ffmpeg, "-nostdin", "-v", "error", "-threads", "1", "-protocol_whitelist", "file"]
    command += ["-f", DEMUXERS[path.suffix.lower()]]
    command += [*(("-ss", f"{begin_s:.6f}") if begin_s else ()), "-i", f"file:{path}"]
    # titles would go into the header, which a pipe cannot be gone back in to tell the length of
    command += ["-map", "0:a:0", "-map_metadata", "-1", "-fflags", "+bitexact"]
    command += ["-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]
    with (
        tempfile.TemporaryFile(prefix="soundx-") as complaints,  # a pipe that is full would stop it
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints) as process,
    ):
        assert process.stdout is not None
        pipe = process.stdout

        notes: list[str] = []

        def complained() -> list[str]:
            complaints.seek(0)
            return complaints.read().decode(errors="replace").strip().splitlines()

        def failed() -> AudioError:
            reason = (complained() or ["no reason given"])[-1]
            return AudioError(f"ffmpeg cannot decode it: {reason.split(': ')[-1]}")

        try:
            header = _wav_header(pipe)
            if header is None:
                process.wait()
                raise failed()
            channels, rate_hz = header
            n_bytes = 4 * channels

            def read(n_frames: int) -> npt.NDArray[Any]:
                content = pipe.read(n_frames * n_bytes)
                if not content:
                    if process.wait() != 0:
                        raise failed()
                    # it leaves out what it cannot decode, and calls that a success
                    if said := complained():
                        reason = said[0].split("] ")[-1]
                        notes.append(f"damaged, sound may be missing (ffmpeg: {reason})")
                whole = len(content) // n_bytes
                return np.frombuffer(bytearray(content), "<f4", whole * channels).reshape(
                    whole, channels
                )

            yield _Sound(rate_hz, channels, "WAV/FLOAT", read, size_bytes, notes)
        finally:
            process.kill()  # it may have more to tell than anybody wants to hear


def _wav_header(pipe: IO[bytes]) -> tuple[int, int] | None:
    """Read a WAV's header off a pipe; return channels and rate in Hz, None where there is none."""
    if len(pipe.read(12)) < 12:  # noqa: PLR2004
        return None
    facts = None
    while len(chunk := pipe.read(8)) == 8:  # noqa: PLR2004
        name, size = struct.unpack("<4sI", chunk)
        if name == b"data":
            return facts
        if size > _HEAD_BYTES:
            return None
        content = pipe.read(size)
        if name == b"fmt ":
            _, channels, rate_hz = struct.unpack_from("<HHI", content)
            facts = channels, rate_hz
    return None


def _why_not_sound(suffix: str, head: bytes, error: Exception) -> str:
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "not a sound: it is a web page (a failed download?)"
    if b"\0" not in head and _is_text(head):
        return "not a sound: it is a text file"
    reason = _sndfile_reason(error)
    if "not recognised" in reason or "not exist" in reason:
        return f"not a sound format soundx can read ({suffix or 'no extension'})"
    if "unimplemented" in reason:
        return "a sound file in a coding that cannot be read"
    return f"broken header: {reason}"


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # the 512th byte may cut a character in two
        return error.start > len(head) - 4
    return True


def _sndfile_reason(error: Exception) -> str:
    text = getattr(error, "error_string", "") or str(error)
    return text.removeprefix("Error : ").strip().rstrip(".")
