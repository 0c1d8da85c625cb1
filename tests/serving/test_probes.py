"""The checks of the contract find a server that breaks it."""

from collections.abc import Callable
from typing import Any

import pytest

from spelling_transfer.serving.client import EndpointClient
from spelling_transfer.serving.probes import (
    check_accepted,
    check_answers,
    check_refusals,
    check_settings,
)
from spelling_transfer.tokenizer.chat import ChatTokenizer

from .conftest import QUESTION, SAMPLING, Answer, completion


def test_a_server_that_ignores_what_it_does_not_know_fails_every_refusal(
    served_by: Callable[[Answer], EndpointClient],
) -> None:
    checks = list(check_refusals(served_by(lambda body: completion("t h i n k")), SAMPLING))
    assert len(checks) == 8
    assert not any(check.passed for check in checks)
    assert all(check.evidence["status"] == 200 for check in checks)


def test_a_refusal_that_does_not_say_why_is_not_enough(served_by: Callable[[Answer], EndpointClient]) -> None:
    checks = list(check_refusals(served_by(lambda body: (400, {"error": {"message": "bad request"}})), SAMPLING))
    assert not any(check.passed for check in checks)


def test_a_server_that_is_gone_fails_instead_of_ending_the_check(tokenizer: ChatTokenizer) -> None:
    with EndpointClient("http://127.0.0.1:9", "m", timeout_seconds=2) as client:
        checks = [*check_refusals(client, SAMPLING), *check_accepted(client, SAMPLING, QUESTION)]
        checks += check_answers(client, tokenizer, [QUESTION])[0]
        checks += check_settings(client, SAMPLING)
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
    served_by: Callable[[Answer], EndpointClient], tokenizer: ChatTokenizer, reply: dict[str, Any], failing: str
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


def test_our_own_endpoint_passes_every_check(client: EndpointClient, tokenizer: ChatTokenizer) -> None:
    answer_checks, replies = check_answers(client, tokenizer, [QUESTION, "How do you spell banana ?"])
    checks = [
        *check_refusals(client, SAMPLING),
        *check_accepted(client, SAMPLING, QUESTION),
        *answer_checks,
        *check_settings(client, SAMPLING),
    ]
    assert [check for check in checks if not check.passed] == []
    assert len({check.id for check in checks}) == len(checks)
    assert all(reply.n_generated for reply in replies)
