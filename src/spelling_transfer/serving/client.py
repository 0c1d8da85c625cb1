"""A client of the endpoint that keeps all an answer says about itself, and how fast many of them are answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
import pandas as pd
from pydantic import Field

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.frozen import FrozenModel

if TYPE_CHECKING:
    import httpx

PERCENTILES = (50, 90, 95, 99)
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1", "0.0.0.0")  # noqa: S104  nothing listens there; it is asked
_CONNECTIONS = 100
"""Connections at once, as httpx has it by default."""


@dataclass(frozen=True)
class Reply:
    """What came back for one request.

    Attributes:
        status: HTTP status; 0 where the endpoint could not be reached or did not answer in time.
        seconds: From sending the request to the last byte of the response.
        body: The response's JSON; empty where it was none.
        retry_after_seconds: How long a busy endpoint says to wait; ``None`` where it says nothing, or a date.
    """

    status: int
    seconds: float
    body: dict[str, Any] = field(default_factory=dict)
    retry_after_seconds: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the request was answered."""
        return self.status == 200

    @property
    def text(self) -> str:
        """The answer; empty for a refusal."""
        return str(self.body["choices"][0]["message"]["content"]) if self.ok else ""

    @property
    def token_ids(self) -> list[int]:
        """Token ids of the answer, where they were asked for."""
        return list(self.body["choices"][0].get("token_ids") or []) if self.ok else []

    @property
    def prompt_token_ids(self) -> list[int]:
        """Token ids of the prompt, where they were asked for."""
        return list(self.body.get("prompt_token_ids") or [])

    @property
    def n_generated(self) -> int:
        """Tokens of the answer, the end token included."""
        return int(self.body["usage"]["completion_tokens"]) if self.ok else 0

    @property
    def error(self) -> dict[str, Any]:
        """The ``error`` object of a refusal; empty for an answer."""
        error = self.body.get("error")
        return error if isinstance(error, dict) else {}


class EndpointClient:
    """Talks to one endpoint. May be used by several threads at once."""

    def __init__(self, url: str, model: str, *, api_key: str | None = None, timeout_seconds: float = 60.0) -> None:
        """Opens the client.

        Args:
            url: Address of the endpoint, with or without ``/v1``.
            model: Name sent with each question.
            api_key: Sent as ``Authorization: Bearer …`` where given.
            timeout_seconds: Longest wait for one answer.

        Raises:
            SpellingTransferError: The address is none.
        """
        import httpx

        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.model = model
        try:
            base = httpx.URL(url.rstrip("/").removesuffix("/v1"))
            self._http = httpx.Client(
                base_url=base,
                headers=headers,
                timeout=timeout_seconds,
                # All connections stay open. Else httpcore closes idle ones, and one of these may have been given to
                # another thread a moment ago, whose request then fails with "Bad file descriptor".
                limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
                trust_env=base.host not in _THIS_MACHINE,  # which no proxy that the environment names can reach
            )
        except httpx.InvalidURL as error:
            raise SpellingTransferError(f"{url}: is no address of an endpoint ({error}).") from error
        except (ImportError, OSError, ValueError) as error:
            raise SpellingTransferError(
                f"{url}: cannot be asked with the proxy or the certificates that the environment names ({error})."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, question: str, *, on_sent: Callable[[], None] | None = None, **fields: Any) -> Reply:
        """Asks a question.

        Args:
            question: What the user says.
            on_sent: Called when the whole request is on its way.
            fields: Go into the request as they are.
        """
        body = {"model": self.model, "messages": [{"role": "user", "content": question}], **fields}

        def trace(event: str, _: Any) -> None:
            if on_sent is not None and event == "http11.send_request_body.complete":
                on_sent()

        return self._send("POST", "/v1/chat/completions", json=body, extensions={"trace": trace})

    def post(self, body: dict[str, Any], **parameters: str) -> Reply:
        """Sends a request body as it is."""
        return self._send("POST", "/v1/chat/completions", json=body, params=parameters)

    def get(self, path: str) -> Reply:
        """Reads ``/v1/models``, ``/health`` or ``/info``."""
        return self._send("GET", path)

    def _send(self, method: str, path: str, **content: Any) -> Reply:
        import httpx

        started = time.perf_counter()
        try:
            response = self._http.request(method, path, **content)
        except httpx.HTTPError as error:
            failure = {"code": "unreachable", "message": f"{type(error).__name__}: {error}"}
            return Reply(0, time.perf_counter() - started, {"error": failure})
        return _reply(response, time.perf_counter() - started)


def _reply(response: httpx.Response, seconds: float) -> Reply:
    try:
        body = response.json()
    except ValueError:
        body = {}
    wait = response.headers.get("Retry-After", "")
    return Reply(
        response.status_code,
        seconds,
        body if isinstance(body, dict) else {},
        float(wait) if wait.isdecimal() else None,
    )


class LoadSettings(FrozenModel):
    """How the endpoint is put under load."""

    clients: tuple[Annotated[int, Field(ge=1, le=_CONNECTIONS)], ...] = Field(
        (1, 4, 8), min_length=1, description="Concurrent clients, one measurement each."
    )
    n_requests: int = Field(40, ge=1, le=100_000, description="Requests in each measurement.")
    n_warm_up: int = Field(8, ge=0, le=1_000, description="Requests before the first measurement, not counted.")


def measure_load(
    client: EndpointClient, questions: Sequence[str], settings: LoadSettings, memory_mib: Callable[[], float]
) -> pd.DataFrame:
    """Asks the questions in turn, from several clients at once.

    Args:
        client: An open client.
        questions: What to ask, repeated as often as needed.
        settings: How much.
        memory_mib: Called after each measurement.

    Returns:
        A row a number of clients: ``n_clients, n_requests, n_failed, seconds, answers_per_second, tokens_per_second,
        latency_p50_ms … latency_p99_ms, latency_max_ms, memory_mib``. Latencies are those of answered requests.
    """
    _ask_all(client, questions, settings.n_warm_up, 1)
    rows = []
    for n_clients in settings.clients:
        started = time.perf_counter()
        replies = _ask_all(client, questions, settings.n_requests, n_clients)
        seconds = time.perf_counter() - started
        rows.append(_row(replies, n_clients, seconds) | {"memory_mib": memory_mib()})
    return pd.DataFrame(rows)


def _ask_all(client: EndpointClient, questions: Sequence[str], n_requests: int, n_clients: int) -> list[Reply]:
    def ask(place: int) -> Reply:
        return client.ask(questions[place % len(questions)], seed=place)

    with ThreadPoolExecutor(n_clients) as pool:
        return list(pool.map(ask, range(n_requests)))


def _row(replies: Sequence[Reply], n_clients: int, seconds: float) -> dict[str, float]:
    answered = [reply for reply in replies if reply.ok]
    latencies_ms = np.array([reply.seconds * 1000 for reply in answered] or [np.nan])
    return {
        "n_clients": n_clients,
        "n_requests": len(replies),
        "n_failed": len(replies) - len(answered),
        "seconds": seconds,
        "answers_per_second": len(answered) / seconds,
        "tokens_per_second": sum(reply.n_generated for reply in answered) / seconds,
        **{f"latency_p{p}_ms": float(np.percentile(latencies_ms, p)) for p in PERCENTILES},
        "latency_max_ms": float(latencies_ms.max()),
    }
