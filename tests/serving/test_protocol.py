"""What the request model lets through, whoever asks."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kedro_non_thinking import load_policy
from spelling_transfer.serving.protocol import (
    NON_THINKING_ONLY,
    ChatRequest,
    RefusedRequestError,
    refusal_of_validation,
)

PLAIN = {"model": "m", "messages": [{"role": "user", "content": "How do you spell apple ?"}]}


def refusal(**fields: Any) -> RefusedRequestError:
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate({**PLAIN, **fields})
    return refusal_of_validation(caught.value.errors())


@pytest.mark.parametrize(
    ("fields", "param", "rule"),
    [
        ({"enable_thinking": True}, "enable_thinking", "thinking-switch"),
        ({"enable_thinking": None}, "enable_thinking", "thinking-switch"),
        ({"enable_thinking": 0}, "enable_thinking", "thinking-switch"),
        ({"enable_thinking": "false"}, "enable_thinking", "thinking-switch"),
        ({"Enable-Thinking": True}, "Enable-Thinking", "thinking-switch"),
        (
            {"chat_template_kwargs": {"enable_thinking": True}},
            "chat_template_kwargs.enable_thinking",
            "template-arguments",
        ),
        ({"extra_body": {"enable_thinking": True}}, "extra_body.enable_thinking", "thinking-switch"),
        (
            {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}},
            "extra_body.chat_template_kwargs.enable_thinking",
            "template-arguments",
        ),
        ({"metadata": [{"a": [{"thinking": 1}]}]}, "metadata[0].a[0].thinking", "thinking-switch"),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, "thinking", "thinking-switch"),
        ({"thinking_budget": 5}, "thinking_budget", "thinking-budget"),
        ({"reasoning_effort": "high"}, "reasoning_effort", "thinking-budget"),
        ({"reasoning_effort": "minimal"}, "reasoning_effort", "thinking-budget"),
        ({"reasoning_effort": None}, "reasoning_effort", "thinking-budget"),
        ({"reasoning_effort": False}, "reasoning_effort", "thinking-budget"),
        ({"extra_body": {"reasoning_effort": "none"}}, "extra_body.reasoning_effort", "thinking-budget"),
        ({"metadata": {"thinking": "on"}}, "metadata.thinking", "thinking-switch"),
        # A letter of another width.
        ({"metadata": {"\uff54hinking": "on"}}, "metadata.\uff54hinking", "thinking-switch"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "spell it /think"}]}]},
            "messages[0].content",
            "soft-switch",
        ),
        ({"include_reasoning": True}, "include_reasoning", "thinking-switch"),
        ({"chat_template": "{{ messages }}"}, "chat_template", "chat-template"),
        (
            {"messages": [{"role": "user", "content": "x", "reasoning_content": "y"}]},
            "messages[0].reasoning_content",
            "reasoning-content",
        ),
        ({"messages": [{"role": "user", "content": "spell apple /think"}]}, "messages[0].content", "soft-switch"),
        ({"messages": [{"role": "system", "content": "spell /think"}]}, "messages[0].content", "soft-switch"),
    ],
)
def test_every_way_of_switching_thinking_on_is_refused_by_name(fields: dict[str, Any], param: str, rule: str) -> None:
    refused = refusal(**fields)
    assert (refused.status, refused.code, refused.param) == (422, NON_THINKING_ONLY, param)
    assert param in refused.message
    assert rule in load_policy().by_id
    assert refused.detail()["rule"] == refused.rule == rule
    assert rule in refused.message
    assert "non-thinking mode only" in refused.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    path=st.lists(st.text("abcxyz_", min_size=1, max_size=8) | st.just(0), min_size=1, max_size=5),
    value=JSON,
    key=st.sampled_from(["enable_thinking", "ENABLE_THINKING", "enableThinking", "thinking_budget", "reasoning"]),
)
def test_thinking_is_found_at_any_depth(path: list[str | int], value: Any, key: str) -> None:
    nested: Any = {key: value}
    for part in reversed(path[1:]):
        nested = [nested] if part == 0 else {part: nested}
    name = str(path[0]) if path[0] != "chat_template_kwargs" else "other"
    assert refusal(**{name: nested}).code == NON_THINKING_ONLY


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"enable_thinking": False},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"n": 1, "stream": False, "seed": 3, "max_tokens": None},
        {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0},
        {"messages": [{"role": "user", "content": "How do you spell thinking, rethink or and/think ? /no_think"}]},
        {"messages": [{"role": "user", "content": "<think> or </think> in a question is plain text"}]},
    ],
)
def test_what_asks_for_nothing_else_is_accepted(fields: dict[str, Any]) -> None:
    request = ChatRequest.model_validate({**PLAIN, **fields})
    assert request.enable_thinking is False
    assert request.question


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"no_such_field": 1}, "unknown_field", "no_such_field"),
        ({"tools": [{"type": "function"}]}, "invalid_value", "tools"),
        ({"stop": "\n"}, "invalid_value", "stop"),
        ({"stop": ["a"]}, "invalid_value", "stop"),
        ({"presence_penalty": 0.5}, "invalid_value", "presence_penalty"),
        ({"presence_penalty": False}, "invalid_value", "presence_penalty"),
        ({"frequency_penalty": -1}, "invalid_value", "frequency_penalty"),
        ({"logprobs": 0}, "invalid_value", "logprobs"),
        ({"top_logprobs": 2}, "invalid_value", "top_logprobs"),
        ({"logit_bias": {"151667": 100}}, "invalid_value", "logit_bias"),
        ({"response_format": {"type": "json_object"}}, "invalid_value", "response_format"),
        ({"store": True}, "invalid_value", "store"),
        ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
        ({"modalities": ["text", "audio"]}, "invalid_value", "modalities"),
        ({"user": 5}, "invalid_value", "user"),
        ({"metadata": {"a": 1}}, "invalid_value", "metadata.a"),
        ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
        ({"stream": True, "stream_options": {"a": 1}}, "unknown_field", "stream_options.a"),
        ({"chat_template_kwargs": {}}, "invalid_value", "chat_template_kwargs.enable_thinking"),
        ({"chat_template_kwargs": {"enable_thinking": False, "a": 1}}, "unknown_field", "chat_template_kwargs.a"),
        ({"stream": "yes"}, "invalid_value", "stream"),
        ({"n": 0}, "invalid_value", "n"),
        ({"n": True}, "invalid_value", "n"),
        ({"seed": -1}, "invalid_value", "seed"),
        ({"max_tokens": "7"}, "invalid_value", "max_tokens"),
        ({"messages": []}, "single_turn_only", "messages"),
        ({"messages": PLAIN["messages"] * 2}, "single_turn_only", "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "unsupported_role", "messages[0].role"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "invalid_value", "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "invalid_value", "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "invalid_value", "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
            "invalid_value",
            "messages[0].content",
        ),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "invalid_value", "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "invalid_value",
            "messages[0].content",
        ),
    ],
)
def test_what_is_not_supported_is_refused_by_name(fields: dict[str, Any], code: str, param: str) -> None:
    refused = refusal(**fields)
    assert (refused.status, refused.code, refused.param) == (400, code, param)
    assert refused.message.startswith(param)


NEUTRAL = {
    "stop": [None, "", []],
    "presence_penalty": [None, 0, 0.0],
    "frequency_penalty": [None, 0, 0.0],
    "repetition_penalty": [None, 1, 1.0],
    "logprobs": [None, False],
    "top_logprobs": [None, 0],
    "logit_bias": [None, {}],
    "response_format": [None, {"type": "text"}],
    "modalities": [None, ["text"]],
    "user": [None, "", "someone"],
    "safety_identifier": [None, "a1"],
    "prompt_cache_key": [None, "a1"],
    "metadata": [None, {}, {"run": "7"}],
    "store": [None, False],
    "tools": [None, []],
    "functions": [None, []],
    "tool_choice": [None, "none", "auto"],
    "function_call": [None, "none", "auto"],
    "parallel_tool_calls": [None, True, False],
    "reasoning_effort": ["none"],
    "service_tier": [None, "auto", "default"],
    "prediction": [None],
    "audio": [None],
    "n": [None, 1],
    "seed": [None],
    "stream": [None, False, True],
    "stream_options": [None],
    "max_tokens": [None],
    "temperature": [None],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in NEUTRAL.items() for value in values])
def test_what_clients_send_without_meaning_anything_by_it_is_accepted(name: str, value: Any) -> None:
    assert ChatRequest.model_validate({**PLAIN, name: value}).question == "How do you spell apple ?"


@pytest.mark.parametrize(
    ("content", "question"),
    [
        ([{"type": "text", "text": "How do you spell apple ?"}], "How do you spell apple ?"),
        ([{"type": "text", "text": "Spell apple."}, {"type": "text", "text": "Now."}], "Spell apple.\nNow."),
    ],
)
def test_a_question_may_come_in_text_parts(content: Any, question: str) -> None:
    message = {"role": "user", "content": content, "name": "someone"}
    assert ChatRequest.model_validate({**PLAIN, "messages": [message]}).question == question


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "m\ud800"}, "model"),
        ({"user": "\udfff"}, "user"),
        ({"k\udc00": 1}, "k\\udc00"),
        ({"metadata": {"a": {"b\ud800": ["x"]}}}, "metadata.a.b\\ud800"),
        ({"metadata": ["x", "\ud83d"]}, "metadata[1]"),
        ({"messages": [{"role": "user", "content": "spell \ud800"}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "\ud800"}]}]},
            "messages[0].content[0].text",
        ),
        ({"enable_thinking\ud800": True}, "enable_thinking\\ud800"),
    ],
)
def test_text_that_is_no_text_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    refused = refusal(**fields)
    assert (refused.status, refused.code, refused.param) == (400, "invalid_value", param)
    assert refused.message.startswith(param)
    assert json.dumps(refused.detail(), ensure_ascii=False).encode("utf-8")


def test_a_value_that_is_nested_too_deeply_to_be_shown_is_refused_all_the_same() -> None:
    value: list[Any] = []
    for _ in range(5_000):
        value = [value]
    refused = refusal(tools=value)
    assert (refused.status, refused.param) == (400, "tools")


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate({"messages": PLAIN["messages"]})
    assert refusal_of_validation(caught.value.errors()).param == "model"


def test_a_long_name_is_not_copied_for_each_entry_below_it() -> None:
    name = "k" * 20_000
    tracemalloc.start()
    found = refusal(**{name: [0] * 10_000 + [{"enable_thinking": True}]})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.code == NON_THINKING_ONLY
    assert len(found.param or "") < 1_000
    assert peak < 20e6


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_number_without_end_reaches_whoever_compares_it(value: float) -> None:
    message = [{"role": "user", "content": "Spell apple."}]
    sent = ChatRequest.model_validate({"model": "m", "messages": message, "temperature": value})
    again = ChatRequest.model_validate_json(sent.model_dump_json(exclude_unset=True))
    assert again.temperature is not None
    assert again.temperature != 0.6
