"""What to tell a person about an error: one place for the command line, viewer and notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro.config import MissingConfigException
from kedro.io import DatasetError
from kedro.validation.exceptions import ParameterValidationError

from soundx.errors import find_soundx_error

if TYPE_CHECKING:
    pass


def message_for_people(error: Exception) -> str | None:
    """Return what to tell a person about an error, or None for a defect of ours."""
    ours = find_soundx_error(error)
    if ours is not None:
        return str(ours)
    if isinstance(error, ParameterValidationError):
        lines = str(error).splitlines()
        return "\n".join(line for line in lines if "errors.pydantic.dev" not in line)
    if isinstance(error, MissingConfigException):
        return f"{error}. Environments are the folders of conf/."
    if isinstance(error, DatasetError):
        return f"{error}\nWhere a file is missing, run what makes it first: kedro run"
    return None
