"""``%load_ext soundx.running.notebook``: what a person can mend is one message, not a traceback.

An IPython extension; Kedro's own, with catalog and context, is loaded after it.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from kedro.utils import find_kedro_project


def load_ipython_extension(shell: Any) -> None:
    """Show errors for people as their message, and log no more than ``kedro run`` does."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as on the command line
    project = find_kedro_project(Path.cwd())
    if project is not None:
        # Kedro itself looks for it in the folder we are in, which is that of the notebook
        os.environ.setdefault("KEDRO_LOGGING_CONFIG", str(project / "conf/logging.yml"))
    importlib.import_module("kedro.framework.project")  # sets up logging, unless it is
    logging.getLogger("kedro").setLevel("WARNING")
    shell.set_custom_exc((Exception,), _show)


def _show(
    shell: Any,
    kind: type[Exception],
    error: Exception,
    traceback: TracebackType,
    tb_offset: int | None = None,
) -> None:
    # imported here: %reload_kedro makes soundx's modules anew, and with them its errors
    from soundx.running.messages import message_for_people

    message = message_for_people(error, os.environ.get("KEDRO_ENV"))
    if message is None:
        shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)
    else:
        sys.stderr.write(f"{message}\n")
