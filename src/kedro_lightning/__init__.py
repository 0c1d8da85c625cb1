"""Kedro nodes on rented machines of Lightning AI: a plugin for any project.

A node whose tag is in ``compute.yml`` runs as a job; everything else runs where ``kedro run`` was typed. Use
:class:`StudioRunner` as the runner of a project, ``kedro compute`` for plans, jobs, Studios and costs, and
:class:`CommandJobs` for commands that are jobs of their own. Without ``compute.yml`` nothing is rented.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cli_costs import show_plan
    from .command_jobs import TEMPLATES, CommandJobs, CommandState
    from .config import ComputeConfig, load_config
    from .errors import (
        BudgetError,
        ComputeError,
        JobError,
        NotSignedInError,
        PlatformError,
        PreflightError,
        SettingsError,
    )
    from .leftovers import left_running
    from .run_state import resume_options
    from .runner import JobRunner, StudioRunner
    from .secret_values import clean_secret, clean_variables
    from .times import NodeTime
    from .variables import MACHINES_VARIABLE, machine_count

__all__ = [
    "MACHINES_VARIABLE",
    "TEMPLATES",
    "BudgetError",
    "CommandJobs",
    "CommandState",
    "ComputeConfig",
    "ComputeError",
    "JobError",
    "JobRunner",
    "NodeTime",
    "NotSignedInError",
    "PlatformError",
    "PreflightError",
    "SettingsError",
    "StudioRunner",
    "clean_secret",
    "clean_variables",
    "left_running",
    "load_config",
    "machine_count",
    "resume_options",
    "show_plan",
]

_HOMES = {
    "cli_costs": ("show_plan",),
    "command_jobs": ("TEMPLATES", "CommandJobs", "CommandState"),
    "config": ("ComputeConfig", "load_config"),
    "errors": (
        *("BudgetError", "ComputeError", "JobError", "NotSignedInError", "PlatformError", "PreflightError"),
        "SettingsError",
    ),
    "leftovers": ("left_running",),
    "run_state": ("resume_options",),
    "runner": ("JobRunner", "StudioRunner"),
    "secret_values": ("clean_secret", "clean_variables"),
    "times": ("NodeTime",),
    "variables": ("MACHINES_VARIABLE", "machine_count"),
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: the runner brings Kedro, the settings pydantic."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
