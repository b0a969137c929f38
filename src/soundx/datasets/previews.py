"""What Kedro-Viz shows of a dataset: clips to hear and see, tables that can be read."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from kedro_datasets._typing import HTMLPreview, TablePreview

from soundx.audio.decoding import decode_start
from soundx.audio.pictures import draw_mel_spectrogram, mp3_file
from soundx.errors import AudioError
from soundx.markup import preview_name

MAX_LABELS = 12
MAX_SECONDS = 5.0
MAX_LETTERS = 48


def first_of_each_label(names: Iterable[str]) -> Iterator[str]:
    """Yield the first file of each folder, of the first dozen folders.

    Args:
        names: Relative paths of clips, those of a folder one after another.
    """
    folders = itertools.groupby(names, key=lambda name: name.rpartition("/")[0])
    for _, files in itertools.islice(folders, MAX_LABELS):
        yield next(files)


def preview_clips(clips: Iterable[tuple[str, Path]]) -> HTMLPreview:
    """Return a page of clips: name, mel spectrogram, player.

    Args:
        clips: Name and file of each; the first seconds are taken, what is not a sound is
            left out.
    """
    figures = []
    for name, path in clips:
        try:
            figures.append(_figure(name, path))
        except AudioError:  # 08_reporting/rejected_clips.csv says why
            continue
    return HTMLPreview("".join(figures) or "<p>There are no clips here yet.</p>")


def _figure(name: str, path: Path) -> str:
    waveform, _ = decode_start(path, max_s=MAX_SECONDS)
    said = preview_name(name)
    return (
        '<figure style="display: inline-block; width: 380px; margin: 0 20px 20px 0">'
        f"<figcaption>{said}</figcaption>"
        f'<img alt="Mel spectrogram of {said}" width="100%" height="72" '
        f'src="data:image/png;base64,{_base64(draw_mel_spectrogram(waveform))}">'
        f'<audio controls style="width: 100%" '
        f'src="data:audio/mpeg;base64,{_base64(mp3_file(waveform))}"></audio></figure>'
    )


def preview_table(table: pd.DataFrame) -> TablePreview:
    """Return a table as text, numbers rounded to four digits; its index where it has a name."""
    if table.index.name:
        table = table.reset_index()
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    columns = [str(column) for column in table.columns]
    return TablePreview({"index": list(range(len(rows))), "columns": columns, "data": rows})


def _cell(value: object) -> str | int:
    if isinstance(value, np.ndarray):
        return ", ".join(map(str, map(_cell, value)))
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.4g}"
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    text = "" if value is None or value is pd.NA else str(value)
    return text if len(text) <= MAX_LETTERS else f"{text[:10]}..."


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
