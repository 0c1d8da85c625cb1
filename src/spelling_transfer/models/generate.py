"""Batched answers: greedy for evaluation, the policy's sampling for serving. Think tokens are masked in both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.tokenizer.chat import ChatTokenizer

if TYPE_CHECKING:
    import torch
    from transformers import LogitsProcessorList


class Sampling(BaseModel):
    """Sampling values of one request, all four sent explicitly so that no file of the model can override them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(gt=0.0, le=2.0)
    top_p: float = Field(gt=0.0, le=1.0)
    top_k: int = Field(ge=1)
    min_p: float = Field(ge=0.0, le=1.0)


def generate_answers(
    loaded: LoadedModel,
    tokenizer: ChatTokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 24,
    sampling: Sampling | None = None,
    seeds: Sequence[int] | None = None,
    batch_size: int = 256,
    allowed_ids: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """Generates the answer to each prompt.

    Args:
        loaded: The model.
        tokenizer: Says which token ends an answer and which are think tags.
        prompts: Token ids of each prompt, from `ChatTokenizer.encode_prompts`.
        max_new_tokens: Longest answer, in tokens, the end token included.
        sampling: How to draw; ``None`` takes the most likely token each time.
        seeds: One seed a prompt, so that a sampled answer does not depend on its batch; needed with ``sampling``.
        batch_size: Prompts that run side by side.
        allowed_ids: Token ids an answer may hold (the English subset); ``None`` allows all but the think tags.
        progress: Called with the number of prompts done after each batch.

    Returns:
        Token ids of each answer, the end token left out. An answer that did not end holds ``max_new_tokens`` ids.

    Raises:
        UnknownTokenError: A prompt holds a token the model does not have.
        ValueError: ``sampling`` without one seed a prompt.
    """
    import torch

    if sampling is not None and (seeds is None or len(seeds) != len(prompts)):
        raise ValueError(f"sampling needs one seed a prompt, got {0 if seeds is None else len(seeds)}")
    processors = _processors(loaded, tokenizer, sampling, allowed_ids)
    end_row = int(loaded.vocabulary.to_rows([tokenizer.end_id])[0])
    answers: list[list[int]] = [[] for _ in prompts]
    # Neighbours in length share a batch, so that little is padded.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    was_training = loaded.model.training
    loaded.model.eval()
    try:
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            draw = None if sampling is None or seeds is None else _drawer([seeds[i] for i in indices])
            with torch.inference_mode():
                rows = _decode(loaded, [prompts[i] for i in indices], end_row, max_new_tokens, processors, draw)
            for i, answer in zip(indices, rows, strict=True):
                answers[i] = loaded.vocabulary.to_ids(answer).tolist()
            if progress is not None:
                progress(len(indices))
    finally:
        loaded.model.train(was_training)
    return answers


def _processors(
    loaded: LoadedModel, tokenizer: ChatTokenizer, sampling: Sampling | None, allowed_ids: Sequence[int] | None
) -> LogitsProcessorList:
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    from spelling_transfer.policy.logits import ThinkTokenMask

    vocabulary = loaded.vocabulary
    allowed = None
    if allowed_ids is not None:
        allowed = vocabulary.known_rows([*allowed_ids, tokenizer.end_id]).tolist()
    processors = LogitsProcessorList([ThinkTokenMask(vocabulary.known_rows(tokenizer.think_ids).tolist(), allowed)])
    if sampling is not None:
        # transformers' own order: temperature, top-k, top-p, min-p.
        processors.append(TemperatureLogitsWarper(sampling.temperature))
        processors.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1.0:
            processors.append(TopPLogitsWarper(sampling.top_p))
        if sampling.min_p > 0.0:
            processors.append(MinPLogitsWarper(sampling.min_p))
    return processors


def _drawer(seeds: Sequence[int]) -> Callable[[torch.Tensor], torch.Tensor]:
    import torch

    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(logits: torch.Tensor) -> torch.Tensor:
        probabilities = logits.float().softmax(-1).cpu()
        return torch.stack(
            [torch.multinomial(p, 1, generator=g)[0] for p, g in zip(probabilities, generators, strict=True)]
        ).to(logits.device)

    return draw


def _decode(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    end_row: int,
    max_new_tokens: int,
    processors: LogitsProcessorList,
    draw: Callable[[torch.Tensor], torch.Tensor] | None,
) -> list[list[int]]:
    import torch

    longest = max(len(prompt) for prompt in prompts)
    input_ids = torch.zeros((len(prompts), longest), dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for i, prompt in enumerate(prompts):
        input_ids[i, longest - len(prompt) :] = torch.from_numpy(loaded.vocabulary.to_rows(prompt))
        attention_mask[i, longest - len(prompt) :] = 1
    input_ids, attention_mask = input_ids.to(loaded.device), attention_mask.to(loaded.device)
    positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
    step_ids, step_positions, cache = input_ids, positions, None
    answer = torch.empty((len(prompts), 0), dtype=torch.long, device=loaded.device)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=loaded.device)
    for _ in range(max_new_tokens):
        out = loaded.model(
            input_ids=step_ids,
            attention_mask=attention_mask,
            position_ids=step_positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = out.past_key_values
        logits = processors(input_ids, out.logits[:, -1])  # type: ignore[arg-type]
        chosen = logits.argmax(-1) if draw is None else draw(logits)
        chosen = torch.where(ended, torch.full_like(chosen, end_row), chosen)
        ended |= chosen == end_row
        answer = torch.cat([answer, chosen[:, None]], dim=1)
        if bool(ended.all()):
            break
        step_ids, step_positions = chosen[:, None], step_positions[:, -1:] + 1
        attention_mask = torch.cat([attention_mask, torch.ones_like(chosen)[:, None]], dim=1)
    return [_until(row, end_row) for row in answer.tolist()]


def _until(rows: list[int], end_row: int) -> list[int]:
    return rows[: rows.index(end_row)] if end_row in rows else rows
