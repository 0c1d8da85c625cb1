"""Deployments: services with replicas, releases that take over one from another, and the way back.

What is sent is made by the SDK's own converters, so that a setting it does not take is refused here.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..config import DeploymentSettings
from ..errors import NotFoundError, PlatformError, PreflightError
from .client import Connection, import_sdk
from .studios import StudioView

RELEASE_VARIABLE = "KEDRO_COMPUTE_RELEASE"
"""Tells a replica which release it belongs to. Another value makes another release, from a new copy of the Studio."""


@dataclass(frozen=True)
class ReleaseView:
    """A release of a deployment; ``label`` is what it was called when it was made here."""

    id: str
    version: int
    label: str


@dataclass(frozen=True)
class DeploymentView:
    """A deployment as the platform describes it."""

    id: str
    name: str
    release_id: str
    label: str
    state: str
    ready_replicas: int
    min_replicas: int
    max_replicas: int
    urls: tuple[str, ...]


class DeploymentsApi:
    """What can be done with deployments.

    Each method raises a `PlatformError` where the platform refuses or does not answer, or there is no deployment of the
    name that it needs.
    """

    def __init__(self, connection: Connection) -> None:
        """Makes the methods of a connection."""
        from lightning_sdk.api.deployment_api import DeploymentApi

        self._connection, self._client = connection, connection.client
        self._api = connection.sdk(DeploymentApi)

    def get(self, name: str) -> DeploymentView:
        """Returns a deployment."""
        return _view(self._need(name))

    def running(self, names: Iterable[str]) -> list[DeploymentView]:
        """Returns those of some deployments that have replicas, which cost."""
        views = [_view(found) for name in names if (found := self._raw(name)) is not None]
        return [view for view in views if view.ready_replicas or view.min_replicas]

    def deploy(
        self, name: str, settings: DeploymentSettings, studio: StudioView, machine: str, release: str
    ) -> DeploymentView:
        """Starts a deployment, or gives the one of this name its settings and, where they differ, a new release.

        Args:
            name: Of the deployment.
            settings: How it runs.
            studio: Where its replicas are copied from.
            machine: Of a replica, as the platform calls it.
            release: A word for the release, such as a model's fingerprint.

        Raises:
            PlatformError: The platform refused, or nobody knows whether it did what was asked.
        """
        wanted = deployment_of(name, settings, studio, machine, release, self._connection.teamspace.id)
        found = self._raw(name)
        calls = self._connection.calls
        if found is None:
            return _view(calls.once(f"start deployment {name}", self._api.create_deployment, wanted))
        if found.cloudspace_id != wanted.cloudspace_id:
            raise PreflightError(
                f"deployment {name}: starts from another Studio than {studio.name}, and cannot be moved. Give the new "
                "one another name, and stop the old one when it answers."
            )
        # Settings that the SDK's own update leaves out are changed on what it sends.
        found.autoscaling, found.strategy = wanted.autoscaling, wanted.strategy
        found.spec.instance_name = wanted.spec.instance_name
        return self._send(
            found,
            "update",
            command=settings.command,
            env=_env(settings, release or _label(found.spec)),  # without a word for it, no new release
            health_check=_health(settings),
            spot=settings.interruptible,
            ports=[settings.port],
            custom_domain=settings.custom_domain,
            replicas=settings.min_replicas,
        )

    def stop(self, name: str) -> DeploymentView:
        """Takes all replicas away; the deployment, its address and its releases stay."""
        found = self._need(name)
        found.autoscaling.min_replicas = found.autoscaling.max_replicas = 0
        return self._send(found, "stop", replicas=0)

    def releases(self, name: str) -> list[ReleaseView]:
        """Returns the releases of a deployment, the newest first."""
        found = self._need(name)
        answer = self._connection.read(
            "list releases", self._client.jobs_service_list_deployment_releases, deployment_id=found.id
        )
        views = [
            ReleaseView(str(entry.id), int(entry.version or 0), _label(entry.spec)) for entry in answer.releases or []
        ]
        return sorted(views, key=lambda view: -view.version)

    def restore(self, name: str, release: ReleaseView) -> DeploymentView:
        """Makes an earlier release the one that runs; it takes over as any release does."""
        from lightning_sdk.lightning_cloud.openapi import JobsServiceRestoreDeploymentReleaseBody

        self._connection.once(
            f"restore release {release.label or release.version} of {name}",
            self._client.jobs_service_restore_deployment_release,
            body=JobsServiceRestoreDeploymentReleaseBody(),
            deployment_id=self._need(name).id,
            id=release.id,
        )
        return self.get(name)

    def _send(self, found: Any, what: str, **changes: Any) -> DeploymentView:
        with contextlib.redirect_stdout(io.StringIO()):  # the SDK prints that there is a new release
            answer = self._connection.calls.once(
                f"{what} deployment {found.name}", self._api.update_deployment, found, **changes
            )
        return _view(answer)

    def _raw(self, name: str) -> Any:
        try:
            return self._connection.read(
                "read a deployment", self._client.jobs_service_get_deployment_by_name, name=name
            )
        except NotFoundError:
            return None

    def _need(self, name: str) -> Any:
        found = self._raw(name)
        if found is None:
            raise PlatformError(f"There is no deployment {name!r} yet. Start it with 'kedro compute deploy {name}'.")
        return found


def deployment_of(
    name: str, settings: DeploymentSettings, studio: StudioView, machine: str, release: str, project_id: str
) -> Any:
    """Returns what is sent for a new deployment, as the SDK's own ``Deployment.start`` would send it.

    Raises:
        PreflightError: The SDK does not take a setting.
    """
    import_sdk()
    from lightning_sdk.api.deployment_api import (
        AutoScaleConfig,
        RollingUpdateReleaseStrategy,
        to_autoscaling,
        to_endpoint,
        to_spec,
        to_strategy,
    )
    from lightning_sdk.lightning_cloud.openapi import V1Deployment

    scaling = AutoScaleConfig(
        min_replicas=settings.min_replicas,
        max_replicas=settings.max_replicas,
        metric=settings.metric,
        threshold=settings.target,
        idle_threshold_seconds=str(settings.idle_seconds),
        scale_down_cooldown_seconds=str(settings.scale_down_seconds),
        scale_up_cooldown_seconds=str(settings.scale_up_seconds),
    )
    try:
        return V1Deployment(
            autoscaling=to_autoscaling(scaling, settings.min_replicas),
            endpoint=to_endpoint([settings.port], None, settings.custom_domain),
            name=name,
            project_id=project_id,
            replicas=settings.min_replicas,
            cloudspace_id=studio.id,
            spec=to_spec(
                cloud_account=studio.cloud,
                machine=machine,
                image=None,
                entrypoint=None,
                command=settings.command,
                spot=settings.interruptible,
                env=_env(settings, release),
                health_check=_health(settings),
                include_credentials=False,  # a replica needs no account
                cloudspace_id=studio.id,
            ),
            strategy=to_strategy(RollingUpdateReleaseStrategy(settings.max_surge, settings.max_unavailable)),
        )
    except ValueError as error:
        raise PreflightError(f"compute: deployments.{name}: the SDK refuses it: {error}") from error


def _env(settings: DeploymentSettings, release: str) -> Sequence[Any]:
    from lightning_sdk.api.deployment_api import Env, Secret

    return [
        *(Env(key, value) for key, value in {**settings.variables, RELEASE_VARIABLE: release}.items()),
        *(Secret(secret, secret) for secret in settings.secrets),
    ]


def _health(settings: DeploymentSettings) -> Any:
    from lightning_sdk.api.deployment_api import HttpHealthCheck

    return HttpHealthCheck(
        settings.health_path,
        settings.port,
        failure_threshold=settings.health_failures,
        interval_seconds=settings.health_seconds,
        timeout_seconds=settings.health_seconds,
    )


def _label(spec: Any) -> str:
    return next((str(entry.value) for entry in (spec and spec.env) or [] if entry.name == RELEASE_VARIABLE), "")


def _view(found: Any) -> DeploymentView:
    status = found.status
    return DeploymentView(
        id=str(found.id),
        name=str(found.name),
        release_id=str(found.release_id or ""),
        label=_label(found.spec),
        state=str(found.current_state or "").removeprefix("DEPLOYMENT_STATE_").lower(),
        ready_replicas=int((status and status.ready_replicas) or 0),
        min_replicas=int(found.autoscaling.min_replicas or 0),
        max_replicas=int(found.autoscaling.max_replicas or 0),
        urls=tuple((status and status.urls) or ()),
    )
