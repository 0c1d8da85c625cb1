"""Kedro's settings for this project: https://docs.kedro.org/en/stable/configure/settings/."""

from spelling_transfer.configuration.hook import ConfigurationCheck
from spelling_transfer.configuration.loader import ProjectConfigLoader
from spelling_transfer.tracking.summary import RunSummaryHook

HOOKS = (ConfigurationCheck(), RunSummaryHook())

CONFIG_LOADER_CLASS = ProjectConfigLoader
CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local"}
