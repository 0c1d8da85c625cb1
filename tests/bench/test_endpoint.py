"""A public benchmark through an endpoint: ours, and small servers that answer as a script says, however wrong."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from json_server import json_server
from tests.serving.conftest import QUESTION, client, completion, deployable, endpoint, make_deployable

from spelling_transfer.bench import BenchError, EndpointAnswerer, open_endpoint
from spelling_transfer.serving.client import EndpointClient
from spelling_transfer.serving.settings import API_KEY_VARIABLE

__all__ = ["client", "deployable", "endpoint", "make_deployable"]


@pytest.fixture
def scripted():
    """Starts a server that gives the responses of a list in turn, the last one again and again."""
    with ExitStack() as servers:

        def start(*responses: tuple[int, dict[str, Any]], headers: dict[str, str] | None = None):
            bodies: list[dict[str, Any]] = []
            waits: list[float] = []

            def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
                bodies.append(body)
                return responses[min(len(bodies), len(responses)) - 1]

            url = servers.enter_context(json_server(answer, headers=headers))
            opened = EndpointClient(url, "m", timeout_seconds=5)
            return EndpointAnswerer(opened, 8, wait=waits.append, think_ids=(151667, 151668)), bodies, waits

        yield start


def error(status: int, message: str) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"message": message, "code": "x"}}


def counted(text: str, reasoning_tokens: int) -> tuple[int, dict[str, Any]]:
    status, body = completion(text)
    return status, {**body, "usage": {"completion_tokens_details": {"reasoning_tokens": reasoning_tokens}}}


def with_token(token: int) -> tuple[int, dict[str, Any]]:
    status, body = completion("3")
    body["choices"][0]["token_ids"] = [18, token]
    return status, body


def test_answers_are_asked_for_greedily_and_in_non_thinking_mode(scripted):
    answer, bodies, _ = scripted(completion("3"))
    assert answer(["How many?", "Begun?", "And?"], ["", " [", ""]) == [
        ("3", True),
        "the set's authors begin the answer, which an endpoint cannot",
        ("3", True),
    ]
    assert [body["messages"][0]["content"] for body in bodies] == ["How many?", "And?"]
    for body in bodies:
        assert (body["temperature"], body["max_tokens"]) == (0.0, 8)
        assert body["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize(
    "response",
    [
        completion("<think>\nr, r, r</think> 3"),
        completion("</think>3"),
        completion("3", message={"reasoning_content": "r, r, r"}),
        completion("3", message={"reasoning": "r"}),
        completion(None, message={"reasoning_content": "r"}),
        counted("3", reasoning_tokens=4),
        with_token(151667),
    ],
)
def test_an_endpoint_that_thinks_is_refused_and_never_scored(response, scripted):
    answer, _, _ = scripted(completion("3"), response)
    with pytest.raises(BenchError, match="The endpoint thinks"):
        answer(["a", "b"], ["", ""])


def test_the_wait_that_a_busy_endpoint_names_is_kept(scripted):
    answer, bodies, waits = scripted(
        error(429, "slow"), error(429, "slow"), completion("3"), headers={"Retry-After": "7"}
    )
    assert answer(["a"], [""]) == [("3", True)]
    assert (waits, len(bodies)) == ([7.0, 7.0], 3)
    answer, _, waits = scripted(error(503, "down"))
    assert answer(["a"], [""]) == ["no answer in 5 tries (x)"]
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_what_waits_for_a_busy_endpoint_ends_with_the_others():
    asked: list[str] = []

    def reply(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked.append(body["messages"][0]["content"])
        if asked[-1] == "thinks":
            return completion("</think>3")
        return error(503, "down") if asked[-1] == "busy" else completion("3")

    with json_server(reply, headers={"Retry-After": "30"}) as url:
        answer = EndpointAnswerer(EndpointClient(url, "m", timeout_seconds=5), 8)
        with pytest.raises(BenchError, match="The endpoint thinks"):
            answer(["first", "thinks", "busy"], [""] * 3)
    assert asked.count("busy") <= 1


def test_an_endpoint_that_is_not_there_gives_no_answer():
    waits: list[float] = []
    answer = EndpointAnswerer(EndpointClient("http://127.0.0.1:9", "m"), 8, wait=waits.append)
    assert answer(["a"], [""]) == ["no answer in 5 tries (unreachable)"]
    with pytest.raises(BenchError, match="names no model at /v1/models"):
        open_endpoint("http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"finish_reason": "length"}, ("3", False)),
        ({"finish_reason": None}, "half an answer (finish_reason None)"),
        ({"message": {"content": None}}, "half an answer (finish_reason 'stop')"),
        ({"message": {}}, "the response holds no answer"),
        ({"message": "3"}, "the response holds no answer"),
        (
            {"finish_reason": "length", "message": {"content": ""}},
            "as many tokens as were allowed, and no text: the endpoint hides what was generated",
        ),
        ({"token_ids": [18, 19]}, ("3", True)),
    ],
)
def test_half_an_answer_is_named(choice, expected, scripted):
    status, body = completion("3")
    body["choices"][0] |= choice
    answer, _, _ = scripted((status, body))
    assert answer(["a"], [""]) == [expected]


def test_fields_that_an_endpoint_refuses_are_left_out_and_said(scripted):
    refusals = [error(400, "unknown field chat_template_kwargs"), error(400, "temperature: only 1 is supported")]
    answer, bodies, _ = scripted(*refusals, completion("3"))
    assert answer(["a", "b"], ["", ""]) == [("3", True)] * 2
    assert [sorted(body) for body in bodies[2:]] == [
        ["max_tokens", "messages", "model", "return_token_ids", "seed"]
    ] * 2
    assert answer.decoding.startswith("the endpoint's own sampling")
    as_text = 400, {"error": "'seed' is not supported"}
    answer, _, _ = scripted(as_text, completion("3"), error(400, "no token for 'temperature'"))
    assert answer(["a", "a temperature"], ["", ""]) == [("3", True), "the endpoint refuses it with status 400 (x)"]
    assert answer.decoding == "greedy"
    echoed = 422, {"error": {"message": "too long", "code": "x"}, "input": {"temperature": 0, "seed": 1}}
    answer, _, _ = scripted(echoed, completion("3"))
    assert answer(["a", "b"], ["", ""])[1] == ("3", True)
    assert answer.decoding == "greedy"
    answer, _, _ = scripted(error(401, "no key"))
    assert scripted(error(422, "too long"))[0](["a"], [""]) == ["the endpoint refuses it with status 422 (x)"]
    with pytest.raises(BenchError, match="refuses with status 401: no key"):
        answer(["a"], [""])


def test_our_endpoint_answers(endpoint):
    with open_endpoint(f"{endpoint.url}/v1") as opened:
        assert opened.model == endpoint.model
        answer = EndpointAnswerer(opened, 4)
        given = answer([QUESTION, "What is zymurgy?", QUESTION], ["", "", ""])
        assert isinstance(given[0], tuple)
        assert given[1] == "the endpoint refuses it with status 400 (unknown_token)"
        assert given[2] == given[0]
        assert answer.decoding.startswith("the endpoint's own sampling")


@pytest.mark.parametrize("keys", ["alice:KEY1,bob:KEY2", "KEY1\n"])
def test_one_key_alone_is_sent_and_without_what_is_around_it(monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    sent: list[str | None] = []

    class Remembers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"data": [{"id": "m"}]}')

        def log_message(self, *_: object) -> None: ...

    monkeypatch.setenv(API_KEY_VARIABLE, keys)
    with HTTPServer(("127.0.0.1", 0), Remembers) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with open_endpoint(f"http://127.0.0.1:{server.server_port}") as opened:
            assert opened.model == "m"
    assert sent == ["Bearer KEY1"]
