"""How the worker waits, batches, and keeps one request's fault from the others."""

import queue
import time
from typing import Any

import pytest
from fastapi import HTTPException

from spelling_transfer.serving.loop import WaitingBatchLoop


class Waiting(queue.Queue):  # type: ignore[type-arg]
    """A queue that notes how long it was asked to wait, and is gone (as after the server's end) once it is empty."""

    waits: list[float]

    def __init__(self, *items: Any) -> None:
        super().__init__()
        self.waits = []
        for item in items:
            self.put(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if block:
            self.waits.append(timeout or 0.0)
            if self.empty():
                raise EOFError
        return super().get(block=False)


class Doubling:
    """Doubles numbers, refuses odd ones, and fails on a batch that holds 1000."""

    max_batch_size = 4
    request_timeout = 30.0

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def decode_request(self, request: int) -> int:
        if request % 2:
            raise HTTPException(400, {"message": f"{request} is odd"})
        return request

    def predict(self, x: list[int]) -> list[int]:
        self.batches.append(x)
        if 1000 in x:
            raise ZeroDivisionError("secret detail")
        return [number * 2 for number in x]

    def encode_response(self, output: int) -> int:
        return output


class Sent:
    def __init__(self) -> None:
        self.responses: dict[str, tuple[Any, str]] = {}

    def send(self, item: Any, consumer_id: int) -> None:
        uid, (response, status, _, _) = item
        self.responses[uid] = (response, status)


def run(*payloads: int, sent_at: float | None = None) -> tuple[Doubling, Waiting, dict[str, tuple[Any, str]]]:
    at = time.monotonic() if sent_at is None else sent_at
    requests = Waiting(*[(0, str(payload), at, payload) for payload in payloads])
    api, sent = Doubling(), Sent()
    WaitingBatchLoop()(api, "cpu", 0, requests, sent, {}, None)
    return api, requests, sent.responses


def test_what_waits_is_answered_together_up_to_the_batch_size() -> None:
    api, _, responses = run(2, 4, 6, 8, 10)
    assert api.batches == [[2, 4, 6, 8], [10]]
    assert responses == {str(n): (2 * n, "OK") for n in (2, 4, 6, 8, 10)}


def test_a_refused_request_fails_alone() -> None:
    api, _, responses = run(2, 3, 4)
    assert api.batches == [[2, 4]]
    assert responses["2"] == (4, "OK")
    error, status = responses["3"]
    assert status == "ERROR"
    assert (error.status_code, error.detail) == (400, {"message": "3 is odd"})


def test_a_failing_batch_is_answered_without_details_and_the_worker_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    _, _, responses = run(2, 1000, 4, 6, 8)
    for uid in ("2", "1000", "4", "6"):
        assert responses[uid][0].status_code == 500
        assert "secret" not in responses[uid][0].detail
    assert responses["8"] == (16, "OK")


def test_a_request_that_waited_too_long_is_told_so() -> None:
    api, _, responses = run(2, sent_at=time.monotonic() - 31)
    assert api.batches == []
    assert responses["2"][0].status_code == 503


def test_it_blocks_while_it_waits_instead_of_polling() -> None:
    _, requests, _ = run()
    assert requests.waits == [5.0]
