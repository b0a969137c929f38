"""What decoding may do with a file, whatever is in it: refuse it, or give the same sound always."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from soundx.audio import SAMPLE_RATE_HZ
from soundx.audio.decoding import decode_blocks, decode_clip, decode_start, inspect_clip
from soundx.errors import AudioError

START_S = 0.05


def judge(path: Path, begin: Callable[[], None]) -> tuple[str, str]:
    """Decode a file in every way there is.

    Args:
        path: The file.
        begin: Called before each way: the clock is set anew.

    Returns:
        What is wrong, in a few words that many files may share, nothing where all is well; and
        more of it, or why the file was refused, or what is in it.
    """
    found: list[object] = []
    for way in (inspect_clip, decode_clip, _joined, _start):
        begin()
        try:
            found.append(way(path))
        except AudioError as error:
            found.append(error)
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__} in {way.__name__}, {Path(where.filename).name}"
            return f"another exception: {said}", f"{type(error).__name__}: {error}"
    info, whole, joined, start = found
    errors = [each for each in found[:3] if isinstance(each, AudioError)]
    if errors:
        # which comes first, the end of its time or what else is wrong, is the machine's doing
        reasons = {str(error) for error in errors if "of processor time" not in str(error)}
        if len(reasons) > 1:
            return "refused for different reasons", "; ".join(map(str, errors))
        if len(errors) < 3:
            ways = zip(("inspect_clip", "decode_clip", "decode_blocks"), found[:3], strict=True)
            by = [name for name, each in ways if isinstance(each, AudioError)]
            return f"refused by {' and '.join(by)} alone", str(errors[0])
        return "", f"refused: {errors[0]}"
    wrong = _wrong_samples(whole, joined, start)
    if not wrong and abs(len(whole) - info.duration_s * SAMPLE_RATE_HZ) > 2:
        return "another length than inspect_clip says", f"{len(whole)} samples, {info}"
    return wrong, str(info)


def _wrong_samples(whole: np.ndarray, joined: np.ndarray, start: object) -> str:
    if whole.dtype != np.float32 or whole.ndim != 1 or not len(whole):
        return "no waveform"
    if not np.isfinite(whole).all():
        return "samples that are not finite"
    if np.abs(whole).max() > 1:
        return "samples beyond full scale"
    if not np.array_equal(whole, joined):
        return "decode_blocks gives other samples than decode_clip"
    if isinstance(start, AudioError):
        return "decode_start refuses what decode_clip takes"
    first, more = start
    wanted = int(START_S * SAMPLE_RATE_HZ)
    if not np.array_equal(first, whole[:wanted]) or more != (len(whole) > wanted):
        return "decode_start gives another beginning"
    return ""


def _joined(path: Path) -> np.ndarray:
    return np.concatenate(list(decode_blocks(path)))


def _start(path: Path) -> tuple[np.ndarray, bool]:
    return decode_start(path, max_s=START_S)
