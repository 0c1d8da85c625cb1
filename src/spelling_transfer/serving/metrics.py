"""What the endpoint counts, as Prometheus reads it at ``/metrics``. Never a key, a question or an answer.

Everything is counted in the one process that talks to clients, around its whole application, so nothing has to be
gathered from other processes but their memory. Labels are words of ours alone: a client cannot make new ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import psutil
from fastapi import Depends, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from spelling_transfer.models.export import ALLOWED_IDS_FILE
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.vocabulary import Vocabulary
from spelling_transfer.serving.deployable import DeployableCard
from spelling_transfer.serving.process import processes_of

if TYPE_CHECKING:
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Message, Receive, Send], Awaitable[None]]

METRICS_PATH = "/metrics"
PREFIX = "spelling_transfer"
_BUCKETS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
_GONE = 499


class EndpointMetrics:
    """The metrics of one endpoint, in a registry of their own."""

    def __init__(self, folder: ModelFolder, card: DeployableCard) -> None:
        """Makes the metrics.

        Args:
            folder: The deployable; what it is stands in ``model_info``.
            card: What it says of itself.
        """
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            f"{PREFIX}_requests", "Requests for an answer, by status (499: the client went away).", ["status"],
            registry=registry,
        )  # fmt: skip
        self.refusals = Counter(
            f"{PREFIX}_refusals", "Requests that were refused, by code and by the policy's rule.", ["code", "rule"],
            registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            f"{PREFIX}_answer_seconds", "From a request's first byte to its answer's last; answers alone.",
            buckets=_BUCKETS, registry=registry,
        )  # fmt: skip
        self.tokens = Counter(
            f"{PREFIX}_tokens", "Tokens of answered requests: of prompts, and generated.", ["kind"], registry=registry
        )
        self.waiting = Gauge(f"{PREFIX}_waiting", "Requests that wait or are being answered.", registry=registry)
        limit = Gauge(f"{PREFIX}_waiting_limit", "Requests that may wait; one more gets a 429.", registry=registry)
        limit.set(card.settings.max_waiting)
        memory = Gauge(
            f"{PREFIX}_memory_bytes", "Resident memory of all processes of the endpoint; shared pages count in each.",
            registry=registry,
        )  # fmt: skip
        memory.set_function(lambda: sum(map(_resident_bytes, processes_of(os.getpgrp()))))
        self._describe(folder, card)

    def _describe(self, folder: ModelFolder, card: DeployableCard) -> None:
        file = folder.path / ALLOWED_IDS_FILE
        subset, share = "", 0.0
        if file.is_file():
            subset = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
            n_rows = int(json.loads((folder.path / "config.json").read_text())["vocab_size"])
            known = Vocabulary.of_folder(folder.path, n_rows).known_rows(json.loads(file.read_text()))
            share = 1 - len(known) / n_rows
        filtered = Gauge(
            f"{PREFIX}_filtered_share", "Share of the model's tokens that no answer may hold.", registry=self.registry
        )
        filtered.set(share)
        Info(f"{PREFIX}_model", "What is served.", registry=self.registry).info(
            {
                "model": card.model,
                "fingerprint": card.fingerprint,
                "subset_sha256": subset,
                "engine": card.settings.engine,
            }
        )

    def observe(self, status: int, seconds: float, body: Mapping[str, Any]) -> None:
        """Counts a request that ended.

        Args:
            status: HTTP status of its response.
            seconds: How long it took.
            body: The response's JSON, for its ``usage`` or its ``error``; empty where there is none.
        """
        self.requests.labels(str(status)).inc()
        if status == 200:
            self.seconds.observe(seconds)
            for kind in ("prompt", "completion"):
                self.tokens.labels(kind).inc(body.get("usage", {}).get(f"{kind}_tokens", 0))
        elif error := body.get("error"):
            self.refusals.labels(error.get("code") or "", error.get("rule") or "").inc()

    def text(self) -> bytes:
        """Returns all metrics as Prometheus reads them."""
        return generate_latest(self.registry)


class _Counting:
    """The application with a watch on what it answers."""

    def __init__(self, app: Application, metrics: EndpointMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        started, status, answer, state = time.monotonic(), _GONE, bytearray(), scope.setdefault("state", {})

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif "usage" not in state:
                answer.extend(message.get("body", b""))
            await send(message)

        self._metrics.waiting.inc()
        try:
            await self._app(scope, receive, watched)
        finally:
            self._metrics.waiting.dec()
            self._metrics.observe(status, time.monotonic() - started, _said(bytes(answer), state))


def add_metrics(app: FastAPI, folder: ModelFolder, card: DeployableCard, authorize: Callable[..., Any]) -> None:
    """Counts what an application answers, and serves the counts at ``/metrics``.

    Args:
        app: The endpoint's application.
        folder: The deployable.
        card: What it says of itself.
        authorize: The dependency that asks for the key; ``/metrics`` needs it like all else.
    """
    metrics = EndpointMetrics(folder, card)

    def read() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    app.add_api_route(METRICS_PATH, read, methods=["GET"], dependencies=[Depends(authorize)], include_in_schema=False)
    app.add_middleware(_Counting, metrics=metrics)


def _said(answer: bytes, state: Mapping[str, Any]) -> Mapping[str, Any]:
    if "usage" in state:  # a stream says it here, as it need not say it to its client
        return state
    try:
        found = json.loads(answer)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
