"""The switch of experiment tracking: ``SOUNDX_MLFLOW=1``, and the extra ``mlflow``.

kedro-mlflow registers itself wherever it is installed, which costs every command seconds; here
it is left out unless the switch is on. What is logged stands in :mod:`soundx.running.mlflow_hooks`.
"""

from __future__ import annotations

import logging
import os
import warnings
from importlib.util import find_spec
from typing import Any

from kedro.framework.hooks import hook_impl

from soundx.errors import SoundxError

SWITCH = "SOUNDX_MLFLOW"
"""The variable that switches tracking on."""


def tracking_hooks() -> tuple[Any, ...]:
    """Return the hooks that track runs, none where the switch is off."""
    if os.environ.get(SWITCH, "").lower() in ("", "0", "false", "no", "off"):
        return ()
    if find_spec("kedro_mlflow") is None:
        return (_MissingExtra(),)
    # read when MLflow is imported; it does not know DO_NOT_TRACK=1
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings(record=True):  # MLflow warns of a class of kedro-mlflow's
        from soundx.running.mlflow_hooks import TrackingHooks
    # importing it makes it tell every step
    logging.getLogger("kedro_mlflow").setLevel(logging.WARNING)
    return (TrackingHooks(),)


class _MissingExtra:
    @hook_impl
    def after_context_created(self) -> None:
        raise SoundxError(
            f"{SWITCH} is set, but MLflow is not installed. Install it: "
            f"pip install 'soundx[mlflow]'. Or run without it: unset {SWITCH}"
        )
