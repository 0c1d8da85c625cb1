"""Kedro nodes on rented machines of Lightning AI: a plugin for any project.

A node whose tag is in ``compute.yml`` runs as a job; everything else runs where ``kedro run`` was typed. Use
:class:`StudioRunner` as the runner of a project, ``kedro compute`` for plans, jobs, Studios and costs, and
:class:`CommandJobs` for commands that are jobs of their own. Without ``compute.yml`` nothing is rented.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .command_jobs import CommandJobs, CommandState
    from .config import ComputeConfig
    from .errors import BudgetError, ComputeError, JobError, PlatformError, PreflightError, SettingsError
    from .loading import load_config
    from .resume import resume_options, show_plan
    from .runner import JobRunner, StudioRunner

__all__ = [
    "MACHINES_VARIABLE",
    "BudgetError",
    "CommandJobs",
    "CommandState",
    "ComputeConfig",
    "ComputeError",
    "JobError",
    "JobRunner",
    "PlatformError",
    "PreflightError",
    "SettingsError",
    "StudioRunner",
    "load_config",
    "machine_count",
    "resume_options",
    "show_plan",
]

MACHINES_VARIABLE = "KEDRO_COMPUTE_MACHINES"
"""Set where several machines do one job: how many. What trains there spreads over one device on each."""


def machine_count() -> int:
    """Returns how many machines do the work of this process together: 1 but in a job on several machines."""
    return int(os.environ.get(MACHINES_VARIABLE) or 1)


_HOMES = {
    "command_jobs": ("CommandJobs", "CommandState"),
    "config": ("ComputeConfig",),
    "errors": ("BudgetError", "ComputeError", "JobError", "PlatformError", "PreflightError", "SettingsError"),
    "loading": ("load_config",),
    "resume": ("resume_options", "show_plan"),
    "runner": ("JobRunner", "StudioRunner"),
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: the runner brings Kedro, the settings pydantic."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
