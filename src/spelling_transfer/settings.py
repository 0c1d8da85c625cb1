"""Kedro's settings for this project: https://docs.kedro.org/en/stable/configure/settings/."""

from kedro_lightning.hooks import compute_hook
from kedro_non_thinking.hook import policy_hook
from spelling_transfer.configuration.hook import ConfigurationCheck
from spelling_transfer.configuration.loader import ProjectConfigLoader
from spelling_transfer.hooks import RunStatusHook, RunSummaryHook
from spelling_transfer.storage import StorageHook, run_folder

# The last is asked first.
HOOKS = (ConfigurationCheck(), RunSummaryHook(), RunStatusHook(), StorageHook(), policy_hook, compute_hook)

CONFIG_LOADER_CLASS = ProjectConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "custom_resolvers": {"run_folder": run_folder},
}
