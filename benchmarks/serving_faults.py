"""The endpoint under much of what it must withstand: malformed requests, lone surrogates, clients that give up, time.

    kedro run --pipelines=deployment_check && python benchmarks/serving_faults.py

Prints JSON. The tests send fewer of the same requests.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.serving.process import RunningEndpoint, running_endpoint

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.serving.test_server import malformed  # noqa: E402

PATH = "/v1/chat/completions"
HEAD = {"Content-Type": "application/json"}
_LOCAL = threading.local()


def post(endpoint: RunningEndpoint, body: bytes) -> tuple[int, bytes]:
    """Sends a body on this thread's connection and returns what comes back."""
    if not hasattr(_LOCAL, "connection"):
        _LOCAL.connection = http.client.HTTPConnection("127.0.0.1", endpoint.listen.port, timeout=60)
    _LOCAL.connection.request("POST", PATH, body, HEAD)
    response = _LOCAL.connection.getresponse()
    said = response.read()
    if response.will_close:
        _LOCAL.connection.close()
    return response.status, said


def send_all(endpoint: RunningEndpoint, bodies: Iterable[bytes]) -> dict[str, Any]:
    """Sends bodies from eight clients and counts the statuses; none may be a 5xx or hold a thought or a traceback."""
    statuses: collections.Counter[int] = collections.Counter()
    bad = []
    with ThreadPoolExecutor(8) as pool:
        for status, said in pool.map(lambda body: post(endpoint, body), bodies):
            statuses[status] += 1
            if status >= 500 or b"Traceback" in said or (status == 200 and b"think>" in said):
                bad.append(said[:200].decode())
    return {"statuses": dict(sorted(statuses.items())), "bad": bad[:5], "n_bad": len(bad)}


def question(endpoint: RunningEndpoint, **fields: Any) -> bytes:
    """Returns the body of a good request."""
    message = {"role": "user", "content": "How do you spell garden?"}
    return json.dumps({"model": endpoint.model, "messages": [message], **fields}).encode()


def surrogate(endpoint: RunningEndpoint, chance: random.Random) -> bytes:
    """Returns a good request with half a character somewhere in one of its texts."""
    body = question(endpoint, user="someone", seed=1).decode()
    quotes = [i for i, letter in enumerate(body) if letter == '"']
    return (body[: (i := chance.choice(quotes) + 1)] + f"\\ud{chance.randrange(0x800, 0x1000):03x}" + body[i:]).encode()


def give_up(endpoint: RunningEndpoint, settle: Callable[[], None]) -> dict[str, float]:
    """Lets 32 clients ask for much and go away; how long does the next wait, beside one who is alone?"""
    settle()
    started = time.perf_counter()
    post(endpoint, question(endpoint, max_tokens=1))
    alone = time.perf_counter() - started
    body = question(endpoint, max_tokens=256, n=16)
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    connections = []
    for _ in range(32):
        connections.append(socket.create_connection(("127.0.0.1", endpoint.listen.port)))
        connections[-1].sendall(head.encode() + body)
    time.sleep(0.5)
    for connection in connections:
        connection.setblocking(False)
        try:
            said = connection.recv(64)
        except BlockingIOError:
            said = b""  # it is at work
        if b" 40" in said:
            raise RuntimeError(f"refused: {said!r}")
        connection.close()
    started = time.perf_counter()
    status, _ = post(endpoint, question(endpoint, max_tokens=1))
    return {"status": status, "alone_s": round(alone, 3), "after_32_gave_up_s": round(time.perf_counter() - started, 3)}


def soak(endpoint: RunningEndpoint, seconds: float) -> dict[str, Any]:
    """Asks from 16 clients for so long; memory must not grow by more than 5% after the first tenth."""
    ends = time.monotonic() + seconds

    def work(_: int) -> int:
        n = 0
        while time.monotonic() < ends:
            status, said = post(endpoint, question(endpoint, stream=n % 7 == 0, n=1 + n % 3))
            assert status == 200, said
            n += 1
        return n

    with ThreadPoolExecutor(16) as pool:
        counts = pool.map(work, range(16))
        time.sleep(seconds / 10)
        before = endpoint.memory_mib()
        n_answers = sum(counts)
    after = endpoint.memory_mib()
    return {
        "seconds": seconds,
        "n_answers": n_answers,
        "mib": [round(before), round(after)],
        "growth": after / before - 1,
    }


def main() -> None:
    """Does all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deployable", type=Path, default=ROOT / "data/06_models/deployable")
    parser.add_argument("--requests", type=int, default=10_000, help="malformed requests, and as many with surrogates")
    parser.add_argument("--seconds", type=float, default=600, help="how long to load it")
    arguments = parser.parse_args()
    chance = random.Random(0)
    folder = ModelFolder.open(arguments.deployable)
    with running_endpoint(folder, accelerator="cpu", start_timeout_seconds=300) as endpoint:
        wrong = [
            malformed(chance).replace(b"wants-to-think", endpoint.model.encode()) for _ in range(arguments.requests)
        ]
        halves = [surrogate(endpoint, chance) for _ in range(arguments.requests)]
        found = {
            "malformed": send_all(endpoint, wrong),
            "surrogates": send_all(endpoint, halves),
            "give_up": give_up(endpoint, lambda: time.sleep(1)),
            "soak": soak(endpoint, arguments.seconds),
        }
    found["stop"] = vars(endpoint.stop_report)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
