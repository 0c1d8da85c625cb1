"""Batched answers: greedy for evaluation, the policy's sampling for serving. Think tokens are masked in both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from spelling_transfer.models.decoding import AnswerHead, SharedPrefix, decode_batch
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.tokenizer.chat import ChatTokenizer

if TYPE_CHECKING:
    import torch


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

    What all prompts begin with (the start of the chat template, a system prompt) runs once for the whole call.

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
        ModelFolderError: The tokenizer is not the model's.
        UnknownTokenError: A prompt holds a token the model does not have.
        ValueError: ``sampling`` without one seed a prompt.
    """
    import torch

    if sampling is not None and (seeds is None or len(seeds) != len(prompts)):
        raise ValueError(f"sampling needs one seed a prompt, got {0 if seeds is None else len(seeds)}")
    loaded.check_tokenizer(tokenizer)
    if not prompts:
        return []
    head = _head(loaded, tokenizer, allowed_ids)
    end_row = int(loaded.vocabulary.to_rows([tokenizer.end_id])[0])
    answers: list[list[int]] = [[] for _ in prompts]
    # Neighbours in length share a batch, so that little is padded.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    was_training = loaded.model.training
    loaded.model.eval()
    try:
        with torch.inference_mode():
            prefix = SharedPrefix.of(loaded, prompts)
            for start in range(0, len(order), batch_size):
                indices = order[start : start + batch_size]
                choose = _most_likely if sampling is None or seeds is None else _drawer(sampling, seeds, indices)
                rows = decode_batch(
                    loaded,
                    [prompts[i] for i in indices],
                    prefix,
                    head,
                    choose,
                    end_row=end_row,
                    max_new_tokens=max_new_tokens,
                )
                for i, answer in zip(indices, rows, strict=True):
                    answers[i] = loaded.vocabulary.to_ids(answer).tolist()
                if progress is not None:
                    progress(len(indices))
    finally:
        loaded.model.train(was_training)
    return answers


def _head(loaded: LoadedModel, tokenizer: ChatTokenizer, allowed_ids: Sequence[int] | None) -> AnswerHead:
    from kedro_non_thinking import ThinkTokenMask, allowed_without

    think = loaded.vocabulary.known_rows(tokenizer.think_ids).tolist()
    if allowed_ids is None:
        return AnswerHead.of(loaded, ThinkTokenMask(think), None)
    allowed = loaded.vocabulary.known_rows([*allowed_ids, tokenizer.end_id]).tolist()
    return AnswerHead.of(loaded, ThinkTokenMask(think, allowed), allowed_without(think, allowed))


def _most_likely(head: AnswerHead, states: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return head.most_likely(states)


def _drawer(
    sampling: Sampling, seeds: Sequence[int], indices: Sequence[int]
) -> Callable[[AnswerHead, torch.Tensor, torch.Tensor], torch.Tensor]:
    import torch
    from transformers import LogitsProcessorList, MinPLogitsWarper, TemperatureLogitsWarper, TopPLogitsWarper

    # transformers' own order: temperature, top-k, top-p, min-p. The temperature changes no order, so the top k are
    # taken first, and all else has k candidates to look at instead of a vocabulary.
    warpers = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_p < 1.0:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p > 0.0:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    generators = [torch.Generator().manual_seed(seeds[i]) for i in indices]

    def draw(head: AnswerHead, states: torch.Tensor, running: torch.Tensor) -> torch.Tensor:
        logits = head.logits(states)
        best = logits.float().topk(min(sampling.top_k, logits.shape[-1]), dim=-1)
        probabilities = warpers(None, best.values).softmax(-1).cpu()  # type: ignore[arg-type]  # no ids looked at
        # One number a token, whatever there is to choose from: an answer follows its seed under any head.
        numbers = torch.stack([torch.rand((), generator=generators[place]) for place in running.tolist()])
        shares = probabilities.double().cumsum(-1)
        drawn = (shares < numbers[:, None] * shares[:, -1:]).sum(-1, keepdim=True)
        return best.indices.gather(1, drawn.to(best.indices.device))[:, 0]

    return draw
