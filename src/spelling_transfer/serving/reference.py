"""The endpoint against the model it was made from: base and adapter, not merged, asked directly in this process."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from spelling_transfer.models.generate import Sampling, generate_answers
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.vocabulary import UnknownTokenError
from spelling_transfer.serving.checks import Check
from spelling_transfer.serving.client import EndpointClient, Reply
from spelling_transfer.serving.distribution import (
    ALPHA,
    REQUIRED_RIVALS,
    choose_prompts,
    clear_of_rounding,
    compare_draws,
    policy_distribution,
    rivals,
)
from spelling_transfer.serving.engine import AnswerEngine
from spelling_transfer.tokenizer.chat import ChatTokenizer

_MOST_CANDIDATES = 320
_BATCH_SIZES = (1, 64)
_Z_LIMIT = 5.5
"""Standard deviations by which the surprise of all answers together may be off; by chance, once in 26 million."""


@dataclass(frozen=True)
class Reference:
    """What an endpoint has to agree with.

    Attributes:
        loaded: Base and adapter, not merged.
        answer_ids: The token ids an answer may hold; ``None`` for all but the think tags.
    """

    loaded: LoadedModel
    tokenizer: ChatTokenizer
    sampling: Sampling
    answer_ids: Sequence[int] | None

    @cached_property
    def possible(self) -> np.ndarray:
        """Which rows have a token that is no think tag, bool, shape ``(rows,)``."""
        vocabulary = self.loaded.vocabulary
        possible = np.ones(vocabulary.n_rows, dtype=bool)
        possible[vocabulary.known_rows(self.tokenizer.think_ids)] = False
        return possible

    @cached_property
    def allowed(self) -> np.ndarray:
        """Which rows an answer may hold, the end token among them, bool, shape ``(rows,)``."""
        if self.answer_ids is None:
            return self.possible
        allowed = np.zeros_like(self.possible)
        allowed[self.loaded.vocabulary.known_rows([*self.answer_ids, self.tokenizer.end_id])] = True
        return np.asarray(allowed & self.possible)

    @cached_property
    def tolerance(self) -> float:
        """How far a logit may be off by the order of its sums alone: of float32 little, of bfloat16 much."""
        import torch

        return 0.01 + 16 * float(torch.finfo(self.loaded.model.get_output_embeddings().weight.dtype).eps)

    @property
    def border_share(self) -> float:
        """Share of answers that may part at a border between two tokens: in float32 few do, in bfloat16 more."""
        return 0.05 if self.tolerance < 0.02 else 0.25

    def logits(self, prompts: Iterable[Sequence[int]]) -> Iterator[np.ndarray]:
        """Yields the logits after each token of each text, shape ``(tokens, rows)``: one pass a text, no cache."""
        import torch

        self.loaded.model.eval()
        for prompt in prompts:
            rows = torch.from_numpy(self.loaded.vocabulary.to_rows(prompt)).long().to(self.loaded.device)
            with torch.inference_mode():
                yield self.loaded.model(input_ids=rows[None], use_cache=False).logits[0].float().cpu().numpy()

    def askable(self, texts: Iterable[str]) -> list[tuple[str, list[int]]]:
        """Returns the texts whose prompts the model has all tokens of, with their token ids, each once."""
        known = []
        distinct = list(dict.fromkeys(text for text in texts if text.strip()))
        for text, prompt in zip(distinct, self.tokenizer.encode_prompts(distinct), strict=True):
            try:
                self.loaded.vocabulary.to_rows(prompt)
            except UnknownTokenError:
                continue
            known.append((text, prompt))
        return known


def check_sampling(client: EndpointClient, reference: Reference, texts: Iterable[str]) -> Iterator[Check]:
    """Draws first tokens at prompts where every wrong way to sample would be seen, and tests their distribution.

    Args:
        client: An open client.
        reference: What is right.
        texts: What may be asked; the prompts that tell most are chosen among them.
    """
    sampling, allowed = reference.sampling, reference.allowed
    candidates = reference.askable(texts)
    candidates = candidates[:: -(-len(candidates) // _MOST_CANDIDATES) or 1]
    logits = [rows[-1] for rows in reference.logits(prompt for _, prompt in candidates)]
    clear = [i for i, row in enumerate(logits) if clear_of_rounding(row, sampling, allowed, reference.tolerance)]
    wrong_ways = rivals(sampling, allowed, reference.possible)
    right = [policy_distribution(logits[i], sampling, allowed) for i in clear]
    wrong = [{name: rival(logits[i]) for name, rival in wrong_ways.items()} for i in clear]
    chosen = choose_prompts(right, wrong)
    yield Check(
        "sampling/telling-prompts",
        f"At the chosen prompts {', '.join(REQUIRED_RIVALS)} would each be rejected.",
        not chosen.unseen,
        {
            "n_candidates": len(candidates),
            "n_clear_of_rounding": len(clear),
            "power": chosen.powers,
            "unseen": chosen.unseen,
        },
    )
    seen = []
    for place in chosen.places:
        text = candidates[clear[place]][0]
        drawn = _first_tokens(client, reference, text, chosen.n_draws)
        seen.append((text, drawn, compare_draws(right[place], drawn or [])))
    outside = {
        text: {_name(reference, row): count for row, count in test.outside.items()}
        for text, _, test in seen
        if test.outside
    }
    answered = bool(seen) and all(drawn is not None for _, drawn, _ in seen)
    yield Check(
        "sampling/support",
        "Only tokens are drawn that filter, top-k, top-p and min-p leave.",
        answered and not outside,
        {"n_prompts": len(seen), "n_draws": sum(test.n_draws for *_, test in seen), "outside": outside},
    )
    yield Check(
        "sampling/distribution",
        f"First tokens follow the distribution computed directly (chi-square, each prompt at {ALPHA:g}).",
        answered and all(test.p_value > ALPHA for *_, test in seen),
        {"n_draws_each": chosen.n_draws, "p_values": {text: test.p_value for text, _, test in seen}},
    )


def _first_tokens(client: EndpointClient, reference: Reference, text: str, n_draws: int) -> list[int] | None:
    """Returns the rows of first tokens with the seeds 0, 1, …; ``None`` where the endpoint does not answer."""
    settings = (client.get("/info").body.get("model") or {}).get("settings") or {}
    limit = int(settings.get("max_choices") or 1)
    ids: list[int] = []
    while len(ids) < n_draws:
        n = min(limit, n_draws - len(ids))
        reply = client.ask(text, seed=len(ids), n=n, max_tokens=1, return_token_ids=True)
        if not reply.ok or len(reply.body["choices"]) != n:
            return None
        ids += [(choice.get("token_ids") or [reference.tokenizer.end_id])[0] for choice in reply.body["choices"]]
    return _rows(reference, ids)


def _rows(reference: Reference, ids: Sequence[int]) -> list[int]:
    """Returns the row of each id; a think tag's row, which nothing may draw, for an id that the model does not have."""
    known = [reference.loaded.vocabulary.known_rows([token]).tolist() for token in ids]
    never = int(np.flatnonzero(~reference.allowed)[0]) if not reference.allowed.all() else 0
    return [rows[0] if rows else never for rows in known]


def _name(reference: Reference, row: int) -> str:
    token = int(reference.loaded.vocabulary.to_ids([row])[0])
    return reference.tokenizer.tokenizer.decode([token], skip_special_tokens=False) or str(token)


def check_answer_tokens(reference: Reference, questions: Sequence[str], replies: Sequence[Reply]) -> Iterator[Check]:
    """Checks every token of answers that were given, each by the distribution that follows what stands before it."""
    left, surprise, expected, variance, n_tokens = [], 0.0, 0.0, 0.0, 0
    filtered: list[str] = []
    end_id, allowed = reference.tokenizer.end_id, reference.allowed
    slack = {"top_p": min(1.0, reference.sampling.top_p + 0.003), "top_k": reference.sampling.top_k + 1}
    wide = reference.sampling.model_copy(update=slack)
    for question, reply in zip(questions, replies, strict=True):
        if not reply.ok:
            continue
        ended = reply.body["choices"][0]["finish_reason"] == "stop"
        ids = [*reply.token_ids, *[end_id] * ended]
        (prompt,) = reference.tokenizer.encode_prompts([question])
        known = reference.loaded.vocabulary.known_rows(ids)
        if len(known) < len(ids) or not allowed[known].all():
            filtered.append(question)
            continue
        (logits,) = reference.logits([[*prompt, *ids[:-1]]])
        for row, after in zip(known.tolist(), logits[len(prompt) - 1 :], strict=True):
            right = policy_distribution(after, reference.sampling, allowed)
            if policy_distribution(after, wide, allowed)[row] == 0:
                left.append(f"{question}: {_name(reference, row)}")
            logs = np.log(right, where=right > 0, out=np.zeros_like(right))
            mean = float((right * logs).sum())
            surprise += float(logs[row])
            expected += mean
            variance += float((right * logs**2).sum()) - mean**2
            n_tokens += 1
    z = (surprise - expected) / math.sqrt(variance) if variance > 1e-9 else 0.0
    yield Check(
        "filter/tokens",
        "Every token of an answer is one that an answer may hold: English by the filter, and no think tag.",
        not filtered and n_tokens > 0,
        {"n_allowed": int(allowed.sum()), "n_answers": len(replies), "left_the_filter": filtered[:5]},
    )
    yield Check(
        "sampling/every-token",
        f"Every token of every answer could be drawn where it stands, and they are as surprising together as they "
        f"should be (within {_Z_LIMIT} standard deviations).",
        n_tokens > 0 and not left and abs(z) <= _Z_LIMIT,
        {"n_tokens": n_tokens, "could_not_be_drawn": left[:5], "z": round(z, 2)},
    )


def check_same_answers(
    reference: Reference, questions: Sequence[str], replies: Sequence[Reply], max_new_tokens: int
) -> Check:
    """Compares the endpoint's answers with those that the code of the evaluation gives, adapter not merged.

    Args:
        reference: Base and adapter.
        questions: What was asked; the place of a question was its seed.
        replies: The endpoint's.
        max_new_tokens: Longest answer.
    """
    ours = generate_answers(
        reference.loaded,
        reference.tokenizer,
        reference.tokenizer.encode_prompts(questions),
        max_new_tokens=max_new_tokens,
        sampling=reference.sampling,
        seeds=range(len(questions)),
        batch_size=_BATCH_SIZES[-1],
        allowed_ids=reference.answer_ids,
    )
    reference.loaded.free_decoder()  # the endpoint is on the same device
    differ = [
        {"question": question, "endpoint": reply.text, "evaluation": reference.tokenizer.decode(ids)}
        for question, reply, ids in zip(questions, replies, ours, strict=True)
        if not reply.ok or reply.token_ids != ids
    ]
    share = reference.border_share
    return Check(
        "model/same-answers",
        "With the same seeds, base and adapter answer as the endpoint does, token by token "
        f"(all but {share:.0%}, for draws on a border).",
        len(differ) <= share * len(questions),
        {"n_questions": len(questions), "n_differ": len(differ), "differ": differ[:5]},
    )


def check_merge(reference: Reference, merged: LoadedModel, questions: Sequence[str]) -> Iterator[Check]:
    """Compares the merged model with base and adapter, as the evaluation decodes: greedily, at batch 1 and 64."""
    prompts = [prompt for _, prompt in reference.askable(questions)]
    tokenizer = reference.tokenizer
    apart = generate_answers(reference.loaded, tokenizer, prompts, batch_size=_BATCH_SIZES[-1])
    reference.loaded.free_decoder()
    for batch_size in _BATCH_SIZES:
        together = generate_answers(merged, tokenizer, prompts, batch_size=batch_size)
        differ = [
            tokenizer.decode(ids)
            for prompt, ids, other in zip(prompts, together, apart, strict=True)
            if ids != other and not is_tie(reference, prompt, ids, other)
        ]
        yield Check(
            f"model/merged-as-adapter-{batch_size}",
            f"The merged model answers greedily as base and adapter do, answer by answer, {batch_size} at a time.",
            bool(prompts) and not differ,
            {"n_questions": len(prompts), "n_differ": len(differ), "merged_says": differ[:5]},
        )


def is_tie(reference: Reference, prompt: Sequence[int], ids: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two answers part where their tokens are equally likely but for rounding."""
    end = reference.tokenizer.end_id
    first, second = [*ids, end], [*other, end]
    place = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    (logits,) = reference.logits([[*prompt, *first[:place]]])
    a, b = reference.loaded.vocabulary.to_rows([first[place], second[place]])
    return bool(abs(float(logits[-1][a] - logits[-1][b])) <= reference.tolerance)


Wanting = Callable[[Sequence[str], int], tuple[int, list[int]]]
"""Asks questions of a model that is made to want one row; returns at how many it is by far the most likely one, and the
token id with which each answer began."""


def check_masks(engine: AnswerEngine, reference: Reference, questions: Sequence[str]) -> Iterator[Check]:
    """Makes a forbidden token the most likely one, whatever is asked, and lets the engine of the endpoint answer.

    What a model never says cannot show that it may not. The weights of the engine's head are changed, and put back.

    Args:
        engine: An engine of the deployable, in this process.
        reference: Says what is forbidden.
        questions: What is asked, at most eight of them.
    """
    import torch

    model: Any = engine.loaded.model
    head = model.get_output_embeddings()
    changed = copy.deepcopy(head)  # a weight of its own: the input embedding may share the head's
    changed.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    model.set_output_embeddings(changed)
    try:
        yield from masks_hold(reference, questions, lambda texts, row: _answers_wanting(engine, texts, row))
    finally:
        model.set_output_embeddings(head)


def masks_hold(reference: Reference, questions: Sequence[str], wanting: Wanting) -> Iterator[Check]:
    """Checks that two think tags, and two tokens outside the filter, are not said by a model that wants to say them.

    Args:
        reference: Says what is forbidden.
        questions: What is asked, at most eight of them.
        wanting: Asks a model that wants a row.
    """
    asked = [text for text, _ in reference.askable(questions)[:8]]
    vocabulary = reference.loaded.vocabulary
    think = vocabulary.known_rows(reference.tokenizer.think_ids).tolist()
    foreign = np.flatnonzero(~reference.allowed & reference.possible).tolist()
    for name, rows, requirement in (
        ("think", think, "A model that wants to think, whatever it is asked, answers without a think tag."),
        ("filter", foreign, "A model that wants to say a token outside the English filter does not say it."),
    ):
        for row in rows[:2]:
            token = int(vocabulary.to_ids([row])[0])
            n_wanted, said = wanting(asked, row)
            yield Check(
                f"mask/{name}-{token}",
                requirement,
                bool(asked) and n_wanted == len(asked) == len(said) and token not in said,
                {"token": _name(reference, row), "n_prompts": len(asked), "n_wanted_it": n_wanted},
            )


def _answers_wanting(engine: AnswerEngine, texts: Sequence[str], row: int) -> tuple[int, list[int]]:
    """Returns how many prompts a token is by far the most likely at, and the first tokens that are answered there."""
    import torch

    from spelling_transfer.serving.protocol import ChatRequest

    head = engine.loaded.model.get_output_embeddings()
    fields = {"model": engine.card.model, "max_tokens": 1, "seed": 0, "return_token_ids": True}
    requests = [
        engine.prepare(ChatRequest.model_validate({**fields, "messages": [{"role": "user", "content": text}]}))
        for text in texts
    ]
    with torch.no_grad():
        before = head.weight[row].clone()
        states = []
        for request in requests:
            rows = torch.from_numpy(engine.loaded.vocabulary.to_rows(request.prompt_ids)).long().to(head.weight.device)
            states.append(engine.loaded.backbone(input_ids=rows[None]).last_hidden_state[0, -1])
        stacked = torch.stack(states)
        target = torch.full((len(stacked), 1), float((stacked @ head.weight.T).max()) + 100.0)
        # A weight whose product with each of these states is the target.
        head.weight[row] = torch.linalg.lstsq(stacked.float().cpu(), target).solution[:, 0].to(head.weight)
        n_wanted = int((head(stacked).argmax(-1) == row).sum())
    try:
        answers = engine.answer(requests)
    finally:
        with torch.no_grad():
            head.weight[row] = before
    return n_wanted, [(answer.choices[0].token_ids or [engine.tokenizer.end_id])[0] for answer in answers]
