"""The hook of the plugin: keeps how a run was started, and names machines that an earlier run left running.

It is found by its entry point (``kedro.hooks``) and does nothing in a run without a rented machine.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

if TYPE_CHECKING:
    from kedro.config import AbstractConfigLoader
    from kedro.framework.context import KedroContext

RUN_ID_VARIABLE = "KEDRO_COMPUTE_RUN_ID"
"""Set in a process that does a part of a run which was begun elsewhere: a job, or a driver that goes on with it."""


PARAMS_VARIABLE = "KEDRO_COMPUTE_PARAMS"
"""Parameters of a job's run, as JSON, where ``--params`` could not hold them."""


@dataclass
class Started:
    """How the run of this process was started; filled by the hook, read by the runner."""

    project: Path
    loader: AbstractConfigLoader
    env: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


_started: Started | None = None


def started() -> Started | None:
    """Returns how the run of this process was started, or ``None`` outside a session."""
    return _started


class ComputeHook:
    """Remembers the context of a run for the runner, which Kedro does not tell it."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Keeps the way to the settings; in a job, gives the run the parameters of its driver."""
        global _started  # noqa: PLW0603  (a process has one run)
        loader = context.config_loader
        if text := os.environ.get(PARAMS_VARIABLE):
            given = json.loads(text)
            loader.runtime_params = given
            context._runtime_params = given
        _started = Started(
            project=Path(context.project_path),
            loader=loader,
            env=getattr(loader, "env", None) or context.env,
            params=dict(getattr(loader, "runtime_params", None) or {}),
        )

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Gives the run its first id where it is a part of another, so that all its parts are one run to every hook."""
        if run_id := os.environ.get(RUN_ID_VARIABLE):
            run_params["run_id"] = run_id
        if text := os.environ.get(PARAMS_VARIABLE):
            run_params["runtime_params"] = json.loads(text)
        if _started is not None:
            _started.options = {
                name: run_params.get(name)
                for name in ("tags", "from_nodes", "to_nodes", "node_names", "from_inputs", "to_outputs",
                             "pipeline_names", "namespaces", "load_versions")
                if run_params.get(name)
            }  # fmt: skip


compute_hook = ComputeHook()
