"""What a run leaves behind so that another driver can go on with it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import ComputeError
from .jobs.work import Entry

FOLDER = ".kedro-compute"


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

    def done(self, nodes: Iterable[str]) -> None:
        """Notes nodes that are done."""
        with self._lock:
            self.state.done += [node for node in nodes if node not in self.state.done]
            self._write()

    def job(self, entry: Entry) -> None:
        """Notes what became of a job."""
        with self._lock:
            self.state.jobs[f"{entry.key}#{entry.attempt}"] = asdict(entry)
            self._write()

    def finish(self) -> None:
        """Notes that the run is over."""
        with self._lock:
            self.state.finished = True
            self._write()

    def write(self) -> None:
        """Writes the state as it is."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        ignore = self.path.parents[1] / ".gitignore"
        if not ignore.is_file():
            ignore.write_text("*\n", encoding="utf-8")
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self.state), indent=1, default=str), encoding="utf-8")
        partial.replace(self.path)


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
            f"There is no run {run_id!r} to go on with. Known here: {', '.join(known) or 'none'} ({path.parent})."
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise ComputeError(f"{path}: cannot be read ({error}).") from None


def unfinished_runs(project: Path) -> list[RunState]:
    """Returns the runs that were not finished, the newest last."""
    found = []
    for path in sorted((project / FOLDER / "runs").glob("*.json")):
        try:
            state = read_state(project, path.stem)
        except ComputeError:
            continue
        if not state.finished:
            found.append(state)
    return found
