"""What a run leaves behind, so that another driver can resume it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import ComputeError
from .files import write_whole
from .hooks import SELECTION
from .jobs.work import Entry
from .variables import RUN_ID_VARIABLE

FOLDER = ".kedro-compute"
_OPTIONS = {name: name for name in ("env", "params", *SELECTION)} | {"pipeline_names": "pipelines"}
"""What is kept of a run's options -> the same option of ``kedro run``."""


@dataclass
class RunState:
    """A run: how it was started, which nodes are done, which jobs it has.

    ``here`` are nodes that are not sent out whatever their tags say; ``variables`` are those that jobs were passed on.
    """

    run_id: str
    options: dict[str, Any] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    code: str = ""
    here: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    finished: bool = False


class StateFile:
    """The file of a run, written whole at each change."""

    def __init__(self, project: Path, state: RunState) -> None:
        """Makes the writer of a state."""
        self.path, self.state = state_path(project, state.run_id), state
        self._lock = threading.Lock()

    def write(self, *, done: Iterable[str] = (), job: Entry | None = None, finished: bool = False) -> None:
        """Notes nodes that are done, what became of a job, or that the run is over, and writes the state."""
        with self._lock:
            self.state.done += [node for node in done if node not in self.state.done]
            self.state.finished |= finished
            if job is not None:
                self.state.jobs[f"{job.key}#{job.attempt}"] = asdict(job)
            own_folder(self.path.parents[2])
            write_whole(self.path, json.dumps(asdict(self.state), indent=1, default=str))


def own_folder(project: Path) -> Path:
    """Returns the folder of a project in which the plugin keeps what it notes; git ignores it from the start."""
    ignore = project / FOLDER / ".gitignore"
    if not ignore.is_file():
        write_whole(ignore, "*\n")
    return ignore.parent


def state_path(project: Path, run_id: str) -> Path:
    """Returns the file of a run."""
    return project / FOLDER / "runs" / f"{run_id}.json"


def read_state(project: Path, run_id: str) -> RunState:
    """Reads a run.

    Raises:
        ComputeError: There is none of this name, or its file is broken.
    """
    path = state_path(project, run_id)
    try:
        return RunState(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        known = sorted(file.stem for file in path.parent.glob("*.json"))[-5:]
        raise ComputeError(
            f"There is no run {run_id!r} to resume. Known here: {', '.join(known) or 'none'} ({path.parent})."
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise ComputeError(f"{path}: cannot be read ({error}).") from None


def resume_options(project: Path, run_id: str) -> dict[str, Any]:
    """Returns the options of ``kedro run`` a run was started with, and makes this process a part of that run.

    Its jobs are found again by their tags; nodes that are done and whose outputs are there do not run again.

    Raises:
        ComputeError: There is no such run.
    """
    state = read_state(project, run_id)
    if state.finished:
        raise ComputeError(f"Run {run_id} is finished: there is nothing to resume.")
    os.environ[RUN_ID_VARIABLE] = state.run_id
    os.environ.update(state.variables)  # they may say where the run's data are
    return {option: state.options[name] for name, option in _OPTIONS.items() if state.options.get(name)}


def selection_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the nodes that options of ``kedro run`` choose, by the names of Kedro's sessions."""
    return {name: options.get(_OPTIONS[name]) for name in SELECTION}
