"""What the endpoint returns: OpenAI's chat completion with an honest finish reason and honest counts."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class AnswerMessage(BaseModel):
    """The answer. There is no ``reasoning_content``, because there is no reasoning to put there."""

    role: Literal["assistant"] = "assistant"
    content: str


class Choice(BaseModel):
    """The one choice of a completion.

    ``finish_reason`` is ``stop`` where the model ended its answer and ``length`` where ``max_tokens`` did.
    ``token_ids`` (the end token left out) is there when the request sent ``return_token_ids``, as in vLLM.
    """

    index: Literal[0] = 0
    message: AnswerMessage
    finish_reason: Literal["stop", "length"]
    token_ids: list[int] | None = None


class Usage(BaseModel):
    """Numbers of tokens; the end token counts as generated."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(BaseModel):
    """The response to a chat completion request.

    ``system_fingerprint`` names the exact deployable; ``prompt_token_ids`` comes with ``return_token_ids``.
    """

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage
    prompt_token_ids: list[int] | None = None


class ModelCard(BaseModel):
    """An entry of ``/v1/models``."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "spelling-transfer"


class ModelList(BaseModel):
    """The response of ``/v1/models``."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
