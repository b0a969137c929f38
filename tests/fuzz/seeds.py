"""Small sound files in every format soundx reads: what mutants are made of.

All are synthesised here. The same libraries write the same bytes, so that a mutant is known by its
seed and number; what would be drawn or dated (Ogg's serial numbers, the time in PEAK) is not.
"""

from __future__ import annotations

import functools
import io
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from tests.fuzz.structure import ogg_pages, ogg_with_many_pages, ogg_with_sums


@dataclass(frozen=True)
class SoundFile:
    """A file in memory.

    Attributes:
        name: What it is, in words.
        family: Which structure it has: see ``tests.fuzz.structure``.
        suffix: What its name ends in.
        content: Its bytes.
    """

    name: str
    family: str
    suffix: str
    content: bytes


FAMILIES = (
    "wav", "aiff", "au", "w64", "caf", "flac", "ogg", "opus", "mp3", "other",
    "m4a", "aac", "3gp", "webm",
)  # fmt: skip
"""The names for ``--formats``; the last four need ffmpeg."""

_THROUGH_FFMPEG = {
    "m4a": ("aac", "mp4"),
    "aac": ("aac", "adts"),
    "3gp": ("aac", "3gp"),
    "webm": ("libopus", "webm"),
}
_WAV = (
    "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM",
    "MS_ADPCM", "GSM610", "G721_32", "NMS_ADPCM_16",
)  # fmt: skip
_AIFF = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "ULAW", "IMA_ADPCM")
_CAF = ("PCM_16", "PCM_24", "FLOAT", "ALAC_16", "ULAW")
_OTHER = {
    "VOC": "voc", "NIST": "nist", "IRCAM": "sf", "PAF": "paf", "SVX": "svx", "MAT4": "mat",
    "MAT5": "mat", "PVF": "pvf", "XI": "xi", "SDS": "sds", "AVR": "avr", "HTK": "htk",
    "MPC2K": "snd", "WVE": "wve",
}  # fmt: skip


def sound(seconds: float, rate_hz: int, channels: int) -> np.ndarray:
    """Return a tone and some noise [shape=(n_frames, channels)]."""
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    noise = np.random.default_rng(channels).standard_normal((len(time_s), channels))
    return 0.4 * np.sin(2 * np.pi * 440 * time_s)[:, None] + 0.05 * noise


def written(
    kind: str,
    subtype: str,
    *,
    seconds: float = 0.12,
    rate_hz: int = 16_000,
    channels: int = 1,
    samples: np.ndarray | None = None,
) -> bytes:
    """Return what libsndfile writes, the same every time."""
    file = io.BytesIO()
    if samples is None:
        samples = sound(seconds, rate_hz, channels)
    soundfile.write(file, samples, rate_hz, format=kind, subtype=subtype)
    content = bytearray(file.getvalue())
    if kind == "OGG":
        for start, _ in ogg_pages(content):
            struct.pack_into("<I", content, start + 14, 1)
        return bytes(ogg_with_sums(content))
    at = content.find(b"PEAK", 0, 512)
    if at >= 0:
        content[at + 12 : at + 16] = bytes(4)
    return bytes(content)


def through_ffmpeg(
    samples: np.ndarray, rate_hz: int, coder: str, container: str, *options: str
) -> bytes:
    """Return what ffmpeg makes of samples [shape=(n_frames, channels)]."""
    with tempfile.TemporaryDirectory(prefix="soundx-") as folder:
        wav, out = Path(folder, "a.wav"), Path(folder, "out")
        soundfile.write(wav, samples, rate_hz)
        command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(wav), "-strict", "-2"]
        command += ["-c:a", coder, *options, "-fflags", "+bitexact", "-flags:a", "+bitexact"]
        subprocess.run([*command, "-f", container, str(out)], check=True)
        return out.read_bytes()


@functools.cache
def seeds(families: tuple[str, ...] = FAMILIES) -> tuple[SoundFile, ...]:
    """Return the files of some families, in order; those for ffmpeg where it is installed."""
    return tuple(file for family in families for file in _of(family))


@functools.cache
def _of(family: str) -> tuple[SoundFile, ...]:
    def made(kind: str, subtype: str, suffix: str, **options: int | float) -> SoundFile:
        name = f"{kind}/{subtype}" + "".join(f" {key}={value}" for key, value in options.items())
        return SoundFile(name, family, suffix, written(kind, subtype, **options))

    def on_many_pages(files: list[SoundFile]) -> list[SoundFile]:
        return [
            *files,
            *(
                replace(
                    file,
                    name=f"{file.name} on many pages",
                    content=bytes(ogg_with_many_pages(file.content)),
                )
                for file in files
            ),
        ]

    match family:
        case "wav":
            files = [
                made("WAV", coding, "wav", rate_hz=8000 if coding == "G721_32" else 16_000)
                for coding in _WAV
            ]
            files += [made("WAV", "PCM_16", "wav", channels=2, rate_hz=44_100, seconds=0.05)]
            files += [made("WAVEX", coding, "wav", channels=3) for coding in ("PCM_16", "FLOAT")]
            files += [made("RF64", "PCM_24", "wav")]
        case "aiff":
            files = [made("AIFF", coding, "aiff") for coding in _AIFF]
        case "au":
            files = [made("AU", coding, "au") for coding in ("PCM_16", "FLOAT", "ULAW", "G721_32")]
        case "w64":
            files = [made("W64", coding, "w64") for coding in ("PCM_16", "FLOAT", "IMA_ADPCM")]
        case "caf":
            files = [made("CAF", coding, "caf") for coding in _CAF]
        case "flac":
            files = [
                made("FLAC", "PCM_16", "flac"),
                made("FLAC", "PCM_24", "flac", channels=2),
                made("FLAC", "PCM_S8", "flac", rate_hz=8000, seconds=0.6),
            ]
            silence = written("FLAC", "PCM_16", samples=np.zeros((400_000, 1)))
            files += [SoundFile("FLAC/PCM_16 25 s of silence", family, "flac", silence)]
        case "ogg":
            files = on_many_pages(
                [
                    made("OGG", "VORBIS", "ogg", seconds=0.5),
                    made("OGG", "VORBIS", "ogg", rate_hz=44_100, channels=2, seconds=0.2),
                ]
            )
        case "opus":
            files = on_many_pages(
                [
                    made("OGG", "OPUS", "opus", seconds=0.6, rate_hz=48_000),
                    made("OGG", "OPUS", "opus", channels=2, seconds=1.2),
                ]
            )
        case "mp3":
            files = [
                made("MP3", "MPEG_LAYER_III", "mp3", seconds=0.4),
                made("MP3", "MPEG_LAYER_III", "mp3", rate_hz=44_100, channels=2, seconds=0.2),
            ]
        case "other":
            coding = {"SVX": "PCM_16", "XI": "DPCM_16", "WVE": "ALAW"}
            files = [made(kind, coding.get(kind, "PCM_16"), end) for kind, end in _OTHER.items()]
        case _:
            if shutil.which("ffmpeg") is None:
                return ()
            coder, container = _THROUGH_FFMPEG[family]
            content = through_ffmpeg(sound(0.3, 16_000, 1), 16_000, coder, container)
            files = [SoundFile(f"{container}/{coder}", family, family, content)]
    return tuple(files)
