"""The loop behind `generate_answers`: one batch of prompts, token after token, with nothing computed twice."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spelling_transfer.models.load import LoadedModel

if TYPE_CHECKING:
    import torch

_BLOCK_ROWS = 4096
"""Rows of the head whose logits are held at once on a CPU, where a whole vocabulary of them would not fit its cache."""

_ENDED_SHARE = 0.25
"""Rows of a batch that must have ended before the others go on without them: leaving them out copies the cache."""


@dataclass(frozen=True)
class AnswerHead:
    """The logits of the tokens that an answer may hold.

    Attributes:
        model: The model whose head it is.
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
    choose: Callable[[AnswerHead, torch.Tensor, torch.Tensor], torch.Tensor],
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
        # A row that has ended stays until enough others have; what it goes on to say is cut off at the end.
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
    return [_until(row, end_row) for row in answers.tolist()]


def _until(rows: list[int], end_row: int) -> list[int]:
    return rows[: rows.index(end_row)] if end_row in rows else rows
