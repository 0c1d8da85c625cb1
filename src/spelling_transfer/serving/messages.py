"""Messages between the front and its worker: a line is a name, a kind and JSON.

To the worker: ``chat``, ``text`` or ``ping`` with a request, ``gone`` for a client that went away. From it: ``event``
(of a stream), ``answer`` and ``refused``, or ``ready`` once, without a name.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from spelling_transfer.serving.protocol import RefusedRequestError


def line(name: str, kind: str, payload: str = "{}") -> bytes:
    """Returns one message between the front and its worker."""
    return f"{name} {kind} {payload}\n".encode()


def refusal(name: str, refused: RefusedRequestError) -> bytes:
    """Returns the message that a request is refused."""
    return line(name, "refused", json.dumps(asdict(refused)))


def overdue(name: str, seconds: float) -> bytes:
    """Returns the message that no answer began in time."""
    said = f"the endpoint is busy: no answer began within {seconds:g} s."
    return refusal(name, RefusedRequestError(503, "busy", said))
