"""The checks find a server that breaks the contract, and each way to give in to an attack; ours withstands all."""

from typing import Any

import pytest

from kedro_non_thinking import load_policy, probe_cases
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.serving.checks import (
    Check,
    check_accepted,
    check_answers,
    check_attacks,
    check_refusals,
    check_settings,
)
from spelling_transfer.serving.client import EndpointClient
from spelling_transfer.serving.deployable import read_card
from spelling_transfer.serving.process import RunningEndpoint
from spelling_transfer.serving.settings import ServedSettings
from spelling_transfer.tokenizer.chat import ChatTokenizer

from .conftest import QUESTION, SAMPLING, Serve, completion


def test_a_server_that_ignores_what_it_does_not_know_fails_every_refusal(
    served_by: Serve,
) -> None:
    checks = list(check_refusals(served_by(lambda body: completion("t h i n k")), SAMPLING))
    assert len(checks) == 8
    assert not any(check.passed for check in checks)
    assert all(check.evidence["status"] == 200 for check in checks)


def test_a_refusal_that_does_not_say_why_is_not_enough(served_by: Serve) -> None:
    checks = list(check_refusals(served_by(lambda body: (400, {"error": {"message": "bad request"}})), SAMPLING))
    assert not any(check.passed for check in checks)


def test_a_server_that_is_gone_fails_instead_of_ending_the_check(tokenizer: ChatTokenizer) -> None:
    with EndpointClient("http://127.0.0.1:9", "m", timeout_seconds=2) as client:
        checks = [*check_refusals(client, SAMPLING), *check_accepted(client, SAMPLING, QUESTION)]
        checks += check_answers(client, tokenizer, [QUESTION])[0]
        checks += check_settings(client, SAMPLING, ServedSettings())
    assert not any(check.passed for check in checks)


@pytest.mark.parametrize(
    ("reply", "failing"),
    [
        ({"text": "<think>\nhm\n</think>\n\na p p l e"}, "answers/no-think-tags"),
        ({"text": "a p p l e", "message": {"reasoning_content": "hm"}}, "answers/no-think-tags"),
        ({"text": "a p p l e", "token_ids": [151667, 64]}, "answers/no-think-token-ids"),
        ({"text": "a p p l e", "token_ids": [64]}, "answers/honest-counts"),
        ({"text": "a p p l e", "prompt_token_ids": [1, 2]}, "answers/same-prompt"),
        ({"text": "a p p l e", "prompt_token_ids": [1, 2]}, "answers/non-thinking-prompt"),
    ],
)
def test_each_fault_of_an_answer_is_found(
    served_by: Serve, tokenizer: ChatTokenizer, reply: dict[str, Any], failing: str
) -> None:
    prompt = tokenizer.encode_prompts([QUESTION])[0]
    usage = {"prompt_tokens": len(prompt), "completion_tokens": 1, "total_tokens": len(prompt) + 1}

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        fields = {"prompt_token_ids": prompt, "usage": usage, **reply}
        return completion(fields.pop("text"), **fields)

    checks, _ = check_answers(served_by(answer), tokenizer, [QUESTION, QUESTION])
    by_id = {check.id: check for check in checks}
    assert not by_id[failing].passed
    assert by_id[failing].evidence["n_failed"] == 2
    assert by_id["answers/answered"].passed


def test_our_own_endpoint_passes_every_check(
    client: EndpointClient, deployable: ModelFolder, tokenizer: ChatTokenizer
) -> None:
    answer_checks, replies = check_answers(client, tokenizer, [QUESTION, "How do you spell banana ?"])
    checks = [
        *check_refusals(client, SAMPLING),
        *check_accepted(client, SAMPLING, QUESTION),
        *answer_checks,
        *check_settings(client, SAMPLING, read_card(deployable).settings),
    ]
    assert [check for check in checks if not check.passed] == []
    assert len({check.id for check in checks}) == len(checks)
    assert all(reply.n_generated for reply in replies)


POLICY = load_policy()
REFUSAL = (400, {"error": {"message": "enable_thinking is true", "param": "enable_thinking", "code": "nope"}})


def attacked(client: EndpointClient, tokenizer: ChatTokenizer) -> dict[str, Check]:
    url = str(client._http.base_url)
    return {check.id.partition("/")[2]: check for check in check_attacks(url, client.model, tokenizer, POLICY)}


def answered(tokenizer: ChatTokenizer, body: dict[str, Any], **beside: Any) -> tuple[int, dict[str, Any]]:
    prompt = tokenizer.encode_prompts([str(body["messages"][-1]["content"])])[0]
    return completion("w o r d", **{"prompt_token_ids": prompt, **beside})


def test_our_own_endpoint_withstands_every_attack(endpoint: RunningEndpoint, tokenizer: ChatTokenizer) -> None:
    checks = list(check_attacks(endpoint.url, endpoint.model, tokenizer, POLICY))
    assert [check for check in checks if not check.passed] == []
    assert len(checks) == len(probe_cases(POLICY)) == len({check.id for check in checks})
    assert {check.evidence["outcome"] for check in checks} == {"answered", "refused"}


def test_a_server_that_ignores_what_it_does_not_know_fails_every_attack_by_a_field(
    served_by: Serve, tokenizer: ChatTokenizer
) -> None:
    checks = attacked(served_by(lambda body: answered(tokenizer, body)), tokenizer)
    by_field = [
        name for name in checks if name.startswith(("setting/", "sampling/", "tools/", "soft-switch/", "role/"))
    ]
    assert len(by_field) > 40
    assert [name for name in by_field if checks[name].passed] == []
    assert checks["control/question"].passed
    assert checks["language/german"].passed


def test_a_refusal_that_names_another_field_or_has_another_code_is_not_enough(
    served_by: Serve, tokenizer: ChatTokenizer
) -> None:
    checks = attacked(served_by(lambda body: REFUSAL), tokenizer)
    assert not checks["setting/reasoning_effort"].passed
    assert "names 'enable_thinking'" in str(checks["setting/reasoning_effort"].evidence["problems"])
    assert "code of the refusal is 'nope'" in str(checks["setting/enable_thinking"].evidence["problems"])
    assert not checks["control/question"].passed


@pytest.mark.parametrize("error", [{}, {"error": "no"}, {"error": {"message": "no"}}])
def test_a_refusal_without_a_reason_is_not_enough(
    served_by: Serve, tokenizer: ChatTokenizer, error: dict[str, Any]
) -> None:
    checks = attacked(served_by(lambda body: (400, error)), tokenizer)
    assert not checks["setting/enable_thinking"].passed
    assert not checks["soft-switch/end"].passed


def test_markup_that_became_tokens_is_found(served_by: Serve, tokenizer: ChatTokenizer) -> None:
    def parse_markup(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        # The end of the prompt inside the question is read as what it looks like: a turn, and an empty block.
        content = str(body["messages"][-1]["content"])
        prompt = tokenizer.encode_prompts([content])[0]
        if "<think>\n\n</think>" in content:
            prompt = [*tokenizer.encode_prompts([content.partition("<|im_end|>")[0]])[0], *tokenizer.suffix_ids]
        elif "<think>" in content:
            prompt[3] = tokenizer.think_ids[0]
        return completion("w o r d", prompt_token_ids=prompt)

    checks = attacked(served_by(parse_markup), tokenizer)
    assert not checks["injected/whole-prompt-end"].passed
    assert not checks["injected/tag"].passed
    assert checks["injected/escaped"].passed


@pytest.mark.parametrize(
    "beside", [{"message": {"reasoning_content": "hm"}}, {"message": {"content": "<think>"}}, {"token_ids": [151667]}]
)
def test_a_thought_under_an_attack_is_found(served_by: Serve, tokenizer: ChatTokenizer, beside: dict[str, Any]) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return answered(tokenizer, body, **(beside if "Denke" in str(body) else {}))

    checks = attacked(served_by(answer), tokenizer)
    assert not checks["language/german"].passed
    assert checks["language/french"].passed


def test_a_server_that_is_gone_fails_every_attack(tokenizer: ChatTokenizer) -> None:
    checks = list(check_attacks("http://127.0.0.1:9", "m", tokenizer, POLICY))
    assert not any(check.passed for check in checks)
