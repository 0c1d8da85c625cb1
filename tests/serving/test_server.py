"""The endpoint over HTTP, as clients meet it."""

import asyncio
import errno
import gzip
import json
import random
import resource
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.serving.client import EndpointClient, Reply
from spelling_transfer.serving.deployable import read_card
from spelling_transfer.serving.process import RunningEndpoint
from spelling_transfer.serving.protocol import NON_THINKING_ONLY, ChatRequest
from spelling_transfer.serving.server import LoopErrors, allow_open_files
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
    assert not [reply.error for reply in replies if not reply.ok]
    assert any(reply.token_ids for reply in replies)
    assert not {token for reply in replies for token in reply.token_ids} & set(tokenizer.think_ids)
    assert not any("think>" in reply.text for reply in replies)


def test_a_refused_request_does_not_disturb_its_neighbours(client: EndpointClient) -> None:
    questions = [QUESTION, "How do you spell zymurgy ?"] * 12
    with ThreadPoolExecutor(len(questions)) as pool:
        statuses = list(pool.map(lambda question: client.ask(question, seed=0).status, questions))
    assert statuses == [200, 400] * 12


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"enable_thinking": True}, 422, NON_THINKING_ONLY),
        ({"chat_template_kwargs": {"enable_thinking": True}}, 422, NON_THINKING_ONLY),
        ({"no_such_field": 1}, 400, "unknown_field"),
        ({"temperature": 1.0}, 422, "sampling_is_fixed"),
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


@pytest.mark.parametrize(
    ("parameters", "status"),
    [(["enable_thinking"], 422), (["anything"], 400), (["anything", "reasoning_effort"], 422)],
)
def test_query_parameters_are_refused(client: EndpointClient, parameters: list[str], status: int) -> None:
    body = {"model": client.model, "messages": [{"role": "user", "content": QUESTION}]}
    reply = client.post(body, **dict.fromkeys(parameters, "true"))
    assert reply.status == status
    assert parameters[-1] in reply.error["message"]


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/v1/chat/completions", b"{", 400),
        ("POST", "/v1/chat/completions", b"", 400),
        ("POST", "/v1/chat/completions", b"[1, 2]", 400),
        ("POST", "/v1/chat/completions", b"[" * 4000, 400),
        ("POST", "/v1/chat/completions", b'{"model": "' + b"x" * 5000 + b'"}', 413),
        ("GET", "/v1/chat/completions", b"", 405),
        ("POST", "/v1/completions", b"{}", 400),
        ("POST", "/v1/embeddings", b"{}", 404),
        ("GET", "/v1/models/other", b"", 404),
    ],
)
def test_bad_input_gets_a_clear_error(
    endpoint: RunningEndpoint, method: str, path: str, content: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    response = httpx.request(
        method, endpoint.url + path, content=content, headers=headers, trust_env=False, timeout=600
    )
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_the_endpoint_says_what_it_serves(client: EndpointClient) -> None:
    assert [entry["id"] for entry in client.get("/v1/models").body["data"]] == ["wants-to-think"]
    assert client.get("/v1/models/wants-to-think").body["id"] == "wants-to-think"
    assert client.get("/health").status == 200
    info = client.get("/info").body["model"]
    assert info["sampling"] == SAMPLING.model_dump()
    assert info["enable_thinking"] is False


@pytest.mark.parametrize(
    "fields",
    [
        {"stop": None, "presence_penalty": 0, "frequency_penalty": 0, "n": 1, "logprobs": False, "user": "u-1"},
        {"response_format": {"type": "text"}, "tools": [], "tool_choice": "none", "stream": False, "seed": 3},
        {
            "metadata": {"session": "7"},
            "store": False,
            "reasoning_effort": "none",
            "logit_bias": {},
            "top_logprobs": None,
        },
    ],
)
def test_neutral_values_get_the_answer_of_a_plain_request(client: EndpointClient, fields: dict[str, Any]) -> None:
    plain = client.ask(QUESTION, seed=3, return_token_ids=True)
    parts = [{"role": "user", "name": "someone", "content": [{"type": "text", "text": QUESTION}]}]
    body = {"model": client.model, "messages": parts, "return_token_ids": True, **fields, "seed": 3}
    reply = client.post(body)
    assert reply.ok, reply.error
    assert (reply.token_ids, reply.prompt_token_ids) == (plain.token_ids, plain.prompt_token_ids)


def post(endpoint: RunningEndpoint, content: bytes, path: str = "/v1/chat/completions") -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    return httpx.post(endpoint.url + path, content=content, headers=headers, trust_env=False, timeout=600)


@pytest.mark.parametrize(
    "content",
    [
        b'{"model": "wants-to-think\\ud800", "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "wants-to-think", "messages": [{"role": "user", "content": "How do you spell \\udfff ?"}]}',
        b'{"model": "wants-to-think", "messages": [{"role": "\\ud800", "content": "x"}]}',
        b'{"model": "wants-to-think", "\\ud800": 1, "messages": [{"role": "user", "content": "x"}]}',
        b'{"\\ud800": {"enable_thinking": true}}',
        b'"\\ud800"',
        b'["\\ud800"]',
        b'{"model": "\xff"}',
        b'{"model": "\xed\xa0\x80", "messages": []}',
        b'{"model": NaN, "messages": Infinity}',
        b'{"seed": ' + b"9" * 4000 + b"}",
        b'{"\\u0000": "\\u0000"}',
    ],
)
def test_text_that_is_no_text_is_a_clear_error(endpoint: RunningEndpoint, content: bytes) -> None:
    response = post(endpoint, content)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["message"]
    assert response.headers["content-type"] == "application/json"


ODD_VALUES = r""""\ud800"
"\udc00x"
"\u0000"
""
"/think"
"\u202e{}%s{0}"
null
true
-1
1e400
-1e-400
NaN
0.6
0x1
[]
{}
[[[[[]]]]]
[null]
{"type": "text"}
[{"type": "text", "text": "x"}]
[{"role": "user"}]
[{"type": "text", "text": "\ud83d"}]
[{"role": "user", "content": "x", "name": "\ud800"}]
[{"role": "user", "content": [{"type": "text", "text": "\udfff"}]}]
{"\ud800": 1}
{"a": {"enable_thinking": 1}}

""".splitlines()
ODD_VALUES += ['"' + "a" * 300 + '"', "9" * 400]


def malformed(chance: random.Random) -> bytes:
    """One request body with one to three things wrong: values, keys, JSON itself, or its bytes."""
    names = [
        *ChatRequest.model_fields,
        "stop",
        "tools",
        "logprobs",
        "response_format",
        "reasoning_effort",
        "logit_bias",
    ]
    entries = [("model", '"wants-to-think"'), ("max_tokens", "1")]
    entries.append(("messages", json.dumps([{"role": "user", "content": QUESTION}])))
    for _ in range(chance.randint(1, 3)):
        name = chance.choice([*names, "\\ud800", "", "a.b[0]", "enable_thinking\\udfff"])
        entries = [entry for entry in entries if entry[0] != name or chance.random() < 0.1]
        entries.insert(chance.randint(0, len(entries)), (name, chance.choice(ODD_VALUES)))
    body = ("{" + ", ".join(f'"{name}": {value}' for name, value in entries) + "}").encode()
    spot = chance.randrange(len(body))
    return {
        0: body[:spot],
        1: body[:spot] + bytes([chance.randrange(256)]) + body[spot:],
        2: body.decode().encode("utf-16"),
        3: b"[" + body + b"]",
    }.get(chance.randrange(12), body)


def test_no_malformed_body_of_500_breaks_the_endpoint(endpoint: RunningEndpoint, client: EndpointClient) -> None:
    chance = random.Random(17)
    bodies = [malformed(chance) for _ in range(500)]
    assert sum(b"\\ud" in body for body in bodies) > 100
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda body: post(endpoint, body), bodies))
    for body, response in zip(bodies, responses, strict=True):
        assert response.status_code in (200, 400, 404, 413, 422), (body, response.text)
        said = response.json()
        assert said["choices"] if response.status_code == 200 else said["error"]["message"], body
        assert "Traceback" not in response.text
    assert {response.status_code for response in responses} >= {200, 400, 404}
    assert client.ask(QUESTION).ok


@pytest.mark.parametrize("body", ["null", "true", "5", "0.5", '"text"', "[]", "[null]"])
def test_json_that_is_no_object_is_refused_as_such(endpoint: RunningEndpoint, body: str) -> None:
    for path in ("/v1/chat/completions", "/v1/completions"):
        response = post(endpoint, body.encode(), path)
        assert response.status_code == 400
        assert "JSON object" in response.json()["error"]["message"]


def test_a_body_that_is_not_called_json_is_told_which_header_it_needs(endpoint: RunningEndpoint) -> None:
    # What curl -d sends without a header.
    form = httpx.post(
        f"{endpoint.url}/v1/chat/completions",
        content=json.dumps({"model": "wants-to-think", "messages": [{"role": "user", "content": QUESTION}]}),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        trust_env=False,
        timeout=600,
    )
    assert form.status_code == 400
    assert "Content-Type: application/json" in form.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", ['{"model": "caf\xe9"}'.encode("latin-1"), gzip.compress(b"{}")], ids=["latin-1", "gzip"]
)
def test_a_body_that_no_parser_reads_says_what_it_may_be(endpoint: RunningEndpoint, body: bytes) -> None:
    response = post(endpoint, body)
    assert response.status_code == 400
    assert "UTF-8" in response.json()["error"]["message"]


def test_a_fault_of_ours_is_json_without_its_inside_and_one_line_of_the_log(
    deployable: ModelFolder, caplog: pytest.LogCaptureFixture
) -> None:
    from starlette.testclient import TestClient

    from spelling_transfer.serving.front import Front
    from spelling_transfer.serving.guard import Guard, Keys
    from spelling_transfer.serving.link import WorkerLink
    from spelling_transfer.serving.metrics import EndpointMetrics

    card = read_card(deployable)
    metrics = EndpointMetrics(deployable, card, int)
    app = Front(card, WorkerLink({}), Keys({}, None), metrics).app()

    async def broken() -> None:
        raise RuntimeError("secret inside \ud800")

    app.add_api_route("/broken", broken)
    response = TestClient(Guard(app, card.settings, metrics.observe)).get("/broken")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "secret inside" not in response.text
    (logged,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "secret inside" in logged
    assert "\n" not in logged


def test_a_stream_says_what_the_whole_answer_says(client: EndpointClient, endpoint: RunningEndpoint) -> None:
    fields = {"model": client.model, "seed": 5, "n": 2, "max_tokens": 6, "logprobs": True}
    body = {**fields, "messages": [{"role": "user", "content": QUESTION}]}
    whole = client.post(body).body
    events = post(endpoint, json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode())
    assert events.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in events.text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks.pop() | {"id": 0, "created": 0} == {
        **{name: whole[name] for name in ("model", "system_fingerprint", "usage")},
        "object": "chat.completion.chunk",
        "id": 0,
        "created": 0,
        "choices": [],
    }
    for choice in whole["choices"]:
        said = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == choice["index"]]
        assert "".join(one["delta"].get("content", "") for one in said) == choice["message"]["content"]
        n_tokens = len(choice["logprobs"]["content"])
        assert [one["finish_reason"] for one in said] == [None] * max(n_tokens, 1) + [choice["finish_reason"]]
        logprobs = [entry for one in said if one["logprobs"] for entry in one["logprobs"]["content"]]
        assert logprobs == choice["logprobs"]["content"]


def test_the_schema_knows_every_status_and_what_is_accepted(endpoint: RunningEndpoint) -> None:
    schema = httpx.get(f"{endpoint.url}/openapi.json", trust_env=False, timeout=600).json()
    operation = schema["paths"]["/v1/chat/completions"]["post"]
    assert set(operation["responses"]) >= {"200", "400", "401", "404", "413", "422", "429", "500", "503"}
    assert operation["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorBody")
    request = schema["components"]["schemas"]["ChatRequest"]
    assert set(request["properties"]) >= {*ChatRequest.model_fields, "stop", "tools", "reasoning_effort"}
    assert request["additionalProperties"] is False
    assert request["properties"]["model"]["enum"] == ["wants-to-think"]
    assert request["properties"]["temperature"]["enum"] == [None, SAMPLING.temperature]
    assert request["properties"]["max_tokens"]["maximum"] == 32
    assert (request["properties"]["messages"]["minItems"], request["properties"]["messages"]["maxItems"]) == (1, 1)


def test_as_many_connections_are_allowed_as_the_system_lets_it_have() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        allow_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 512
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_without_room_are_one_line_of_the_log_and_other_faults_all_of_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(LoopErrors())
    for _ in range(100):
        full = OSError(errno.EMFILE, "Too many open files")
        loop.call_exception_handler({"message": "socket.accept() out of system resource", "exception": full})
    loop.call_exception_handler({"message": "another fault", "exception": OSError(errno.EIO, "Input/output error")})
    loop.close()
    first, other = (record.getMessage() for record in caplog.records)
    assert first.endswith(
        "cannot be taken: Too many open files. Raise the limit of open files (ulimit -n) and start again."
    )
    assert "another fault" in other
