"""Requests to the platform: what its answers become, and which of them are repeated."""

from __future__ import annotations

import pytest
from tests.kedro_lightning.platform.test_jobs import REQUEST

from kedro_lightning.errors import NotSignedInError, PlatformError, QuotaError, TransientError
from kedro_lightning.platform.calls import Calls
from kedro_lightning.platform.client import connect
from kedro_lightning.platform.jobs import JobsApi


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


def test_a_slow_answer_is_not_waited_for_without_end(platform) -> None:
    connection = connect("acme/spelling", Calls(timeout_seconds=(2.0, 2.0)))
    platform.fault(r"POST .*/jobs$", slow=3.0)
    with pytest.raises(TransientError, match="no answer"):
        JobsApi(connection).create(REQUEST)
