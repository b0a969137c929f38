"""``kedro run`` for people: an error of soundx's own is one message, not a traceback."""

from __future__ import annotations

import functools
import os
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from soundx.errors import find_soundx_error

# before TensorFlow is loaded: its start-up notes are not for the people who run soundx
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@click.group(name="soundx")
def cli() -> None:
    """Commands of the project; Kedro adds its own."""


def _for_people(command: Any) -> Any:
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except Exception as error:
            ours = find_soundx_error(error)
            if ours is None:
                raise
            raise click.ClickException(str(ours)) from error

    return wrapped


run = click.Command(
    name="run",
    callback=_for_people(kedro_run.callback),
    params=kedro_run.params,
    help=kedro_run.help,
    context_settings=kedro_run.context_settings,
)
cli.add_command(run)
