"""The behaviour probe: asks a model or an endpoint to think in every way we know, and looks for thoughts.

Run it after every merge of an adapter and before every release: a merge can wake habits that the base had unlearnt, and
no check of configuration sees that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .attempts import ProbeCase, probe_cases
from .errors import PolicyError
from .findings import shorten
from .judge import Judge, Mode
from .policy import Policy
from .tokens import judge_answers, judge_prompts


@dataclass(frozen=True)
class ProbeReply:
    """What came back for one attempt.

    Attributes:
        reasoning: What came in a field of thoughts beside the answer.
        token_ids: Ids of the answer, where they are known.
        prompt_ids: Ids of the prompt that was used, where they are known.
        fault: What went wrong, if neither an answer nor a refusal came.
    """

    refused: bool = False
    content: str = ""
    reasoning: str = ""
    token_ids: tuple[int, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    fault: str = ""


Ask = Callable[[ProbeCase], ProbeReply | None]
"""Makes one attempt; ``None`` where it cannot be made at all, as a model without a server takes no fields."""


@dataclass(frozen=True)
class ProbeResult:
    """What an attempt led to.

    Attributes:
        outcome: ``"answered"``, ``"refused"``, ``"fault"`` or ``"not applicable"``.
        passed: Whether the policy was kept.
        answer: The answer, shortened.
    """

    name: str
    outcome: str
    passed: bool
    problems: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class ProbeReport:
    """What all attempts led to."""

    results: tuple[ProbeResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every attempt kept the policy, and at least one was answered."""
        return all(result.passed for result in self.results) and any(r.outcome == "answered" for r in self.results)

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as JSON has it."""
        outcomes = [result.outcome for result in self.results]
        counts = {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
        return {"passed": self.passed, "counts": counts, "results": [asdict(result) for result in self.results]}


def run_probe(
    ask: Ask,
    policy: Policy,
    cases: Iterable[ProbeCase] | None = None,
    *,
    prompt_end: Sequence[int] | None = None,
) -> ProbeReport:
    """Makes all attempts and judges what came back: content, thoughts beside it, token ids.

    Args:
        ask: Makes one attempt: :func:`ask_endpoint`, :func:`ask_model`, or your own.
        policy: The rules.
        cases: The attempts; ``None`` takes all of them.
        prompt_end: What each prompt has to end in; ``None`` takes the empty think block of the rules. A tokenizer
            without think tags has no such block: its prompts end as its template has it.
    """
    judge = Judge(policy)
    end = tuple(policy.rules.think_token.prompt_end_ids if prompt_end is None else prompt_end)
    chosen = probe_cases(policy) if cases is None else tuple(cases)
    return ProbeReport(tuple(_judge_reply(case, ask(case), judge, end) for case in chosen))


def ask_model(
    encode_prompts: Callable[[Sequence[str]], list[list[int]]],
    generate: Callable[[list[list[int]]], list[list[int]]],
    decode: Callable[[Sequence[int]], str],
    *,
    refusals: type[Exception] | tuple[type[Exception], ...] = (),
) -> Ask:
    """Returns a way to ask a model itself, through the project's own prompt function.

    For the habits of a model to show, ``generate`` has to leave out the mask on the think tokens.

    Args:
        encode_prompts: Questions to token ids.
        generate: Prompts to the ids of their answers.
        decode: Ids to text, in which a think tag has to show: special tokens must not be left out.
        refusals: What the other arguments raise where the model cannot read a question.
    """

    def ask(case: ProbeCase) -> ProbeReply | None:
        if case.question is None or case.echo:
            return None
        try:
            prompt = encode_prompts([case.question])[0]
            answer = generate([prompt])[0]
        except refusals as error:
            return ProbeReply(refused=True, content=str(error))
        return ProbeReply(content=decode(answer), token_ids=tuple(answer), prompt_ids=tuple(prompt))

    return ask


def ask_endpoint(
    url: str,
    *,
    model: str | None = None,
    api_key: str | None = None,
    fields: Mapping[str, Any] | None = None,
    timeout_seconds: float = 60.0,
) -> Ask:
    """Returns a way to ask an endpoint with the chat interface of OpenAI.

    Args:
        url: Where it listens; ``/v1/chat/completions`` is added where it is missing.
        model: The model's name; ``None`` takes the first one the endpoint lists.
        api_key: Sent as a bearer token.
        fields: Sent with every attempt, such as a seed.
        timeout_seconds: How long one answer may take.

    Raises:
        PolicyError: The endpoint cannot be reached, or the key is none; no message shows it.
    """
    import httpx

    api_key = (api_key or "").strip()
    if not all("!" <= character <= "~" for character in api_key):  # the client's own message would quote it
        raise PolicyError(
            "The key for the endpoint holds a blank, a line break or another character that a key cannot have."
        )

    base = url.rstrip("/").removesuffix("/chat/completions").removesuffix("/v1")
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        # An endpoint on this machine must not be looked for behind a proxy.
        remote = httpx.URL(base).host not in ("127.0.0.1", "localhost", "::1", "0.0.0.0")  # noqa: S104
        client = httpx.Client(base_url=base, headers=headers, timeout=timeout_seconds, trust_env=remote)
        name = model or _first_model(client)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError, ImportError, OSError) as error:
        raise PolicyError(
            f"{url}: the endpoint cannot be reached ({error}). Is it running, and is the address right?"
        ) from error

    def ask(case: ProbeCase) -> ProbeReply:
        body = {"model": name, "messages": list(case.messages), "max_tokens": 24, **(fields or {}), **case.fields}
        try:
            sent = {**body, "return_token_ids": True}
            reply = client.post("/v1/chat/completions", json=sent, params=case.query)
            if reply.status_code in (400, 422) and "return_token_ids" in reply.text:
                reply = client.post("/v1/chat/completions", json=body, params=case.query)
        except httpx.HTTPError as error:
            return ProbeReply(fault=f"{type(error).__name__}: {error}")
        if 400 <= reply.status_code < 500 and reply.status_code not in (408, 429):  # too slow or too often, not judged
            return ProbeReply(refused=True, content=reply.text)
        if reply.status_code != 200:
            return ProbeReply(fault=f"status {reply.status_code}: {shorten(reply.text)}")
        try:
            return _read_stream(reply.text) if case.fields.get("stream") else _read_reply(reply.json())
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            return ProbeReply(fault=f"an answer that cannot be read ({error!r})")

    return ask


def _first_model(client: Any) -> str:
    reply = client.get("/v1/models")
    models = reply.json()["data"] if reply.status_code == 200 else []
    return str(models[0]["id"]) if models else "default"


def _read_reply(body: dict[str, Any]) -> ProbeReply:
    choice = body["choices"][0]
    message = choice["message"]
    content, reasoning = _read_message(message)
    return ProbeReply(
        content=content,
        reasoning=reasoning,
        token_ids=tuple(choice.get("token_ids") or message.get("token_ids") or ()),
        prompt_ids=tuple(body.get("prompt_token_ids") or ()),
    )


def _read_stream(text: str) -> ProbeReply:
    content, reasoning = "", ""
    ids: list[int] = []
    for line in text.splitlines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        for choice in json.loads(data)["choices"][:1]:  # a chunk of counts has none
            said, thought = _read_message(choice.get("delta") or {})
            content, reasoning = content + said, reasoning + thought
            ids += choice.get("token_ids") or []
    return ProbeReply(content=content, reasoning=reasoning, token_ids=tuple(ids))


def _read_message(message: dict[str, Any]) -> tuple[str, str]:
    """Returns the content of a message and the thoughts beside it; some servers cut it into parts of either kind."""
    content = message.get("content") or ""
    parts = [] if isinstance(content, str) else content
    fields = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
    found = [entry for part in (message, *parts) for name in fields if (entry := part.get(name))]
    text = content if isinstance(content, str) else "".join(part.get("text") or "" for part in parts)
    return text, " ".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in found)


def _judge_reply(case: ProbeCase, reply: ProbeReply | None, judge: Judge, end: tuple[int, ...]) -> ProbeResult:
    if reply is None:
        return ProbeResult(case.name, "not applicable", True, (), "")
    if reply.fault:
        return ProbeResult(case.name, "fault", False, (reply.fault,), "")
    if reply.refused:
        said = shorten(reply.content)
        turned_down = (f"a question that has to be answered was refused: {said}",) if case.must == "answer" else ()
        return ProbeResult(case.name, "refused", not turned_down, turned_down, said)
    problems = tuple(_thoughts_in(reply, judge, end))
    if case.must == "refuse":
        problems = ("answered, where only a refusal keeps the policy", *problems)
    return ProbeResult(case.name, "answered", not problems, problems, shorten(reply.content))


def _thoughts_in(reply: ProbeReply, judge: Judge, end: tuple[int, ...]) -> Iterable[str]:
    if any(finding.rule == "think-tag" for finding in judge.text(reply.content, Mode.DATA)):
        yield f"think tag in the content: {shorten(reply.content)}"
    if reply.reasoning.strip():
        yield f"thoughts beside the content: {shorten(reply.reasoning)}"
    answer = judge_answers(np.asarray(reply.token_ids, dtype=np.int64), judge.policy, "the answer")
    prompt = judge_prompts(np.asarray(reply.prompt_ids, dtype=np.int64), judge.policy, "the prompt")
    yield from (f"{problem.message} ({problem.value})" for problem in (answer, prompt) if problem is not None)
    if reply.prompt_ids and reply.prompt_ids[-len(end) :] != end:
        block = "the empty think block" if end == judge.policy.rules.think_token.prompt_end_ids else list(end)
        yield f"the prompt ends in {list(reply.prompt_ids[-len(end) :])}, not in {block}"
