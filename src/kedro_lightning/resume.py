"""What a ``run`` command needs of this plugin: going on with a run, and a run that only says what it would do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import ComputeError
from .hooks import RUN_ID_VARIABLE
from .run_state import read_state

_NAMES = {"pipeline_names": "pipelines"}
_KEPT = ("env", "params", "tags", "from_nodes", "to_nodes", "node_names", "from_inputs", "to_outputs", "pipeline_names",
         "namespaces", "load_versions")  # fmt: skip


def resume_options(project: Path, run_id: str) -> dict[str, Any]:
    """Returns the options a run was started with, and makes this process a part of that run.

    Its jobs are found again by their tags; nodes that are done and whose outputs are there do not run again.

    Raises:
        ComputeError: There is no such run.
    """
    state = read_state(project, run_id)
    if state.finished:
        raise ComputeError(f"Run {run_id} is finished: there is nothing to go on with.")
    os.environ[RUN_ID_VARIABLE] = state.run_id
    os.environ.update(state.variables)  # they may say where the run's data are
    return {_NAMES.get(name, name): state.options[name] for name in _KEPT if state.options.get(name)}


def show_plan(project: Path, options: Mapping[str, Any]) -> None:
    """Prints what a run with these options would rent; starts nothing.

    Raises:
        ComputeError: The settings do not fit the pipeline.
    """
    from kedro.framework.session import KedroSession

    from .cli_plan import plan_of, show, show_missing
    from .loading import load_config

    selection = {name: options.get(_NAMES.get(name, name)) for name in _KEPT}
    made_from: dict[str, Any] = {"env": options.get("env"), "runtime_params": options.get("params")}
    with KedroSession.create(project_path=project, **made_from) as session:
        context: Any = session.load_context()  # type: ignore[attr-defined]
        show(plan_of(context, selection, offline=False), load_config(context.config_loader), as_json=False)
        show_missing(context, selection)
