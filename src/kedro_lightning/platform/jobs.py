"""Jobs of the platform: create, list, stop, read logs, each with as few requests as can be."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..errors import NotFoundError
from .client import Connection

MARK = "kedro-compute"
"""The tag that every job of this plugin carries."""

_PAGE = 200


class State(Enum):
    """Where a job stands, in fewer words than the platform's."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether it costs nothing any more."""
        return self in (State.STOPPED, State.COMPLETED, State.FAILED)


# `complete` and `fail` mean that the machine is being put away: logs and results are not final before that is over.
_STATES = {
    "running": State.RUNNING, "restarting": State.RUNNING, "stopping": State.STOPPING, "stop": State.STOPPING,
    "delete": State.STOPPING, "complete": State.STOPPING, "fail": State.STOPPING, "stopped": State.STOPPED,
    "deleted": State.STOPPED, "completed": State.COMPLETED, "failed": State.FAILED,
}  # fmt: skip


@dataclass(frozen=True)
class JobRequest:
    """A job as we ask for it. Everything in it may be stored and shown by the platform, so nothing in it is secret."""

    name: str
    command: str
    machine: str
    studio_id: str
    tags: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    interruptible: bool = False
    num_machines: int = 1


@dataclass(frozen=True)
class JobView:
    """A job as the platform describes it."""

    id: str
    name: str
    state: State
    raw_state: str
    message: str
    tags: tuple[str, ...]
    cost_usd: float
    machine: str
    num_machines: int
    created_at: dt.datetime | None
    started_at: dt.datetime | None
    stopped_at: dt.datetime | None

    @property
    def several(self) -> bool:
        """Whether it runs on more than one machine, which is another kind of job to the platform."""
        return self.num_machines > 1


def tag_name(text: str) -> str:
    """Returns a tag as the platform will store it: lower case, no blanks."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")


class JobsApi:
    """What can be done with jobs. Each method raises a `PlatformError` where the platform does not answer."""

    def __init__(self, connection: Connection, *, lists_several: bool = False) -> None:
        """Makes the methods of a connection.

        Args:
            connection: The client and the teamspace.
            lists_several: List jobs on several machines as well, with a request of their own.
        """
        self._connection, self._client = connection, connection.client
        self._tag_ids: dict[str, str] = {}
        self.lists_several = lists_several

    def create(self, request: JobRequest) -> JobView:
        """Creates a job, with one request that is never repeated here.

        Raises:
            TransientError: Nobody knows whether there is a job now; search for its tags before asking again.
            PlatformError: The platform refused.
        """
        if request.num_machines > 1:
            self.lists_several = True
            function = self._client.jobs_service_create_multi_machine_job
        else:
            function = self._client.jobs_service_create_job
        return _view(self._connection.once(f"start job {request.name}", function, body=body_of(request)))

    def find_all(self, tag: str) -> list[JobView]:
        """Returns all jobs with a tag, ended ones included.

        Raises:
            PlatformError: The platform does not answer; never an empty list in its place.
        """
        found: list[Any] = []
        if (identity := self._tag_id(tag)) is not None:
            listing = {"standalone": True, "tag_ids": [identity], "limit": _PAGE}
            for answer in self._connection.pages("list jobs", self._client.jobs_service_list_jobs, **listing):
                found += answer.jobs or []
        if self.lists_several:
            answer = self._connection.read("list jobs", self._client.jobs_service_list_multi_machine_jobs)
            found += answer.multi_machine_jobs or []
        return [job for job in map(_view, found) if tag in job.tags]

    def exists(self, job: JobView) -> bool:
        """Returns whether the platform still has a job; only a clear answer counts as a no."""
        name = "multi_machine_job" if job.several else "job"
        try:
            self._connection.read("read a job", getattr(self._client, f"jobs_service_get_{name}"), id=job.id)
        except NotFoundError:
            return False
        return True

    def stop(self, job: JobView) -> None:
        """Asks for a job to be stopped; one that is gone or has ended is no error."""
        from lightning_sdk.lightning_cloud.openapi import (
            JobsServiceUpdateJobBody,
            JobsServiceUpdateMultiMachineJobBody,
            V1MultiMachineJobState,
        )

        if job.several:
            function = self._client.jobs_service_update_multi_machine_job
            body: Any = JobsServiceUpdateMultiMachineJobBody(desired_state=V1MultiMachineJobState.STOP)
        else:
            function, body = self._client.jobs_service_update_job, JobsServiceUpdateJobBody(state="stop")
        with contextlib.suppress(NotFoundError):
            self._connection.read(f"stop job {job.name}", function, id=job.id, body=body)

    def logs(self, jobs: Sequence[JobView]) -> dict[str, list[str]]:
        """Returns the lines that jobs have written so far, by the job's id."""
        found: dict[str, list[str]] = {job.id: [] for job in jobs}
        single = [job.id for job in jobs if not job.several]
        # Of a request for one job all lines are that job's.
        asked: list[tuple[dict[str, Any], str]] = [({"mmt_id": job.id}, job.id) for job in jobs if job.several]
        asked += [({"job_ids": single}, single[0] if len(single) == 1 else "")] if single else []
        for selector, of in asked:
            for answer in self._connection.pages("read logs", self._client.jobs_service_get_logs, **selector):
                for entry in answer.entries or []:
                    found.setdefault(of or str(entry.resource_id), []).append(str(entry.message))
        return found

    def follow(self, job: JobView, stop: Callable[[], bool]) -> Iterable[str]:
        """Yields the lines of a running job as they come, until ``stop`` says so or the connection ends.

        The platform keeps the connection of an ended job open, so this has to stop by itself.
        """
        from lightning_sdk.api.logs_api import LogsApi

        selector: dict[str, Any] = {"mmt_id": job.id} if job.several else {"job_ids": [job.id]}
        for entry in LogsApi(self._client).stream(self._connection.teamspace.id, follow=True, stop=stop, **selector):
            yield str(entry.message)

    def _tag_id(self, tag: str) -> str | None:
        if tag not in self._tag_ids:
            answer = self._connection.read("list tags", self._client.jobs_service_list_workload_tags)
            self._tag_ids.update({str(entry.name): str(entry.id) for entry in answer.tags or []})
        return self._tag_ids.get(tag)


def body_of(request: JobRequest) -> Any:
    """Returns what is sent to the platform for a job, as the SDK's own ``Job.run`` would send it with one attempt."""
    from lightning_sdk.lightning_cloud.openapi import (
        JobsServiceCreateJobBody,
        JobsServiceCreateMultiMachineJobBody,
        V1EnvVar,
        V1JobSpec,
    )

    spec = V1JobSpec(
        cloudspace_id=request.studio_id,
        cluster_id="",
        command=request.command,
        env=[V1EnvVar(name=name, value=value) for name, value in request.env.items()],
        image="",
        instance_name=request.machine,
        run_id="",
        spot=request.interruptible,
        image_cluster_credentials=False,
        image_secret_ref="",
        path_mappings=[],
    )
    tags = list(request.tags)
    if request.num_machines > 1:
        return JobsServiceCreateMultiMachineJobBody(
            name=request.name, spec=spec, cluster_id="", machines=request.num_machines, tags=tags
        )
    spec.volumes = []
    spec.max_run_attempts = 1  # started again by the platform, a job would have its whole time, and cost, once more
    return JobsServiceCreateJobBody(name=request.name, spec=spec, tags=tags)


def _view(job: Any) -> JobView:
    raw = str(job.state or "")
    word = raw.rpartition("_STATE_")[2].lower()
    spec = job.spec
    return JobView(
        id=str(job.id),
        name=str(job.name),
        # Anything else, such as an image being built, is a way of waiting.
        state=_STATES.get(word, State.PENDING),
        raw_state=word,
        message=str(job.message or ""),
        tags=tuple(str(tag.name) for tag in job.tags or []),
        cost_usd=float(job.total_cost or 0.0),
        machine=str(getattr(spec, "instance_name", "") or ""),
        num_machines=int(getattr(job, "machines", None) or 1),
        created_at=_time(job.created_at),
        started_at=_time(getattr(job, "started_at", None)),
        stopped_at=_time(getattr(job, "stopped_at", None)),
    )


def _time(value: Any) -> dt.datetime | None:
    if not isinstance(value, dt.datetime) or value.year < 2000:  # an unset time arrives as year 1
        return None
    return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
