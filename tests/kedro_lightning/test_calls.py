"""Requests to the platform: what its answers become, and which of them are repeated."""

from __future__ import annotations

import pytest

from kedro_lightning.errors import (
    NotSignedInError,
    PlatformError,
    PreflightError,
    QuotaError,
    TransientError,
)
from kedro_lightning.platform.calls import Calls
from kedro_lightning.platform.client import connect
from kedro_lightning.platform.jobs import JobRequest, JobsApi, State
from kedro_lightning.platform.machines import choose, estimated_prices, read_prices
from kedro_lightning.platform.studios import StudiosApi

REQUEST = JobRequest("name", "true", "lit-t4-1", "", ("kedro-compute",))


@pytest.mark.parametrize(
    ("status", "body", "kind", "part"),
    [
        (401, "", NotSignedInError, "key is not valid"),
        (402, '{"message": "pay up"}', QuotaError, "pay up"),
        (403, "not yours", PlatformError, "403: not yours"),
        (403, "quota exceeded for T4", QuotaError, "limit of the account"),
        (422, '{"message": "bad spec"}', PlatformError, "bad spec"),
        (429, "", TransientError, "429"),
        (500, "", TransientError, "500"),
        (503, "", TransientError, "503"),
        ("cut", "", TransientError, "no answer"),
    ],
)
def test_a_creation_is_asked_for_once_and_its_error_is_one_of_ours(
    platform, connection, status, body, kind, part
) -> None:
    platform.fault(r"POST .*/jobs$", status=status, body=body, times=10)
    with pytest.raises(kind, match=part):
        JobsApi(connection).create(REQUEST)
    assert platform.creations == 1
    assert platform.world.telemetry == []


@pytest.mark.parametrize("status", [429, 500, 503, "cut"])
def test_reading_is_repeated_until_there_is_an_answer(platform, connection, status) -> None:
    job = JobsApi(connection).create(REQUEST)
    platform.fault(r"GET .*/jobs$", status=status, times=3)
    (found,) = JobsApi(connection).find_all("kedro-compute")
    assert found.id == job.id


def test_a_slow_answer_is_not_waited_for_without_end(platform, connection) -> None:
    platform.fault(r"POST .*/jobs$", slow=3.0)
    with pytest.raises(TransientError, match="no answer"):
        JobsApi(connection).create(REQUEST)


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


def test_all_pages_of_a_list_are_read(platform, connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform.module, "PAGE", 2)
    api = JobsApi(connection)
    made = {api.create(REQUEST).id for _ in range(5)}
    assert {job.id for job in api.find_all("kedro-compute")} == made


def test_without_a_key_nothing_is_asked(platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_API_KEY")
    with pytest.raises(NotSignedInError, match="lightning login"):
        connect("acme/spelling")
    assert platform.world.log == []


@pytest.mark.parametrize(
    ("name", "part"), [("acme/other", "not one of yours"), ("nobody/spelling", "not one of yours")]
)
def test_an_unknown_teamspace_is_named_with_those_there_are(platform, name: str, part: str) -> None:
    with pytest.raises(PreflightError, match=rf"teamspace: '{name}' .*{part}.*spelling"):
        connect(name, Calls())


def test_no_teamspace_at_all_is_an_error(platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_TEAMSPACE")
    with pytest.raises(PreflightError, match="teamspace: not set"):
        connect(None)


def test_prices_are_the_platforms_and_the_cheapest_fitting_machine_comes_first(platform, connection) -> None:
    prices = read_prices(connection)
    assert {machine.name: machine.usd_per_hour for machine in prices.machines}["T4"] == 0.68
    assert [machine.name for machine in choose(prices, ["H100", "A100", "T4"], 0, False)] == ["T4", "A100", "H100"]
    assert [machine.name for machine in choose(prices, ["H100", "A100", "T4"], 30, False)] == ["A100", "H100"]
    assert choose(prices, ["T4"], 30, False) == []


def test_price_decides_and_not_the_order_of_the_tier() -> None:
    prices = estimated_prices(["A100", "H100"])
    cheap = [
        machine if machine.name == "A100" else machine.__class__(**{**machine.__dict__, "usd_per_hour": 1.0})
        for machine in prices.machines
    ]
    ladder = choose(prices.__class__(tuple(cheap), "", ""), ["A100", "H100"], 0, False)
    assert [machine.name for machine in ladder] == ["H100", "A100"]


def test_machines_that_are_sold_out_are_left_out(platform, connection) -> None:
    platform.world.out_of_capacity = {"lit-t4-1"}
    assert [machine.name for machine in choose(read_prices(connection), ["T4", "A100"], 0, False)] == ["A100"]


def test_an_outage_is_not_an_empty_list_of_machines(platform, connection) -> None:
    platform.fault(r"GET /v1/core/accelerators", status=500, times=1000)
    with pytest.raises(TransientError):
        read_prices(connection)


def test_a_secret_in_an_answer_is_not_in_the_message(platform, connection) -> None:
    api = StudiosApi(connection)
    platform.fault(r"POST .*/secrets", status=422, body="value hunter2-secret is too short")
    with pytest.raises(PlatformError) as caught:
        api.store_secret("KEY", "hunter2-secret")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_studio_is_made_once_although_the_answer_was_lost(platform, connection) -> None:
    platform.fault(r"POST .*/cloudspaces$", status=503, after=True)
    studio = StudiosApi(connection).create("spelling-tuning")
    assert [entry["id"] for entry in platform.world.studios.values()] == [studio.id]


def test_a_missing_file_of_a_studio_is_none_and_a_sent_one_comes_back(platform, connection, studio, tmp_path) -> None:
    api = StudiosApi(connection)
    (tmp_path / "file").write_bytes(b"\x00content")
    platform.fault(r"POST .*/blobs$", status=503)
    api.upload(studio, tmp_path / "file", "folder/file")
    assert api.download(studio, "folder/file") == b"\x00content"
    assert api.download(studio, "folder/none") is None
