"""A search space as a sweep of W&B, and the agent that asks its server what to try next."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spelling_transfer.errors import first_line
from spelling_transfer.study.choices import nearest, planned_trials
from spelling_transfer.study.config import StudyConfigError, StudySettings
from spelling_transfer.study.entries import Entry, Range
from spelling_transfer.study.records import Proposal
from spelling_transfer.study.space import SearchSpace
from spelling_transfer.tracking.rows import SCORE
from spelling_transfer.tracking.runs import NETWORK_SECONDS, Target, TrackingError, load_wandb

_LOGGER = logging.getLogger(__name__)
_REPORT_SECONDS = 10.0
_ASK_SECONDS = 1.0
_TRIES = 3

_UPSERT = """
mutation UpsertSweep($config: String, $entityName: String, $projectName: String, $displayName: String) {
  upsertSweep(
    input: {config: $config, entityName: $entityName, projectName: $projectName, displayName: $displayName}
  ) { sweep { name } configValidationWarnings }
}
"""
_CREATE_AGENT = """
mutation CreateAgent($host: String!, $projectName: String, $entityName: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $projectName, entityName: $entityName, sweep: $sweep}) { agent { id } }
}
"""
_HEARTBEAT = """
mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) { agent { id } commands }
}
"""
_METHODS = {"grid": "grid", "random": "random", "tpe": "bayes", "gp": "bayes"}


def sweep_config(settings: StudySettings, space: SearchSpace) -> dict[str, Any]:
    """Returns the sweep of a study's search space, as ``wandb.sweep`` takes it.

    A setting that follows another one is a factor in it; conditions and constraints, which sweeps do not know, are
    applied to what the server chose. Hopeless trials are ended by the study's own pruner.

    Args:
        settings: The study.
        space: Its space.

    Raises:
        StudyConfigError: Sweeps have no such sampler, or there is more than one worker.
    """
    if settings.workers not in (1, "auto"):
        raise StudyConfigError(
            f"study.workers: {settings.workers}: with --mode sweep one trial runs at a time. Leave --workers out, or "
            "take another mode."
        )
    method = _METHODS.get(settings.sampler)
    if method is None:
        raise StudyConfigError(
            f"study.sampler: {settings.sampler} is not supported by sweeps; allowed with --mode sweep are "
            f"{', '.join(_METHODS)}. The other modes run {settings.sampler} without a server."
        )
    parameters = {
        entry.parameter(name): _parameter(entry, listed=method == "grid") for name, entry in space.entries.items()
    }
    return {
        "name": settings.name,
        "method": method,
        "metric": {"name": SCORE, "goal": "maximize"},
        "parameters": parameters,
        "run_cap": planned_trials(space, settings),
    }


def _parameter(entry: Entry, *, listed: bool) -> dict[str, Any]:
    if not isinstance(entry, Range) or listed or entry.step is not None:
        return {"values": entry.grid()}
    ends = {"min": entry.low, "max": entry.high}
    if entry.is_whole:
        return {"distribution": "q_log_uniform_values", "q": 1, **ends} if entry.log else ends
    return {"distribution": "log_uniform_values" if entry.log else "uniform", **ends}


def proposal_of(space: SearchSpace, chosen: Mapping[str, Any]) -> Proposal:
    """Returns what a trial tries from what the server chose for it.

    Args:
        space: The study's space.
        chosen: Values by the names of the sweep's parameters.

    Raises:
        StudyConfigError: The sweep is one of another space.
    """
    wanted = {entry.parameter(name): entry for name, entry in space.entries.items()}
    if set(chosen) != set(wanted):
        raise StudyConfigError(
            f"the sweep varies {', '.join(sorted(chosen))}, the study {', '.join(sorted(wanted))}. Give the study "
            "another name: it then gets a sweep of its own."
        )
    drawn = {name: _fitting(wanted[name], value) for name, value in chosen.items()}
    if space.constraints and space.broken(space.settle(drawn)):
        drawn = nearest(space, drawn)
    return Proposal(choices=space.settle(drawn))


def _fitting(entry: Entry, value: Any) -> Any:
    # JSON knows one kind of number, and a rounded draw may be a hair outside its range.
    if isinstance(entry, Range):
        inside = min(max(value, entry.low), entry.high)
        return round(inside) if entry.is_whole else float(inside)
    is_truth = isinstance(value, bool)
    return next((each for each in entry.grid() if each == value and isinstance(each, bool) == is_truth), value)


@dataclass(frozen=True)
class Job:
    """A trial that the server chose."""

    run_id: str
    chosen: Mapping[str, Any]


class SweepAgent:
    """Asks the server what to try next, and reports every few seconds what is running.

    Args:
        target: The server and the project.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._api: Any = None
        self._agent = ""
        self._running: str | None = None
        self._ended = threading.Event()
        self._commands: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def create(self, config: Mapping[str, Any]) -> str:
        """Makes a sweep; returns its id."""
        place = {"entityName": self.target.settings.entity, "projectName": self.target.settings.project}
        answer = self._ask(_UPSERT, {"config": json.dumps(config), "displayName": config["name"], **place})
        for warning in answer["upsertSweep"].get("configValidationWarnings") or ():
            _LOGGER.warning("Weights & Biases, sweep: %s", warning)
        return str(answer["upsertSweep"]["sweep"]["name"])

    def register(self, sweep: str) -> None:
        """Registers as an agent of a sweep, and begins to report what is running."""
        place = {"entityName": self.target.settings.entity, "projectName": self.target.settings.project}
        answer = self._ask(_CREATE_AGENT, {"host": "local", "sweep": sweep, **place})
        self._agent = str(answer["createAgent"]["agent"]["id"])
        threading.Thread(target=self._keep_reporting, name="sweep", daemon=True).start()

    def next(self, stop: threading.Event) -> Job | None:
        """Waits for the next trial; ``None`` where the sweep has come to its end, or ``stop`` was set.

        Raises:
            TrackingError: The server cannot be reached.
        """
        self._running = None
        failures = 0
        while not (self._ended.is_set() or stop.is_set()):
            try:
                self._report()
                failures = 0
            except TrackingError:
                failures += 1
                if failures == _TRIES:
                    raise
            with self._lock:
                commands, self._commands = self._commands, []
            for command in commands:
                if command.get("type") in ("run", "resume"):
                    args = {name: given["value"] for name, given in (command.get("args") or {}).items()}
                    self._running = str(command["run_id"])
                    return Job(self._running, {name: value for name, value in args.items() if name != "wandb_version"})
            self._ended.wait(_ASK_SECONDS)
        return None

    def close(self) -> None:
        """Ends the reports."""
        self._ended.set()

    def _keep_reporting(self) -> None:
        while not self._ended.wait(_REPORT_SECONDS):
            try:
                if self._running is not None:
                    self._report()
            except TrackingError as error:
                _LOGGER.debug("The sweep's server got no report of what is running: %s", error)

    def _report(self) -> None:
        state = {self._running: True} if self._running else {}
        answer = self._ask(_HEARTBEAT, {"id": self._agent, "metrics": "{}", "runState": json.dumps(state)})
        commands = json.loads(answer["agentHeartbeat"]["commands"])
        with self._lock:
            self._commands += commands
        if any(command.get("type") == "exit" for command in commands):
            self._ended.set()

    def _ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        try:
            self._api = self._api or load_wandb().Api(timeout=NETWORK_SECONDS)
            # A private part of wandb 0.31, as an agent's operations have no public one with a bound on the wait:
            # `wandb.agent(function=...)` waits for ever for a silent server, and ends all runs of the process that are
            # open, the observer's among them, before each trial. tests/tracking/test_sweep.py holds it to account.
            answer: dict[str, Any] = self._api._service_api.execute_graphql(query, variables)
        except Exception as error:
            self._api = None  # wandb's own process may have been stopped; the next question starts another
            raise TrackingError(f"{self.target.base_url}: the sweep cannot be reached ({first_line(error)})") from error
        return answer
