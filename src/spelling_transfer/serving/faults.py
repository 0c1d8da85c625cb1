"""Who is let in, and what a client that misbehaves does to the others: nothing."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from spelling_transfer.serving.checks import Check
from spelling_transfer.serving.client import EndpointClient

N_CONNECTIONS = 1_000
"""Connections that say nothing, at once; fewer where this process may not open as many files."""
_LARGE_BYTES = 10_000_000
_SPARE_FILES = 128
_TIMEOUT_SECONDS = 30.0


def check_key(url: str, client: EndpointClient, question: str) -> Iterator[Check]:
    """Asks with the key, without, and with others.

    Args:
        url: Address of an endpoint that has a key.
        client: Has the key.
        question: What is asked.
    """
    for name, key in (("none", None), ("another", "another-key"), ("none-but-blanks", " "), ("longer", "x" * 5000)):
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
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
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
            opened = sum(_say(url, sent, stack) for _ in range(count))
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


def _say(url: str, sent: bytes, stack: contextlib.ExitStack) -> bool:
    """Opens a connection, says something and leaves it open; returns whether it could be opened."""
    place = urlsplit(url)
    try:
        opened = socket.create_connection((place.hostname, place.port), timeout=_TIMEOUT_SECONDS)
    except OSError:
        return False
    stack.callback(opened.close)
    with contextlib.suppress(OSError):  # the endpoint may hang up on it before it is through
        opened.sendall(sent)
    return True
