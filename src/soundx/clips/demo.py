"""The demo's clips: twelve everyday sounds in four categories, and background, from nothing.

Every recording draws its own pitch, rhythm, room, loudness and background, so that no two
clips of a label are alike and a classifier has to generalise; neighbouring labels overlap
on purpose (a cricket is not far from a beeper, a fan not far from wind). The set is the
same on every machine for the same seed.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.signal
import soundfile

from soundx.clips.source import SourceObject
from soundx.labels import BACKGROUND
from soundx.parallel import n_workers

Signal = npt.NDArray[np.float64]
Maker = Callable[[np.random.Generator, float, int], Signal]

SYNTHESIS_VERSION = 1
"""Raise it when any sound changes: the mirror then fetches all clips again."""

_RATES_HZ = (16_000, 22_050, 32_000, 44_100, 48_000)
_CLIPS_OF_A_RECORDING = 3
_BACKGROUND_FOLDER = ":BACKGROUND_ROOM"


@dataclass(frozen=True)
class DemoClip:
    """One clip of the demo set.

    Attributes:
        key: Path in the source, ``<label>/<file>``.
        label: Its label; empty of background.
        sound: What makes it: its label, or a sound of none of the labels.
        group: The recording it is cut from.
        part: Which cut of the recording it is, from 0.
        n_parts: How many cuts the recording gives.
    """

    key: str
    label: str
    sound: str
    group: str
    part: int
    n_parts: int


class SynthesisedSource:
    """A source whose objects are synthesised when they are fetched.

    Args:
        clips_per_label: Clips of every label; half of them are cut from recordings
            that give three clips each.
        background_clips: Clips of sounds of none of the labels.
        seed: Another seed is another set of sounds.
    """

    def __init__(
        self, *, clips_per_label: int = 30, background_clips: int = 36, seed: int = 7
    ) -> None:
        self.clips_per_label = clips_per_label
        self.background_clips = background_clips
        self.seed = seed

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return "the synthesised demo"

    @property
    def parallel_fetches(self) -> int:
        """How many clips to make at once."""
        return n_workers()

    @cached_property
    def clips(self) -> dict[str, DemoClip]:
        """All clips by key."""
        clips = {}
        for label in DEMO_LABELS:
            for clip in _clips_of(label, self.clips_per_label, folder=label, label=label):
                clips[clip.key] = clip
        n_each, n_more = divmod(self.background_clips, len(BACKGROUND_SOUNDS))
        for number, sound in enumerate(BACKGROUND_SOUNDS):
            n_clips = n_each + (number < n_more)
            for clip in _clips_of(sound, n_clips, folder=_BACKGROUND_FOLDER, label=BACKGROUND):
                clips[clip.key] = clip
        return clips

    def list_objects(self) -> Iterator[SourceObject]:
        """Yield the clips and their ``metadata.csv``."""
        version = f"{SYNTHESIS_VERSION}:{self.seed}"
        yield SourceObject(
            "metadata.csv", -1, f"{version}:{self.clips_per_label}:{self.background_clips}"
        )
        for key in self.clips:
            yield SourceObject(key, -1, version)

    def fetch(self, key: str, target: Path) -> None:
        """Write one object."""
        target.write_bytes(self._metadata() if key == "metadata.csv" else self._bytes(key))

    def _metadata(self) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["filename", "label", "group"])
        writer.writerows((clip.key, clip.label, clip.group) for clip in self.clips.values())
        return text.getvalue().encode()

    def _bytes(self, key: str) -> bytes:
        clip = self.clips[key]
        samples, rate_hz = synthesise_recording(
            clip.sound, clip.group, n_parts=clip.n_parts, seed=self.seed
        )
        length = len(samples) // clip.n_parts
        cut = samples[clip.part * length : (clip.part + 1) * length]
        file = io.BytesIO()
        kind = "FLAC" if key.endswith(".flac") else "WAV"
        soundfile.write(file, cut, rate_hz, format=kind, subtype="PCM_16")
        return file.getvalue()


def _clips_of(sound: str, n_clips: int, *, folder: str, label: str) -> Iterator[DemoClip]:
    """Yield clips of one kind of sound; about half are cut from recordings of several."""
    n_cut = n_clips // 2 // _CLIPS_OF_A_RECORDING
    sizes = [_CLIPS_OF_A_RECORDING] * n_cut
    sizes += [1] * (n_clips - sum(sizes))
    for number, n_parts in enumerate(sizes):
        group = f"{sound.lower()}-{number:02d}"
        for part in range(n_parts):
            suffix = ".flac" if number % 4 == 1 else ".wav"
            stem = group if n_parts == 1 else f"{group}{'abc'[part]}"
            yield DemoClip(f"{folder}/{stem}{suffix}", label, sound, group, part, n_parts)


def synthesise_recording(
    sound: str, group: str, *, n_parts: int = 1, seed: int = 7
) -> tuple[Signal, int]:
    """Make one recording.

    Args:
        sound: One of ``DEMO_LABELS`` or ``BACKGROUND_SOUNDS``.
        group: Its name; with the seed it decides all about the sound.
        n_parts: How many clips are to be cut from it; it grows longer with each.
        seed: The set's seed.

    Returns:
        Samples in [-1, 1], [shape=(n_samples,) or (n_samples, 2)] and their rate in Hz.
    """
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    rate_hz = int(rng.choice(_RATES_HZ))
    duration_s = float(rng.uniform(1.5, 4.0)) * n_parts
    make = DEMO_LABELS.get(sound) or BACKGROUND_SOUNDS[sound]
    heard = _room(rng, make(rng, duration_s, rate_hz), rate_hz)
    heard /= np.abs(heard).max() + 1e-9
    noise = _coloured_noise(rng, len(heard), exponent=rng.uniform(0.6, 1.4))
    snr_db = rng.uniform(18.0, 40.0)
    noise *= np.sqrt(np.mean(heard**2)) * 10 ** (-snr_db / 20)
    mix = heard + noise
    mix *= 10 ** (rng.uniform(-9.0, -1.0) / 20) / np.abs(mix).max()
    if rng.random() < 0.4:  # noqa: PLR2004
        mix = _stereo(rng, mix, rate_hz)
    return mix, rate_hz


def _seconds(duration_s: float, rate_hz: int) -> Signal:
    return np.arange(int(duration_s * rate_hz)) / rate_hz


def _tone(frequency_hz: Signal, rate_hz: int, *, phase: float = 0.0) -> Signal:
    return np.sin(2 * np.pi * np.cumsum(frequency_hz) / rate_hz + phase)


def _wander(rng: np.random.Generator, n: int, rate_hz: int, *, every_s: float) -> Signal:
    """Return a smooth random curve around 0, of unit size."""
    points = max(4, int(n / rate_hz / every_s) + 3)
    knots = rng.standard_normal(points)
    return np.interp(np.linspace(0, points - 1, n), np.arange(points), knots)


def _coloured_noise(rng: np.random.Generator, n: int, *, exponent: float) -> Signal:
    """Return noise of unit RMS whose power falls as 1 / frequency**exponent."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency = np.maximum(np.arange(len(spectrum)), 1.0)
    noise = np.fft.irfft(spectrum / frequency ** (exponent / 2), n)
    return noise / (np.sqrt(np.mean(noise**2)) + 1e-12)


def _band(signal: Signal, low_hz: float, high_hz: float, rate_hz: int) -> Signal:
    high_hz = min(high_hz, 0.49 * rate_hz)
    sos = scipy.signal.butter(2, (low_hz, high_hz), "bandpass", fs=rate_hz, output="sos")
    return np.asarray(scipy.signal.sosfilt(sos, signal))


def _room(rng: np.random.Generator, sound: Signal, rate_hz: int) -> Signal:
    """Add the echo of a small or larger room, and the colour of a microphone."""
    decay_s = rng.uniform(0.02, 0.2)
    t = _seconds(3 * decay_s, rate_hz)
    echo = rng.standard_normal(len(t)) * np.exp(-t / decay_s * 3)
    echo *= rng.uniform(0.0, 0.35) / (np.sqrt(np.sum(echo**2)) + 1e-9)
    echo[0] = 1.0
    wet = scipy.signal.fftconvolve(sound, echo)[: len(sound)]
    tilt = rng.uniform(-0.3, 0.3)
    return np.asarray(scipy.signal.lfilter([1.0, tilt], [1.0], wet))


def _stereo(rng: np.random.Generator, mono: Signal, rate_hz: int) -> Signal:
    """Place a sound between two microphones: a little later and softer in one."""
    delay = int(rng.uniform(0, 0.0006) * rate_hz)
    other = np.roll(mono, delay) * rng.uniform(0.4, 1.0)
    pair = (mono, other) if rng.random() < 0.5 else (other, mono)  # noqa: PLR2004
    return np.stack(pair, axis=1)


def _repeat(
    rng: np.random.Generator,
    duration_s: float,
    rate_hz: int,
    *,
    gap_s: tuple[float, float],
    one: Callable[[], Signal],
) -> Signal:
    """Lay one sound after another with irregular gaps."""
    out = np.zeros(int(duration_s * rate_hz))
    start_s = rng.uniform(0.0, min(gap_s[0], 0.2))
    while start_s < duration_s - 0.05:
        event = one()
        start = int(start_s * rate_hz)
        event = event[: len(out) - start]
        out[start : start + len(event)] += event * rng.uniform(0.6, 1.0)
        start_s += rng.uniform(*gap_s)
    return out


def _siren(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    t = _seconds(duration_s, rate_hz)
    low, span = rng.uniform(450, 750), rng.uniform(400, 800)
    rate = rng.uniform(0.5, 3.0)
    swing = np.sin(2 * np.pi * rate * t + rng.uniform(0, 6.28))
    shape = rng.choice(["wail", "yelp", "hi-lo"])
    if shape == "yelp":
        swing = scipy.signal.sawtooth(2 * np.pi * rate * 1.5 * t, 0.8)
    elif shape == "hi-lo":
        swing = np.tanh(8 * np.sin(2 * np.pi * rate * 0.5 * t))
    pitch = low + span * (swing + 1) / 2
    harmonics = rng.uniform(0.1, 0.7, 4)
    return np.sum([a * _tone(pitch * k, rate_hz) for k, a in enumerate(harmonics, 1)], axis=0)


def _bell(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    base = rng.uniform(500, 1100)
    ratios = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.7, 3.8]) * rng.uniform(0.97, 1.03, 7)
    decay_s = rng.uniform(0.3, 1.2)

    def strike() -> Signal:
        t = _seconds(min(4 * decay_s, duration_s), rate_hz)
        parts = [
            np.exp(-t / decay_s * (0.6 + 0.5 * i)) * np.sin(2 * np.pi * base * r * t) / (i + 1)
            for i, r in enumerate(ratios)
            if base * r < rate_hz / 2
        ]
        return np.sum(parts, axis=0)

    low = rng.uniform(0.15, 0.45)
    return _repeat(rng, duration_s, rate_hz, gap_s=(low, low * 1.3), one=strike)


def _beeper(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    pitch = rng.uniform(1700, 3000)
    on_s = rng.uniform(0.08, 0.25)
    duty = rng.uniform(0.2, 0.8)

    def beep() -> Signal:
        t = _seconds(on_s, rate_hz)
        edge = np.minimum(1, np.minimum(t, on_s - t) / 0.004)
        tone = np.sin(2 * np.pi * pitch * t)
        return edge * ((1 - duty) * tone + duty * np.sign(tone) * 0.5)

    gap = on_s * rng.uniform(1.6, 2.4)
    return _repeat(rng, duration_s, rate_hz, gap_s=(gap, gap * 1.01), one=beep)


def _bird(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    centre, span = rng.uniform(2300, 3900), rng.uniform(900, 2000)

    def chirp() -> Signal:
        t = _seconds(rng.uniform(0.05, 0.25), rate_hz)
        x = t / t[-1]
        curve = rng.choice([-1, 1]) * (x - 0.5) + rng.uniform(-1, 1) * (x - 0.5) ** 2 * 2
        trill = rng.uniform(0, 0.4) * np.sin(2 * np.pi * rng.uniform(20, 60) * t)
        tone = _tone(centre + span * (curve + trill), rate_hz)
        return np.abs(np.sin(np.pi * x)) ** 0.7 * tone

    low = rng.uniform(0.12, 0.3)
    return _repeat(rng, duration_s, rate_hz, gap_s=(low, low * 1.8), one=chirp)


def _cricket(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    carrier = rng.uniform(4200, 5800)
    pulse_hz = rng.uniform(22, 45)
    chirp_hz = rng.uniform(1.5, 5.0)
    t = _seconds(duration_s, rate_hz)
    pulses = np.maximum(0, np.sin(2 * np.pi * pulse_hz * t)) ** 2
    gate = scipy.signal.square(2 * np.pi * chirp_hz * t, duty=rng.uniform(0.6, 0.95)) > 0
    drift = 1 + 0.01 * _wander(rng, len(t), rate_hz, every_s=0.2)
    return pulses * gate * _tone(carrier * drift, rate_hz)


def _frog(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    pulse_hz = rng.uniform(25, 90)
    formant = rng.uniform(600, 1400)
    length_s = rng.uniform(0.12, 0.45)

    def croak() -> Signal:
        t = _seconds(length_s * rng.uniform(0.8, 1.2), rate_hz)
        rise = 1 + 0.3 * t / t[-1]
        train = np.maximum(0, np.sin(2 * np.pi * np.cumsum(pulse_hz * rise) / rate_hz)) ** 6
        body = _band(train * rng.standard_normal(len(t)), formant * 0.6, formant * 1.6, rate_hz)
        voiced = train * np.sin(2 * np.pi * formant * t)
        return (body * 2 + voiced) * np.abs(np.sin(np.pi * t / t[-1])) ** 0.5

    low = rng.uniform(0.25, 0.5)
    return _repeat(rng, duration_s, rate_hz, gap_s=(low, low * 1.8), one=croak)


def _engine(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    n = int(duration_s * rate_hz)
    firing = rng.uniform(30, 110) * (1 + 0.15 * _wander(rng, n, rate_hz, every_s=0.8))
    phase = 2 * np.pi * np.cumsum(np.maximum(firing, 15)) / rate_hz
    harmonics = range(1, 14)
    tones = [np.sin(k * phase + rng.uniform(0, 6.28)) / k ** rng.uniform(0.5, 1) for k in harmonics]
    rumble = _band(rng.standard_normal(n), 60, 900, rate_hz) * (1.2 + np.sin(phase))
    return np.sum(tones, axis=0) + rng.uniform(0.4, 1.5) * rumble


def _drill(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    n = int(duration_s * rate_hz)
    speed = rng.uniform(140, 420) * (1 + 0.08 * _wander(rng, n, rate_hz, every_s=0.5))
    phase = 2 * np.pi * np.cumsum(speed) / rate_hz
    whine = np.sum([np.sin(k * phase) / k**0.5 for k in range(1, 16)], axis=0)
    hammer = np.maximum(0, np.sin(phase / rng.uniform(6, 14))) ** rng.uniform(1, 6)
    grit = _band(rng.standard_normal(n), 900, 7000, rate_hz) * (0.3 + hammer)
    return whine * rng.uniform(0.5, 0.9) + grit * rng.uniform(0.6, 1.4)


def _fan(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    n = int(duration_s * rate_hz)
    t = _seconds(duration_s, rate_hz)[:n]
    blade = rng.uniform(20, 60)
    air = _coloured_noise(rng, n, exponent=rng.uniform(0.8, 1.4))
    air *= 1 + rng.uniform(0.2, 0.5) * np.sin(2 * np.pi * blade * t)
    hum = sum(np.sin(2 * np.pi * 100 * k * t + k) / k for k in range(1, 5))
    return air + rng.uniform(0.3, 1.0) * np.asarray(hum)


def _rain(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    n = int(duration_s * rate_hz)
    bed = _band(rng.standard_normal(n), rng.uniform(400, 1500), 9000, rate_hz)
    drops = np.zeros(n)
    hits = rng.integers(0, n, int(duration_s * rng.uniform(15, 150)))
    drops[hits] = rng.exponential(1.0, len(hits))
    drops = _band(drops, rng.uniform(800, 2000), rng.uniform(4000, 9000), rate_hz)
    drops /= np.abs(drops).max() + 1e-9
    return bed / np.abs(bed).max() + drops * rng.uniform(0.6, 2.0)


def _wind(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    n = int(duration_s * rate_hz)
    low = _coloured_noise(rng, n, exponent=rng.uniform(1.4, 2.2))
    low_hz = rng.uniform(250, 700)
    howl = _band(rng.standard_normal(n), low_hz, low_hz * 1.6, rate_hz)
    gusts = np.exp(0.6 * _wander(rng, n, rate_hz, every_s=rng.uniform(0.3, 1.0)))
    return (low + rng.uniform(1.5, 4.0) * howl) * gusts


def _waves(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    t = _seconds(duration_s, rate_hz)
    surf = _coloured_noise(rng, len(t), exponent=rng.uniform(0.6, 1.0))
    hiss = _band(rng.standard_normal(len(t)), 1500, 7000, rate_hz)
    period_s = rng.uniform(1.2, 3.5)
    phase = (t / period_s + rng.uniform(0, 1)) % 1.0
    swell = phase ** rng.uniform(1.0, 3.0) * np.exp(-4 * np.maximum(0, phase - 0.8))
    return surf * (0.15 + swell) + hiss * swell**2 * rng.uniform(1.5, 3.0)


def _room_tone(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    n = int(duration_s * rate_hz)
    tone = _band(_coloured_noise(rng, n, exponent=rng.uniform(2.0, 3.0)), 25, 2000, rate_hz)
    return tone / np.abs(tone).max() + rng.uniform(0.01, 0.03) * rng.standard_normal(n)


def _mains_hum(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    t = _seconds(duration_s, rate_hz)
    mains = rng.choice([50.0, 60.0])
    loud = rng.exponential(1.0, 9) / np.arange(1, 10) ** 0.5
    return np.sum([a * np.sin(2 * np.pi * mains * k * t) for k, a in enumerate(loud, 1)], axis=0)


def _babble(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    n = int(duration_s * rate_hz)
    voices = np.zeros(n)
    for _ in range(int(rng.integers(1, 4))):
        pitch = rng.uniform(90, 240) * (1 + 0.12 * _wander(rng, n, rate_hz, every_s=0.25))
        buzz = scipy.signal.sawtooth(2 * np.pi * np.cumsum(np.maximum(pitch, 50)) / rate_hz)
        speaks = np.clip(_wander(rng, n, rate_hz, every_s=0.2) + 0.7, 0, 1)
        for formant in rng.uniform(300, 2600, 4):
            turn = np.maximum(0, _wander(rng, n, rate_hz, every_s=0.12))
            voices += speaks * turn * _band(buzz, formant * 0.85, formant * 1.15, rate_hz)
        hiss = _band(rng.standard_normal(n), 3500, 7500, rate_hz)
        voices += 0.04 * hiss * np.maximum(0, _wander(rng, n, rate_hz, every_s=0.1) - 0.8)
    return voices


def _footsteps(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    low_hz = rng.uniform(60, 140)

    def step() -> Signal:
        t = _seconds(0.16, rate_hz)
        thud = np.sin(2 * np.pi * low_hz * t) * np.exp(-t / 0.03)
        scrape = _band(rng.standard_normal(len(t)), 300, 2500, rate_hz) * np.exp(-t / 0.02)
        return thud + rng.uniform(0.1, 0.5) * scrape

    gap = rng.uniform(0.4, 0.65)
    return _repeat(rng, duration_s, rate_hz, gap_s=(gap, gap * 1.1), one=step)


def _typing(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    high_hz = rng.uniform(1200, 2600)

    def key() -> Signal:
        t = _seconds(0.06, rate_hz)
        click = _band(rng.standard_normal(len(t)), high_hz, high_hz * 2.5, rate_hz)
        return click * np.exp(-t / 0.006) * rng.uniform(0.3, 1.0)

    return _repeat(rng, duration_s, rate_hz, gap_s=(0.07, rng.uniform(0.2, 0.45)), one=key)


def _knocks(rng: np.random.Generator, duration_s: float, rate_hz: int) -> Signal:
    board_hz = rng.uniform(150, 420)

    def knock() -> Signal:
        t = _seconds(0.2, rate_hz)
        parts = [np.sin(2 * np.pi * board_hz * r * t) / r for r in (1.0, 1.7, 2.6, 3.9)]
        return np.sum(parts, axis=0) * np.exp(-t / 0.025)

    low = rng.uniform(0.18, 0.3)
    return _repeat(rng, duration_s, rate_hz, gap_s=(low, low * 3), one=knock)


DEMO_LABELS: dict[str, Maker] = {
    "ALARM_BEEPER": _beeper,
    "ALARM_BELL": _bell,
    "ALARM_SIREN": _siren,
    "ANIMAL_BIRD": _bird,
    "ANIMAL_CRICKET": _cricket,
    "ANIMAL_FROG": _frog,
    "MACHINE_DRILL": _drill,
    "MACHINE_ENGINE": _engine,
    "MACHINE_FAN": _fan,
    "NATURE_RAIN": _rain,
    "NATURE_WAVES": _waves,
    "NATURE_WIND": _wind,
}
"""The demo's labels and what makes their sounds."""

BACKGROUND_SOUNDS: dict[str, Maker] = {
    "room_tone": _room_tone,
    "mains_hum": _mains_hum,
    "babble": _babble,
    "footsteps": _footsteps,
    "typing": _typing,
    "knocks": _knocks,
}
"""Sounds of none of the demo's labels, as they are heard in any room."""
