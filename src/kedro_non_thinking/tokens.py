"""Judging token ids: where the empty think block of a prompt may stand, and that it stands nowhere else."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .findings import Finding
from .policy import Policy

# numpy is imported where ids are judged: most files that are read hold none.
if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ids = npt.NDArray[np.integer]

_SHORTEST_TABLE = 8
_ADDED_BEFORE_THINK = 24
"""Added tokens of Qwen3 before its think tags; every prompt holds some of them (``<|im_start|>``)."""
_PROMPT_COLUMNS = re.compile(r"(?:^|_)(?:input_ids|prompt\w*|prefix_ids|context_ids)$")
EXAMPLES = "input_ids"
LABEL_START = "label_start"
TOKENIZER_KEY = "tokenizer_sha256"
"""Under this key a table's metadata, or a record, say which tokenizer its ids are of: the hash of its file."""


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


def judge_ids(ids: Sequence[int], policy: Policy) -> Finding | None:
    """Returns what is wrong with one written sequence of ids, or ``None``.

    Lists of special tokens, which hold no ordinary token, are fine.
    """
    think_ids = set(policy.think_ids)
    if think_ids.isdisjoint(ids):
        return None
    special_from = min(think_ids) - 100  # the added tokens of Qwen3 begin at 151643
    if (len(ids) <= 2 and think_ids.issuperset(ids)) or all(token >= special_from for token in ids):
        return None
    if len(ids) > _SHORTEST_TABLE and all(before < after for before, after in itertools.pairwise(ids)):
        return None  # in order and each once: a table of ids, not a text
    ids, block = list(ids), list(policy.rules.think_token.prompt_end_ids)  # numpy is not worth its import for one list
    starts = [start for start in range(len(ids)) if ids[start : start + len(block)] == block]
    inside = {start + offset for start in starts for offset in range(len(block))}
    if all(place in inside for place, token in enumerate(ids) if token in think_ids):
        return None
    return Finding("think-token", "think token outside the end of a prompt", f"{ids[:12]}")


def judge_column(
    name: str,
    where: str,
    ids: Ids,
    policy: Policy,
    *,
    row_starts: Ids | None = None,
    label_starts: Ids | None = None,
    tokenizer_sha256: str | None = None,
) -> Finding | None:
    """Returns what is wrong with a column of ids, by what its name says it is.

    ``input_ids`` beside ``label_start`` are examples. Columns that are named as prompts may hold the whole empty block;
    all others hold no think token.

    Args:
        name: The name of the column, in lower case with underscores.
        where: What the message calls it.
        ids: Shape ``(tokens,)``: the ids of all rows one after the other.
        policy: The policy with the ids.
        row_starts: Shape ``(rows + 1,)``: where each row begins, and the end of the last one.
        label_starts: Shape ``(rows,)``: where the answer begins, counted from the start of the row.
        tokenizer_sha256: The tokenizer that the examples name as theirs.
    """
    if name == EXAMPLES and row_starts is not None and label_starts is not None:
        return judge_examples(ids, row_starts, label_starts, policy, where, tokenizer_sha256)
    return (judge_prompts if _PROMPT_COLUMNS.search(name) else judge_answers)(ids, policy, where)


def judge_answers(ids: Ids, policy: Policy, where: str) -> Finding | None:
    """Returns what is wrong with the ids of answers, which hold no think token at all."""
    import numpy as np

    bad = np.flatnonzero(np.isin(ids, policy.think_ids))
    return _first(ids, bad, f"{bad.size} think tokens in {where}")


def judge_prompts(ids: Ids, policy: Policy, where: str) -> Finding | None:
    """Returns what is wrong with the ids of prompts, flat: think tokens stand only in the whole empty block."""
    bad = _outside_blocks(ids, policy)
    return _first(ids, bad, f"{bad.size} think tokens outside the empty block in {where}")


def judge_examples(
    ids: Ids, row_starts: Ids, label_starts: Ids, policy: Policy, where: str, tokenizer_sha256: str | None
) -> Finding | None:
    """Returns what is wrong with examples: a prompt, its end right before the answer, an answer without think tokens.

    Arguments as for :func:`judge_column`. Examples that name no tokenizer are judged: nothing about ids alone
    distinguishes another tokenizer's from Qwen3's without a template.
    """
    import numpy as np

    rule = policy.rules.think_token
    # Whatever its name, a tokenizer with a token of Qwen3's turns is not taken for another.
    other = tokenizer_sha256 is not None and tokenizer_sha256 not in rule.tokenizer_sha256
    if other and (ids.size == 0 or int(ids.max()) < min(policy.think_ids) - _ADDED_BEFORE_THINK):
        return None
    end = np.asarray(rule.prompt_end_ids, dtype=ids.dtype)
    first, last = row_starts[:-1].astype(np.int64), row_starts[1:].astype(np.int64)
    answers = first + label_starts.astype(np.int64)
    misfits = np.flatnonzero((label_starts < end.size) | (answers > last))
    if misfits.size:
        row = int(misfits[0])
        return Finding("think-token", f"{where}: the answer of row {row} does not begin after a prompt", f"row {row}")
    window = answers[:, None] - end.size + np.arange(end.size)
    bad = np.flatnonzero((ids[window] != end).any(axis=1)) if answers.size else answers
    if bad.size:
        row = int(bad[0])
        message = f"{where}: {bad.size} prompts do not end in the empty think block"
        if tokenizer_sha256 is None:
            message += f" (examples of another tokenizer than Qwen3's name it in their metadata, as {TOKENIZER_KEY})"
        return Finding("think-token", message, f"row {row}: {ids[window[row]].tolist()}, expected {end.tolist()}")
    strays = _outside(ids, policy, window)
    if strays.size == 0:
        return None
    row = int(np.searchsorted(row_starts, strays[0], side="right")) - 1
    message = f"{where}: {strays.size} think tokens outside the end of a prompt"
    return Finding("think-token", message, f"row {row}: id {int(ids[strays[0]])} at {int(strays[0] - first[row])}")


def _first(ids: Ids, bad: Ids, message: str) -> Finding | None:
    return Finding("think-token", message, f"id {int(ids[bad[0]])} at position {int(bad[0])}") if bad.size else None


def _outside_blocks(ids: Ids, policy: Policy) -> Ids:
    """Returns the positions of think tokens that are not part of a whole empty block."""
    import numpy as np

    end = np.asarray(policy.rules.think_token.prompt_end_ids, dtype=ids.dtype)
    starts = np.flatnonzero(ids == end[0])
    window = starts[starts + end.size <= ids.size, None] + np.arange(end.size)
    return _outside(ids, policy, window[(ids[window] == end).all(axis=1)])


def _outside(ids: Ids, policy: Policy, windows: Ids) -> Ids:
    """Returns the positions of think tokens that stand in none of the windows, each a row of positions."""
    import numpy as np

    think = np.isin(ids, policy.think_ids)
    think[windows.ravel()] = False
    return np.flatnonzero(think)
