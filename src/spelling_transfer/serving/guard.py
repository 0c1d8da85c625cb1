"""What stands before the application: bodies within their limits, keys, rates, and connections that say nothing."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from spelling_transfer.serving.outcome import Outcome, finished
from spelling_transfer.serving.protocol import RefusedRequestError
from spelling_transfer.serving.settings import EndpointSettings

_LOG = logging.getLogger(__name__)
CLIENT_GONE = 499
ANSWERS = ("/v1/chat/completions", "/v1/completions")
_THIS_MACHINE = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])?(?::\d*)?", re.IGNORECASE)


class _GoneError(Exception):
    """The client went away before it had said all."""


class Guard:
    """Reads each body within its limits before the application sees the request, and notes how the request ended.

    Args:
        app: The application; finds the `Outcome` as ``request.state.outcome``.
        settings: The limits.
        watch: Is told how each request ended.
    """

    def __init__(self, app: ASGIApp, settings: EndpointSettings, watch: Callable[[Outcome], None]) -> None:
        self._app = app
        self._settings = settings
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request, as ASGI has it; uvicorn is told to send nothing else."""
        outcome = Outcome(scope["method"], scope["path"])
        scope["state"] = {**scope.get("state", {}), "outcome": outcome}
        started = time.perf_counter()

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                outcome.status = message["status"]
            await send(message)

        try:
            body = await asyncio.wait_for(self._body(scope, receive), self._settings.read_timeout_seconds)
            await self._app(scope, _first(body, receive), noting)
        except _GoneError:
            outcome.status = CLIENT_GONE
        except TimeoutError:
            said = f"the request was not complete within {self._settings.read_timeout_seconds:g} s."
            await refuse(RefusedRequestError(408, "request_timeout", said), outcome)(scope, receive, noting)
        except RefusedRequestError as refused:
            await refuse(refused, outcome)(scope, receive, noting)
        except Exception as error:  # noqa: BLE001  the client has its 500; one line for the log
            where = traceback.extract_tb(error.__traceback__)[-1]
            _LOG.error("%s failed: %r in %s, line %s", outcome.logged_path, error, where.filename, where.lineno)
        finally:
            if outcome.status == 200 and outcome.path in ANSWERS and not outcome.finish_reasons:
                outcome.status = 500 if outcome.code else CLIENT_GONE  # a stream that did not end
            outcome.seconds = time.perf_counter() - started
            finished(outcome)
            self._watch(outcome)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        limit = self._settings.max_body_bytes
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        body = bytearray()
        while int(announced) <= limit and len(body) <= limit:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            body += message.get("body", b"")
            if not message.get("more_body"):
                return bytes(body)
        raise RefusedRequestError(413, "body_too_large", f"the body is larger than {limit} bytes.")


def _first(body: bytes, receive: Receive) -> Receive:
    """Returns a ``receive`` that gives the whole body, and then what comes after it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def refuse(refused: RefusedRequestError, outcome: Outcome) -> Any:
    """Returns the response to a request that is refused, in ASCII: it may quote what no UTF-8 can hold."""
    from starlette.responses import Response

    outcome.code, outcome.rule = refused.code, refused.rule or ""
    headers = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
    if refused.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = json.dumps({"error": refused.detail()}).encode("ascii")
    return Response(body, refused.status, headers, media_type="application/json")


class Keys:
    """Who may ask, and how often.

    Args:
        keys: The keys by name; empty where none is needed.
        per_minute: Requests of one key in a minute; ``None`` for any number.
    """

    def __init__(self, keys: Mapping[str, str], per_minute: int | None) -> None:
        self._keys = keys
        self._per_minute = per_minute
        self._left: dict[str, tuple[float, float]] = {}

    def name(self, authorization: str) -> str:
        """Returns the name of the key in an ``Authorization`` header; empty where none is needed.

        Raises:
            RefusedRequestError: It is not one of the keys.
        """
        scheme, _, sent = authorization.partition(" ")
        known = [name for name, key in self._keys.items() if hmac.compare_digest(sent.strip().encode(), key.encode())]
        if self._keys and not (known and scheme.lower() == "bearer"):
            said = "send the endpoint's key as 'Authorization: Bearer <key>'."
            raise RefusedRequestError(401, "invalid_api_key", said)
        return known[0] if known else ""

    def check_host(self, host: str) -> None:
        """Checks that a request that needs no key was sent to this machine by one of its own names.

        A page of another site can have a name of its own lead to 127.0.0.1 (DNS rebinding), and its browser sends that.

        Raises:
            RefusedRequestError: The header ``Host`` has another name.
        """
        if not self._keys and not _THIS_MACHINE.fullmatch(host):
            said = f"{host[:100]!r} is no name of this machine. To serve it by another, set a key and send it."
            raise RefusedRequestError(403, "foreign_host", said)

    def spend(self, name: str) -> None:
        """Takes one request off what a key may ask; what it may grows evenly, up to a minute's worth.

        Raises:
            RefusedRequestError: Nothing is left.
        """
        if self._per_minute is None:
            return
        now = time.monotonic()
        left, since = self._left.get(name, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - since) * self._per_minute / 60)
        if left < 1:
            said = f"a key may send {self._per_minute} requests a minute. Try again later."
            wait = int((1 - left) * 60 / self._per_minute) + 1
            raise RefusedRequestError(429, "rate_limited", said, retry_after=wait)
        self._left[name] = left - 1, now


class Connection(H11Protocol):
    """uvicorn's connection, closed when a request is not there in time.

    That is the first header, one half sent, or the rest of a body that was refused.
    """

    read_timeout_seconds = 10.0
    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Starts the clock."""
        super().connection_made(transport)
        self._clock = self.loop.call_later(self.read_timeout_seconds, self._close)

    def data_received(self, data: bytes) -> None:
        """Stops the clock when a header is whole, and starts it when another has begun."""
        super().data_received(data)
        half = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        # Refused before its body was whole; what still comes is thrown away, and may not keep the connection for ever.
        half |= self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE
        if half and self._clock is None:
            self._clock = self.loop.call_later(self.read_timeout_seconds, self._close)
        elif not half and self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
