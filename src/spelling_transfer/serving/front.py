"""The application that clients talk to: routes, errors, health. The model is in another process, at the end of a link.

No ``from __future__ import annotations`` here: FastAPI reads the annotations as they are.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from spelling_transfer.serving.deployable import DeployableCard
from spelling_transfer.serving.guard import CLIENT_GONE, Keys, refuse
from spelling_transfer.serving.link import Events, WorkerLink
from spelling_transfer.serving.metrics import EndpointMetrics
from spelling_transfer.serving.outcome import Outcome
from spelling_transfer.serving.protocol import (
    NON_THINKING_ONLY,
    AnswerRequest,
    ChatRequest,
    CompletionRequest,
    RefusedRequestError,
    failed,
    forbidden,
    is_thinking_field,
    refusal_of_validation,
    rule_of,
)
from spelling_transfer.serving.responses import ChatCompletion, ErrorBody, ModelCard, ModelList, TextCompletion

Responses = dict[int | str, dict[str, Any]]


class Front:
    """What the routes do.

    Args:
        card: What is served.
        link: To the process with the model.
        keys: Who may ask.
        metrics: What is served at ``/metrics``.
    """

    def __init__(self, card: DeployableCard, link: WorkerLink, keys: Keys, metrics: EndpointMetrics) -> None:
        self._card = card
        self._link = link
        self._keys = keys
        self._metrics = metrics
        self._ping: asyncio.Task[bool] | None = None
        self._entry = ModelCard(id=card.model, created=int(time.time()))

    def app(self) -> FastAPI:
        """Returns the application."""
        app = FastAPI(title="spelling-transfer", description="Non-thinking mode only.", version="1")
        read, ask = [Depends(self.authorize)], [Depends(self.authorize), Depends(self.admit)]
        refusals = (400, 401, 403, 404, 408, 413, 422, 429, 500, 503)
        errors: Responses = {status: {"model": ErrorBody} for status in refusals}
        errors[200] = {"content": {"text/event-stream": {}}}  # what "stream" asks for
        some: Responses = {status: {"model": ErrorBody} for status in (401, 403, 404, 500)}
        for path, handler, form in (
            ("/v1/chat/completions", self.chat, ChatCompletion),
            ("/v1/completions", self.complete, TextCompletion),
        ):
            app.add_api_route(path, handler, methods=["POST"], response_model=form, responses=errors, dependencies=ask)
        app.add_api_route("/v1/models", self.models, methods=["GET"], responses=some, dependencies=read)
        app.add_api_route("/v1/models/{model_id:path}", self.model, methods=["GET"], responses=some, dependencies=read)
        app.add_api_route("/metrics", self.metrics, methods=["GET"], dependencies=read, include_in_schema=False)
        app.add_api_route("/info", self.info, methods=["GET"], responses=some, dependencies=read)
        unwell: Responses = {503: {"content": {"text/plain": {}}, "description": "The model does not answer."}}
        app.add_api_route("/health", self.health, methods=["GET"], responses=unwell, response_class=Response)
        for kind in (RequestValidationError, HTTPException, RefusedRequestError, Exception):
            app.add_exception_handler(kind, _as_response)
        self._say_limits(app.openapi()["components"]["schemas"])
        return app

    def _say_limits(self, schemas: dict[str, Any]) -> None:
        """Writes into the schema, which FastAPI keeps, what this deployable alone knows."""
        settings = self._card.settings
        for form in (ChatRequest, CompletionRequest):
            fields = schemas[form.__name__]["properties"]
            fields["model"]["enum"] = [self._card.model]
            for name, value in self._card.sampling.model_dump().items():
                fields[name]["enum"] = [None, value]
            most = {"n": settings.max_choices, "max_tokens": settings.max_tokens_limit}
            for name, limit in {**most, "max_completion_tokens": settings.max_tokens_limit}.items():
                fields[name]["maximum"] = limit

    async def authorize(self, request: Request) -> None:  # FastAPI runs what is not async in threads
        """Asks for the key where one is set, else for a name of this machine."""
        self._keys.check_host(request.headers.get("Host", ""))
        request.state.outcome.key = self._keys.name(request.headers.get("Authorization", ""))

    async def admit(self, request: Request) -> None:
        """Bounds what a key asks, and refuses query parameters, which FastAPI would silently drop."""
        if request.query_params:
            name = max(request.query_params, key=is_thinking_field)  # a breach of policy before anything else
            message = f"{name}: query parameters are not accepted; settings belong into the JSON body."
            if is_thinking_field(name):
                raise forbidden(NON_THINKING_ONLY, message, name, rule_of(name))
            raise RefusedRequestError(400, "unknown_field", message, name)
        self._keys.spend(request.state.outcome.key)

    async def chat(self, body: ChatRequest, request: Request) -> Any:
        """Answers a question."""
        return await self._answer("chat", body, request)

    async def complete(self, body: CompletionRequest, request: Request) -> Any:
        """Answers a question that comes as a text: the non-thinking template is put around it here."""
        return await self._answer("text", body, request)

    async def _answer(self, kind: str, body: AnswerRequest, request: Request) -> Response:
        outcome: Outcome = request.state.outcome
        payload, most = body.model_dump_json(exclude_unset=True), self._card.settings.max_waiting
        events = _noted(self._link.ask(kind, payload, most), outcome)
        first = asyncio.ensure_future(anext(events))
        gone = asyncio.create_task(_disconnected(request))
        streams = False
        try:
            await asyncio.wait({first, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                return Response(status_code=CLIENT_GONE)
            _, answer = first.result()
            if not body.stream:
                return Response(answer, media_type="application/json")
            streams = True
            return StreamingResponse(_server_sent(answer, events, outcome), media_type="text/event-stream")
        finally:
            for task in (first, gone):
                task.cancel()
                with contextlib.suppress(BaseException):
                    await task
            if not streams:
                await events.aclose()

    async def models(self) -> ModelList:
        """Lists the one model."""
        return ModelList(data=[self._entry])

    async def model(self, model_id: str) -> ModelCard:
        """Describes the one model."""
        if model_id != self._card.model:
            said = f"{model_id!r} is not served here; {self._card.model!r} is."
            raise RefusedRequestError(404, "model_not_found", said)
        return self._entry

    async def info(self) -> dict[str, Any]:
        """Says what is served, and how."""
        card = self._card
        return {
            "model": {
                "model": card.model,
                "fingerprint": card.fingerprint,
                "sampling": card.sampling.model_dump(),
                "enable_thinking": False,
                "settings": card.settings.model_dump(),
            }
        }

    async def metrics(self) -> Response:
        """Says what was counted, as Prometheus reads it."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def health(self) -> Response:
        """Says whether the model answers: it did a moment ago, or does so now."""
        link, patience = self._link, self._card.settings.health_timeout_seconds
        if link.ready:
            if link.waiting and time.monotonic() - link.answered_at < patience:
                return Response("ok", media_type="text/plain")
            if self._ping is None or self._ping.done():
                self._ping = asyncio.create_task(self._answers())
            # Shielded: who asks next waits for the same answer, and a worker that is stuck gets one ping, not many.
            with contextlib.suppress(TimeoutError):
                if await asyncio.wait_for(asyncio.shield(self._ping), patience):
                    return Response("ok", media_type="text/plain")
        return Response("not ready", 503, media_type="text/plain")

    async def _answers(self) -> bool:
        with contextlib.suppress(RefusedRequestError):
            async with aclosing(self._link.ask("ping")) as events:
                return bool(await anext(events))
        return False


async def _noted(events: Events, outcome: Outcome) -> Events:
    """Hands on what the worker says, and keeps the counts of the answer; of a stream the answer itself is not said."""
    async with aclosing(events):
        async for what, said in events:
            if what == b"answer":
                completion = json.loads(said)
                outcome.prompt_tokens = completion["usage"]["prompt_tokens"]
                outcome.completion_tokens = completion["usage"]["completion_tokens"]
                outcome.finish_reasons = tuple(choice["finish_reason"] for choice in completion["choices"])
            yield what, said.rstrip()


async def _server_sent(first: bytes, events: Events, outcome: Outcome) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        try:
            yield b"data: %b\n\n" % first
            async for what, said in events:
                if what == b"event":
                    yield b"data: %b\n\n" % said
        except RefusedRequestError as refused:  # the worker ended; the status is already said
            outcome.code = refused.code
            yield b"data: %b\n\n" % json.dumps({"error": refused.detail()}).encode()
        yield b"data: [DONE]\n\n"


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _as_response(request: Request, error: Exception) -> Response:
    """Returns any error in the one form that errors have."""
    headers = {}
    if isinstance(error, RequestValidationError):
        error = refusal_of_validation(error.errors())
    elif isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        said = str(error.detail)
        if error.status_code == 400:  # FastAPI's, for whatever its parser raises that is no error of JSON's grammar
            said = (
                "the body cannot be read as JSON: it is compressed or not in UTF-8, it is nested too deeply, or a "
                "number in it has thousands of digits."
            )
        error = RefusedRequestError(error.status_code, "http_error", said)
    elif not isinstance(error, RefusedRequestError):
        error = failed()
    response: Response = refuse(error, request.state.outcome)
    response.headers.update(headers)
    return response
