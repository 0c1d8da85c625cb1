"""Who is let in, and what a client that misbehaves does to the others: nothing."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psutil

from spelling_transfer.serving.checks import Check
from spelling_transfer.serving.client import EndpointClient

N_CONNECTIONS = 1_000
"""Connections that say nothing, at once; fewer where this process may not open as many files."""
_LARGE_BYTES = 10_000_000
_SPARE_FILES = 128
_TIMEOUT_SECONDS = 5.0


def check_key(url: str, client: EndpointClient, question: str) -> Iterator[Check]:
    """Asks with the key, without, and with others.

    Args:
        url: Address of an endpoint that has a key.
        client: Has the key.
        question: What is asked.
    """
    for name, key in (("none", None), ("another", "another-key"), ("long", "x" * 5000)):
        with EndpointClient(url, client.model, api_key=key) as stranger:
            replies = [stranger.ask(question), stranger.get("/v1/models"), stranger.get("/info")]
            health = stranger.get("/health").status
        passed = [reply.status for reply in replies[:2]] == [401, 401] and replies[2].status in (200, 401)
        yield Check(
            f"key/{name}",
            "Without the key nothing is answered but whether the endpoint is well.",
            passed and health == 200 and not replies[0].text,
            {"statuses": [reply.status for reply in replies], "health": health},
        )
    reply = client.ask(question, seed=0, max_tokens=1)
    yield Check("key/right", "With the key a question is answered.", reply.ok, {"status": reply.status})


def check_faults(url: str, client: EndpointClient, question: str) -> Iterator[Check]:
    """Misbehaves in several ways; after each, and while it lasts, another client must get its answer.

    Args:
        url: Address of the endpoint.
        client: The client that behaves.
        question: What it asks.
    """
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Content-Length: {}\r\n\r\n"
    )
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = N_CONNECTIONS if soft == resource.RLIM_INFINITY else min(N_CONNECTIONS, max(soft - _SPARE_FILES, 1))
    attempts = {
        "half-a-body": (1, head.format(500).encode() + b'{"model": "', False),
        "half-a-header": (16, head[:40].encode(), True),
        "no-words": (most, b"", True),
        "no-http": (1, b"\x16\x03\x01\x02\x00\x01" + b"\x00" * 64, True),
        "large-body": (1, head.format(_LARGE_BYTES).encode() + b" " * _LARGE_BYTES, True),
    }
    for name, (count, sent, stays) in attempts.items():
        with contextlib.ExitStack() as stack:
            opened = _open(url, sent, count, stack)
            if not stays:
                stack.close()
            reply = client.ask(question, seed=0, max_tokens=1)
        yield Check(
            f"faults/{name}",
            f"While {count:,} such connection{'s are' if count > 1 else ' is'} there, another client gets its answer.",
            opened == count and reply.ok,
            {"n_connections": opened, "status": reply.status, "seconds": round(reply.seconds, 3)},
        )
    reply = client.post({"model": client.model, "messages": [{"role": "user", "content": "x" * _LARGE_BYTES}]})
    yield Check(
        "faults/large-question",
        f"A body of {_LARGE_BYTES // 10**6} MB is refused.",
        reply.status == 413,
        {"status": reply.status, "message": reply.error.get("message")},
    )


def check_stopped_worker(client: EndpointClient, worker: psutil.Process) -> Iterator[Check]:
    """Stops the process that holds the model for a while; ``/health`` must notice, and notice its return.

    Args:
        client: An open client.
        worker: That process.
    """
    before = client.get("/health").status
    worker.suspend()
    try:
        during = client.get("/health").status
    finally:
        worker.resume()
    after = client.get("/health").status
    yield Check(
        "faults/stopped-worker",
        "While the process with the model is stopped, the endpoint does not say that it is well; afterwards it does.",
        (before, during, after) == (200, 503, 200),
        {"health_before": before, "health_while_stopped": during, "health_afterwards": after},
    )


class InFlight:
    """Requests that are on their way while an endpoint is told to end.

    Args:
        client: Stays open until `check` was called.
        question: What is asked.
        n_requests: How many at once.
    """

    def __init__(self, client: EndpointClient, question: str, n_requests: int = 16) -> None:
        self._pool = ThreadPoolExecutor(n_requests)
        sent = [threading.Event() for _ in range(n_requests)]
        self._replies = [
            self._pool.submit(client.ask, question, seed=seed, on_sent=event.set) for seed, event in enumerate(sent)
        ]
        for event in sent:
            event.wait(_TIMEOUT_SECONDS)
        # The endpoint has read what came before this, which it answers at once; the answers take longer.
        client.get("/info")
        self._n_waiting = sum(not reply.done() for reply in self._replies)

    def check(self) -> Check:
        """Waits for the answers; none of what the endpoint had taken may be lost."""
        replies = [reply.result() for reply in self._replies]
        self._pool.shutdown()
        taken = [reply for reply in replies if not str(reply.error.get("message")).startswith("ConnectError")]
        n_lost = sum(not reply.ok for reply in taken)
        return Check(
            "stops/drained",
            "Requests that came before the shutdown are answered.",
            bool(taken) and not n_lost,
            {"n_taken": len(taken), "n_waiting": self._n_waiting, "n_lost": n_lost},
        )


def _open(url: str, sent: bytes, count: int, stack: contextlib.ExitStack) -> int:
    """Opens connections, says something on each and leaves them open; returns how many could be opened."""
    place = urlsplit(url)
    for opened in range(count):
        try:
            connection = socket.create_connection((place.hostname, place.port), timeout=_TIMEOUT_SECONDS)
        except OSError:
            return opened
        stack.callback(connection.close)
        with contextlib.suppress(OSError):  # the endpoint may hang up on it before it is through
            connection.sendall(sent)
    return count
