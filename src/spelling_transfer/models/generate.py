"""Batched answers: greedy for evaluation, the policy's sampling for serving. Think tokens are masked in both."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import Field

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.frozen import FrozenModel
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.vocabulary import until_end
from spelling_transfer.tokenizer.chat import ChatTokenizer

if TYPE_CHECKING:
    import torch

    Choose = Callable[["AnswerHead", torch.Tensor, torch.Tensor], torch.Tensor]

_LOG = logging.getLogger(__name__)


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Computes with so many CPU threads inside the block; ``None`` keeps torch's number, one a physical core."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Sampling(FrozenModel):
    """Sampling values of one request, all four sent explicitly so that no file of the model can override them."""

    temperature: float = Field(gt=0.0, le=2.0)
    top_p: float = Field(gt=0.0, le=1.0)
    top_k: int = Field(ge=1)
    min_p: float = Field(ge=0.0, le=1.0)


class ContextLengthError(SpellingTransferError):
    """A prompt and its answer are longer than what the model can look at."""


def generate_answers(
    loaded: LoadedModel,
    tokenizer: ChatTokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 24,
    sampling: Sampling | None = None,
    seeds: Sequence[int] | None = None,
    batch_size: int | None = None,
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
        batch_size: Prompts that run side by side; by default 1024 on a GPU and 256 elsewhere.
        allowed_ids: Token ids an answer may hold (the English subset); ``None`` allows all but the think tags.
        progress: Called with the number of prompts done after each batch.

    Returns:
        Token ids of each answer, the end token left out. An answer that did not end holds ``max_new_tokens`` ids.

    Raises:
        ContextLengthError: A prompt and its answer exceed the model's context.
        ModelFolderError: The tokenizer is not the model's.
        UnknownTokenError: A prompt holds a token the model does not have.
        ValueError: ``sampling`` without one seed a prompt.
    """
    import torch

    if sampling is not None and (seeds is None or len(seeds) != len(prompts)):
        raise ValueError(f"sampling needs one seed a prompt, got {0 if seeds is None else len(seeds)}")
    loaded.check_tokenizer(tokenizer)
    batch_size = batch_size or default_batch_size(loaded.device.type)
    if not prompts:
        return []
    longest = max(range(len(prompts)), key=lambda i: len(prompts[i]))
    context = getattr(loaded.backbone.config, "max_position_embeddings", None)
    if context is not None and len(prompts[longest]) + max_new_tokens > context:
        raise ContextLengthError(
            f"prompts: the longest, number {longest + 1} of {len(prompts)}, has {len(prompts[longest])} tokens, and "
            f"with {max_new_tokens} for the answer that is more than the model's context of {context}. Shorten it, or "
            "lower max_new_tokens."
        )
    head, head_key = answer_head(loaded, tokenizer, allowed_ids)
    end_row = int(loaded.vocabulary.to_rows([tokenizer.end_id])[0])
    numbers = None if sampling is None or seeds is None else random_numbers(seeds, max_new_tokens)
    answers: list[list[int]] = [[] for _ in prompts]
    left = set(range(len(prompts)))

    def keep(done: Mapping[int, list[int]]) -> None:
        for i, rows in done.items():
            answers[i] = loaded.vocabulary.to_ids(rows).tolist()
        left.difference_update(done)
        if progress is not None:
            progress(len(done))

    was_training = loaded.model.training
    loaded.model.eval()
    try:
        with torch.inference_mode(), ExitStack() as stack:
            if any(module._compiled_call_impl is not None for module in loaded.model.modules()):
                # A training is under way; its compiler would meet liger's kernels here, and compile while recording.
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            if _in_slots(loaded):
                from spelling_transfer.models.attention import NotStaticError, without_plans
                from spelling_transfer.models.kept_decoder import answers_in_slots

                try:
                    for done in answers_in_slots(
                        loaded,
                        [loaded.vocabulary.to_rows(prompt) for prompt in prompts],
                        numbers,
                        head,
                        _best if sampling is None else drawer(sampling),
                        key=(head_key, sampling),
                        end_row=end_row,
                        max_new_tokens=max_new_tokens,
                        batch_size=batch_size,
                        prefix=loaded.vocabulary.to_rows(_template_prefix(tokenizer, prompts)),
                    ):
                        keep(done)
                except NotStaticError as error:
                    _LOG.warning("Answers are generated without CUDA graphs, several times as slowly: %s.", error)
                    stack.enter_context(without_plans())
            # Neighbours in length share a batch, so that little is padded.
            order = sorted(left, key=lambda i: len(prompts[i]))
            prefix = SharedPrefix.of(loaded, prompts) if order else SharedPrefix()
            for start in range(0, len(order), batch_size):
                indices = order[start : start + batch_size]
                choose: Choose = _most_likely
                if sampling is not None and numbers is not None:
                    choose = _step_by_step(drawer(sampling), numbers[indices])
                rows = decode_batch(
                    loaded,
                    [prompts[i] for i in indices],
                    prefix,
                    head,
                    choose,
                    end_row=end_row,
                    max_new_tokens=max_new_tokens,
                )
                keep(dict(zip(indices, rows, strict=True)))
    finally:
        loaded.model.train(was_training)
    return answers


def default_batch_size(device: str) -> int:
    """Returns how many prompts run side by side where nobody says it."""
    return 1024 if device == "cuda" else 256


def _in_slots(loaded: LoadedModel) -> bool:
    """Whether answers are generated in slots: where starting kernels one by one takes longer than they do."""
    return loaded.device.type == "cuda"


def _template_prefix(tokenizer: ChatTokenizer, prompts: Sequence[Sequence[int]]) -> Sequence[int]:
    """Returns what the template begins with, if all prompts do; unlike what they share, it is the same at each call."""
    prefix = tokenizer.prefix_ids
    n = len(prefix)
    return prefix if all(len(prompt) > n and tuple(prompt[:n]) == prefix for prompt in prompts) else ()


def answer_head(
    loaded: LoadedModel, tokenizer: ChatTokenizer, allowed_ids: Sequence[int] | None
) -> tuple[AnswerHead, Hashable]:
    """Returns the head of the tokens that an answer may hold, and what is equal for equal heads of one model."""
    from kedro_non_thinking import ThinkTokenMask, allowed_without

    think = loaded.vocabulary.known_rows(tokenizer.think_ids).tolist()
    if allowed_ids is None:
        return AnswerHead.of(loaded, ThinkTokenMask(think), None), (tuple(think), None)
    allowed = loaded.vocabulary.known_rows([*allowed_ids, tokenizer.end_id]).tolist()
    rows = allowed_without(think, allowed)
    return AnswerHead.of(loaded, ThinkTokenMask(think, allowed), rows), (tuple(think), rows)


def _most_likely(head: AnswerHead, states: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return head.most_likely(states)


def _best(head: AnswerHead, states: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    # As `most_likely`, without a look at what is in a tensor.
    return head.logits(states).argmax(-1)


def random_numbers(seeds: Sequence[int], count: int) -> torch.Tensor:
    """Returns numbers in [0, 1), shape ``(seeds, count)``; those of a seed begin the same for any count.

    One number a token, whatever there is to choose from: an answer follows its seed under any head.
    """
    import torch

    return torch.stack([torch.rand(count, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def drawer(sampling: Sampling) -> Choose:
    """Returns what draws a candidate of a head for each of the states ``(rows, hidden)``, with one number a row.

    It looks at no tensor's content, so it can be part of a CUDA graph.
    """
    from transformers import LogitsProcessor, MinPLogitsWarper, TemperatureLogitsWarper, TopPLogitsWarper

    # transformers' own order: temperature, top-k, top-p, min-p. The temperature changes no order, so the top k are
    # taken first, and all else has k candidates to look at instead of a vocabulary.
    warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(sampling.temperature)]
    if sampling.top_p < 1.0:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p > 0.0:
        warpers.append(MinPLogitsWarper(sampling.min_p))

    def draw(head: AnswerHead, states: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        logits = head.logits(states)
        best = logits.topk(min(sampling.top_k, logits.shape[-1]), dim=-1)
        left = best.values.float()
        for warper in warpers:  # transformers' list of them would look at each one's signature at each step
            left = warper(None, left)  # no ids looked at
        probabilities = left.softmax(-1)
        if probabilities.device.type == "mps":
            probabilities = probabilities.cpu()  # no float64 there
        shares = probabilities.double().cumsum(-1)
        drawn = (shares < numbers.to(shares.device)[:, None] * shares[:, -1:]).sum(-1, keepdim=True)
        return best.indices.gather(1, drawn.to(best.indices.device))[:, 0]

    return draw


def _step_by_step(choose: Choose, numbers: torch.Tensor) -> Choose:
    """Gives each step of a batch its own column of the numbers ``(rows, steps)``, of the rows that still run."""
    steps = iter(numbers.unbind(1))
    return lambda head, states, running: choose(head, states, next(steps)[running.cpu()])


_BLOCK_ROWS = 4096
"""Rows of the head whose logits are held at once on a CPU, where a whole vocabulary of them would not fit its cache."""

_ENDED_SHARE = 0.25
"""Rows of a batch that must have ended before they are left out: that copies the cache."""


@dataclass(frozen=True)
class AnswerHead:
    """The logits of the tokens that an answer may hold.

    Attributes:
        rows: Rows of the head that are computed, shape ``(candidates,)``; ``None`` for all.
        weight: Those rows, shape ``(candidates, hidden)``; ``None`` where the head is more than a matrix.
        mask: Applied to the logits of all rows: the policy's mask.
    """

    model: Any
    rows: torch.Tensor | None
    weight: torch.Tensor | None
    mask: Callable[[torch.Tensor | None, torch.Tensor], torch.Tensor]

    @classmethod
    def of(
        cls,
        loaded: LoadedModel,
        mask: Callable[[torch.Tensor | None, torch.Tensor], torch.Tensor],
        rows: Sequence[int] | None,
    ) -> AnswerHead:
        """Restricts the head of a model to some rows, or to none.

        A softmax over the rows alone is the softmax over all with the others masked, at a fraction of the work.
        """
        import torch

        head = loaded.model.get_output_embeddings()
        if rows is None or type(head) is not torch.nn.Linear or head.bias is not None:
            return cls(loaded.model, None, None, mask)
        return cls(loaded.model, torch.tensor(rows, device=loaded.device), loaded.head_rows(rows), mask)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Returns the logits of the candidates, shape ``(batch, candidates)``, of states ``(batch, hidden)``."""
        import torch.nn.functional as F

        if self.weight is None:
            return self.mask(None, self.model.get_output_embeddings()(states))
        return F.linear(states, self.weight)

    def most_likely(self, states: torch.Tensor) -> torch.Tensor:
        """Returns the candidate with the highest logit, shape ``(batch,)``, of states ``(batch, hidden)``."""
        import torch

        matrix = self._matrix
        if matrix is None or states.device.type != "cpu":
            return self.logits(states).argmax(-1)
        best = states.new_full((len(states),), -torch.inf)
        candidates = torch.zeros(len(states), dtype=torch.long)
        for start in range(0, len(matrix), _BLOCK_ROWS):
            logits = states @ matrix[start : start + _BLOCK_ROWS].T
            if self.weight is None and start // _BLOCK_ROWS in self._masked:
                logits[:, self._masked[start // _BLOCK_ROWS]] = -torch.inf
            highest = logits.amax(-1)  # several times as fast as to look for its place as well
            better = (highest > best).nonzero()[:, 0]
            best[better] = highest[better]
            candidates[better] = logits[better].argmax(-1) + start
        return candidates

    @property
    def _matrix(self) -> torch.Tensor | None:
        import torch

        head = self.model.get_output_embeddings()
        plain = type(head) is torch.nn.Linear and head.bias is None
        return self.weight if self.weight is not None else head.weight if plain else None

    @cached_property
    def _masked(self) -> dict[int, torch.Tensor]:
        """What the mask forbids: by block, the places in it."""
        import torch

        head = self.model.get_output_embeddings()
        masked = self.mask(None, torch.zeros(len(head.weight))).isinf().nonzero()[:, 0]
        return {int(block): masked[masked // _BLOCK_ROWS == block] % _BLOCK_ROWS for block in masked // _BLOCK_ROWS}

    def to_rows(self, candidates: torch.Tensor) -> torch.Tensor:
        """Returns the row of each candidate."""
        return candidates if self.rows is None else self.rows[candidates]


@dataclass(frozen=True)
class SharedPrefix:
    """What all prompts begin with, run through the model once.

    Attributes:
        length: Its tokens; 0 where there is nothing to share.
        cache: Keys and values of these tokens for one row; ``None`` where there is nothing to share.
    """

    length: int = 0
    cache: Any = None

    @classmethod
    def of(cls, loaded: LoadedModel, prompts: Sequence[Sequence[int]]) -> SharedPrefix:
        """Runs the longest common beginning of the prompts; at least one token of each is left to run."""
        import torch

        length = common_length(prompts) if len(prompts) > 1 else 0
        if length == 0:
            return cls()
        ids = torch.from_numpy(loaded.vocabulary.to_rows(prompts[0][:length]))[None].to(loaded.device)
        return cls(length, loaded.backbone(input_ids=ids, use_cache=True)[loaded.cache_name])

    def expanded(self, n_rows: int) -> Any:
        """Returns a cache of its own for a batch, or ``None``."""
        if self.cache is None:
            return None
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(n_rows)
        return cache


def common_length(prompts: Sequence[Sequence[int]]) -> int:
    """Returns how many tokens all prompts begin with, one less than the shortest prompt has at most."""
    # What the first and the last in order share, all between them share too.
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))
    limit = min(len(prompt) for prompt in prompts) - 1
    for i in range(limit):
        if first[i] != last[i]:
            return i
    return max(limit, 0)


def decode_batch(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    prefix: SharedPrefix,
    head: AnswerHead,
    choose: Choose,
    *,
    end_row: int,
    max_new_tokens: int,
) -> list[list[int]]:
    """Generates the answers to the prompts of one batch.

    Args:
        loaded: The model.
        prompts: Token ids of each prompt.
        prefix: What they all begin with.
        head: Which tokens can be chosen.
        choose: Chooses a candidate of the head for each of the states ``(rows, hidden)``; its third argument is the
            place of each row in the batch, as rows that have ended are left out.
        end_row: The row of the end token.
        max_new_tokens: Longest answer, the end token included.

    Returns:
        Rows of each answer, the end left out.
    """
    import torch

    device = loaded.device
    rest = [loaded.vocabulary.to_rows(prompt[prefix.length :]) for prompt in prompts]
    longest = max(len(rows) for rows in rest)
    input_ids = torch.zeros((len(prompts), longest), dtype=torch.long)
    mask = torch.zeros((len(prompts), prefix.length + longest + max_new_tokens), dtype=torch.long)
    # In a row: the shared prefix, the padding, the rest of the prompt, the answer.
    mask[:, : prefix.length] = 1
    mask[:, prefix.length + longest :] = 1
    for i, rows in enumerate(rest):
        input_ids[i, longest - len(rows) :] = torch.from_numpy(rows)
        mask[i, prefix.length + longest - len(rows) : prefix.length + longest] = 1
    input_ids, mask = input_ids.to(device), mask.to(device)
    seen = prefix.length + longest
    positions = (mask[:, :seen].cumsum(-1) - 1).clamp(min=0)[:, prefix.length :]
    cache = prefix.expanded(len(prompts))
    answers = torch.full((len(prompts), max_new_tokens), end_row, dtype=torch.long, device=device)
    running = torch.arange(len(prompts), device=device)
    going = torch.ones_like(running, dtype=torch.bool)
    for step in range(max_new_tokens):
        out = loaded.backbone(
            input_ids=input_ids,
            attention_mask=mask[:, : seen + step],
            position_ids=positions,
            use_cache=True,
            **{loaded.cache_name: cache},
        )
        cache = out[loaded.cache_name]
        chosen = head.to_rows(choose(head, out.last_hidden_state[:, -1], running))
        answers[running, step] = chosen
        # A row that has ended stays until enough others have; what it says after its end is cut off.
        going &= chosen != end_row
        left = int(going.sum())
        if left == 0:
            break
        positions = positions[:, -1:] + 1
        if left <= (1 - _ENDED_SHARE) * len(running):
            kept = going.nonzero()[:, 0]
            cache.batch_select_indices(kept)
            running, chosen, positions, mask = running[kept], chosen[kept], positions[kept], mask[kept]
            going = going[kept]
        input_ids = chosen[:, None]
    return [until_end(row, end_row) for row in answers.tolist()]
