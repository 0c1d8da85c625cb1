"""Ports for servers that bind them only seconds after they were chosen, or again after they were killed."""

from __future__ import annotations

import os
import random
import socket
from contextlib import suppress


def free_ports(count: int = 1) -> list[int]:
    """Returns ports of 127.0.0.1 that nobody listens on and that a system gives to nobody who asks for any.

    Those of another process of pytest-xdist are others.
    """
    first = 20_000 + 1_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10)
    chosen: list[int] = []
    while len(chosen) < count:
        port = first + random.SystemRandom().randrange(1_000)  # whatever seed a test has set
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            chosen += [port] if port not in chosen else []
    return chosen
