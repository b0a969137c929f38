"""Kedro's settings for soundx."""

from omegaconf.resolvers import oc

from soundx.hooks import SummaryHooks

HOOKS = (SummaryHooks(),)

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # SOUNDX_YAMNET is read in the catalog
    "custom_resolvers": {"oc.env": oc.env},
}
