"""Review pages written and answers taken, by a command instead of the viewer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog

from soundx.datasets.review import AnswersDataset
from soundx.errors import AudioError, SoundxError
from soundx.modelling.heads import TrainingOptions
from soundx.modelling.rejection import RejectionOptions
from soundx.progress import track
from soundx.review.elsewhere import answers_in
from soundx.review.page import PageItem, review_page
from soundx.review.project import open_review
from soundx.review.queue import Order
from soundx.review.session import Review
from soundx.running.catalog import open_catalog, place, read_parameters
from soundx.storage.whole import whole_file


class _Entries:
    """A catalog, as a review wants it."""

    def __init__(self, catalog: DataCatalog) -> None:
        self.catalog = catalog

    def has(self, name: str) -> bool:
        return bool(self.catalog.exists(name))

    def load(self, name: str) -> Any:
        return self.catalog.load(name)


def write_page(
    project: Path,
    env: str | None,
    data_root: str | None,
    *,
    order: Order,
    label: str,
    n: int,
    title: str,
    output: Path,
) -> tuple[int, int]:
    """Write windows of a project's recordings as one HTML file that asks about them.

    Returns:
        How many windows are in it, and its size in bytes.

    Raises:
        SoundxError: There is nothing to ask, or no recordings were kept.
    """
    if n < 1:
        raise SoundxError(f"A page of {n} windows cannot be: 1 or more can.")
    review = _review(project, env, data_root)
    items = []
    for number in track(review.to_ask(order, n, label=label), description="Cutting windows"):
        question = review.question(number, order, label)
        window = question.window
        try:
            samples, before_s = review.sound(window)
        except AudioError:
            continue  # the others can be asked about
        items.append(
            PageItem(
                recording=window.recording.file,
                onset_s=window.onset_s,
                offset_s=window.offset_s,
                samples=samples,
                stretch_begin_s=before_s,
                stretch_end_s=min(before_s + window.offset_s - window.onset_s, len(samples) / 16e3),
                guesses=tuple(review.guesses(window)),
                probability=question.probability,
                drawn_for=label if order == "spread" else "",
            )
        )
    version = review.shipped.version if order == "spread" and review.shipped else review.version
    page = review_page(items, review.keyed_labels, title=title, model_version=version)
    try:
        with whole_file(output) as partial:
            partial.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SoundxError(f"{output} cannot be written: {error.strerror}.") from error
    return len(items), output.stat().st_size


def take_answers(
    project: Path,
    env: str | None,
    data_root: str | None,
    files: Sequence[Path],
    person: str,
    label_column: str | None = None,
) -> tuple[int, int, list[str]]:
    """Take the answers in files from elsewhere into a project's table.

    Returns:
        How many were taken, how many were older than what stands, and why others were not taken.

    Raises:
        SoundxError: A file is no list of answers; nothing of any is taken.
    """
    catalog = _catalog(project, env, data_root)
    index = catalog.load("window_index")
    taken, why_not = [], []
    for file in files:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise SoundxError(f"{file} cannot be read: {error.strerror}.") from error
        answers, why = answers_in(
            file.name, content, index, person or "somebody", label_column=label_column
        )
        taken += answers
        why_not += [one if one.startswith(file.name) else f"{file.name}: {one}" for one in why]
    n_older = _answers(catalog).file.add_newer(taken) if taken else 0
    return len(taken) - n_older, n_older, why_not


def _catalog(project: Path, env: str | None, data_root: str | None) -> DataCatalog:
    if not (project / "conf" / "base").is_dir():
        raise SoundxError(f"{project} is no project of soundx: it has no conf/base.")
    bootstrap_project(project)
    params = {"data_root": place(data_root)} if data_root else None
    return open_catalog(project, env, params=params)


def _answers(catalog: DataCatalog) -> AnswersDataset:
    dataset: Any = catalog["answers"]
    return cast(AnswersDataset, dataset)


def _review(project: Path, env: str | None, data_root: str | None) -> Review:
    catalog = _catalog(project, env, data_root)
    parameters = read_parameters(project, env)
    return open_review(
        _Entries(catalog),
        _answers(catalog).file,
        TrainingOptions.model_validate(parameters.get("training") or {}),
        RejectionOptions.model_validate(parameters.get("rejection") or {}),
        separator=(parameters.get("ingestion") or {}).get("category_separator", "_"),
    )
