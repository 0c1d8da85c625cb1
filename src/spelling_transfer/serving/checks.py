"""What is checked of an endpoint: its contract, and every attack of the policy's probe.

The attacks are those of `kedro_non_thinking/attempts.py`. The policy asks that none leads to a thought. This endpoint
promises more: what it refuses it refuses by the name of the field, and a question stays the text it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kedro_non_thinking import (
    PROBE_QUESTION,
    Policy,
    ProbeCase,
    ProbeReply,
    ProbeResult,
    ask_endpoint,
    probe_cases,
    run_probe,
)
from spelling_transfer.models.generate import Sampling
from spelling_transfer.serving.client import EndpointClient, Reply
from spelling_transfer.serving.protocol import NON_THINKING_ONLY, text_rules
from spelling_transfer.serving.settings import ServedSettings
from spelling_transfer.tokenizer.chat import ChatTokenizer


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        id: Stable name, ``group/what``.
        requirement: What must hold, in a sentence.
        evidence: What was seen: status, code and message of a refusal, or the answer.
    """

    id: str
    requirement: str
    passed: bool
    evidence: dict[str, Any] = field(default_factory=dict)


# What has nothing to do with thoughts; every attempt to make the model think is in kedro_non_thinking/attempts.py.
# Name, the field to be named, what is changed, the code of the refusal.
_REFUSALS: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("unknown-field", "no_such_field", {"no_such_field": 1}, "unknown_field"),
    ("stop-words", "stop", {"stop": ["e"]}, "invalid_value"),
    ("other-model", "model", {"model": "no-such-model"}, "model_not_found"),
    ("answer-too-long", "max_tokens", {"max_tokens": 10**6}, "invalid_value"),
)


def check_refusals(client: EndpointClient, sampling: Sampling) -> Iterator[Check]:
    """Sends requests that must be refused, each with a message that names the field.

    Args:
        client: An open client.
        sampling: The policy's values, from which requests deviate one at a time.
    """
    deviations = (
        (f"sampling-{name}", name, {name: value}, "sampling_is_fixed")
        for name, value in _other_values(sampling).items()
    )
    for name, named, change, code in (*_REFUSALS, *deviations):
        reply = client.ask(PROBE_QUESTION, **change)
        found, message = reply.error.get("code"), str(reply.error.get("message", ""))
        is_named = named in message or str(reply.error.get("param")).startswith(named)
        sent = json.dumps(change)
        yield Check(
            f"refuses/{name}",
            f"Such a request is refused, and the message names {named}.",
            400 <= reply.status < 500 and is_named and found == code,
            {"sent": sent, "status": reply.status, "code": found, "message": message or reply.text},
        )


def check_accepted(client: EndpointClient, sampling: Sampling, question: str) -> Iterator[Check]:
    """Sends requests that say explicitly what the policy says anyway; they must be answered, and repeatably."""
    variants: dict[str, dict[str, Any]] = {
        "explicit-non-thinking": {"enable_thinking": False},
        "explicit-template-arguments": {"chat_template_kwargs": {"enable_thinking": False}},
        "explicit-sampling": sampling.model_dump(),
    }
    for name, fields in variants.items():
        reply = client.ask(question, seed=0, **fields)
        requirement = f"A request with {', '.join(fields)} at the policy's value is answered."
        yield Check(f"accepts/{name}", requirement, reply.ok, _evidence(reply))
    first, second = (client.ask(question, seed=7, return_token_ids=True) for _ in range(2))
    yield Check(
        "accepts/seed",
        "The same question with the same seed gets the same answer.",
        first.ok and first.token_ids == second.token_ids,
        {"first": first.text, "second": second.text},
    )


def check_answers(
    client: EndpointClient, tokenizer: ChatTokenizer, questions: Sequence[str]
) -> tuple[list[Check], list[Reply]]:
    """Asks questions and checks prompt and answer by their token ids and their text.

    Args:
        client: An open client.
        tokenizer: The one that training used; the endpoint's prompts must be its prompts.
        questions: What to ask; the place of a question is its seed.

    Returns:
        Checks over all answers, and the replies in the order of the questions.
    """
    replies = [client.ask(question, seed=place, return_token_ids=True) for place, question in enumerate(questions)]
    n_suffix = len(tokenizer.suffix_ids)

    def all_hold(name: str, requirement: str, holds: Callable[[Reply, list[int]], bool]) -> Check:
        failed = [
            {"question": question, **_evidence(reply)}
            for question, reply, prompt in zip(questions, replies, tokenizer.encode_prompts(questions), strict=True)
            if not holds(reply, prompt)
        ]
        evidence = {"n_questions": len(questions), "n_failed": len(failed), "failed": failed[:5]}
        return Check(f"answers/{name}", requirement, not failed, evidence)

    checks = [
        all_hold("answered", "Every question of the test split is answered.", lambda reply, _: reply.ok),
        all_hold(
            "same-prompt",
            "The endpoint's prompt has the token ids of the prompt that training and evaluation use.",
            lambda reply, prompt: reply.prompt_token_ids == prompt,
        ),
        all_hold(
            "non-thinking-prompt",
            f"Every prompt ends in {'the closed, empty think block' if tokenizer.think_ids else 'the suffix'} "
            f"{list(tokenizer.suffix_ids)}.",
            lambda reply, _: tuple(reply.prompt_token_ids[-n_suffix:]) == tokenizer.suffix_ids,
        ),
        all_hold(
            "no-think-token-ids",
            f"No answer holds a think token, by ids {list(tokenizer.think_ids)}.",
            lambda reply, _: reply.ok and not set(tokenizer.think_ids) & set(reply.token_ids),
        ),
        all_hold(
            "no-think-tags",
            "No answer holds a think tag, by text, and none comes with reasoning beside it.",
            lambda reply, _: reply.ok and not _tags_in(reply),
        ),
        all_hold(
            "honest-counts",
            "Usage counts the tokens that were sent and generated.",
            _counts_are_right,
        ),
    ]
    return checks, replies


def check_settings(client: EndpointClient, sampling: Sampling, settings: ServedSettings) -> Iterator[Check]:
    """Reads what the endpoint says of itself.

    Args:
        client: An open client.
        sampling: The policy's values.
        settings: What stands beside the model.
    """
    info = client.get("/info").body.get("model") or {}
    sent = info.get("sampling")
    requirement = "The endpoint samples with the policy's four values, stated explicitly."
    yield Check("settings/sampling", requirement, sent == sampling.model_dump(), {"sampling": sent})
    runs = info.get("settings")
    requirement = "The endpoint runs with the engine, threads, batch and limits that stand beside the model."
    yield Check("settings/as-exported", requirement, runs == settings.model_dump(), {"settings": runs})
    models = [entry.get("id") for entry in client.get("/v1/models").body.get("data", [])]
    yield Check(
        "settings/models", "/v1/models lists the one model it serves.", models == [client.model], {"models": models}
    )


def _tags_in(reply: Reply) -> bool:
    message = reply.body["choices"][0]["message"]
    beside = any(message.get(name) for name in ("reasoning_content", "reasoning"))
    rules = text_rules()
    return beside or bool(rules.tags(rules.normalise(reply.text)))


def _counts_are_right(reply: Reply, prompt: list[int]) -> bool:
    if not reply.ok:
        return False
    usage, choice = reply.body["usage"], reply.body["choices"][0]
    n_generated = len(reply.token_ids) + (choice["finish_reason"] == "stop")
    expected = {
        "prompt_tokens": len(prompt),
        "completion_tokens": n_generated,
        "total_tokens": len(prompt) + n_generated,
    }
    return bool(usage == expected)


def _other_values(sampling: Sampling) -> dict[str, float]:
    return {
        "temperature": 0.0 if sampling.temperature != 0.0 else 1.0,
        "top_p": 1.0 if sampling.top_p != 1.0 else 0.5,
        "top_k": sampling.top_k + 1,
        "min_p": 0.1 if sampling.min_p != 0.1 else 0.2,
    }


def _evidence(reply: Reply) -> dict[str, Any]:
    if reply.ok:
        return {"status": reply.status, "answer": reply.text}
    return {"status": reply.status, "code": reply.error.get("code"), "message": reply.error.get("message")}


_GROUPS = {"refuse": "refuses", "either": "withstands", "answer": "accepts"}
_SHOWN_CHARACTERS = 200


def check_attacks(
    url: str, model: str, tokenizer: ChatTokenizer, policy: Policy, *, api_key: str | None = None
) -> Iterator[Check]:
    """Makes every attack once.

    Args:
        url: Address of the endpoint.
        model: The name to send.
        tokenizer: The one of training: the endpoint's prompts must be its prompts.
        policy: The rules, which say what is attacked and what a thought is.
        api_key: The endpoint's key, where it has one.
    """
    replies: dict[str, ProbeReply] = {}
    ask = ask_endpoint(url, model=model, api_key=api_key, fields={"seed": 0})

    def keep(case: ProbeCase) -> ProbeReply | None:
        reply = ask(case)
        if reply is not None:
            replies[case.name] = reply
        return reply

    cases = probe_cases(policy)
    report = run_probe(keep, policy, cases, prompt_end=tokenizer.end_without_tags)
    for case, result in zip(cases, report.results, strict=True):
        yield _check(case, result, replies[case.name], tokenizer)


def _check(case: ProbeCase, result: ProbeResult, reply: ProbeReply, tokenizer: ChatTokenizer) -> Check:
    named = [] if case.must == "answer" else _fields_to_name(case)
    problems = list(result.problems)
    if named and result.outcome == "answered":
        problems.append("answered, where this endpoint refuses")
    elif named and result.outcome == "refused":
        problems += _unnamed(case, named, reply)
    elif result.outcome == "answered":
        problems += _altered(case, reply, tokenizer)
    if case.must == "answer":
        requirement = "Such a request is answered, without a thought."
    elif named:
        requirement = f"Such a request is refused, and the message names {' or '.join(named)}."
    else:
        requirement = "Refused, or read as plain text and answered without a thought."
    evidence: dict[str, Any] = {"sent": _shown(case), "outcome": result.outcome, "said": result.answer}
    return Check(f"{_GROUPS[case.must]}/{case.name}", requirement, not problems, {**evidence, "problems": problems})


def _fields_to_name(case: ProbeCase) -> list[str]:
    """Returns the fields by one of which this endpoint refuses a request; none where it may be answered."""
    fields = [*_paths({name: value for name, value in case.fields.items() if name != "stream"}), *case.query]
    for place, said in enumerate(case.messages):
        wrong = [name for name in said if name not in ("role", "content")] + ["role"] * (said["role"] != "user")
        fields += [f"messages[{place}].{name}" for name in wrong]
    if len(case.messages) > 1:
        fields.append("messages")
    elif case.name.startswith("soft-switch/"):
        fields.append("messages[0].content")
    return fields


def _paths(fields: dict[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            yield from (f"{name}.{inner}" for inner in _paths(value))
        else:
            yield name


def _unnamed(case: ProbeCase, named: list[str], reply: ProbeReply) -> Iterator[str]:
    try:
        error = json.loads(reply.content)["error"]
        param, code, message = str(error["param"]), error["code"], str(error["message"])
    except (ValueError, KeyError, TypeError):
        yield "the refusal is no error object of OpenAI's form"
        return
    if param not in message or not any(field.startswith(param) for field in named):
        yield f"the refusal names {param!r}, not {' or '.join(named)}"
    if case.name.startswith(("setting/", "soft-switch/")) and code != NON_THINKING_ONLY:
        yield f"the code of the refusal is {code!r}, not {NON_THINKING_ONLY!r}"


def _altered(case: ProbeCase, reply: ProbeReply, tokenizer: ChatTokenizer) -> Iterator[str]:
    if case.fields.get("stream"):  # whose events hold no prompt
        return
    if case.question is not None and list(reply.prompt_ids) != tokenizer.encode_prompts([case.question])[0]:
        yield "the prompt is not the one that training renders for this text"


def _shown(case: ProbeCase) -> str:
    if case.query:
        return "?" + "&".join(f"{name}={value}" for name, value in case.query.items())
    sent: object = case.fields or case.question or case.messages
    text = sent if isinstance(sent, str) else json.dumps(sent, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… ({len(text):,} characters)"
