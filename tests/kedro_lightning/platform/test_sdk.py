"""What is used of lightning-sdk beyond its public classes: each assertion fails where a new version changes it."""

from __future__ import annotations

import pytest

from kedro_lightning.platform.client import import_sdk
from kedro_lightning.platform.jobs import JobRequest, body_of

import_sdk()

from lightning_sdk.api.cloud_account_api import CloudAccountApi  # noqa: E402
from lightning_sdk.api.job_api import JobApiV2  # noqa: E402
from lightning_sdk.api.mmt_api import MMTApiV2  # noqa: E402
from lightning_sdk.api.studio_api import StudioApi  # noqa: E402
from lightning_sdk.api.teamspace_api import TeamspaceApi  # noqa: E402


@pytest.mark.parametrize("kind", [CloudAccountApi, StudioApi, TeamspaceApi])
def test_the_classes_we_borrow_ask_through_one_attribute(platform, connection, kind) -> None:
    own = vars(kind())["_client"]
    assert own is not connection.client
    assert type(own) is type(connection.client)
    assert connection.sdk(kind)._client is connection.client


def test_our_client_asks_once(platform, connection) -> None:
    platform.fault(r"GET .*/cloudspaces$", status=503, times=99)
    with pytest.raises(Exception, match="503"):
        connection.client.cloud_space_service_list_cloud_spaces(project_id="p-1")
    assert len([entry for entry in platform.world.log if entry["path"].endswith("/cloudspaces")]) == 1


@pytest.mark.parametrize("machines", [1, 3])
def test_a_job_is_asked_for_as_the_sdks_own_classes_ask_for_it(machines: int) -> None:
    request = JobRequest("name", "true", "lit-t4-1", "s-1", ("a", "b"), {"X": "1"}, True, machines)
    same = {
        "name": "name", "command": "true", "cloud_account": None, "studio_id": "s-1", "image": None,
        "machine": "lit-t4-1", "interruptible": True, "env": {"X": "1"}, "image_credentials": None,
        "cloud_account_auth": False, "entrypoint": None, "path_mappings": None, "reuse_snapshot": False,
        "tags": ["a", "b"],
    }  # fmt: skip
    theirs = (
        JobApiV2._create_job_body(max_run_attempts=1, **same)
        if machines == 1
        else MMTApiV2._create_mmt_body(num_machines=machines, **same)
    )
    assert body_of(request) == theirs
