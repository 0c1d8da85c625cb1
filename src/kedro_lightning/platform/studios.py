"""Studios and the secrets of a teamspace, without the handles of the SDK that keep a Studio awake."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import ComputeConfig
from ..errors import ComputeError, NotFoundError, PreflightError, TransientError
from .calls import make_once
from .client import Connection

_GONE = (None, "CLOUD_SPACE_INSTANCE_STATE_STOPPED")


@dataclass(frozen=True)
class StudioView:
    """A Studio as the platform describes it; ``phase`` is empty while no machine runs."""

    id: str
    name: str
    cloud: str
    phase: str
    machine: str
    idle_minutes: float
    sleeps: bool

    @property
    def running(self) -> bool:
        """Whether a machine runs, which costs."""
        return bool(self.phase)


class StudiosApi:
    """What can be done with Studios, and with the store of secrets."""

    def __init__(self, connection: Connection) -> None:
        """Makes the methods of a connection."""
        self._connection, self._client, self._read = connection, connection.client, connection.read
        self._project = connection.teamspace.id

    def list(self) -> list[StudioView]:
        """Returns the Studios of the teamspace."""
        function = self._client.cloud_space_service_list_cloud_spaces
        return [
            _view(entry)
            for answer in self._connection.pages("list Studios", function)
            for entry in answer.cloudspaces or []
        ]

    def find(self, name: str) -> StudioView | None:
        """Returns a Studio by name, or ``None``."""
        return next((studio for studio in self.list() if studio.name == name), None)

    def of_tasks(self, tasks: Iterable[str], config: ComputeConfig) -> dict[str, StudioView]:
        """Returns the Studio of each task.

        Raises:
            SettingsError: There is no such task.
            PreflightError: Names each Studio that is not there.
        """
        names = {task: config.studio_of(task).name for task in tasks}
        there = {studio.name: studio for studio in self.list()}
        if missing := {task: name for task, name in names.items() if name not in there}:
            raise PreflightError(
                "compute: studios: there is no Studio "
                f"{', '.join(f'{name} (for {task})' for task, name in missing.items())}. "
                f"Set up what is missing with 'kedro compute studios create {' '.join(missing)}'."
            )
        return {task: there[name] for task, name in names.items()}

    def create(self, name: str) -> StudioView:
        """Returns the Studio of this name, and makes it where there is none; an unclear answer never makes two.

        Raises:
            PlatformError: The platform refused or does not answer.
        """
        from lightning_sdk.lightning_cloud.openapi import (
            CloudSpaceServiceCreateCloudSpaceBody,
            CloudSpaceServiceCreateLightningRunBody,
        )

        def make() -> StudioView:
            made = self._connection.once(
                f"create Studio {name}",
                self._client.cloud_space_service_create_cloud_space,
                body=CloudSpaceServiceCreateCloudSpaceBody(name=name, display_name=name),
            )
            # The SDK does this after each creation: without it the Studio has no content to start from.
            self._read(
                f"prepare Studio {name}",
                self._client.cloud_space_service_create_lightning_run,
                cloudspace_id=made.id,
                body=CloudSpaceServiceCreateLightningRunBody(cluster_id=made.cluster_id, local_source=True),
            )
            return _view(made)

        return make_once(lambda: self.find(name), make)

    def start(self, studio: StudioView, machine: str) -> None:
        """Starts a machine for a Studio and waits until it is ready; one that runs already is left as it is."""
        from lightning_sdk.lightning_cloud.openapi import (
            CloudSpaceServiceStartCloudSpaceInstanceBody,
            V1UserRequestedComputeConfig,
        )

        if self._phase(studio.id) in _GONE:
            try:
                self._connection.once(
                    f"start Studio {studio.name}",
                    self._client.cloud_space_service_start_cloud_space_instance,
                    body=CloudSpaceServiceStartCloudSpaceInstanceBody(
                        compute_config=V1UserRequestedComputeConfig(name=machine, spot=False)
                    ),
                    id=studio.id,
                )
            except TransientError:
                if self._phase(studio.id) in _GONE:
                    raise
        self._wait(studio, "start", lambda status: _has(status.in_use, "top_up_restore_finished"))

    def switch(self, studio: StudioView, machine: str) -> None:
        """Moves a running Studio to another machine; its files stay."""
        from lightning_sdk.lightning_cloud.openapi import (
            CloudSpaceServiceUpdateCloudSpaceInstanceConfigBody,
            V1UserRequestedComputeConfig,
        )

        self._read(
            f"switch Studio {studio.name}",
            self._client.cloud_space_service_update_cloud_space_instance_config,
            id=studio.id,
            body=CloudSpaceServiceUpdateCloudSpaceInstanceConfigBody(
                compute_config=V1UserRequestedComputeConfig(name=machine, spot=False)
            ),
        )
        self._wait(studio, "switch", lambda status: _has(status.requested, "initial_restore_finished"))
        self._read(
            f"switch Studio {studio.name}", self._client.cloud_space_service_switch_cloud_space_instance, id=studio.id
        )
        self._wait(studio, "switch", lambda status: _has(status.in_use, "top_up_restore_finished"))

    def stop(self, studio: StudioView) -> None:
        """Stops the machine of a Studio; its files stay."""
        with contextlib.suppress(NotFoundError):
            self._read(
                f"stop Studio {studio.name}", self._client.cloud_space_service_stop_cloud_space_instance, id=studio.id
            )

    def stop_running(self, names: Collection[str]) -> tuple[str, ...]:
        """Stops those Studios of some names that run; returns their names."""
        running = [studio for studio in self.list() if studio.name in names and studio.running] if names else []
        for studio in running:
            self.stop(studio)
        return tuple(studio.name for studio in running)

    def set_sleep(self, studio: StudioView, idle_minutes: int) -> None:
        """Puts the Studio to sleep after minutes without work."""
        from lightning_sdk.lightning_cloud.openapi import CloudSpaceServiceUpdateCloudSpaceSleepConfigBody

        self._read(
            f"set the sleep of Studio {studio.name}",
            self._client.cloud_space_service_update_cloud_space_sleep_config,
            id=studio.id,
            body=CloudSpaceServiceUpdateCloudSpaceSleepConfigBody(
                disable_auto_shutdown=False, idle_shutdown_seconds=idle_minutes * 60
            ),
        )

    def set_variables(self, studio: StudioView, variables: Mapping[str, str]) -> None:
        """Sets variables of a Studio, none of them secret; those it has already stay."""
        what = f"set variables of Studio {studio.name}"
        held = self._read(what, self._client.cloud_space_service_get_cloud_space, id=studio.id)
        api = self._studio_api()
        self._connection.calls.read(what, api.set_env, held, self._project, dict(variables), partial=True)

    def run(self, studio: StudioView, command: str) -> tuple[str, int]:
        """Runs a command in a running Studio; returns what it printed and its exit code, of several the last one's."""
        output, code = self._connection.calls.once(
            f"run a command in Studio {studio.name}",
            self._studio_api().run_studio_commands,
            studio.id,
            self._project,
            command,
        )
        return str(output), int(code)

    def upload(self, studio: StudioView, content: bytes, place: str) -> None:
        """Puts a file among those of a Studio, which need not run; sent again it replaces itself."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "file"
            file.write_bytes(content)
            self._connection.calls.read(
                f"upload {place}",
                self._studio_api().upload_file,
                studio_id=studio.id, teamspace_id=self._project, cloud_account=studio.cloud, file_path=str(file),
                remote_path=place, progress_bar=False,
            )  # fmt: skip

    def download(self, studio: StudioView, place: str) -> bytes | None:
        """Returns the content of a file of a Studio, or ``None`` if it has none of this name."""
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "file"
            try:
                self._connection.calls.read(
                    f"download {place}",
                    self._studio_api().download_file,
                    path=place, target_path=str(target), studio_id=studio.id, teamspace_id=self._project,
                    cloud_account=studio.cloud, progress_bar=False,
                )  # fmt: skip
            except NotFoundError:
                return None
            return target.read_bytes()

    def secret_names(self) -> set[str]:
        """Returns the names in the platform's store of secrets; it never gives a value back."""
        calls = self._connection.calls
        answer = self._read("list secrets", self._client.secret_service_list_secrets)
        user = calls.read(
            "list secrets", self._client.secret_service_list_user_secrets, _request_timeout=calls.timeout_seconds
        )
        return {str(entry.name) for entry in [*(answer.secrets or []), *(user.secrets or [])]}

    def check_secrets(self, setting: str, names: Collection[str]) -> None:
        """Checks that the platform's store holds the secrets that a setting names.

        Raises:
            PreflightError: Names those that it does not.
        """
        if names and (missing := sorted(set(names) - self.secret_names())):
            raise PreflightError(
                f"compute: {setting}: the platform's store has no {', '.join(missing)}. Set the variable here and run "
                "'kedro compute studios secrets', which stores it without showing it."
            )

    def store_secret(self, name: str, value: str) -> None:
        """Puts a secret into the platform's own store; the value is in no message of ours, whatever happens."""
        from lightning_sdk.api.teamspace_api import TeamspaceApi

        self._connection.calls.hide(value)
        api = self._connection.sdk(TeamspaceApi)
        self._connection.calls.read(f"store secret {name}", api.set_secret, self._project, name, value)

    def _studio_api(self) -> Any:
        from lightning_sdk.api.studio_api import StudioApi

        return self._connection.sdk(StudioApi)

    def _status(self, studio_id: str) -> Any:
        return self._read(
            "read the state of a Studio", self._client.cloud_space_service_get_cloud_space_instance_status, id=studio_id
        )

    def _phase(self, studio_id: str) -> str | None:
        in_use = self._status(studio_id).in_use
        return None if in_use is None else str(in_use.phase)

    def _wait(self, studio: StudioView, what: str, ready: Any, minutes: float = 30.0) -> None:
        end = time.monotonic() + minutes * 60
        wait = 0.25
        while not ready(self._status(studio.id)):
            if time.monotonic() > end:
                raise ComputeError(f"Studio {studio.name}: {what}: not ready after {minutes:.0f} minutes.")
            time.sleep(wait)
            wait = min(10.0, wait * 1.5)


def _has(instance: Any, stage: str) -> bool:
    """Whether the start of a machine has got so far."""
    return bool(getattr(getattr(instance, "startup_status", None), stage, False))


def _view(entry: Any) -> StudioView:
    in_use = getattr(entry.code_status, "in_use", None)
    phase = str(in_use.phase or "") if in_use is not None else ""
    config = entry.code_config
    return StudioView(
        id=str(entry.id),
        name=str(entry.name),
        cloud=str(entry.cluster_id or ""),
        phase="" if phase in _GONE else phase.rpartition("_STATE_")[2].lower(),
        machine=str(in_use.compute_config.name) if in_use is not None and in_use.compute_config else "",
        idle_minutes=float(getattr(config, "idle_shutdown_seconds", 0) or 0) / 60,
        sleeps=not bool(getattr(config, "disable_auto_shutdown", False)),
    )
