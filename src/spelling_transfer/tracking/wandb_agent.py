"""An agent of a W&B sweep: asks the server what to try next."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spelling_transfer.tracking.wandb_runs import Target, TrackingError, first_line, load_wandb
from spelling_transfer.tracking.wandb_settings import NETWORK_SECONDS

_LOGGER = logging.getLogger(__name__)
_BEAT_SECONDS = 10.0
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


@dataclass(frozen=True)
class Job:
    """A trial that the server chose."""

    run_id: str
    chosen: Mapping[str, Any]


class SweepAgent:
    """Asks the server what to try next, and tells it every few seconds what is running.

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
        """Registers as an agent of a sweep, and begins to tell what is running."""
        place = {"entityName": self.target.settings.entity, "projectName": self.target.settings.project}
        answer = self._ask(_CREATE_AGENT, {"host": "local", "sweep": sweep, **place})
        self._agent = str(answer["createAgent"]["agent"]["id"])
        threading.Thread(target=self._beat, name="sweep", daemon=True).start()

    def next(self, stop: threading.Event) -> Job | None:
        """Waits for the next trial; ``None`` where the sweep has come to its end, or ``stop`` was set.

        Raises:
            TrackingError: The server cannot be reached.
        """
        self._running = None
        failures = 0
        while not (self._ended.is_set() or stop.is_set()):
            try:
                self._tell()
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
        """Ends the telling."""
        self._ended.set()

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_SECONDS):
            try:
                if self._running is not None:
                    self._tell()
            except TrackingError as error:
                _LOGGER.debug("The sweep's server was not told what is running: %s", error)

    def _tell(self) -> None:
        state = {self._running: True} if self._running else {}
        answer = self._ask(_HEARTBEAT, {"id": self._agent, "metrics": "{}", "runState": json.dumps(state)})
        commands = json.loads(answer["agentHeartbeat"]["commands"])
        with self._lock:
            self._commands += commands
        if any(command.get("type") == "exit" for command in commands):
            self._ended.set()

    def _ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        try:
            self._api = self._api or load_wandb().Api()
            # The one way of wandb 0.31 to an agent's operations that takes a bound on the wait.
            answer: dict[str, Any] = self._api._service_api.execute_graphql(query, variables, timeout=NETWORK_SECONDS)
        except Exception as error:
            self._api = None  # wandb's own process may have been let go; the next question starts another
            raise TrackingError(f"{self.target.base_url}: the sweep cannot be asked ({first_line(error)})") from error
        return answer
