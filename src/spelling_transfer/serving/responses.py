"""What the endpoint says: OpenAI's completions, their streams, errors and models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel


class AnswerMessage(BaseModel):
    """The answer. There is no ``reasoning_content``, because there is no reasoning to put there."""

    role: Literal["assistant"] = "assistant"
    content: str


class TokenLogprob(BaseModel):
    """A token with the logarithm of its probability among the tokens that an answer may hold, at temperature 1."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[None] = []


class ChoiceLogprobs(BaseModel):
    """What ``logprobs: true`` adds: the tokens of the answer, the end left out."""

    content: list[TokenLogprob]
    refusal: None = None


class Choice(BaseModel):
    """One choice of a completion.

    ``finish_reason`` is ``stop`` where the model ended its answer and ``length`` where ``max_tokens`` did.
    ``token_ids`` (the end token left out) is there when the request sent ``return_token_ids``, as in vLLM.
    """

    index: int = 0
    message: AnswerMessage
    finish_reason: Literal["stop", "length"]
    logprobs: ChoiceLogprobs | None = None
    token_ids: list[int] | None = None


class Usage(BaseModel):
    """Numbers of tokens; the end token counts as generated."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class _Completion(BaseModel):
    """``system_fingerprint`` names the exact deployable; ``prompt_token_ids`` comes with ``return_token_ids``."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: Usage
    prompt_token_ids: list[int] | None = None


class ChatCompletion(_Completion):
    """The response to a chat completion request."""

    object: Literal["chat.completion"] = "chat.completion"
    choices: list[Choice]


class TextChoice(BaseModel):
    """One choice of a text completion; see `Choice`."""

    index: int = 0
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: None = None
    token_ids: list[int] | None = None


class TextCompletion(_Completion):
    """The response to a text completion request."""

    object: Literal["text_completion"] = "text_completion"
    choices: list[TextChoice]


@dataclass(frozen=True)
class Stream:
    """The events of one streamed answer: OpenAI's chunks, without the ``data:`` around them.

    Attributes:
        shared: ``id``, ``created``, ``model`` and ``system_fingerprint``.
        chat: Whether it is a chat completion, else a text completion.
    """

    shared: dict[str, Any]
    chat: bool
    include_usage: bool

    def piece(self, index: int, text: str, beside: dict[str, Any], *, first: bool) -> str:
        """Returns the event of a piece of a choice.

        Args:
            index: The choice.
            text: What it says next.
            beside: Fields of the choice: ``logprobs``, ``token_ids``.
            first: Whether it is the choice's first piece.
        """
        said: dict[str, Any] = {"text": text}
        if self.chat:
            said = {"delta": {"role": "assistant", "content": text} if first else {"content": text}}
        return self._chunk([{"index": index, **said, "logprobs": None, **beside, "finish_reason": None}])

    def end(self, index: int, reason: str) -> str:
        """Returns the event of a choice's end."""
        said: dict[str, Any] = {"delta": {}} if self.chat else {"text": ""}
        return self._chunk([{"index": index, **said, "logprobs": None, "finish_reason": reason}])

    def usage(self, usage: Usage) -> str:
        """Returns the event of the counts."""
        return self._chunk([], usage=usage.model_dump())

    def _chunk(self, choices: list[dict[str, Any]], **beside: Any) -> str:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        unsaid = {"usage": None} if self.include_usage else {}
        return json.dumps({**self.shared, "object": kind, "choices": choices, **unsaid, **beside})


class ErrorObject(BaseModel):
    """What is wrong, for people and for programs; ``rule`` is the policy's, where it is the policy that forbids."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    code: str
    rule: str | None = None


class ErrorBody(BaseModel):
    """The response to every request that is not answered."""

    error: ErrorObject


class ModelCard(BaseModel):
    """An entry of ``/v1/models``."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "spelling-transfer"


class ModelList(BaseModel):
    """The response of ``/v1/models``."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
