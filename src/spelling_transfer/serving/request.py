"""The request model: OpenAI's chat completion, strict. What it does not know it refuses by name, never ignores."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from kedro_non_thinking import TextRules, load_policy
from spelling_transfer.serving.refusal import NON_THINKING_ONLY

# Names under which servers and clients switch thinking on: enable_thinking, thinking_budget, reasoning_effort,
# include_reasoning, chat_template (a template of the client's own would be another prompt), …
_THINKING_FIELD = re.compile(r"think|reasoning|chattemplate$")


class ChatMessage(BaseModel):
    """The question."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    role: str
    content: str = Field(min_length=1)

    @field_validator("role")
    @classmethod
    def _user_only(cls, role: str) -> str:
        if role != "user":
            raise PydanticCustomError(
                "unsupported_role",
                "'{role}' is not supported; the prompt of this model is a single message with role 'user'.",
                {"role": role[:40]},
            )
        return role

    @field_validator("content")
    @classmethod
    def _no_soft_switch(cls, content: str) -> str:
        if holds_soft_switch(content):
            raise PydanticCustomError(
                NON_THINKING_ONLY,
                "the text holds the soft switch '/think'; this endpoint serves non-thinking mode only. "
                "Take the switch out and send the question again.",
            )
        if not content.strip():
            raise PydanticCustomError("empty_question", "the question is empty.")
        return content


class TemplateArguments(BaseModel):
    """``chat_template_kwargs`` as vLLM and SGLang know it, with the one value that is allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    enable_thinking: Literal[False]  # no default: by itself the template would think


class ChatRequest(BaseModel):
    """A chat completion request.

    A question and nothing that would change how it is asked. Sampling values are accepted when they are the
    endpoint's own (`AnswerEngine.prepare` compares them), so that a client that sends them explicitly works.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model: str
    messages: list[ChatMessage]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = Field(None, ge=0, lt=2**63)
    n: Literal[1] | None = 1
    stream: bool | None = False
    enable_thinking: Literal[False] = False
    chat_template_kwargs: TemplateArguments | None = None
    return_token_ids: bool = False

    @model_validator(mode="before")
    @classmethod
    def _non_thinking(cls, data: Any) -> Any:
        for path, value in _thinking_fields(data):
            raise PydanticCustomError(
                NON_THINKING_ONLY,
                "{field} is {value}; this endpoint serves non-thinking mode only. Leave the field out "
                "(enable_thinking: false, at the top level or in chat_template_kwargs, is accepted too).",
                {"field": path, "value": _shown(value)},
            )
        return data

    @field_validator("messages")
    @classmethod
    def _single_turn(cls, messages: list[ChatMessage]) -> list[ChatMessage]:
        if len(messages) != 1:
            raise PydanticCustomError(
                "single_turn_only",
                "{count} messages were sent; the prompt of this model is exactly one message with role 'user'.",
                {"count": len(messages)},
            )
        return messages

    @field_validator("stream")
    @classmethod
    def _no_stream(cls, stream: bool | None) -> bool | None:
        if stream:
            raise PydanticCustomError(
                "streaming_unsupported", "streaming is not supported; leave 'stream' out or send false."
            )
        return stream

    @property
    def question(self) -> str:
        """The text of the one message."""
        return self.messages[0].content


def holds_soft_switch(text: str) -> bool:
    """Says whether a text holds a soft switch such as Qwen3's ``/think``, also in disguise, by the policy's rules.

    ``/no_think`` is not one: it asks for what the endpoint does anyway.
    """
    rules = text_rules()
    return bool(rules.switches(rules.normalise(text)))


@cache
def text_rules() -> TextRules:
    """Returns the rules on text that come with the policy."""
    return TextRules(load_policy())


def _thinking_fields(data: Any) -> Iterator[tuple[str, Any]]:
    """Yields path and value of every field, at any depth, that would set a thinking mode."""
    open_nodes: list[tuple[str, Any]] = [("", data)]  # a stack, not recursion: the depth is the client's choice
    while open_nodes:
        path, node = open_nodes.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                inner = f"{path}.{key}" if path else str(key)
                name = re.sub(r"[^a-z]", "", unicodedata.normalize("NFKC", str(key)).lower())
                allowed = inner in ("enable_thinking", "chat_template_kwargs.enable_thinking") and value is False
                if _THINKING_FIELD.search(name) and not allowed:
                    yield inner, value
                elif isinstance(value, (dict, list)):
                    open_nodes.append((inner, value))
        elif isinstance(node, list):
            open_nodes.extend((f"{path}[{place}]", item) for place, item in enumerate(node))


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
