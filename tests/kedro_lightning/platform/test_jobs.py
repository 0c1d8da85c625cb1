"""Jobs of the platform: every page of a list, states nobody has heard of, an outage that is no absence."""

from __future__ import annotations

import pytest

from kedro_lightning.errors import TransientError
from kedro_lightning.platform.jobs import JobRequest, JobsApi, State

REQUEST = JobRequest("name", "true", "lit-t4-1", "", ("kedro-compute",))


def test_an_outage_never_looks_like_a_job_that_is_gone(platform, connection) -> None:
    api = JobsApi(connection)
    job = api.create(REQUEST)
    platform.fault(r"GET .*/jobs/", status=503, times=1000)
    with pytest.raises(TransientError):
        api.exists(job)
    platform.world.faults.clear()
    platform.module.lose_job(platform.world.jobs[job.id])
    assert api.exists(job) is False


def test_a_state_nobody_has_heard_of_is_a_way_of_waiting(platform, connection) -> None:
    api = JobsApi(connection)
    job = api.create(REQUEST)
    platform.module.set_job(platform.world.jobs[job.id], state="building-image")
    assert [(found.state, found.raw_state) for found in api.find_all("kedro-compute")] == [
        (State.PENDING, "building-image")
    ]


def test_all_pages_of_a_list_are_read(platform, connection) -> None:
    platform.world.page = 2
    api = JobsApi(connection)
    made = {api.create(REQUEST).id for _ in range(5)}
    assert {job.id for job in api.find_all("kedro-compute")} == made
