"""The hook of the plugin: it holds how a run was started, for the runner, and makes a job a part of its run.

A project asks for it in its ``settings.py``: ``HOOKS = (compute_hook,)``. Without a rented machine it does nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

from .errors import SettingsError
from .variables import PARAMS_VARIABLE, RUN_ID_VARIABLE

if TYPE_CHECKING:
    from kedro.config import AbstractConfigLoader
    from kedro.framework.context import KedroContext
    from pluggy import PluginManager

SELECTION = ("tags", "from_nodes", "to_nodes", "node_names", "from_inputs", "to_outputs", "pipeline_names",
             "namespaces", "load_versions", "only_missing_outputs")  # fmt: skip
"""What says which nodes of which pipelines a run has, by the names of Kedro's sessions."""


@dataclass(frozen=True)
class RunContext:
    """How a run was started: its project, its settings, and the options that choose its nodes."""

    project: Path
    loader: AbstractConfigLoader
    env: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


class ComputeHook:
    """Holds the context of a run for the runner, which Kedro does not hand to it."""

    __name__ = "compute"
    """Its name among hooks: that of the entry point of earlier versions, so that it is not registered twice."""

    def __init__(self) -> None:
        self.context: RunContext | None = None

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Holds the context; in a job, gives the run the parameters of its driver."""
        loader = context.config_loader
        if text := os.environ.get(PARAMS_VARIABLE):
            loader.runtime_params = json.loads(text)
            context._runtime_params = loader.runtime_params  # Kedro has no other way to set them after the start
        self.context = RunContext(
            project=Path(context.project_path),
            loader=loader,
            env=getattr(loader, "env", None) or context.env,
            params=dict(getattr(loader, "runtime_params", None) or {}),
        )

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Gives a part of a run the id of that run, so that all its parts are one run to every hook."""
        if run_id := os.environ.get(RUN_ID_VARIABLE):
            run_params["run_id"] = run_id
        if text := os.environ.get(PARAMS_VARIABLE):
            run_params["runtime_params"] = json.loads(text)
        if self.context is not None:
            self.context.options.update({name: run_params[name] for name in SELECTION if run_params.get(name)})


compute_hook = ComputeHook()


def context_of(hook_manager: PluginManager | None) -> RunContext | None:
    """Returns the context of the run whose hooks these are; ``None`` for a runner that is used without a session.

    Raises:
        SettingsError: There is a session, and its project does not ask for the hook.
    """
    # Without a session Kedro gives a stand-in, whose methods return nothing.
    plugins: Any = hook_manager.get_plugins() if hook_manager is not None else None
    if plugins is None:
        return None
    for plugin in plugins:
        if isinstance(plugin, ComputeHook):
            return plugin.context
    raise SettingsError(
        "The runner knows nothing of this run: the hook of kedro_lightning is missing. In the project's settings.py "
        "write 'from kedro_lightning.hooks import compute_hook' and add compute_hook to HOOKS."
    )
