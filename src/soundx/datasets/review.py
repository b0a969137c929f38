"""Answers about recordings, and the clips that are cut of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset
from kedro_datasets._typing import TablePreview

from soundx.clips.raw import ANSWERS
from soundx.datasets.clips import local_folder
from soundx.datasets.folder import FolderDataset
from soundx.datasets.previews import preview_table
from soundx.errors import SoundxError
from soundx.review.answers import Answer, AnswersFile, read_answers
from soundx.review.clips import AnsweredClipsJob, answered_clips, cut_answers

_NAME = "answers.csv"
_SHOWN = 100


class AnswersDataset(FolderDataset[Any, list[Answer]]):
    """The table of answers in a folder; people write it, in the viewer or elsewhere."""

    def load(self) -> list[Answer]:
        if self._folder.is_local:
            return self.file.read()
        if not self.is_there:
            return []
        return read_answers(self._folder.read(_NAME), self._folder.shown(_NAME))

    def save(self, data: Any) -> None:
        raise SoundxError("Answers are people's: no run writes them.")

    @property
    def is_there(self) -> bool:
        """Whether there is a table, with answers in it or without."""
        return self._folder.exists(_NAME)

    @property
    def file(self) -> AnswersFile:
        """The table, to be written to.

        Raises:
            SoundxError: The project's data are not on this machine.
        """
        if not self._folder.is_local:
            raise SoundxError(
                f"Answers cannot be written to {self._folder}: review with a data_root on this "
                "machine."
            )
        return AnswersFile(Path(self._folder.path(_NAME)))

    def preview(self) -> TablePreview:
        """Show Kedro-Viz the first of them."""
        return preview_table(pd.DataFrame([vars(answer) for answer in self.load()[:_SHOWN]]))

    def _exists(self) -> bool:
        return True


class AnsweredClipsDataset(AbstractDataset[AnsweredClipsJob, dict[str, str]]):
    """Clips cut out of recordings, beside the mirrored ones; saving a job cuts them.

    Args:
        path: The folder of the mirror, as of ``RawClipsDataset``.
        answers: Where the table of answers is, as ``{path: ...}``: without it no clip is removed.
        metadata: For Kedro-Viz.
    """

    def __init__(
        self, *, path: str, answers: dict[str, Any], metadata: dict[str, Any] | None = None
    ) -> None:
        self._root = local_folder(path)
        self._answers = AnswersDataset(**answers)
        self.metadata = metadata

    def load(self) -> dict[str, str]:
        """Return the recording of each clip, by its path in the mirror."""
        return answered_clips(self._root / ANSWERS, self._root)

    def save(self, data: AnsweredClipsJob) -> None:
        if not self._answers.is_there and self.load():
            raise SoundxError(
                f"{self._answers.folder.shown(_NAME)} is gone, and clips that were cut for the "
                f"answers in it stand in {data.folder}. Put it back; or remove that folder, if no "
                "clip of it is to be learnt from."
            )
        cut_answers(data)

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._root)}
