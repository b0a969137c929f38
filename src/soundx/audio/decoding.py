"""Decode any sound file to the one waveform soundx works with: 16 kHz, mono, float32.

What is done to a file, in this order: decode (integers scaled to [-1, 1]), average the
channels, replace NaN and infinities by silence, remove the constant offset (DC), scale
down what is over full scale, resample (soxr, quality HQ). ``inspect_clip`` walks through
a file the same way, block by block, and tells what it found; ``decode_clip`` returns the
waveform. Anything that cannot be used raises ``AudioError`` with a reason for people.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from soundx.audio import SAMPLE_RATE_HZ
from soundx.errors import AudioError

Waveform = npt.NDArray[np.float32]

FFMPEG_SUFFIXES = frozenset({".m4a", ".aac", ".3gp", ".caf", ".webm"})
"""Containers libsndfile cannot open; decoded through ffmpeg where it is installed."""

_BLOCK_FRAMES = 1 << 18
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

    def add(self, block: npt.NDArray[np.float32], mono: Waveform, n_broken: int) -> None:
        self.n_frames += len(mono)
        self.n_broken += n_broken
        self.total += float(mono.sum(dtype=np.float64))
        self.low = min(self.low, float(mono.min()))
        self.high = max(self.high, float(mono.max()))
        if block.shape[1] > 1:
            self.channel_peak = max(self.channel_peak, float(np.abs(block).max()))

    @property
    def offset(self) -> float:
        return self.total / self.n_frames

    @property
    def peak(self) -> float:
        """Largest magnitude once the offset is removed."""
        return max(self.high - self.offset, self.offset - self.low)


def inspect_clip(path: Path) -> ClipInfo:
    """Decode a file from end to end without keeping it, and tell what is in it.

    Memory does not grow with the length of the file.

    Raises:
        AudioError: The file is empty, not a sound, of no length, or broken inside.
    """
    with _open(path) as sound:
        levels = _Levels()
        for block, mono, n_broken in _mono_blocks(sound, path):
            levels.add(block, mono, n_broken)
        if levels.n_frames == 0:
            raise AudioError("no sound in it: only a header, 0 samples")
        return ClipInfo(
            duration_s=levels.n_frames / sound.samplerate,
            sample_rate_hz=sound.samplerate,
            channels=sound.channels,
            format=f"{sound.format}/{sound.subtype}",
            note="; ".join(_notes(levels)),
        )


def decode_clip(path: Path) -> Waveform:
    """Decode a file to the waveform soundx works with.

    Args:
        path: A sound file of any sample rate and number of channels.

    Returns:
        Samples at 16 kHz, mono, without offset, within [-1, 1]
        [shape=(n_samples,), dtype=float32].

    Raises:
        AudioError: The file is empty, not a sound, of no length, or broken inside.
    """
    with _open(path) as sound:
        levels = _Levels()
        blocks = []
        for block, mono, n_broken in _mono_blocks(sound, path):
            levels.add(block, mono, n_broken)
            blocks.append(mono)
        if not blocks:
            raise AudioError("no sound in it: only a header, 0 samples")
        rate_hz = sound.samplerate
    signal = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return _to_standard(signal, levels, rate_hz)


def standardise(signal: npt.ArrayLike, *, sample_rate_hz: int) -> Waveform:
    """Bring samples that are already in memory to soundx's waveform.

    Args:
        signal: Samples [shape=(n_samples,) or (n_samples, n_channels)]; integers are
            scaled by their type's range, floats taken as they are.
        sample_rate_hz: Their sample rate, in Hz.

    Returns:
        Samples at 16 kHz, mono, within [-1, 1] [shape=(n_samples,), dtype=float32].

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
    mono, n_broken = _mix(block)
    levels = _Levels()
    levels.add(block, mono, n_broken)
    return _to_standard(mono, levels, sample_rate_hz)


def _to_standard(signal: Waveform, levels: _Levels, rate_hz: int) -> Waveform:
    signal -= np.float32(levels.offset)
    if levels.peak > 1.0:
        signal /= np.float32(levels.peak)
    if rate_hz != SAMPLE_RATE_HZ:
        signal = soxr.resample(signal, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    if signal.size == 0:  # a few samples at a high rate round to none at 16 kHz
        signal = np.zeros(1, np.float32)
    # resampling a full-scale edge overshoots by a few per cent
    return np.clip(signal, -1.0, 1.0, dtype=np.float32)


def _notes(levels: _Levels) -> Iterator[str]:
    if levels.n_broken:
        yield f"{levels.n_broken} samples were NaN or infinite, taken as silence"
    if levels.peak > 1.0:
        yield f"over full scale (peak {levels.peak:.2f}), scaled down"
    if abs(levels.offset) > 0.01:  # noqa: PLR2004  1 % of full scale
        yield f"constant offset of {levels.offset:+.3f} removed"
    # 60 dB: antiphase channels leave a rest of rounding errors
    if levels.peak < 1e-3 * levels.channel_peak:
        yield "silent: the channels cancel each other when averaged"
    elif levels.peak < _SILENCE_PEAK:
        yield "silent"


def _mix(block: npt.NDArray[np.float32]) -> tuple[Waveform, int]:
    finite = np.isfinite(block)
    n_broken = block.size - int(np.count_nonzero(finite))
    if n_broken:
        block = np.where(finite, block, np.float32(0.0))
    mono = block[:, 0].copy() if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
    return mono, n_broken


def _mono_blocks(
    sound: soundfile.SoundFile, path: Path
) -> Iterator[tuple[npt.NDArray[np.float32], Waveform, int]]:
    """Yield (finite block as decoded, its channel average, number of broken samples)."""
    while True:
        try:
            # read(), not blocks(): the latter trusts the header's length
            block = sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"broken inside: {_sndfile_reason(error)}") from error
        if len(block) == 0:
            return
        mono, n_broken = _mix(block)
        if n_broken:
            block = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
        yield block, mono, n_broken


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
