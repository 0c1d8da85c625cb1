"""The LitServe side of the endpoint.

LitServe is imported at the top (a base class must be known), so only the process that serves imports this module.

No ``from __future__ import annotations`` here: LitServe hands the annotations of the methods to FastAPI as they are.
"""

import hmac
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import litserve
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.serving.deployable import DeployableCard, read_card
from spelling_transfer.serving.engine import AnswerEngine, PreparedRequest
from spelling_transfer.serving.loop import WaitingBatchLoop
from spelling_transfer.serving.refusal import (
    NON_THINKING_ONLY,
    RefusedRequestError,
    error_detail,
    refusal_of_validation,
)
from spelling_transfer.serving.request import ChatRequest
from spelling_transfer.serving.response import ChatCompletion, ModelCard, ModelList
from spelling_transfer.serving.settings import API_KEY_VARIABLE

CHAT_PATH = "/v1/chat/completions"


class ChatAPI(litserve.LitAPI):  # type: ignore[misc]  # litserve has no types
    """One model behind ``/v1/chat/completions``. The model is loaded in the worker process, by ``setup``."""

    def __init__(self, folder: Path, max_batch_size: int) -> None:
        super().__init__(max_batch_size=max_batch_size, api_path=CHAT_PATH, loop=WaitingBatchLoop())
        self._folder = folder
        self._engine: AnswerEngine | None = None

    def setup(self, device: str) -> None:
        """Loads the deployable."""
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # a log is no terminal
        self._engine = AnswerEngine.load(ModelFolder(self._folder), device)

    def decode_request(self, request: ChatRequest) -> PreparedRequest:
        """Turns a request that has the right form into one that can be answered, or refuses it."""
        assert self._engine is not None
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
        expected = os.environ.get(API_KEY_VARIABLE)
        scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
        known = scheme.lower() == "bearer" and hmac.compare_digest(sent.strip().encode(), (expected or "").encode())
        if expected and not known and request.url.path != "/health":
            detail = error_detail(401, "invalid_api_key", "send the endpoint's key as 'Authorization: Bearer <key>'.")
            raise HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})
        if request.url.path == CHAT_PATH and request.query_params:
            name = next(iter(request.query_params))
            code = NON_THINKING_ONLY if "think" in name.lower() else "unknown_field"
            message = f"{name}: query parameters are not accepted; settings belong into the JSON body."
            raise HTTPException(400, error_detail(400, code, message, name))


def build_server(folder: ModelFolder, accelerator: str = "auto") -> litserve.LitServer:
    """Returns the LitServe server of a deployable, ready to run."""
    card = read_card(folder)
    api = ChatAPI(folder.path, card.settings.max_batch_size)
    server = litserve.LitServer(
        api,
        accelerator=accelerator,
        devices=1,
        timeout=card.settings.queue_timeout_seconds,
        max_payload_size=card.settings.max_body_bytes,
        model_metadata={
            "model": card.model,
            "fingerprint": card.fingerprint,
            "sampling": card.sampling.model_dump(),
            "enable_thinking": False,
        },
        disable_openapi_url=True,
    )
    server.uvicorn_graceful_timeout = 5
    _add_models(server.app, api, card)
    _add_error_shape(server.app)
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
    app.add_api_route("/v1/models", models, methods=["GET"], dependencies=guard)
    app.add_api_route("/v1/models/{model_id:path}", model, methods=["GET"], dependencies=guard)


def _add_error_shape(app: FastAPI) -> None:
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        refused = refusal_of_validation(error.errors())
        return JSONResponse({"error": refused.detail()}, refused.status)

    async def failed(request: Request, error: StarletteHTTPException) -> JSONResponse:
        detail: object = error.detail
        if not isinstance(detail, dict):
            detail = error_detail(error.status_code, "http_error", str(detail))
        return JSONResponse({"error": detail}, error.status_code, error.headers)

    app.add_exception_handler(RequestValidationError, invalid)  # type: ignore[arg-type]
    app.add_exception_handler(StarletteHTTPException, failed)  # type: ignore[arg-type]
