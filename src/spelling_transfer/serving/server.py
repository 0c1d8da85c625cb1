"""The process that serves; `process` starts it.

LitServe is imported at the top (base classes must be known), so only the process that serves imports this module.

No ``from __future__ import annotations`` here: LitServe hands the annotations of the methods to FastAPI as they are.
"""

import argparse
import hmac
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

import litserve
import torch
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from litserve import LitAPI
from litserve.loops import LitLoop
from litserve.utils import LitAPIStatus, LoopResponseType
from starlette.exceptions import HTTPException as StarletteHTTPException

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.serving.deployable import DeployableCard, read_card
from spelling_transfer.serving.engine import AnswerEngine, PreparedRequest
from spelling_transfer.serving.front import CHAT_PATH, HEALTH_PATH, Front, drain
from spelling_transfer.serving.metrics import add_metrics
from spelling_transfer.serving.protocol import (
    NON_THINKING_ONLY,
    ChatCompletion,
    ChatRequest,
    ErrorBody,
    ModelCard,
    ModelList,
    RefusedRequestError,
    error_detail,
    forbidden,
    refusal_of_validation,
    rule_of,
)
from spelling_transfer.serving.settings import ListenSettings, check_key, endpoint_key

_GONE_SECONDS = 0.1
"""How often a batch that runs looks whether anybody waits for it."""
_FORGET_SECONDS = 600.0
"""How long a client that went away is remembered; it may have gone while its answer was on its way."""
_LOGGER = logging.getLogger("litserve")


class NobodyWaitsError(Exception):
    """All clients of a batch went away while it ran."""


class WaitingBatchLoop(LitLoop):  # type: ignore[misc]  # litserve has no types
    """The worker's loop: blocks for the first request, then takes along what is in the queue, up to ``max_batch_size``.

    LitServe's own `BatchedLoop` polls (with ``batch_timeout=0`` an idle endpoint keeps one core at 100%, with 10 ms at
    14% and 10 ms are added to each answer), and one refused request fails every other in its batch.
    """

    def __call__(
        self,
        lit_api: LitAPI,
        device: str,
        worker_id: int,
        request_queue: Any,
        transport: Any,
        workers_setup_status: Any,
        callback_runner: Any,
    ) -> None:
        """Runs until the queue is gone, which is when the server is."""
        while True:
            try:
                waiting = self._take(request_queue, lit_api.max_batch_size)
                if waiting:
                    self._answer(lit_api, waiting, transport)
            except (KeyboardInterrupt, EOFError, OSError):
                return

    def _take(self, request_queue: Any, at_most: int) -> list[tuple[Any, ...]]:
        waiting = []
        try:
            waiting.append(request_queue.get(timeout=5.0))
            while len(waiting) < at_most:
                waiting.append(request_queue.get_nowait())
        except Empty:
            pass
        return waiting

    def _answer(self, lit_api: LitAPI, waiting: list[tuple[Any, ...]], transport: Any) -> None:
        fit: list[tuple[Any, Any, Any]] = []
        gone = lit_api.gone_among([uid for _, uid, _, _ in waiting])
        for queue_id, uid, sent_at, payload in waiting:
            if uid in gone:
                continue
            try:
                if lit_api.request_timeout and time.monotonic() - sent_at > lit_api.request_timeout:
                    raise HTTPException(503, f"the endpoint is busy: no answer within {lit_api.request_timeout} s.")
                fit.append((queue_id, uid, lit_api.decode_request(payload)))
            except Exception as error:  # noqa: BLE001  one request's fault is not the others'
                self._send_error(transport, queue_id, uid, error)
        if not fit:
            return
        try:
            with lit_api.unless_gone([uid for _, uid, _ in fit]):
                outputs = lit_api.predict([prepared for _, _, prepared in fit])
        except NobodyWaitsError:
            return
        except Exception as error:  # noqa: BLE001  it is logged, and the worker continues
            for queue_id, uid, _ in fit:
                self._send_error(transport, queue_id, uid, error)
            return
        for (queue_id, uid, _), output in zip(fit, outputs, strict=True):
            encoded = lit_api.encode_response(output)
            self.put_response(transport, queue_id, uid, encoded, LitAPIStatus.OK, LoopResponseType.REGULAR)

    def _send_error(self, transport: Any, queue_id: int, uid: str, error: Exception) -> None:
        if not isinstance(error, HTTPException):
            _LOGGER.exception("The worker failed on request %s", uid, exc_info=error)
            error = HTTPException(500, "internal error; see the log of the endpoint.")
        # Positional arguments only: an exception made with keywords does not survive pickling.
        self.put_response(
            transport,
            queue_id,
            uid,
            HTTPException(error.status_code, error.detail),
            LitAPIStatus.ERROR,
            LoopResponseType.REGULAR,
        )


class _ErrorResponse(JSONResponse):
    """An error as JSON in ASCII, so that it can be sent whatever of the request it quotes."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode("ascii")


class ChatAPI(litserve.LitAPI):  # type: ignore[misc]  # litserve has no types
    """One model behind ``/v1/chat/completions``. The model is loaded in the worker process, by ``setup``."""

    def __init__(self, folder: Path, max_batch_size: int) -> None:
        super().__init__(max_batch_size=max_batch_size, api_path=CHAT_PATH, loop=WaitingBatchLoop())
        self._folder = folder
        self._engine: AnswerEngine | None = None
        self.gone: Any = {}  # when a request's client went away, by uid; shared between front and worker

    def setup(self, device: str) -> None:
        """Loads the deployable."""
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # a log is no terminal
        self._engine = AnswerEngine.load(ModelFolder(self._folder), device)
        if (threads := self._engine.card.settings.threads) is not None:
            torch.set_num_threads(threads)

    def gone_among(self, uids: Sequence[str]) -> set[str]:
        """Returns those of some requests whose clients went away."""
        since: dict[str, float] = dict(self.gone.items())
        for uid, at in since.items():
            if uid in uids or time.monotonic() - at > _FORGET_SECONDS:
                self.gone.pop(uid, None)
        return since.keys() & set(uids)

    @contextmanager
    def unless_gone(self, uids: Sequence[str]) -> Iterator[None]:
        """Ends what runs inside the block, by `NobodyWaitsError`, once the clients of all these requests went away.

        Looked at before each token. On a GPU steps are recorded, and a batch is over before anybody could leave it.
        """
        assert self._engine is not None
        if self._engine.loaded.device.type == "cuda":
            yield
            return
        left, looked_at = set(uids), time.monotonic()

        def look(*_: Any) -> None:
            nonlocal looked_at
            if time.monotonic() - looked_at > _GONE_SECONDS:
                looked_at = time.monotonic()
                left.difference_update(self.gone_among(uids))
                if not left:
                    raise NobodyWaitsError

        hook = self._engine.loaded.backbone.register_forward_pre_hook(look)
        try:
            yield
        finally:
            hook.remove()

    def decode_request(self, request: ChatRequest | str) -> PreparedRequest:
        """Turns a request that has the right form into one that can be answered, or refuses it."""
        assert self._engine is not None
        if isinstance(request, str):  # a ping
            return self._engine.ping()
        try:
            return self._engine.prepare(request)
        except RefusedRequestError as refused:
            raise HTTPException(refused.status, refused.detail()) from refused

    def predict(self, x: Sequence[PreparedRequest], **kwargs: Any) -> list[ChatCompletion]:
        """Answers what was waiting."""
        assert self._engine is not None
        return self._engine.answer(x)

    def encode_response(self, output: ChatCompletion, **kwargs: Any) -> ChatCompletion:
        """The engine's answer is the response."""
        return output

    def authorize(self, request: Request) -> None:
        """Asks for the key where one is set. Also refuses query parameters, which FastAPI would silently drop."""
        expected = endpoint_key()
        scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
        known = scheme.lower() == "bearer" and hmac.compare_digest(sent.strip().encode(), (expected or "").encode())
        if expected is not None and not known and request.url.path != HEALTH_PATH:
            detail = error_detail(401, "invalid_api_key", "send the endpoint's key as 'Authorization: Bearer <key>'.")
            raise HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})
        if request.url.path == CHAT_PATH and request.query_params:
            name = next(iter(request.query_params))
            message = f"{name}: query parameters are not accepted; settings belong into the JSON body."
            refused = RefusedRequestError(400, "unknown_field", message, name)
            if "think" in name.lower():
                refused = forbidden(NON_THINKING_ONLY, message, name, rule_of(name))
            raise HTTPException(refused.status, refused.detail())


def build_server(folder: ModelFolder, accelerator: str = "auto") -> litserve.LitServer:
    """Returns the LitServe server of a deployable, ready to run."""
    card = read_card(folder)
    api = ChatAPI(folder.path, card.settings.max_batch_size)
    server = Front(
        api,
        card,
        accelerator=accelerator,
        devices=1,
        timeout=card.settings.queue_timeout_seconds,
        max_payload_size=card.settings.max_body_bytes,
        model_metadata={
            "model": card.model,
            "fingerprint": card.fingerprint,
            "sampling": card.sampling.model_dump(),
            "enable_thinking": False,
            "settings": card.settings.model_dump(),
        },
    )
    _add_models(server.app, api, card)
    _add_error_shape(server.app)
    add_metrics(server.app, folder, card, api.authorize)
    return server


def _add_models(app: FastAPI, api: ChatAPI, card: DeployableCard) -> None:
    entry = ModelCard(id=card.model, created=int(time.time()))

    async def models() -> ModelList:
        return ModelList(data=[entry])

    async def model(model_id: str) -> ModelCard:
        if model_id != card.model:
            detail = error_detail(404, "model_not_found", f"{model_id!r} is not served here; {card.model!r} is.")
            raise HTTPException(404, detail)
        return entry

    guard = [Depends(api.authorize)]
    errors: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in (401, 404)}
    app.add_api_route("/v1/models", models, methods=["GET"], dependencies=guard, responses=errors)
    app.add_api_route("/v1/models/{model_id:path}", model, methods=["GET"], dependencies=guard, responses=errors)


def _add_error_shape(app: FastAPI) -> None:
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        refused = refusal_of_validation(error.errors())
        return _ErrorResponse({"error": refused.detail()}, refused.status)

    async def failed(request: Request, error: StarletteHTTPException) -> JSONResponse:
        detail: object = error.detail
        if not isinstance(detail, dict):
            detail = error_detail(error.status_code, "http_error", str(detail))
        return _ErrorResponse({"error": detail}, error.status_code, error.headers)

    async def broken(request: Request, error: Exception) -> JSONResponse:
        # What it was stands in the log of the server; the client learns nothing of its inside.
        detail = error_detail(500, "internal_error", "the endpoint failed at this request; its log says why.")
        return _ErrorResponse({"error": detail}, 500)

    app.add_exception_handler(RequestValidationError, invalid)  # type: ignore[arg-type]
    app.add_exception_handler(StarletteHTTPException, failed)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, broken)


def serve(folder: ModelFolder, listen: ListenSettings, accelerator: str = "auto") -> None:
    """Serves a deployable until it is interrupted (Ctrl+C or SIGTERM).

    Raises:
        EndpointRefusedError: Other machines could reach the endpoint and no key is set.
    """
    check_key(listen)
    _end_on_sigterm(read_card(folder).settings.drain_seconds)
    server = build_server(folder, accelerator)
    server.run(host=listen.host, port=listen.port, log_level="warning", generate_client_file=False, num_api_servers=1)


def _end_on_sigterm(drain_seconds: float) -> None:
    """Makes SIGTERM an interrupt, here alone, after what was taken is answered.

    By itself it would end this process and leave its workers; as an interrupt it takes LitServe's orderly way out. That
    way ends the worker while the front still waits for it, so the front is ended first, here.
    The processes that LitServe forks inherit the handler, and for them SIGTERM is to be what it always is.
    """
    server = os.getpid()

    def handle(signum: int, frame: Any) -> None:
        if os.getpid() == server:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            drain(drain_seconds)
            raise KeyboardInterrupt
        signal.signal(signum, signal.SIG_DFL)
        signal.raise_signal(signum)

    signal.signal(signal.SIGTERM, handle)


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n") and (piece := os.read(descriptor, 65536)):
        line += piece
    return line


def _end_with(descriptor: int) -> None:
    """Ends the whole process group as soon as the other end of a pipe is closed.

    So an endpoint does not outlive the run that started it, not even when that run is killed.
    """
    while os.read(descriptor, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main(arguments: list[str] | None = None) -> int:
    """Serves as a child: settings come as one line of JSON on standard input, which then stays open."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    folder = ModelFolder(parser.parse_args(arguments).folder)
    # A descriptor of its own: the workers close sys.stdin, and would wait for ever on a lock this thread holds.
    pipe = os.dup(0)
    sent = json.loads(_read_line(pipe))
    threading.Thread(target=_end_with, args=(pipe,), daemon=True, name="end-with-parent").start()
    try:
        serve(folder, ListenSettings(**sent["listen"]), sent["accelerator"])
    except SpellingTransferError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
