"""Judging token ids: where the empty think block of a prompt may stand, and that it stands nowhere else."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .keys import Problem
from .rules import Policy

_SHORTEST_TABLE = 8
_ADDED_BEFORE_THINK = 24
"""Added tokens of Qwen3 before its think tags; every prompt holds some of them (``<|im_start|>``)."""
TOKENIZER_KEY = "tokenizer_sha256"
"""Under this key a table's metadata, or a record, say which tokenizer its ids are of: the hash of its file."""
Ids = npt.NDArray[np.integer]


def judge_ids(ids: Sequence[int], policy: Policy) -> Problem | None:
    """Returns what is wrong with one written sequence of ids, or ``None``.

    Lists of special tokens, which hold no ordinary token, are fine.
    """
    rule = policy.rules.think_token
    if rule.open_id not in ids and rule.close_id not in ids:
        return None
    special_from = min(rule.open_id, rule.close_id) - 100  # the added tokens of Qwen3 begin at 151643
    if len(ids) <= 2 and set(ids) <= set(policy.think_ids):
        return None
    if all(token >= special_from for token in ids):
        return None
    if len(ids) > _SHORTEST_TABLE and all(before < after for before, after in itertools.pairwise(ids)):
        return None  # in order and each once: a table of ids, not a text
    if _strays(np.asarray(ids, dtype=np.int64), policy).size == 0:
        return None
    return Problem("think-token", "think token outside the end of a prompt", f"{list(ids)[:12]}")


def named_tokenizer(metadata: Mapping[bytes, bytes] | None) -> str | None:
    """Returns the tokenizer that a table names: under a key of its own, or among the ``attrs`` of a pandas frame."""
    metadata = metadata or {}
    if (own := metadata.get(TOKENIZER_KEY.encode())) is not None:
        return own.decode(errors="replace")
    try:
        named = json.loads(metadata.get(b"pandas", b"{}"))["attributes"][TOKENIZER_KEY]
    except (ValueError, LookupError, TypeError):
        return None
    return named if isinstance(named, str) else None


def judge_answers(ids: Ids, policy: Policy, where: str) -> Problem | None:
    """Returns what is wrong with the ids of answers, which hold no think token at all."""
    bad = np.flatnonzero(np.isin(ids, policy.think_ids))
    if bad.size == 0:
        return None
    return Problem(
        "think-token", f"{bad.size} think tokens in {where}", f"id {int(ids[bad[0]])} at position {int(bad[0])}"
    )


def judge_prompts(ids: Ids, policy: Policy, where: str) -> Problem | None:
    """Returns what is wrong with the ids of prompts, flat: think tokens stand only in the whole empty block."""
    strays = _strays(ids, policy)
    if strays.size == 0:
        return None
    message = f"{strays.size} think tokens outside the empty block in {where}"
    return Problem("think-token", message, f"id {int(ids[strays[0]])} at position {int(strays[0])}")


def judge_examples(
    ids: Ids, row_starts: Ids, label_starts: Ids, policy: Policy, where: str, tokenizer_sha256: str | None
) -> Problem | None:
    """Returns what is wrong with examples: a prompt, its end right before the answer, an answer without think tokens.

    Args:
        ids: Shape ``(tokens,)``: the ids of all examples one after the other.
        row_starts: Shape ``(rows + 1,)``: where each example begins, and the end of the last one.
        label_starts: Shape ``(rows,)``: where the answer begins, counted from the start of the example.
        policy: The policy with the ids.
        where: What the message calls the examples.
        tokenizer_sha256: The tokenizer they name as theirs. Examples that name none are judged: nothing about ids alone
            tells another tokenizer's from Qwen3's without a template.
    """
    other = tokenizer_sha256 is not None and tokenizer_sha256 not in policy.rules.think_token.tokenizer_sha256
    # Whatever its name, a tokenizer with a token of Qwen3's turns is not taken for another.
    if other and (ids.size == 0 or int(ids.max()) < min(policy.think_ids) - _ADDED_BEFORE_THINK):
        return None
    end = np.asarray(policy.rules.think_token.prompt_end_ids, dtype=ids.dtype)
    first, last = row_starts[:-1].astype(np.int64), row_starts[1:].astype(np.int64)
    answers = first + label_starts.astype(np.int64)
    fits = (label_starts >= end.size) & (answers <= last)
    if not fits.all():
        row = int(np.flatnonzero(~fits)[0])
        return Problem("think-token", f"{where}: the answer of row {row} does not begin after a prompt", f"row {row}")
    window = answers[:, None] - end.size + np.arange(end.size)
    ends_well = (ids[window] == end).all(axis=1) if answers.size else np.ones(0, dtype=bool)
    if not ends_well.all():
        row = int(np.flatnonzero(~ends_well)[0])
        message = f"{where}: {int((~ends_well).sum())} prompts do not end in the empty think block"
        if tokenizer_sha256 is None:
            message += f" (examples of another tokenizer than Qwen3's name it in their metadata, as {TOKENIZER_KEY})"
        return Problem("think-token", message, f"row {row}: {ids[window[row]].tolist()}, expected {end.tolist()}")
    found = int(np.isin(ids, policy.think_ids).sum())
    expected = answers.size * int(np.isin(end, policy.think_ids).sum())
    if found != expected:
        allowed = np.zeros(ids.size, dtype=bool)
        allowed[window.ravel()] = True
        stray = int(np.flatnonzero(np.isin(ids, policy.think_ids) & ~allowed)[0])
        row = int(np.searchsorted(row_starts, stray, side="right")) - 1
        message = f"{where}: {found - expected} think tokens outside the end of a prompt"
        return Problem("think-token", message, f"row {row}: id {int(ids[stray])} at {stray - int(first[row])}")
    return None


def _strays(ids: npt.NDArray[np.integer], policy: Policy) -> npt.NDArray[np.integer]:
    """Returns the positions of think tokens that are not part of the whole empty block."""
    think = np.isin(ids, policy.think_ids)
    positions = np.flatnonzero(think)
    if positions.size == 0:
        return positions
    end = np.asarray(policy.rules.think_token.prompt_end_ids, dtype=ids.dtype)
    allowed = np.zeros(ids.size, dtype=bool)
    starts = np.flatnonzero(ids == end[0])
    starts = starts[starts + end.size <= ids.size]
    if starts.size:
        window = starts[:, None] + np.arange(end.size)
        allowed[window[(ids[window] == end).all(axis=1)].ravel()] = True
    return np.flatnonzero(think & ~allowed)
