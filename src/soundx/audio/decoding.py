"""Decode any sound file to the one waveform soundx works with: 16 kHz, mono, float32.

What is done to a file, in this order: decode (integers scaled to [-1, 1]), average the
channels, replace NaN and infinities by silence, remove the constant offset (DC), scale down
what is over full scale (a trifle is clipped instead: rounding, or what taking off a small
offset adds), resample (soxr, quality HQ). ``inspect_clip`` walks through a file the same way,
block by block, and tells what it found; ``decode_clip`` returns the waveform, ``decode_blocks``
the same waveform piece by piece, for files too long to hold, and ``decode_start`` the first
seconds of it. Anything that cannot be used raises ``AudioError`` with a reason for people.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.errors import AudioError

FFMPEG_SUFFIXES = frozenset({".m4a", ".aac", ".3gp", ".caf", ".webm"})
"""Containers libsndfile cannot open; decoded through ffmpeg where it is installed."""

_BLOCK_SAMPLES = 1 << 18
_ONLY_A_HEADER = "no sound in it: only a header, 0 samples"
_FULL_SCALE = 1.001  # rounding, and the lowest number of 16 bits, reach a little over 1
_SMALL_OFFSET = 0.01  # not worth a word
_SILENCE_PEAK = 1e-5  # -100 dBFS


@dataclass(frozen=True)
class ClipInfo:
    """What a whole pass over a sound file found.

    Attributes:
        duration_s: Length of what really decodes, in seconds; headers may promise more.
        sample_rate_hz: The file's own sample rate.
        channels: The file's own number of channels.
        format: Container and coding, for example ``WAV/PCM_16``.
        note: What was mended or looks odd, in plain words; empty for an ordinary clip.
    """

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
        with np.errstate(invalid="ignore"):  # infinities of both signs
            mono = _average(block)
            total = float(mono.sum(dtype=np.float64))
        if not math.isfinite(total):  # one NaN or infinity is enough
            finite = np.isfinite(block)
            self.n_broken += block.size - int(np.count_nonzero(finite))
            block = np.where(finite, block, np.float32(0.0))
            mono = _average(block)
            total = float(mono.sum(dtype=np.float64))
        self.n_frames += len(mono)
        self.total += total
        self.low = min(self.low, float(mono.min()))
        self.high = max(self.high, float(mono.max()))
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


def inspect_clip(path: Path) -> ClipInfo:
    """Decode a file from end to end without keeping it, and tell what is in it.

    Memory does not grow with the length of the file.

    Raises:
        AudioError: The file is empty, not a sound, of no length, or broken inside.
    """
    with _open(path) as sound:
        levels = _measure(sound)
        return ClipInfo(
            duration_s=levels.n_frames / sound.samplerate,
            sample_rate_hz=sound.samplerate,
            channels=sound.channels,
            format=f"{sound.format}/{sound.subtype}",
            note="; ".join(_notes(levels)),
        )


def decode_clip(path: Path) -> Float32:
    """Decode a file to the waveform soundx works with.

    Args:
        path: A sound file of any sample rate and number of channels.

    Returns:
        Samples at 16 kHz, mono, without offset, within [-1, 1],
        [shape=(n_samples,), dtype=float32].

    Raises:
        AudioError: The file is empty, not a sound, of no length, or broken inside.
    """
    with _open(path) as sound:
        levels = _Levels()
        blocks = [levels.mix(block) for block in _read(sound)]
        rate_hz = sound.samplerate
    if not blocks:
        raise AudioError(_ONLY_A_HEADER)
    signal = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return _to_standard(signal, levels, rate_hz)


def decode_blocks(path: Path) -> Iterator[Float32]:
    """Decode a file as ``decode_clip`` does, piece by piece; memory does not grow with length.

    The file is read twice: its offset and peak have to be known before the first sample.

    Args:
        path: A sound file of any sample rate and number of channels.

    Yields:
        Consecutive samples at 16 kHz [shape=(n_samples,), dtype=float32], a few seconds to
        half a minute at a time.

    Raises:
        AudioError: The file is empty, not a sound, of no length, or broken inside.
    """
    with _open(path) as sound:
        levels = _measure(sound)
        sound.seek(0)
        resampler = None
        if sound.samplerate != SAMPLE_RATE_HZ:
            resampler = soxr.ResampleStream(
                sound.samplerate, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ"
            )
        n_samples = 0
        silence = np.zeros((0, 1), np.float32)
        for block in itertools.chain(_read(sound), [silence]):
            signal = block[:, 0] if block is silence else levels.correct(_Levels().mix(block))
            if resampler is not None:
                # the end of the stream brings what the filter still holds
                signal = resampler.resample_chunk(signal, last=block is silence)
            n_samples += len(signal)
            if len(signal):
                yield np.clip(signal, -1.0, 1.0, dtype=np.float32)
        if n_samples == 0:
            yield np.zeros(1, np.float32)


def decode_start(path: Path, *, max_s: float) -> tuple[Float32, bool]:
    """Decode the beginning of a file, however long the rest of it is.

    Args:
        path: A sound file of any sample rate and number of channels.
        max_s: How much of it, in seconds.

    Returns:
        The first samples of what ``decode_clip`` returns [shape=(n_samples,), dtype=float32],
        and whether there are more.

    Raises:
        AudioError: The file is empty, not a sound, of no length, or broken inside.
    """
    wanted = int(max_s * SAMPLE_RATE_HZ)
    blocks, n_samples = [], 0
    for block in decode_blocks(path):
        blocks.append(block)
        n_samples += len(block)
        if n_samples > wanted:
            break
    return np.concatenate(blocks)[:wanted], n_samples > wanted


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
    return np.clip(signal, -1.0, 1.0, dtype=np.float32)


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


def _measure(sound: soundfile.SoundFile) -> _Levels:
    levels = _Levels()
    for block in _read(sound):
        levels.mix(block)
    if levels.n_frames == 0:
        raise AudioError(_ONLY_A_HEADER)
    return levels


def _read(sound: soundfile.SoundFile) -> Iterator[npt.NDArray[Any]]:
    """Yield a file's samples [shape=(n_frames, n_channels), dtype=float32 or int16].

    What is stored in 16 bits comes in 16 bits: soundx scales faster than libsndfile does.
    """
    dtype = "int16" if sound.subtype == "PCM_16" else "float32"
    # bounded in samples: a block of 32 channels is not larger than one of mono
    n_frames = max(_BLOCK_SAMPLES // sound.channels, 1)
    while True:
        try:
            # read(), not blocks(): the latter trusts the header's length
            block = sound.read(n_frames, dtype=dtype, always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"broken inside: {_sndfile_reason(error)}") from error
        if len(block) == 0:
            return
        yield block


@contextlib.contextmanager
def _open(path: Path) -> Iterator[soundfile.SoundFile]:
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise AudioError(f"cannot be read: {error.strerror}") from error
    if not head:
        raise AudioError("empty file: 0 bytes")
    if path.suffix.lower() in FFMPEG_SUFFIXES:
        with _through_ffmpeg(path) as decoded, soundfile.SoundFile(decoded) as sound:
            yield sound
        return
    try:
        sound = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError) as error:
        # TypeError: a .raw file, which has no header to tell rate and channels
        raise AudioError(_why_not_sound(path, head, error)) from error
    with sound:
        yield sound


@contextlib.contextmanager
def _through_ffmpeg(path: Path) -> Iterator[Path]:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise AudioError(f"{path.suffix.lower()} needs ffmpeg, which is not installed")
    with tempfile.TemporaryDirectory(prefix="soundx-") as folder:
        decoded = Path(folder) / "decoded.wav"
        # file: keeps ffmpeg from reading a name with a colon as a protocol
        command = [ffmpeg, "-nostdin", "-v", "error", "-i", f"file:{path}", "-vn"]
        command += ["-c:a", "pcm_f32le", "-rf64", "auto", "-f", "wav", f"file:{decoded}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not decoded.exists():
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise AudioError(f"ffmpeg cannot decode it: {reason.split(': ')[-1]}")
        yield decoded


def _why_not_sound(path: Path, head: bytes, error: Exception) -> str:
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "not a sound: it is a web page (a failed download?)"
    if b"\0" not in head and _is_text(head):
        return "not a sound: it is a text file"
    reason = _sndfile_reason(error)
    if isinstance(error, TypeError) or "not recognised" in reason or "not exist" in reason:
        return f"not a sound format soundx can read ({path.suffix.lower() or 'no extension'})"
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
