"""The switch of MLflow, where the extra is not installed; tests/packaging has the real one."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from soundx.running.tracking import SWITCH, tracking_hooks
from tests.conftest import ROOT


@pytest.mark.parametrize("value", ["", "0", "false", "No", "off"])
def test_off_means_off(monkeypatch, value):
    monkeypatch.setenv(SWITCH, value)
    assert tracking_hooks() == ()


@pytest.mark.skipif(find_spec("kedro_mlflow") is not None, reason="the extra mlflow is there")
def test_on_without_the_extra_is_one_message(monkeypatch):
    monkeypatch.setenv(SWITCH, "1")
    command = [sys.executable, "-m", "kedro", "run", "--env=demo", "--pipelines=ingestion"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'soundx[mlflow]'" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_plugins_that_call_home_or_cost_time_are_not_hooked_in():
    code = (
        "from kedro.framework.startup import bootstrap_project; bootstrap_project('.');"
        "from kedro.framework.session import KedroSession;"
        "hooks = KedroSession.create()._hook_manager.get_plugins();"
        "print(sorted({type(hook).__module__.split('.')[0] for hook in hooks}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "'soundx'" in done.stdout
    assert "telemetry" not in done.stdout
    assert "mlflow" not in done.stdout
