"""The probe: passes what obeys, and finds each way in which a model or an endpoint may think."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from json_server import Answer, json_server

from kedro_non_thinking.attempts import ProbeCase, probe_cases
from kedro_non_thinking.cli import commands
from kedro_non_thinking.errors import PolicyError
from kedro_non_thinking.policy import Policy
from kedro_non_thinking.probe import ProbeReply, ask_endpoint, ask_model, run_probe
from spelling_transfer.tokenizer.chat import load_chat_tokenizer

END = [151667, 271, 151668, 271]


PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "w, o"}]}, {"type": "text", "text": "w o r d"}]


def _message(content: str = "w o r d", **extra: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, **extra.pop("message", {})}
    return {"choices": [{"message": message, "token_ids": [64, 65], **extra}], "prompt_token_ids": [1, *END]}


def _obedient(body: dict[str, Any]) -> tuple[int, dict[str, Any] | str]:
    """An endpoint that takes one question, the policy's settings and nothing else."""
    known = {"model", "messages", "max_tokens", "return_token_ids"}
    extra = {name: value for name, value in body.items() if name not in known}
    if extra.pop("enable_thinking", False) is not False or extra or len(body["messages"]) != 1:
        return 422, {"error": {"message": f"not supported: {sorted(extra)}"}}
    return 200, _message()


def test_the_attempts_cover_every_attack_and_every_tag_and_switch_of_the_rules(policy: Policy) -> None:
    switch = policy.rules.soft_switch.model_copy(update={"switches": ("/think", "/reason")})
    policy = policy.model_copy(update={"rules": policy.rules.model_copy(update={"soft_switch": switch})})
    cases = probe_cases(policy)
    attacks = {case.name.split("/")[0] for case in cases}
    wanted = {"system", "soft-switch", "setting", "prefill", "role", "tools", "injected", "language", "long", "stream"}
    assert wanted | {"history", "sampling", "control"} <= attacks
    assert len({case.name for case in cases}) == len(cases)
    texts = json.dumps([case.messages for case in cases], ensure_ascii=False)
    assert all(f"<{tag}>" in texts for tag in policy.rules.think_tag.tags[:1])
    assert all(switch in texts for switch in policy.rules.soft_switch.switches)
    assert any(len(str(case.messages)) > 10_000 for case in cases)


def test_an_endpoint_that_obeys_passes(policy: Policy) -> None:
    with json_server(_obedient) as url:
        report = run_probe(ask_endpoint(url), policy)
    failed = [(result.name, result.problems) for result in report.results if not result.passed]
    assert failed == []
    assert report.passed
    assert report.as_dict()["counts"]["answered"] > 20


def _thinks_when(holds: Callable[[dict[str, Any]], bool], reply: dict[str, Any]) -> Answer:
    return lambda body: (200, reply) if holds(body) else _obedient(body)


def _last(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (_thinks_when(lambda body: "/think" in _last(body), _message("<think>w, o</think>w o r d")), "soft-switch/end"),
        (_thinks_when(lambda body: "一步" in _last(body), _message("＜ｔｈｉｎｋ＞")), "language/chinese"),
        (
            _thinks_when(lambda body: "chat_template_kwargs" in body, _message()),
            "setting/chat_template_kwargs.enable_thinking",
        ),
        (_thinks_when(lambda body: body.get("enable_thinking") is True, _message()), "setting/enable_thinking"),
        (
            _thinks_when(lambda body: len(_last(body)) > 9_000, _message(message={"reasoning_content": "hm"})),
            "long/words",
        ),
        (_thinks_when(lambda body: len(body["messages"]) == 2, _message(token_ids=[5, 151667])), "prefill/open-tag"),
        (_thinks_when(lambda body: "tools" in body, _message(message={"reasoning": "hm"})), "tools/think"),
        (
            _thinks_when(
                lambda body: "stream" in body,
                'data: {"choices": [{"delta": {"content": "<thi"}}]}\n\n'  # type: ignore[arg-type]
                'data: {"choices": [{"delta": {"content": "nk>"}}]}\n\ndata: [DONE]\n\n',
            ),
            "stream/question",
        ),
        (_thinks_when(lambda body: "tools" in body, _message(message={"content": PARTS})), "tools/think"),
        (lambda body: (429, {}) if "tools" in body else _obedient(body), "tools/think"),
        (lambda body: (200, {**_message(), "prompt_token_ids": [151667, 198]}), "control/question"),
        (lambda body: (422, {}), "control/question"),
        (lambda body: (500, {}), "control/question"),
        (lambda body: (200, "no JSON"), "control/question"),
        (lambda body: (200, {"choices": []}), "control/question"),
        (lambda body: (200, {"choices": [{"message": None}]}), "control/question"),
    ],
)
def test_an_endpoint_that_thinks_is_found(policy: Policy, answer: Answer, found: str) -> None:
    with json_server(answer) as url:
        report = run_probe(ask_endpoint(url, model="tiny"), policy)
    assert not report.passed
    failed = {result.name: result.problems for result in report.results if not result.passed}
    assert failed[found]


def test_an_endpoint_that_does_not_know_token_ids_is_asked_without(policy: Policy) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any] | str]:
        if "return_token_ids" in body:
            return 400, {"error": "unknown field return_token_ids"}
        status, content = _obedient(body)
        return status, content

    with json_server(answer) as url:
        assert run_probe(ask_endpoint(url), policy).passed


def test_parts_of_an_answer_and_chunks_without_one_are_read(policy: Policy) -> None:
    counts = 'data: {"choices": [{"delta": {"content": "w"}}]}\n\ndata: {"choices": [], "usage": {}}\n\n'

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any] | str]:
        return (200, counts) if "stream" in body else (200, _message(message={"content": PARTS[1:]}))

    cases = [case for case in probe_cases(policy) if case.name in ("control/question", "stream/question")]
    with json_server(answer) as url:
        report = run_probe(ask_endpoint(url), policy, cases)
    assert [(result.answer, result.problems) for result in report.results] == [("w o r d", ()), ("w", ())]


def test_an_endpoint_elsewhere_is_asked_through_the_proxy_and_one_here_is_not(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = probe_cases(policy)[:1]
    with json_server(_obedient) as url:
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "")
        assert run_probe(ask_endpoint("http://speller.invalid"), policy, control).passed
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert run_probe(ask_endpoint(url), policy, control).passed


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.0.0.1:1x"])
def test_nobody_there_is_an_error_that_names_the_address(url: str) -> None:
    with pytest.raises(PolicyError, match=r"127\.0\.0\.1:1"):
        ask_endpoint(url, timeout_seconds=1)


@pytest.mark.parametrize(("answer", "code"), [(_obedient, 0), (lambda body: (200, _message("<think>")), 1)])
def test_the_command_ends_as_the_probe_does(answer: Answer, code: int, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with json_server(answer) as url:
        result = CliRunner().invoke(commands, ["policy", "probe", url, "--format", "json"])
    assert result.exit_code == code
    assert json.loads(result.output)["passed"] is (code == 0)


def test_why_a_plain_question_was_refused_is_said(policy: Policy) -> None:
    with json_server(lambda _: (401, {"error": {"message": "send the key"}})) as url:
        (result,) = run_probe(ask_endpoint(url), policy, probe_cases(policy)[:1]).results
    assert "send the key" in result.problems[0]


def test_the_command_ends_with_2_where_nobody_is_there(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(commands, ["policy", "probe", "http://127.0.0.1:1"]).exit_code == 2


def test_a_model_is_asked_through_the_projects_prompt_function(policy: Policy) -> None:
    tokenizer = load_chat_tokenizer()

    def probe(answers: Callable[[list[int]], list[int]]) -> Any:
        ask = ask_model(
            tokenizer.encode_prompts, lambda prompts: [answers(prompt) for prompt in prompts], tokenizer.decode
        )
        return run_probe(ask, policy)

    good = probe(lambda prompt: [86, 297, 435, 294])
    assert good.passed
    assert good.as_dict()["counts"]["not applicable"] > 0
    thinking = probe(lambda prompt: [86, 151667])
    assert not thinking.passed
    assert all(not result.passed for result in thinking.results if result.outcome == "answered")


def test_a_probe_that_was_never_answered_does_not_pass(policy: Policy) -> None:
    refused = (ProbeCase("a/b", ({"role": "user", "content": "x"},)),)
    assert not run_probe(lambda case: ProbeReply(refused=True), policy, refused).passed


@pytest.mark.parametrize("key", ["se\ncret", "se\u200bcret", "secret\n"])
def test_a_key_that_cannot_be_sent_is_not_shown(key: str) -> None:
    with pytest.raises(PolicyError) as caught:
        ask_endpoint("http://127.0.0.1:1", api_key=key, timeout_seconds=1)
    assert "cret" not in str(caught.value)
