"""Every attack of the policy's probe made on the endpoint, and what this endpoint promises beyond the policy.

The attacks are those of `kedro_non_thinking/attempts.py`. The policy asks that none leads to a thought. This
endpoint promises more: what it refuses it refuses by the name of the field, and a question stays the text it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kedro_non_thinking import Policy, ProbeCase, ProbeReply, ProbeResult, ask_endpoint, probe_cases, run_probe
from spelling_transfer.serving.checks import Check
from spelling_transfer.serving.refusal import NON_THINKING_ONLY
from spelling_transfer.tokenizer.chat import ChatTokenizer

_GROUPS = {"refuse": "refuses", "either": "withstands", "answer": "accepts"}
_SHOWN_CHARACTERS = 200


def check_attacks(url: str, model: str, tokenizer: ChatTokenizer, policy: Policy) -> Iterator[Check]:
    """Makes every attack once.

    Args:
        url: Address of the endpoint.
        model: The name to send.
        tokenizer: The one of training: the endpoint's prompts must be its prompts.
        policy: The rules, which say what is attacked and what a thought is.
    """
    replies: dict[str, ProbeReply] = {}
    ask = ask_endpoint(url, model=model, fields={"seed": 0})

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
    fields = [*_paths(case.fields), *case.query]
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
    if case.question is not None and list(reply.prompt_ids) != tokenizer.encode_prompts([case.question])[0]:
        yield "the prompt is not the one that training renders for this text"


def _shown(case: ProbeCase) -> str:
    if case.query:
        return "?" + "&".join(f"{name}={value}" for name, value in case.query.items())
    sent: object = case.fields or case.question or case.messages
    text = sent if isinstance(sent, str) else json.dumps(sent, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… ({len(text):,} characters)"
