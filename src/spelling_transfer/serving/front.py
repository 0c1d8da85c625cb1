"""The front of the endpoint: takes requests, bounds the queue, notices who has gone, and says whether it lives.

LitServe's own handler waits for an answer whatever happens. This one takes its place and uses, beside what LitServe
documents, its request queue and its buffer of responses, which have no public names; `pyproject.toml` bounds LitServe's
version.

No ``from __future__ import annotations`` here: FastAPI reads the annotations as they are.
"""

import asyncio
import contextlib
import math
import multiprocessing
import time
import uuid
from typing import Any

import litserve
from fastapi import Depends, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from litserve.server import ResponseBufferItem
from litserve.utils import LitAPIStatus, WorkerSetupStatus

from spelling_transfer.serving.deployable import DeployableCard
from spelling_transfer.serving.protocol import ChatCompletion, ChatRequest, ErrorBody, error_detail, stream_of

CHAT_PATH = "/v1/chat/completions"
HEALTH_PATH = "/health"
CLIENT_GONE = 499
"""Status in the log for a request whose client went away; nobody receives it (nginx's convention)."""
_WATCH_SECONDS = 0.5
PING = "ping"
"""In place of a request: an answer of one token, to see whether there is one."""


class Front(litserve.LitServer):  # type: ignore[misc]  # litserve has no types
    """LitServe's server with a handler of its own."""

    def __init__(self, api: litserve.LitAPI, card: DeployableCard, **options: Any) -> None:
        self._card = card
        self._ping: asyncio.Task[bool] | None = None
        self._answered_at = 0.0
        super().__init__(api, healthcheck_path="/worker-loaded", restart_workers=True, **options)
        self.uvicorn_graceful_timeout = card.settings.drain_seconds

    def _init_manager(self, num_api_servers: int) -> Any:
        manager = super()._init_manager(num_api_servers)
        self.lit_api.gone = manager.dict()
        return manager

    def _register_internal_endpoints(self) -> None:
        self.app.add_api_route(HEALTH_PATH, self.health, methods=["GET"], dependencies=[Depends(self.setup_auth())])
        super()._register_internal_endpoints()

    def _register_api_endpoints(self, lit_api: litserve.LitAPI, request_type: Any, response_type: Any) -> None:
        errors = {status: {"model": ErrorBody} for status in (400, 401, 404, 413, 422, 429, 500, 503)}
        self.app.add_api_route(
            CHAT_PATH,
            self.chat,
            methods=["POST"],
            response_model=ChatCompletion,
            responses=errors,
            dependencies=[Depends(self.setup_auth(lit_api))],
        )

    async def chat(self, body: ChatRequest, request: Request) -> Any:
        """Answers a chat completion request; lets go of it when its client does."""
        waiting = list(self.response_buffer.values())
        if len(waiting) >= self._card.settings.max_waiting:
            oldest = min(item.asked_at for item in waiting)
            detail = error_detail(
                429, "queue_full", f"{len(waiting)} requests wait, which is as many as may. Ask again a little later."
            )
            raise HTTPException(429, detail, {"Retry-After": str(max(1, math.ceil(time.monotonic() - oldest)))})
        answer = asyncio.create_task(self._ask(body))
        gone = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                return Response(status_code=CLIENT_GONE)
            completion = answer.result()
            if not body.stream:
                return completion
            request.state.usage = completion.usage.model_dump()  # for the metrics
            options = body.stream_options
            events = stream_of(completion, include_usage=options is not None and options.include_usage)
            return StreamingResponse(events, media_type="text/event-stream")
        finally:
            for task in (answer, gone):
                task.cancel()
                with contextlib.suppress(BaseException):
                    await task

    async def _ask(self, payload: Any) -> Any:
        """Returns the worker's answer to a request.

        Raises:
            HTTPException: The worker refused it, failed, or ended before it answered.
        """
        uid, item = uuid.uuid4().hex, ResponseBufferItem(asyncio.Event())
        item.asked_at = time.monotonic()
        self.response_buffer[uid] = item
        try:
            queue = self._get_request_queue(CHAT_PATH)
            queue.put((self.app.response_queue_id, uid, item.asked_at, payload))
            while not item.event.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(item.event.wait(), _WATCH_SECONDS)
                if not item.event.is_set() and not self._worker_is_ready():
                    detail = error_detail(503, "worker_restarts", "the worker ended and starts again; ask once more.")
                    raise HTTPException(503, detail, {"Retry-After": "10"})
        except asyncio.CancelledError:
            self.lit_api.gone[uid] = time.monotonic()  # the worker skips it, and ends a batch nobody waits for
            raise
        finally:
            self.response_buffer.pop(uid, None)
        self._answered_at = time.monotonic()
        response, status = item.response
        if status == LitAPIStatus.ERROR:
            known = isinstance(response, HTTPException)
            raise response if known else HTTPException(500, "internal error; see the log of the endpoint.")
        return response

    def _worker_is_ready(self) -> bool:
        states = self.workers_setup_status.values()
        return bool(states) and all(state == WorkerSetupStatus.READY for state in states)

    async def health(self) -> Response:
        """Says whether the model answers: it did a moment ago, or does so now."""
        patience = self._card.settings.health_timeout_seconds
        if self._worker_is_ready():
            if self.response_buffer and time.monotonic() - self._answered_at < patience:
                return Response("ok")
            if self._ping is None or self._ping.done():
                self._ping = asyncio.create_task(self._answers())
            # Shielded: who asks next waits for the same answer, and a worker that is stuck gets one ping, not many.
            with contextlib.suppress(TimeoutError):
                if await asyncio.wait_for(asyncio.shield(self._ping), patience):
                    return Response("ok")
        return Response("not ready", status_code=503)

    async def _answers(self) -> bool:
        try:
            await self._ask(PING)
        except HTTPException:
            return False
        return True


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def drain(seconds: float) -> None:
    """Lets the front answer what it has taken and take nothing more, before anything else ends.

    Args:
        seconds: Longest wait.
    """
    for child in multiprocessing.active_children():
        if child.name.startswith("LitServer-"):
            child.terminate()
            child.join(seconds)
