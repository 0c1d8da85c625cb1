"""The checks on keys and on clients that misbehave find an endpoint that lets all in or is held up by one."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from spelling_transfer.serving.client import EndpointClient
from spelling_transfer.serving.faults import check_faults, check_key
from spelling_transfer.serving.process import RunningEndpoint

from .conftest import QUESTION, Answer, completion


def test_an_endpoint_that_asks_for_no_key_fails(served_by: Callable[[Answer], EndpointClient]) -> None:
    client = served_by(lambda body: completion("a"))
    checks = {check.id: check for check in check_key(str(client._http.base_url), client, QUESTION)}
    assert {name for name, check in checks.items() if check.passed} == {"key/right"}


@pytest.fixture
def one_at_a_time() -> Iterator[str]:
    """A server that reads one request after the other, so that a slow client holds up all others."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = completion("a")
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_endpoint_that_one_client_can_hold_up_fails(one_at_a_time: str) -> None:
    with EndpointClient(one_at_a_time, "m", timeout_seconds=0.5) as client:
        checks = {check.id: check for check in check_faults(one_at_a_time, client, QUESTION)}
    assert not checks["faults/half-a-header"].passed
    assert not checks["faults/no-words"].passed
    assert not checks["faults/large-question"].passed


def test_our_own_endpoint_is_held_up_by_nobody(endpoint: RunningEndpoint, client: EndpointClient) -> None:
    checks = list(check_faults(endpoint.url, client, QUESTION))
    assert [check for check in checks if not check.passed] == []
    assert {check.id for check in checks} >= {"faults/half-a-body", "faults/no-words", "faults/large-body"}
