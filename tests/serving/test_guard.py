"""Keys, rates, read timeouts and sizes; a model that changes on disk."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.serving import link as link_module
from spelling_transfer.serving.deployable import read_card
from spelling_transfer.serving.front import Front
from spelling_transfer.serving.guard import CLIENT_GONE, Connection, Guard, Keys
from spelling_transfer.serving.link import WorkerLink
from spelling_transfer.serving.metrics import EndpointMetrics
from spelling_transfer.serving.outcome import Outcome, finished
from spelling_transfer.serving.process import RunningEndpoint
from spelling_transfer.serving.protocol import RefusedRequestError
from spelling_transfer.serving.settings import (
    API_KEY_VARIABLE,
    API_KEYS_FILE_VARIABLE,
    EndpointRefusedError,
    ServedSettings,
    endpoint_keys,
)

from .conftest import QUESTION, MakeDeployable, patient_endpoint

SETTINGS = ServedSettings(
    default_max_tokens=4, max_tokens_limit=32, read_timeout_seconds=1, requests_per_minute=2, threads=1
)
PATH = "/v1/chat/completions"


def test_keys_come_from_the_variable_and_the_file_with_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    assert endpoint_keys() == {}
    file = tmp_path / "keys"
    file.write_text("# ours\ncarol:ccc\n\n ddd \n")
    monkeypatch.setenv(API_KEYS_FILE_VARIABLE, str(file))
    monkeypatch.setenv(API_KEY_VARIABLE, " aaa,bob:bbb\n")
    assert endpoint_keys() == {"key-1": "aaa", "bob": "bbb", "carol": "ccc", "key-4": "ddd"}


@pytest.mark.parametrize(
    ("value", "file", "message"),
    [
        ("aaa,,bbb", None, "empty key between commas"),
        ("aaa, ", None, "empty key between commas"),
        ("bob:", None, "empty key between commas"),
        ("a:x1,a:x2", None, "no two keys have the same"),
        ("key 1:x1", None, "the part before the colon"),
        (None, "# none\n", "is set but empty"),
        (None, "se cret\n", "line 1 holds a blank"),
        (None, None, "cannot be read"),
    ],
)
def test_keys_of_no_use_are_refused_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, file: str | None, message: str
) -> None:
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(API_KEY_VARIABLE, value)
    else:
        monkeypatch.setenv(API_KEYS_FILE_VARIABLE, str(tmp_path / "keys"))
        if file is not None:
            (tmp_path / "keys").write_text(file)
    with pytest.raises(EndpointRefusedError, match=message) as caught:
        endpoint_keys()
    assert not {"x1", "secret", "se cret", "bbb"} & set(str(caught.value).replace(",", " ").split())


def test_a_rate_is_a_keys_own_and_grows_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    keys = Keys({"a": "x", "b": "y"}, per_minute=2)
    assert (keys.name("Bearer x"), keys.name("bearer y")) == ("a", "b")
    keys.spend("a")
    keys.spend("a")
    with pytest.raises(RefusedRequestError) as caught:
        keys.spend("a")
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (429, "rate_limited", 31)
    keys.spend("b")
    now[0] += 31
    keys.spend("a")
    with pytest.raises(RefusedRequestError):
        keys.spend("a")
    now[0] += 3600  # what is not asked for is not saved up
    keys.spend("a")
    keys.spend("a")
    with pytest.raises(RefusedRequestError):
        keys.spend("a")


@pytest.mark.parametrize("sent", ["Basic x", "x", "x x", "Bearerx", "Bearer", "Bearer z", ""])
def test_a_key_is_one_only_after_its_scheme(sent: str) -> None:
    with pytest.raises(RefusedRequestError) as caught:
        Keys({"a": "x"}, per_minute=None).name(sent)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert Keys({}, per_minute=None).name(sent) == ""


@pytest.mark.parametrize("host", ["evil.example:8000", "127.0.0.1.evil.example", "localhost@evil.example"])
def test_without_a_key_no_page_of_another_site_can_ask(endpoint: RunningEndpoint, host: str) -> None:
    for path in ("/v1/models", "/metrics", "/info"):
        answer = httpx.get(endpoint.url + path, headers={"Host": host}, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_host")
    asked = {"model": endpoint.model, "messages": [{"role": "user", "content": QUESTION}]}
    answer = httpx.post(endpoint.url + PATH, json=asked, headers={"Host": host}, trust_env=False)
    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_without_a_key_this_machine_may_ask_by_each_of_its_names(endpoint: RunningEndpoint, host: str) -> None:
    answer = httpx.get(endpoint.url + "/v1/models", headers={"Host": host}, trust_env=False)
    assert answer.status_code == 200


def test_with_a_key_the_name_is_of_no_account() -> None:
    Keys({"alice": "aaa"}, per_minute=None).check_host("speller.example.org")


@pytest.fixture(scope="module")
def folder(make_deployable: MakeDeployable, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return make_deployable(tmp_path_factory.mktemp("guard") / "deployable", SETTINGS)


@pytest.fixture(scope="module")
def guarded(folder: ModelFolder) -> Iterator[RunningEndpoint]:
    with patient_endpoint(folder, environment={API_KEY_VARIABLE: "alice:first-secret,second-secret"}) as endpoint:
        yield endpoint


def ask(endpoint: RunningEndpoint, key: str = "none", **fields: object) -> httpx.Response:
    body = {"model": endpoint.model, "messages": [{"role": "user", "content": QUESTION}], **fields}
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(endpoint.url + PATH, json=body, headers=headers, timeout=600, trust_env=False)


def said_on(endpoint: RunningEndpoint, sent: bytes) -> bytes:
    """All that comes back for some bytes on a connection that is then silent."""
    with socket.create_connection(("127.0.0.1", endpoint.listen.port), timeout=60) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_each_key_is_let_in_and_has_a_rate_of_its_own(guarded: RunningEndpoint) -> None:
    statuses = [ask(guarded, "first-secret", seed=i).status_code for i in range(3)]
    assert statuses == [200, 200, 429]  # the next is allowed after half a minute
    limited = ask(guarded, "first-secret")
    assert limited.json()["error"]["code"] == "rate_limited"
    assert 1 <= int(limited.headers["Retry-After"]) <= 60
    assert ask(guarded, "second-secret").status_code == 200
    assert ask(guarded, "third").status_code == 401


def test_half_a_body_is_told_so_in_time(guarded: RunningEndpoint) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n"
    said = said_on(guarded, head.encode() + b'{"model": ')
    assert said.startswith(b"HTTP/1.1 408 ")
    assert json.loads(said.split(b"\r\n\r\n", 1)[1])["error"]["code"] == "request_timeout"


@pytest.mark.parametrize("sent", [b"", b"POST /v1/cha", b"GET /health HTTP/1.1\r\nHost: "])
def test_who_says_nothing_is_hung_up_on(guarded: RunningEndpoint, sent: bytes) -> None:
    assert said_on(guarded, sent) == b""


def test_half_a_second_header_is_not_waited_for_either(guarded: RunningEndpoint) -> None:
    said = said_on(guarded, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: ")
    assert said.startswith(b"HTTP/1.1 404 ")
    assert said.count(b"HTTP/1.1 ") == 1


def test_a_stream_that_nobody_hears_to_its_end_is_no_answer() -> None:
    ended: list[Outcome] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        scope["state"]["outcome"].finish_reasons = ("stop",) if scope["method"] == "GET" else ()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None: ...

    guard = Guard(app, SETTINGS, ended.append)
    for method in ("POST", "GET"):
        asyncio.run(guard({"type": "http", "method": method, "path": PATH, "headers": []}, receive, send))
    assert [outcome.status for outcome in ended] == [CLIENT_GONE, 200]


@pytest.mark.parametrize("announced", [30, 5_000])
def test_who_was_refused_cannot_keep_a_connection_by_sending_on(
    monkeypatch: pytest.MonkeyPatch, announced: int
) -> None:
    monkeypatch.setattr(Connection, "read_timeout_seconds", 0.2)
    settings = ServedSettings(read_timeout_seconds=0.2, max_body_bytes=1_024)

    async def never(*_: Any) -> None:
        raise AssertionError("the body was not whole")

    async def sent_until_closed() -> bytes:
        config = uvicorn.Config(
            Guard(never, settings, lambda _: None),
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
        )
        server = uvicorn.Server(config)
        place = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve([place]))
        reader, writer = await asyncio.open_connection(*place.getsockname())
        writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {announced}\r\n\r\n".encode())
        said = await reader.readuntil(b"}}")
        for _ in range(5):  # so that the connection is not one that rests between two requests
            writer.write(b"a")
            await asyncio.sleep(0.1)
        assert await asyncio.wait_for(reader.read(), 2) == b""
        writer.close()
        server.should_exit = True
        await serving
        return said

    with contextlib.suppress(ConnectionError):
        assert asyncio.run(sent_until_closed()).startswith(b"HTTP/1.1 4")


def test_a_path_cannot_write_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    finished(Outcome("GET", "/v1/models/a:b\n2026-01-01 INFO POST \x1b[2J", status=404))
    assert caplog.messages[-1].startswith("GET /v1/models/a:b%0A2026-01-01%20INFO%20POST%20%1B%5B2J 404")


def test_a_client_that_is_slow_to_read_its_answer_takes_no_place_of_those_who_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = (
        'import sys; print("- ready {}", flush=True); name = sys.stdin.readline().split()[0]; '
        'print(name, "event", "{}"); print(name, "event", "{}"); print(name, "answer", "{}", flush=True); '
        "sys.stdin.read()"
    )

    async def asked() -> list[bytes]:
        monkeypatch.setattr(link_module, "_WORKER", script)
        link = WorkerLink({})
        await link.start()
        following = asyncio.create_task(link.run())
        while not link.ready:
            await asyncio.sleep(0.01)
        try:
            events = link.ask("chat")
            kinds = [(await anext(events))[0]]
            while link.waiting:
                await asyncio.sleep(0.01)
            return kinds + [kind async for kind, _ in events]
        finally:
            await link.close()
            following.cancel()

    assert asyncio.run(asyncio.wait_for(asked(), 30)) == [b"event", b"event", b"answer"]


def test_of_requests_that_come_at_once_no_more_wait_than_may(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_WORKER", 'import sys; print("- ready {}", flush=True); sys.stdin.read()')
    card = read_card(folder)
    card = replace(card, settings=card.settings.model_copy(update={"max_waiting": 3, "requests_per_minute": None}))
    link, metrics = WorkerLink({}), EndpointMetrics(folder, card, int)
    app = Guard(Front(card, link, Keys({}, None), metrics).app(), card.settings, metrics.observe)
    body = {"model": card.model, "messages": [{"role": "user", "content": QUESTION}]}

    async def statuses() -> list[int]:
        await link.start()
        following = asyncio.create_task(link.run())
        while not link.ready:
            await asyncio.sleep(0.01)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            asked = [asyncio.create_task(client.post(PATH, json=body)) for _ in range(12)]
            while sum(one.done() for one in asked) + len(link.waiting) < len(asked):
                await asyncio.sleep(0.01)
            await link.close()
            await following
            return [(await one).status_code for one in asked]

    answered = asyncio.run(asyncio.wait_for(statuses(), 60))
    assert sorted(answered) == [429] * 9 + [503] * 3  # the worker was ended while three waited


@pytest.mark.parametrize("last", ['print("x event {", end="", flush=True)', 'print("never three", flush=True)'])
def test_a_worker_that_ends_in_the_middle_of_a_line_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    script = f'import sys; print("- ready {{}}", flush=True); sys.stdin.readline(); {last}'

    async def asked() -> str:
        monkeypatch.setattr(link_module, "_WORKER", script)
        link = WorkerLink({})
        await link.start()
        following = asyncio.create_task(link.run())
        while not link.ready:
            await asyncio.sleep(0.01)
        try:
            async for _ in link.ask("ping"):
                pass
        except RefusedRequestError as refused:
            return refused.code
        finally:
            following.cancel()
            await link.close()
        return "answered"

    assert asyncio.run(asyncio.wait_for(asked(), 60)) == "worker_restarts"


def test_who_asks_before_the_model_is_loaded_is_not_told_that_it_ended() -> None:
    async def asked() -> str:
        async for _ in WorkerLink({}).ask("ping"):
            pass
        return "answered"

    with pytest.raises(RefusedRequestError, match="still starting"):
        asyncio.run(asked())


def test_a_body_of_no_announced_length_is_bounded_too(guarded: RunningEndpoint) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * 4096

    response = httpx.post(guarded.url + PATH, content=chunks(), timeout=60, trust_env=False)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"


def test_a_model_that_changes_on_disk_is_neither_used_nor_loaded(
    make_deployable: MakeDeployable, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = make_deployable(tmp_path / "model", SETTINGS.model_copy(update={"requests_per_minute": None}))
    with patient_endpoint(folder, show_log=True) as endpoint:
        before = ask(endpoint, seed=1, max_tokens=16).json()["choices"]
        weights = folder.path / "model.safetensors"
        with weights.open("r+b") as file:
            file.seek(weights.stat().st_size // 2)
            file.write(b"\0" * (weights.stat().st_size // 2))
        assert ask(endpoint, seed=1, max_tokens=16).json()["choices"] == before
        endpoint.worker().kill()
        assert endpoint.process.wait(timeout=300) == 1
    log = capfd.readouterr().out
    assert "model.safetensors" in log
    assert "Fatal Python error" not in log
