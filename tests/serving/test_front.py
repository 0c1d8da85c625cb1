"""The front under strain: a full queue, clients that give up, a worker stopped or killed, the end under load."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.serving.client import EndpointClient
from spelling_transfer.serving.faults import InFlight, check_stopped_worker
from spelling_transfer.serving.process import RunningEndpoint
from spelling_transfer.serving.settings import ServedSettings

from .conftest import QUESTION, MakeDeployable, Serve, patient_client, patient_endpoint

SETTINGS = ServedSettings(
    default_max_tokens=96,
    max_tokens_limit=96,
    max_batch_size=4,
    max_choices=64,
    max_waiting=12,
    queue_timeout_seconds=600,
    health_timeout_seconds=3,
    drain_seconds=60,
    threads=1,
)


@pytest.fixture(scope="module")
def folder(make_deployable: MakeDeployable, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return make_deployable(tmp_path_factory.mktemp("front") / "deployable", SETTINGS)


@pytest.fixture(scope="module")
def strained(folder: ModelFolder) -> Iterator[RunningEndpoint]:
    with patient_endpoint(folder) as endpoint:
        yield endpoint


@pytest.fixture
def asker(strained: RunningEndpoint) -> Iterator[EndpointClient]:
    with patient_client(strained) as client:
        yield client


def health(endpoint: RunningEndpoint) -> int:
    return httpx.get(f"{endpoint.url}/health", timeout=60, trust_env=False).status_code


def n_waiting(endpoint: RunningEndpoint) -> int:
    text = httpx.get(f"{endpoint.url}/metrics", timeout=60, trust_env=False).text
    return int(float(text.partition("\nspelling_transfer_waiting ")[2].split()[0]))


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.1)
    return True


def test_a_stopped_worker_is_not_well_and_a_full_queue_says_when_to_ask_again(
    strained: RunningEndpoint, asker: EndpointClient
) -> None:
    assert health(strained) == 200
    worker = strained.worker()
    body = {"model": strained.model, "messages": [{"role": "user", "content": QUESTION}]}

    with ThreadPoolExecutor(12) as pool:
        worker.suspend()
        try:
            waiting = [pool.submit(asker.ask, QUESTION, seed=seed, max_tokens=2) for seed in range(12)]
            assert wait_for(lambda: n_waiting(strained) == 12, 300)
            full = httpx.post(f"{strained.url}/v1/chat/completions", json=body, timeout=60, trust_env=False)
            assert full.status_code == 429
            assert full.json()["error"]["code"] == "queue_full"
            assert int(full.headers["Retry-After"]) >= 1
            assert wait_for(lambda: health(strained) == 503, 300)  # it answered a moment ago
        finally:
            worker.resume()
    assert all(future.result().ok for future in waiting)
    assert health(strained) == 200


def test_the_check_sees_that_health_notices(strained: RunningEndpoint, asker: EndpointClient, served_by: Serve) -> None:
    (check,) = check_stopped_worker(asker, strained.worker())
    assert check.passed, check.evidence
    (check,) = check_stopped_worker(served_by(lambda body: (200, {})), strained.worker())  # always well
    assert not check.passed


def test_after_clients_gave_up_the_next_is_answered_at_once(strained: RunningEndpoint, asker: EndpointClient) -> None:
    worker = strained.worker()

    def computed(**asked: int) -> float:
        """Seconds that the worker computes until a question is answered, however busy the machine is."""
        before = worker.cpu_times().user
        assert asker.ask(QUESTION, **asked).ok
        return worker.cpu_times().user - before

    alone = max(computed(seed=seed, max_tokens=1) for seed in range(3))
    long = computed(seed=0, n=64)
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    given_up = []
    for i in range(8):
        message = {"role": "user", "content": QUESTION}
        body = json.dumps({"model": strained.model, "n": 64, "stream": i % 2 == 1, "messages": [message]})
        connection = socket.create_connection(("127.0.0.1", strained.listen.port))
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        given_up.append(connection)
    assert given_up[1].recv(15) == b"HTTP/1.1 200 OK"  # a stream that has begun
    for connection in given_up:
        connection.close()
    assert computed(seed=1, max_tokens=1) < alone + max(0.5, long)  # eight of them take eight times as long
    assert health(strained) == 200


def test_a_killed_worker_is_replaced_and_those_who_waited_are_told(
    strained: RunningEndpoint, asker: EndpointClient
) -> None:
    worker = strained.worker()
    with ThreadPoolExecutor(4) as pool:
        worker.suspend()
        waiting = [pool.submit(asker.ask, QUESTION, seed=seed, max_tokens=2) for seed in range(4)]
        threading.Event().wait(0.5)
        worker.kill()
        replies = [future.result() for future in waiting]
    # One that no worker had taken yet is answered by the next worker.
    assert {reply.status for reply in replies} <= {200, 503}
    assert wait_for(lambda: health(strained) == 200, 300)
    assert asker.ask(QUESTION, seed=1, max_tokens=2).ok


def test_the_end_loses_no_answer_in_flight(folder: ModelFolder) -> None:
    with ExitStack() as afterwards:
        with patient_endpoint(folder) as endpoint:
            in_flight = InFlight(afterwards.enter_context(patient_client(endpoint)), QUESTION, 12)
        check = in_flight.check()
    assert check.passed, check.evidence
    assert check.evidence["n_taken"] > 4
    assert endpoint.stop_report is not None
    assert endpoint.stop_report.clean


def test_an_end_without_a_wait_is_found(folder: ModelFolder) -> None:
    with ExitStack() as afterwards:
        with patient_endpoint(folder, stop_timeout_seconds=0.0) as endpoint:
            endpoint.worker().suspend()  # it may be quicker than this process
            in_flight = InFlight(afterwards.enter_context(patient_client(endpoint)), QUESTION, 12)
        check = in_flight.check()
    assert not check.passed
    assert check.evidence["n_lost"] > 0
