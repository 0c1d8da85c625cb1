"""A subset of the vocabulary: which ids are in, which of them an answer may hold, and the hash of it all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.tokenizer.chat import ChatTokenizer


class TokenSubsetError(SpellingTransferError):
    """A token subset does not exist, was altered, or does not hold what it is needed for."""


@dataclass(frozen=True, eq=False)
class TokenSubset:
    """Token ids that are in use, by a named rule.

    Attributes:
        rule: Name of the rule.
        tokenizer_sha256: Hash of the tokenizer that the ids belong to.
        ids: All ids of the subset, ascending, int64. Prompts and answers are written in them.
        prompt_only_ids: Those of them that no answer may hold (start of a turn, think tags, padding), ascending.
    """

    rule: str
    tokenizer_sha256: str
    ids: np.ndarray
    prompt_only_ids: np.ndarray

    @classmethod
    def of_tokens(cls, english_tokens: pd.DataFrame, rule: str, tokenizer: ChatTokenizer) -> TokenSubset:
        """Takes a rule's subset from the table of :func:`~spelling_transfer.tokenizer.english.find_english_tokens`.

        Raises:
            TokenSubsetError: The table has no such rule.
        """
        known = [column.removeprefix("in_") for column in english_tokens.columns if column.startswith("in_")]
        if rule not in known:
            raise TokenSubsetError(f"token subset: {rule!r} is no rule; known are {', '.join(known)}.")
        rows = english_tokens[english_tokens[f"in_{rule}"]]
        return cls(
            rule=rule,
            tokenizer_sha256=tokenizer.sha256,
            ids=np.sort(rows["token_id"].to_numpy(dtype=np.int64)),
            prompt_only_ids=np.sort(rows.loc[rows["prompt_only"], "token_id"].to_numpy(dtype=np.int64)),
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TokenSubset:
        """Reads what :meth:`to_json` wrote.

        Raises:
            TokenSubsetError: A part is missing, or the ids do not match the hash.
        """
        try:
            prompt_only = np.asarray(sorted(data["prompt_only"].values()), dtype=np.int64)
            subset = cls(
                rule=data["rule"],
                tokenizer_sha256=data["tokenizer_sha256"],
                ids=np.union1d(np.asarray(data["answer_ids"], dtype=np.int64), prompt_only),
                prompt_only_ids=prompt_only,
            )
            expected = data["sha256"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TokenSubsetError(f"english_subset: not readable ({error!r}); run 'kedro tokens' again.") from error
        if subset.sha256 != expected:
            raise TokenSubsetError(
                f"english_subset: its ids have sha256 {subset.sha256}, it says {expected}. It was altered; run "
                "'kedro tokens' again."
            )
        return subset

    def to_json(self, tokenizer: ChatTokenizer) -> dict[str, Any]:
        """Returns the subset as plain data with its hash; ids for prompts alone stand under their tokens' names."""
        name = tokenizer.tokenizer.id_to_token
        return {
            "rule": self.rule,
            "tokenizer_sha256": self.tokenizer_sha256,
            "sha256": self.sha256,
            "size": len(self.ids),
            "prompt_only": {name(token) or str(token): token for token in self.prompt_only_ids.tolist()},
            "answer_ids": self.answer_ids.tolist(),
        }

    @property
    def sha256(self) -> str:
        """Hash of tokenizer and ids: equal where two runs were restricted to the same tokens."""
        parts = [np.asarray(ids, dtype="<i8").tobytes() for ids in (self.ids, self.prompt_only_ids)]
        return hashlib.sha256(b"\n".join([self.tokenizer_sha256.encode(), *parts])).hexdigest()

    @property
    def answer_ids(self) -> np.ndarray:
        """The ids that an answer may hold, ascending, int64."""
        return np.setdiff1d(self.ids, self.prompt_only_ids, assume_unique=True)

    def mask(self, n_rows: int) -> np.ndarray:
        """Returns which rows of the logits an answer may use.

        Args:
            n_rows: Rows of the model's head; rows without a token (Qwen3 has 267) are never allowed.

        Returns:
            Bool, shape ``(n_rows,)``.

        Raises:
            TokenSubsetError: The subset holds an id beyond the last row.
        """
        allowed = np.zeros(n_rows, dtype=bool)
        if len(self.ids) and self.ids[-1] >= n_rows:
            raise TokenSubsetError(f"token subset: its id {self.ids[-1]} is beyond the {n_rows} rows of the head.")
        allowed[self.answer_ids] = True
        return allowed

    def contains(self, n_ids: int) -> np.ndarray:
        """Returns which of the ids below ``n_ids`` are in the subset, bool, shape ``(n_ids,)``."""
        inside = np.zeros(n_ids, dtype=bool)
        inside[self.ids[self.ids < n_ids]] = True
        return inside

    def missing(self, ids: Iterable[int]) -> list[int]:
        """Returns which of the given ids are not in the subset, ascending and once each."""
        return [int(token) for token in np.setdiff1d(np.fromiter(ids, dtype=np.int64), self.ids)]

    def check_usable(self, tokenizer: ChatTokenizer) -> None:
        """Checks that prompts can be written and answers ended in this subset.

        Raises:
            TokenSubsetError: It belongs to another tokenizer or lacks a token that generation needs.
        """
        if tokenizer.sha256 != self.tokenizer_sha256:
            raise TokenSubsetError(
                f"token subset {self.rule!r}: made for tokenizer {self.tokenizer_sha256[:12]}…, the one in use is "
                f"{tokenizer.sha256[:12]}…. Run 'kedro tokens' for this tokenizer."
            )
        missing = self.missing([*tokenizer.prefix_ids, *tokenizer.suffix_ids, tokenizer.end_id])
        if missing:
            raise TokenSubsetError(
                f"token subset {self.rule!r}: lacks {len(missing)} tokens of the prompt (first: {missing[:5]}). Choose "
                "a rule with 'prompt_tokens: true', such as 'english' (conf/base/study/token_analysis/rules.yml)."
            )
