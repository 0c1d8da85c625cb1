"""What the two renderings of the chat template cost in tokens. Prompts are rendered and counted, never answered.

This file is the one listed exemption of the non-thinking policy: ``render_other_mode`` alone renders the template in
its other mode, so that the tokens can be counted. Nothing that comes out of it reaches a model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from kedro_non_thinking.template import render
from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.frozen import FrozenModel
from spelling_transfer.tokenizer.byte_level import name_of_special
from spelling_transfer.tokenizer.chat import ChatTokenizer

_QUESTION = "QUESTION"


class TemplateCostError(SpellingTransferError):
    """The cost of the template cannot be computed."""


class TemplateCost(FrozenModel):
    """Which questions the two renderings are compared on."""

    questions: int = Field(1_000, ge=1, le=1_000_000, description="Questions that are rendered in both modes.")


def render_other_mode(tokenizer: ChatTokenizer, questions: Sequence[str]) -> list[str]:
    """Renders questions in the mode that the policy forbids everywhere else, only to count tokens."""
    arguments = {**tokenizer.template_tokens, "enable_thinking": True}
    conversations = [[{"role": "user", "content": question}] for question in questions]
    return [render(tokenizer.template_source, messages, arguments) for messages in conversations]


def compare_template_cost(tokenizer: ChatTokenizer, questions: Sequence[str], settings: TemplateCost) -> dict[str, Any]:
    """Renders the same questions in both modes and counts tokens.

    Args:
        tokenizer: The tokenizer with its chat template.
        questions: The questions, as a user asks them.
        settings: How many of them are rendered.

    Returns:
        ``questions`` (how many); ``question_tokens`` (mean, of the question alone); ``non_thinking`` and
        ``other_mode`` with the mean, least and most tokens of a prompt; ``extra_tokens`` that the non-thinking prompt
        has more, on average, and ``extra_is_constant``; ``extra``, which tokens these are and how many in a prompt.

    Raises:
        TemplateCostError: There are no questions, or the tokenizer came without its template.
    """
    if not questions:
        raise TemplateCostError(
            "template cost: there are no questions to render; make them with 'kedro run --pipelines=local_prep'."
        )
    if not tokenizer.template_source:
        raise TemplateCostError("template cost: the tokenizer came without its chat template.")
    step = max(1, -(-len(questions) // settings.questions))
    sample = [question.strip() for question in questions[::step]]
    alone = tokenizer.encode_texts(sample)
    ours = tokenizer.encode_prompts(sample)
    others = _encode_other_mode(tokenizer, sample)
    more: Counter[int] = Counter()
    for prompt, other in zip(ours, others, strict=True):
        more.update(prompt)
        more.subtract(other)
    differences = [len(prompt) - len(other) for prompt, other in zip(ours, others, strict=True)]
    return {
        "questions": len(sample),
        "question_tokens": _mean([len(ids) for ids in alone]),
        "non_thinking": _lengths(ours),
        "other_mode": _lengths(others),
        "extra_tokens": _mean(differences),
        "extra_is_constant": len(set(differences)) == 1,
        "extra": [
            {"token_id": token_id, "text": _text(tokenizer, token_id), "per_prompt": round(count / len(sample), 4)}
            for token_id, count in sorted(more.items())
            if count
        ],
    }


def _encode_other_mode(tokenizer: ChatTokenizer, questions: Sequence[str]) -> list[list[int]]:
    (pattern,) = render_other_mode(tokenizer, [_QUESTION])
    before, _, after = pattern.partition(_QUESTION)
    start = before.rstrip(" ")
    before_ids, after_ids = _encode_markup(tokenizer, start), _encode_markup(tokenizer, after)
    question_ids = tokenizer.encode_texts([f"{before[len(start) :]}{question}" for question in questions])
    encoded = []
    for question, ids, rendered in zip(questions, question_ids, render_other_mode(tokenizer, questions), strict=True):
        if rendered != f"{before}{question}{after}":
            raise TemplateCostError(f"template cost: the template changes the question {question!r}.")
        encoded.append([*before_ids, *ids, *after_ids])
    return encoded


def _encode_markup(tokenizer: ChatTokenizer, text: str) -> list[int]:
    # The shared tokenizer reads special tokens as plain text, so they are found here.
    added = {token.content: token_id for token_id, token in tokenizer.tokenizer.get_added_tokens_decoder().items()}
    parts = re.split(f"({'|'.join(map(re.escape, sorted(added, key=len, reverse=True)))})", text) if added else [text]
    ids: list[int] = []
    for part in filter(None, parts):
        ids += [added[part]] if part in added else tokenizer.encode_texts([part])[0]
    return ids


def _lengths(prompts: Sequence[Sequence[int]]) -> dict[str, float]:
    lengths = [len(prompt) for prompt in prompts]
    return {"mean_tokens": _mean(lengths), "min_tokens": min(lengths), "max_tokens": max(lengths)}


def _mean(values: Sequence[int]) -> float:
    return round(sum(values) / len(values), 3)


def _text(tokenizer: ChatTokenizer, token_id: int) -> str:
    text = tokenizer.tokenizer.decode([token_id], skip_special_tokens=False)
    added = tokenizer.tokenizer.get_added_tokens_decoder()
    return name_of_special(text) if token_id in added else text
