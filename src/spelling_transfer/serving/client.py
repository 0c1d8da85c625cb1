"""A client of the endpoint that keeps everything an answer says about itself, refusals included."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx


@dataclass(frozen=True)
class Reply:
    """What came back for one request.

    Attributes:
        status: HTTP status.
        seconds: From sending the request to the last byte of the response.
        body: The response's JSON; empty where it was none.
    """

    status: int
    seconds: float
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the request was answered."""
        return self.status == httpx.codes.OK

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
            url: Address of the endpoint.
            model: Name sent with each question.
            api_key: Sent as ``Authorization: Bearer …`` where given.
            timeout_seconds: Longest wait for one answer.
        """
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.model = model
        # Loopback must not go through a proxy that the environment names.
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_seconds, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def ask(self, question: str, **fields: Any) -> Reply:
        """Asks a question; further fields go into the request as they are."""
        return self.post({"model": self.model, "messages": [{"role": "user", "content": question}], **fields})

    def post(self, body: dict[str, Any], **parameters: str) -> Reply:
        """Sends a request body as it is.

        Raises:
            httpx.HTTPError: The endpoint could not be reached or did not answer in time.
        """
        started = time.perf_counter()
        response = self._http.post("/v1/chat/completions", json=body, params=parameters)
        return _reply(response, time.perf_counter() - started)

    def get(self, path: str) -> Reply:
        """Reads ``/v1/models``, ``/health`` or ``/info``."""
        started = time.perf_counter()
        response = self._http.get(path)
        return _reply(response, time.perf_counter() - started)


def _reply(response: httpx.Response, seconds: float) -> Reply:
    try:
        body = response.json()
    except ValueError:
        body = {}
    return Reply(response.status_code, seconds, body if isinstance(body, dict) else {})
