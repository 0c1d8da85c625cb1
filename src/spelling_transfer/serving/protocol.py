"""What is said to the endpoint and by it: OpenAI's chat completion, strict, and one JSON shape of a refusal.

What a request holds that is not known is refused by name, never ignored.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

from kedro_non_thinking import TextRules, load_policy

NON_THINKING_ONLY = "non_thinking_only"
"""Code of every refusal that is due to the non-thinking policy."""

_OWN_CODES = frozenset({"single_turn_only", "unsupported_role"})
# pydantic's names for a body that is no object: another value, or a text that its header does not call JSON.
_NO_OBJECT = frozenset({"model_type", "model_attributes_type", "dict_type"})


@dataclass(eq=False)
class RefusedRequestError(Exception):
    """A request the endpoint does not answer.

    Attributes:
        code: Short name of the reason, stable for programs.
        message: What is wrong and what is allowed, for people.
        param: The field that is wrong, as a path (``messages[0].role``).
        rule: The rule of the policy that forbids it, by its id; ``None`` where no policy does.
        retry_after: Seconds after which it may be asked again; ``None`` where that is no remedy.
    """

    status: int
    code: str
    message: str
    param: str | None = None
    rule: str | None = None
    retry_after: int | None = field(default=None, kw_only=True)

    def __str__(self) -> str:
        return self.message

    def detail(self) -> dict[str, Any]:
        """Returns OpenAI's ``error`` object (https://platform.openai.com/docs/guides/error-codes) with the rule."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"message": self.message, "type": kind, "param": self.param, "code": self.code, "rule": self.rule}


def failed() -> RefusedRequestError:
    """Returns what a client learns of a fault of ours; what it was stands in the log."""
    return RefusedRequestError(500, "internal_error", "the endpoint failed at this request; its log says why.")


def forbidden(code: str, message: str, param: str, rule: str) -> RefusedRequestError:
    """Returns the refusal of what the policy forbids: 422, with the rule; what is wrong with a request is 400."""
    return RefusedRequestError(422, code, f"{message} (rule {rule} of the policy)", param, rule)


def rule_of(param: str) -> str:
    """Returns the id of the rule that a field which would make the model think breaks."""
    rules = load_policy().rules
    names = [_letters(part) for part in re.split(r"[.\[\]]+", param)]
    for rule_id, keys in (
        ("template-arguments", rules.template_arguments.keys),
        ("thinking-budget", rules.thinking_budget.keys),
        ("reasoning-parser", rules.reasoning_parser.keys),
        ("reasoning-content", ("reasoning_content",)),
        ("chat-template", ("chat_template",)),
    ):
        if {_letters(key) for key in keys} & set(names):
            return rule_id
    return "soft-switch" if names[-1] in ("content", "prompt") else "thinking-switch"


def refusal_of_validation(errors: Sequence[Mapping[str, Any]]) -> RefusedRequestError:
    """Returns the refusal of a request that pydantic found wrong, a breach of policy before anything else.

    Args:
        errors: pydantic's errors; ``loc`` may start with ``body``, as in FastAPI's ``RequestValidationError``.
    """
    first = min(errors, key=lambda error: error["type"] != NON_THINKING_ONLY)
    context = first.get("ctx") or {}
    location = first["loc"][1:] if first["loc"][:1] == ("body",) else first["loc"]
    param = str(context["field"]) if "field" in context else _path(location)
    if first["type"] == "extra_forbidden":
        message = f"{param}: unknown field. It is refused because an ignored field would be a silent surprise."
    elif first["type"] == "missing" and not param:
        message = "the request has no body; send a JSON object."
    elif first["type"] == "json_invalid":
        message, param = f"the body is not valid JSON ({context.get('error', first['msg'])}).", ""
    elif first["type"] in _NO_OBJECT and not param:
        message = "the body is no JSON object. Send one, with the header 'Content-Type: application/json'."
    elif "field" in context or not param:
        message = str(first["msg"])
    else:
        message = f"{param}: {first['msg']}"
    known = first["type"]
    if known == NON_THINKING_ONLY:
        return forbidden(NON_THINKING_ONLY, message, param, rule_of(param))
    code = known if known in _OWN_CODES else "unknown_field" if known == "extra_forbidden" else "invalid_value"
    return RefusedRequestError(400, code, message, param or None)


def _path(location: Sequence[str | int]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


# Names under which servers and clients switch thinking on: enable_thinking, thinking_budget, reasoning_effort,
# include_reasoning, chat_template (a template of the client's own would be another prompt), …
_THINKING_FIELD = re.compile(r"think|reasoning|chattemplate$")


def is_thinking_field(name: str) -> bool:
    """Whether a name is one under which some server or client sets a thinking mode."""
    return _THINKING_FIELD.search(_letters(name)) is not None


# What clients send without meaning anything by it: the values of OpenAI's fields that ask for what happens anyway.
# Another value of such a field would change the answer, and is refused.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "frequency_penalty": (None, 0, 0.0),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "modalities": (None, ["text"]),
    "parallel_tool_calls": (None, False, True),  # without tools there is nothing to call
    "prediction": (None,),
    "presence_penalty": (None, 0, 0.0),
    "reasoning_effort": ("none",),
    "repetition_penalty": (None, 1, 1.0),
    "response_format": (None, {"type": "text"}),
    "service_tier": (None, "auto", "default"),
    "stop": (None, "", []),
    "store": (None, False),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
}
_PART_SEPARATOR = "\n"  # as vLLM joins the text parts of a message

_CHAT_ALONE = frozenset(
    {"audio", "function_call", "functions", "modalities", "parallel_tool_calls", "response_format", "tool_choice"}
    | {"tools", "top_logprobs"}
)
"""Fields that a text completion does not have."""


def _fit_question(text: str) -> str:
    rules = text_rules()
    if rules.switches(rules.normalise(text)):  # "/no_think" is none: it asks for what happens anyway
        raise PydanticCustomError(
            NON_THINKING_ONLY,
            "the text holds the soft switch '/think'; this endpoint serves non-thinking mode only. "
            "Take the switch out and send the question again.",
        )
    if not text.strip():
        raise PydanticCustomError("empty_question", "the question is empty.")
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ChatMessage(_Strict):
    """The question."""

    role: str = Field(json_schema_extra={"enum": ["user"]})
    content: str = Field(min_length=1, description="A text, or a list of text parts.")
    name: str | None = None  # who asks; no part of the prompt

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

    @field_validator("content", mode="before")
    @classmethod
    def _text_of_parts(cls, content: Any) -> Any:
        if not isinstance(content, list):
            return content
        for place, part in enumerate(content):
            is_text = isinstance(part, dict) and part.get("type") == "text" and set(part) == {"type", "text"}
            if not is_text or not isinstance(part["text"], str):
                raise PydanticCustomError(
                    "unsupported_part",
                    "part {place} is {part}; this model reads text alone: a string, or parts of the form {form}.",
                    {"place": place, "part": _shown(part), "form": '{"type": "text", "text": "…"}'},
                )
        return _PART_SEPARATOR.join(part["text"] for part in content)

    _question_is_one = field_validator("content")(_fit_question)


class TemplateArguments(_Strict):
    """``chat_template_kwargs`` as vLLM and SGLang know it, with the one value that is allowed."""

    enable_thinking: Literal[False]  # no default: by itself the template would think


class StreamOptions(_Strict):
    """``stream_options``: whether the counts come as a last chunk."""

    include_usage: bool = False
    include_obfuscation: bool = False  # of OpenAI's client; there is nothing to hide here


class AnswerRequest(_Strict):
    """What requests have in common: nothing that would change how a question is asked.

    Sampling values are accepted when they are the endpoint's own (`AnswerEngine.prepare` compares them), so that a
    client that sends them explicitly works.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = _NEUTRAL
    asked_in: ClassVar[str] = ""
    """Where in the request the question stands."""

    model: str
    max_tokens: int | None = Field(None, json_schema_extra={"minimum": 1})
    max_completion_tokens: int | None = Field(None, json_schema_extra={"minimum": 1})
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = Field(None, ge=0, lt=2**63)
    n: int | None = Field(None, ge=1)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    enable_thinking: Literal[False] = False
    chat_template_kwargs: TemplateArguments | None = None
    return_token_ids: bool = False
    # Notes of the client's, which change no answer and are kept nowhere.
    user: str | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _non_thinking(cls, data: Any) -> Any:
        for path, text in _broken_texts(data):
            raise PydanticCustomError(
                "broken_text",
                "{field}: the text contains a lone surrogate ({half}), which UTF-8 cannot encode. Send valid Unicode.",
                {"field": _escaped(path), "half": _escaped(text)},
            )
        for path, value in _thinking_fields(data):
            raise PydanticCustomError(
                NON_THINKING_ONLY,
                "{field} is {value}; this endpoint serves non-thinking mode only. Leave the field out "
                "(enable_thinking: false, at the top level or in chat_template_kwargs, is accepted too).",
                {"field": path, "value": _shown(value)},
            )
        return _without_neutral(data, cls.neutral) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError(
                "options_without_stream",
                "{field}: goes with a stream; send 'stream': true with it, or leave it out.",
                {"field": "stream_options"},
            )
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Adds what is accepted without effect to the schema."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        schema["properties"] |= {
            name: {"enum": list(values), "description": "Accepted, and without effect."}
            for name, values in cls.neutral.items()
        }
        return schema

    @property
    def question(self) -> str:
        """What the user says."""
        raise NotImplementedError


class ChatRequest(AnswerRequest):
    """A chat completion request: one question."""

    asked_in: ClassVar[str] = "messages[0].content"

    messages: list[ChatMessage] = Field(json_schema_extra={"minItems": 1, "maxItems": 1})
    logprobs: bool | None = None

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

    @property
    def question(self) -> str:
        """The text of the one message."""
        return self.messages[0].content


class CompletionRequest(AnswerRequest):
    """A text completion request: the prompt is a question, as the tasks write it.

    It is put between the two halves of the non-thinking template, like the content of a message: the model saw no other
    prompt in training, and a prompt without them could think.
    """

    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **{name: values for name, values in _NEUTRAL.items() if name not in _CHAT_ALONE},
        "best_of": (None, 1),
        "echo": (None, False),
        "logprobs": (None,),
        "suffix": (None, ""),
    }
    asked_in: ClassVar[str] = "prompt"

    prompt: str = Field(min_length=1, description="A question; the template is put around it here.")

    _question_is_one = field_validator("prompt")(_fit_question)

    @property
    def question(self) -> str:
        """The prompt, without the template."""
        return self.prompt


@cache
def text_rules() -> TextRules:
    """Returns the rules on text that come with the policy."""
    return TextRules(load_policy())


def _without_neutral(data: dict[Any, Any], neutral: Mapping[str, tuple[Any, ...]]) -> dict[Any, Any]:
    """Returns a request without the fields that ask for what happens anyway, and refuses their other values."""
    for name in (name for name in data if name in neutral):
        if not any(type(data[name]) is type(value) and data[name] == value for value in neutral[name]):
            raise PydanticCustomError(
                "unsupported_value",
                "{field}: {value} is not supported. Leave the field out, or send {allowed}.",
                {
                    "field": name,
                    "value": _shown(data[name]),
                    "allowed": " or ".join(dict.fromkeys(json.dumps(value) for value in neutral[name])),
                },
            )
    return {name: value for name, value in data.items() if name not in neutral}


_LONGEST_PATH = 200


def _thinking_fields(data: Any) -> Iterator[tuple[str, Any]]:
    """Yields path and value of every field, at any depth, that would set a thinking mode."""
    for path, key, value in _entries(data):
        if isinstance(key, str) and is_thinking_field(key):
            allowed = (path in ("enable_thinking", "chat_template_kwargs.enable_thinking") and value is False) or (
                path == "reasoning_effort" and value in _NEUTRAL[path]
            )
            if not allowed:
                yield path, value


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", unicodedata.normalize("NFKC", name).lower())


def _broken_texts(data: Any) -> Iterator[tuple[str, str]]:
    """Yields path and half character of every text, key or value, that is none: JSON can spell what UTF-8 cannot."""
    for path, key, value in _entries(data):
        for text in (key, value):
            if isinstance(text, str) and (half := re.search(r"[\ud800-\udfff]", text)):
                yield path, half[0]


def _entries(data: Any) -> Iterator[tuple[str, str | int, Any]]:
    """Yields path, key and value of everything inside a request, at any depth; of what is no object, nothing.

    Of a long path the end is shown: a client could make each as long as its whole request.
    """
    # No recursion: the depth is the client's choice.
    open_nodes: list[tuple[str, Any]] = [("", data)] if isinstance(data, dict | list) else []
    while open_nodes:
        around, node = open_nodes.pop()
        entries = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in entries:
            path = around + (f"[{key}]" if isinstance(key, int) else f".{key[:_LONGEST_PATH]}")
            yield path.removeprefix("."), key, value
            if isinstance(value, dict | list):
                open_nodes.append((path if len(path) <= _LONGEST_PATH else f"…{path[-_LONGEST_PATH:]}", value))


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:  # it was read with a little more room
        return "nested too deeply"
    return text if len(text) <= 60 else f"{text[:57]}…"


def _escaped(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
