"""The endpoint over HTTP, as clients meet it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from spelling_transfer.serving.client import EndpointClient, Reply
from spelling_transfer.serving.process import RunningEndpoint
from spelling_transfer.serving.refusal import NON_THINKING_ONLY
from spelling_transfer.tokenizer.chat import ChatTokenizer

from .conftest import QUESTION, SAMPLING


def test_an_answer_has_the_form_that_openai_clients_read(client: EndpointClient) -> None:
    body = client.ask(QUESTION, seed=1, max_tokens=4).body
    assert body["object"] == "chat.completion"
    assert body["model"] == "wants-to-think"
    assert body["id"].startswith("chatcmpl-")
    (choice,) = body["choices"]
    assert choice["index"] == 0
    assert set(choice["message"]) == {"role", "content"}
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] in {"stop", "length"}
    assert choice["token_ids"] is None
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_thousand_answers_of_a_model_that_wants_to_think_hold_no_think_token(
    client: EndpointClient, tokenizer: ChatTokenizer
) -> None:
    def ask(seed: int) -> Reply:
        return client.ask(QUESTION, seed=seed, max_tokens=2, return_token_ids=True)

    with ThreadPoolExecutor(64) as pool:
        replies = list(pool.map(ask, range(1000)))
    assert all(reply.ok for reply in replies)
    assert any(reply.token_ids for reply in replies)
    assert not {token for reply in replies for token in reply.token_ids} & set(tokenizer.think_ids)
    assert not any("think>" in reply.text for reply in replies)


def test_a_refused_request_does_not_disturb_its_neighbours(client: EndpointClient) -> None:
    questions = [QUESTION, "How do you spell zymurgy ?"] * 12
    with ThreadPoolExecutor(len(questions)) as pool:
        statuses = list(pool.map(lambda question: client.ask(question, seed=0).status, questions))
    assert statuses == [200, 422] * 12


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"enable_thinking": True}, 400, NON_THINKING_ONLY),
        ({"chat_template_kwargs": {"enable_thinking": True}}, 400, NON_THINKING_ONLY),
        ({"no_such_field": 1}, 400, "unknown_field"),
        ({"temperature": 1.0}, 400, "sampling_is_fixed"),
        ({"model": "other"}, 404, "model_not_found"),
        ({"max_tokens": 33}, 400, "invalid_value"),
    ],
)
def test_refusals_have_openais_error_form(
    client: EndpointClient, fields: dict[str, Any], status: int, code: str
) -> None:
    reply = client.ask(QUESTION, **fields)
    assert reply.status == status
    assert reply.error["code"] == code
    assert reply.error["type"] == "invalid_request_error"
    assert reply.error["param"] in {*fields, "chat_template_kwargs.enable_thinking"}
    assert reply.error["message"]


@pytest.mark.parametrize("parameter", ["enable_thinking", "anything"])
def test_query_parameters_are_refused(client: EndpointClient, parameter: str) -> None:
    body = {"model": client.model, "messages": [{"role": "user", "content": QUESTION}]}
    reply = client.post(body, **{parameter: "true"})
    assert reply.status == 400
    assert parameter in reply.error["message"]


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/v1/chat/completions", b"{", 400),
        ("POST", "/v1/chat/completions", b"", 400),
        ("POST", "/v1/chat/completions", b"[1, 2]", 400),
        ("POST", "/v1/chat/completions", b"[" * 4000, 400),
        ("POST", "/v1/chat/completions", b'{"model": "' + b"x" * 5000 + b'"}', 413),
        ("GET", "/v1/chat/completions", b"", 405),
        ("POST", "/v1/completions", b"{}", 404),
        ("GET", "/v1/models/other", b"", 404),
    ],
)
def test_bad_input_gets_a_clear_error(
    endpoint: RunningEndpoint, method: str, path: str, content: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    response = httpx.request(method, endpoint.url + path, content=content, headers=headers, trust_env=False)
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_the_endpoint_says_what_it_serves(client: EndpointClient) -> None:
    assert [entry["id"] for entry in client.get("/v1/models").body["data"]] == ["wants-to-think"]
    assert client.get("/v1/models/wants-to-think").body["id"] == "wants-to-think"
    assert client.get("/health").status == 200
    info = client.get("/info").body["model"]
    assert info["sampling"] == SAMPLING.model_dump()
    assert info["enable_thinking"] is False
