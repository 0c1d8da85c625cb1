"""The checks on keys and on clients that misbehave find an endpoint that lets all in or is held up by one."""

from http.server import HTTPServer

from json_server import json_server

from spelling_transfer.serving.client import EndpointClient
from spelling_transfer.serving.faults import check_faults, check_key
from spelling_transfer.serving.process import RunningEndpoint

from .conftest import QUESTION, Serve, completion


def test_an_endpoint_that_asks_for_no_key_fails(served_by: Serve) -> None:
    client = served_by(lambda body: completion("a"))
    checks = {check.id: check for check in check_key(str(client._http.base_url), client, QUESTION)}
    assert {name for name, check in checks.items() if check.passed} == {"key/right"}


def test_an_endpoint_that_one_client_can_hold_up_fails() -> None:
    with (
        json_server(lambda body: completion("a"), HTTPServer) as url,
        EndpointClient(url, "m", timeout_seconds=0.5) as client,
    ):
        checks = {check.id: check for check in check_faults(url, client, QUESTION)}
    assert not checks["faults/half-a-header"].passed
    assert not checks["faults/no-words"].passed
    assert not checks["faults/large-question"].passed


def test_our_own_endpoint_is_held_up_by_nobody(endpoint: RunningEndpoint, client: EndpointClient) -> None:
    checks = list(check_faults(endpoint.url, client, QUESTION))
    assert [check for check in checks if not check.passed] == []
    assert {check.id for check in checks} >= {"faults/half-a-body", "faults/no-words", "faults/large-body"}
