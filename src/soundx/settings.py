"""Kedro's settings for soundx."""

import warnings

from soundx.running.catalog import LOADER_ARGS, ConfLoader
from soundx.running.hooks import GivenHooks, LockHooks, ProgressHooks, S3Hooks, SummaryHooks
from soundx.running.tracking import tracking_hooks
from soundx.running.viz import guard_server

# Kedro's own use of OmegaConf; nobody here can act on it
warnings.filterwarnings("ignore", message=r"[\s\S]*register_new_resolver\(\) is deprecated")

HOOKS = (
    GivenHooks(),
    LockHooks(),
    S3Hooks(),
    ProgressHooks(),
    SummaryHooks(),
    *tracking_hooks(),
)
# they register themselves where they are installed: one calls home, the other is part of
# ours where it is wanted
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry", "kedro_mlflow", "kedro-mlflow")

guard_server()

CONFIG_LOADER_CLASS = ConfLoader
CONFIG_LOADER_ARGS = LOADER_ARGS
