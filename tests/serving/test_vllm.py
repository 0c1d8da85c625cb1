"""What surrounds vLLM behind the same front, tried with a stand-in for it.

The real thing is tried in ``tests/pipelines/test_deployment_check.py``, where SPELLING_TRANSFER_VLLM_PYTHON names it.
"""

import importlib.util
import json
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE
from spelling_transfer.serving import vllm_engine
from spelling_transfer.serving.client import EndpointClient
from spelling_transfer.serving.process import EndpointError, RunningEndpoint
from spelling_transfer.serving.settings import API_KEY_VARIABLE, ServedSettings
from spelling_transfer.serving.vllm_engine import VLLM_PYTHON_VARIABLE, VllmEngine, VllmError, running_vllm
from spelling_transfer.tokenizer.chat import ChatTokenizer

from .conftest import QUESTION, SAMPLING, MakeDeployable, patient_client, patient_endpoint

STAND_IN = Path(__file__).parent / "vllm_stand_in.py"
SETTINGS = ServedSettings(
    engine="vllm", default_max_tokens=8, max_tokens_limit=32, max_choices=4, queue_timeout_seconds=600, threads=1
)


class StandIn:
    """A vLLM that says what it is told, and tells what it was told."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.forgets()

    def forgets(self) -> None:
        (self.place / "asked.jsonl").write_text("")
        self.says([0])

    def says(self, rows: list[int], **other: Any) -> None:
        (self.place / "said.json").write_text(json.dumps({"rows": rows, **other}))

    @property
    def started(self) -> dict[str, Any]:
        return dict(json.loads((self.place / "started.json").read_text()))

    @property
    def asked(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.place / "asked.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    place = tmp_path_factory.mktemp("stand-in")
    python = place / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "$@"\n')
    python.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VLLM_PYTHON_VARIABLE, str(python))
        patch.setenv("SPELLING_TRANSFER_STAND_IN", str(place))
        yield StandIn(place)


@pytest.fixture(scope="module")
def folder(
    make_deployable: MakeDeployable, tokenizer: ChatTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> ModelFolder:
    letters = sorted({token for ids in tokenizer.encode_texts(["a b c d e f g"]) for token in ids})
    return make_deployable(tmp_path_factory.mktemp("vllm") / "deployable", SETTINGS, letters)


@pytest.fixture
def rows(folder: ModelFolder) -> Callable[..., list[int]]:
    """From token ids to rows of the model."""
    ids = json.loads((folder.path / TOKEN_IDS_FILE).read_text())
    return lambda wanted: [ids.index(token) for token in wanted]


@pytest.fixture(scope="module")
def served(folder: ModelFolder, stand_in: StandIn) -> Iterator[RunningEndpoint]:
    with patient_endpoint(folder) as endpoint:
        yield endpoint
    assert endpoint.stop_report is not None
    assert endpoint.stop_report.clean


@pytest.fixture
def asker(served: RunningEndpoint, stand_in: StandIn) -> Iterator[EndpointClient]:
    stand_in.forgets()
    with patient_client(served) as client:
        yield client


def test_a_request_is_sent_in_tokens_with_the_policys_sampling(
    asker: EndpointClient, stand_in: StandIn, tokenizer: ChatTokenizer, rows: Callable[..., list[int]]
) -> None:
    (said,) = tokenizer.encode_texts(["a b"])
    stand_in.says(rows([*said, tokenizer.end_id]))
    reply = asker.ask(QUESTION, seed=3, n=2, max_tokens=5, return_token_ids=True)
    assert reply.ok, reply.error
    assert [choice["message"]["content"] for choice in reply.body["choices"]] == ["a b", "a b"]
    assert reply.token_ids == said
    (prompt,) = tokenizer.encode_prompts([QUESTION])
    assert reply.prompt_token_ids == prompt
    assert reply.body["usage"]["completion_tokens"] == 2 * (len(said) + 1)
    assert stand_in.asked[-1] == {
        "model": asker.model,
        "prompt": rows(prompt),
        "max_tokens": 5,
        "stop_token_ids": rows([tokenizer.end_id]),
        "return_token_ids": True,
        **SAMPLING.model_dump(),
        "seed": 3,
        "n": 2,
        "stream": True,
    }
    asker.ask(QUESTION, seed=2**63 - 1, n=4)
    assert stand_in.asked[-1]["seed"] + 4 < 2**63


def test_a_stream_and_an_answer_that_is_cut_are_as_with_our_engine(
    asker: EndpointClient,
    served: RunningEndpoint,
    stand_in: StandIn,
    tokenizer: ChatTokenizer,
    rows: Callable[..., list[int]],
) -> None:
    (said,) = tokenizer.encode_texts(["a b c"])
    stand_in.says(rows(said), reason="length")
    body = {"model": asker.model, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 3, "stream": True}
    events = httpx.post(f"{served.url}/v1/chat/completions", json=body, trust_env=False, timeout=600).text
    lines = [line.removeprefix("data: ") for line in events.splitlines() if line]
    assert lines.pop() == "[DONE]"
    choices = [json.loads(line)["choices"][0] for line in lines]
    assert [choice["delta"].get("content") for choice in choices] == ["a", " b", " c", None]
    assert choices[-1]["finish_reason"] == "length"


def test_what_the_front_refuses_never_reaches_vllm(asker: EndpointClient, stand_in: StandIn) -> None:
    for fields, status in (({"enable_thinking": True}, 422), ({"temperature": 1.0}, 422), ({"logprobs": True}, 400)):
        reply = asker.ask(QUESTION, **fields)
        assert reply.status == status
        assert next(iter(fields)) in reply.error["message"]
    assert not [body for body in stand_in.asked if body["max_tokens"] > 1]  # one token is what /health asks for


def test_vllm_gets_tokens_alone_no_key_and_a_socket_that_only_this_user_may_open(
    folder: ModelFolder,
    stand_in: StandIn,
    tokenizer: ChatTokenizer,
    rows: Callable[..., list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "a-key-of-the-front")
    monkeypatch.setenv("PYTHONPATH", "/of/this/environment")
    with running_vllm(folder, "cpu", 600) as engine:
        assert engine.version == "0.stand-in"
        process = psutil.Process(engine.process.pid)
    assert not process.is_running()
    started = stand_in.started
    assert "--skip-tokenizer-init" in started["arguments"]
    assert "--generation-config=vllm" in started["arguments"]
    assert stat.S_IMODE(int(started["mode"], 8)) == 0o700
    assert not {API_KEY_VARIABLE, "PYTHONPATH"} & set(started["environment"])
    assert not Path(started["environment"]["SPELLING_TRANSFER_VLLM_PLACE"]).exists()
    n_rows = len(json.loads((folder.path / TOKEN_IDS_FILE).read_text()))
    allowed = tokenizer.encode_texts(["a b c d e f g"])[0]
    assert sorted({*started["forbidden"], *rows([*allowed, tokenizer.end_id])}) == list(range(n_rows))
    assert not set(started["forbidden"]) & set(rows([*allowed, tokenizer.end_id]))
    assert set(started["forbidden"]) >= set(rows(tokenizer.think_ids))


def test_without_a_filter_the_think_tags_alone_are_forbidden(
    make_deployable: MakeDeployable, stand_in: StandIn, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    folder = make_deployable(tmp_path / "unfiltered", SETTINGS)
    ids = json.loads((folder.path / TOKEN_IDS_FILE).read_text())
    with running_vllm(folder, "auto", 600):
        assert [ids[row] for row in stand_in.started["forbidden"]] == sorted(tokenizer.think_ids)


def test_vllm_that_dies_in_an_answer_is_started_again_and_those_who_waited_are_told(
    asker: EndpointClient, stand_in: StandIn, tokenizer: ChatTokenizer, rows: Callable[..., list[int]]
) -> None:
    said = rows([*tokenizer.encode_texts(["a"])[0], tokenizer.end_id])
    stand_in.says(said, dies=True)
    reply = asker.ask(QUESTION)
    assert (reply.status, reply.error["code"]) == (503, "worker_restarts")
    while (reply := asker.ask(QUESTION)).status == 503:
        threading.Event().wait(0.2)
    assert reply.text == "a"


@pytest.mark.parametrize(
    "said",
    [
        {"ids": False},
        {"status": 400},
        {"fails": True, "reason": None},
        {"reason": "abort"},
        {"reason": None},
        {"rows": [10**6]},
    ],
)
def test_what_vllm_says_wrong_is_an_error_of_ours_and_ends_nothing(
    asker: EndpointClient,
    stand_in: StandIn,
    tokenizer: ChatTokenizer,
    rows: Callable[..., list[int]],
    said: dict[str, Any],
) -> None:
    right = rows([*tokenizer.encode_texts(["a"])[0], tokenizer.end_id])
    stand_in.says(**{"rows": right, **said})
    reply = asker.ask(QUESTION)
    assert (reply.status, reply.error["code"]) == (500, "internal_error")
    assert "vLLM" not in reply.error["message"]
    stand_in.says(right)
    assert asker.ask(QUESTION).text == "a"


def test_an_answer_that_does_not_begin_in_time_is_refused(
    make_deployable: MakeDeployable, stand_in: StandIn, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"queue_timeout_seconds": 0.5})
    folder = make_deployable(tmp_path / "impatient", settings)
    with patient_endpoint(folder) as endpoint, patient_client(endpoint) as client:
        stand_in.says([], waits=True)
        reply = client.ask(QUESTION)
    assert (reply.status, reply.error["code"]) == (503, "busy")


def test_without_vllm_the_way_to_it_is_said(folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VLLM_PYTHON_VARIABLE, raising=False)
    with pytest.raises(VllmError, match=f"{VLLM_PYTHON_VARIABLE} is not set.*pip install vllm"):
        VllmEngine.load(folder)
    monkeypatch.setenv(VLLM_PYTHON_VARIABLE, "/no/such/python")
    with (
        pytest.raises(EndpointError, match="'/no/such/python', which is no program"),
        patient_endpoint(folder),
    ):
        pytest.fail("an endpoint without vLLM must not start")


def test_vllm_that_does_not_start_or_not_in_time_is_an_error_with_its_log(
    folder: ModelFolder, stand_in: StandIn
) -> None:
    (stand_in.place / "broken").touch()
    with (
        pytest.raises(VllmError, match=r"exit status 1(.|\n)*no room for the model"),
        running_vllm(folder, "auto", 600),
    ):
        pytest.fail("it did not start")
    (stand_in.place / "broken").unlink()
    with pytest.raises(VllmError, match="start_timeout_seconds"), running_vllm(folder, "auto", 0.0):
        pytest.fail("nothing starts that fast")


def test_forbidden_rows_leave_the_logits_of_either_model_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    spec = importlib.util.spec_from_file_location("allowed_tokens", vllm_engine._SIDE)
    assert spec is not None
    assert spec.loader is not None
    side = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(side)
    monkeypatch.setenv(vllm_engine._PLACE_VARIABLE, str(tmp_path))
    with pytest.raises(FileNotFoundError):
        side.AllowedTokens(None, torch.device("cpu"), False)
    (tmp_path / "forbidden.json").write_text("[0, 3]")
    cpu = torch.device("cpu")
    for processor, beside in (
        (side.AllowedTokens(None, cpu, False), ()),
        (side.AllowedTokens(None, SimpleNamespace(device=cpu)), (object(),)),
    ):
        logits = processor.apply(torch.zeros(2, 5), *beside)
        assert logits.isinf().tolist() == [[True, False, False, True, False]] * 2
        assert not processor.is_argmax_invariant()
