"""The microphone, heard as it goes: a line as an event begins and ends.

The sound comes in blocks at the device's own rate; the last window of it is answered every hop.
What an event is, is the same as of recordings, but that nothing can be merged that is not over.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import numpy as np
import soxr

from soundx.audio import SAMPLE_RATE_HZ, Float32
from soundx.classifier.bundle import Classifier
from soundx.errors import SoundxError
from soundx.listening.events import EventRules

BLOCK_S = 0.24
_WAIT_S = 5.0


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise SoundxError(
            "The microphone needs the package sounddevice: pip install sounddevice"
        ) from None
    except OSError as error:  # the package is there, the library it stands on is not
        raise SoundxError(
            f"sounddevice does not find PortAudio ({error}): apt install libportaudio2"
        ) from None
    return sounddevice


def list_devices() -> str:
    """Return the sound devices of this machine, for people."""
    return str(_sounddevice().query_devices()) or "There is no sound device."


class Microphone:
    """A sound input of this machine.

    Args:
        device: Its name or number; None for the system's own choice.
        module: What opens it: ``sounddevice``, or what stands in for it.
    """

    def __init__(self, device: str | None = None, *, module: Any = None) -> None:
        self._module = module or _sounddevice()
        self._device: int | str | None = int(device) if device and device.isdigit() else device
        self._blocks: queue.Queue[tuple[float, Float32]] = queue.Queue(maxsize=1000)
        try:
            facts = self._module.query_devices(self._device, "input")
            self.name = str(facts["name"])
            self.rate_hz = int(facts["default_samplerate"])
            self._stream = self._module.InputStream(
                device=self._device,
                channels=1,
                samplerate=self.rate_hz,
                blocksize=int(BLOCK_S * self.rate_hz),
                dtype="float32",
                callback=self._take,
            )
        except (ValueError, self._module.PortAudioError) as error:
            raise SoundxError(
                f"This input cannot be opened: {error}. 'soundx listen --device list' lists them."
            ) from None

    def __enter__(self) -> Self:
        self._stream.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.stop()
        self._stream.close()

    def _take(self, samples: Float32, n_frames: int, when: Any, status: Any) -> None:
        del n_frames, when, status
        if not self._blocks.full():  # a machine that is too slow loses sound, and not its memory
            self._blocks.put((time.monotonic(), samples[:, 0].copy()))

    def blocks(self, seconds: float | None = None) -> Iterator[tuple[float, Float32]]:
        """Yield when each block ended, by the monotonic clock in s, and its samples at 16 kHz.

        Args:
            seconds: How much sound; None for without end.

        Raises:
            SoundxError: Nothing comes any more.
        """
        resampler = soxr.ResampleStream(self.rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32")
        left = None if seconds is None else int(seconds * self.rate_hz)
        while left is None or left > 0:
            try:
                ended_s, samples = self._blocks.get(timeout=_WAIT_S)
            except queue.Empty:
                raise SoundxError(f"{self.name} gives no sound any more.") from None
            if left is not None:
                samples, left = samples[:left], left - len(samples)
            yield ended_s, resampler.resample_chunk(samples)


def watch(
    blocks: Iterable[tuple[float, Float32]], classifier: Classifier, rules: EventRules
) -> Iterator[str]:
    """Yield a line as an event begins, and one as it ends.

    Args:
        blocks: When each block ended, by the monotonic clock in s, and its samples at 16 kHz.
        classifier: The model.
        rules: When a run of windows is an event; shortest length and gap do not count here.
    """
    windowing = classifier.windowing
    before, _ = windowing.around
    n_needed = windowing.frame_samples + (windowing.frames - 1) * windowing.hop_samples
    held = np.zeros(n_needed, np.float32)  # silence before the first sound
    fresh = 0
    running: dict[str, tuple[float, float]] = {}  # when it began, and the highest probability
    heard_s = 0.0
    for ended_s, block in blocks:
        held = np.concatenate([held, block])
        heard_s += len(block) / SAMPLE_RATE_HZ
        fresh += len(block)
        while fresh >= windowing.hop_samples:
            fresh -= windowing.hop_samples
            end = len(held) - fresh
            answer = classifier.hear(held[end - n_needed : end]).windows[before]
            late_s = time.monotonic() - ended_s + fresh / SAMPLE_RATE_HZ
            at_s = heard_s - fresh / SAMPLE_RATE_HZ
            yield from _changes(answer, classifier, rules, running, at_s, late_s)
        held = held[-(n_needed + fresh) :]
    for label, (began_s, highest) in running.items():
        yield f"{_clock()}  end    {label}  {highest:.3f}  after {heard_s - began_s:.1f} s"


def _changes(
    probabilities: Float32,
    classifier: Classifier,
    rules: EventRules,
    running: dict[str, tuple[float, float]],
    at_s: float,
    late_s: float,
) -> Iterator[str]:
    rest = 1.0 - float(probabilities.sum(dtype=np.float64))
    for label, value in zip(classifier.labels, map(float, probabilities), strict=True):
        if label not in rules.on:
            continue
        if label not in running and value >= max(rules.on[label], rest):
            running[label] = at_s, value
            yield f"{_clock()}  begin  {label}  {value:.3f}  ({late_s * 1000:.0f} ms late)"
        elif label in running:
            began_s, highest = running[label]
            if value >= rules.off.get(label, rules.on[label]):
                running[label] = began_s, max(highest, value)
            else:
                del running[label]
                yield f"{_clock()}  end    {label}  {highest:.3f}  after {at_s - began_s:.1f} s"


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
