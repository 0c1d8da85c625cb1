"""A subset of the vocabulary: its ids with their hash, what an answer may hold, and what texts need that it lacks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import regex
from pydantic import Field

from spelling_transfer.errors import SpellingTransferError, refuse_text
from spelling_transfer.frozen import FrozenModel
from spelling_transfer.tokenizer.byte_level import TokenBytes, decode_vocabulary
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.tokenizer.english import ENGLISH, TokenRule, TokenRules, find_english_tokens
from spelling_transfer.tokenizer.vocabulary import vocabulary_table


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


def english_subset(words: Iterable[str], tokenizer: ChatTokenizer, rule: TokenRule = ENGLISH) -> TokenSubset:
    """Returns the tokens that English text of these words needs; a few seconds for a tokenizer of Qwen3's size.

    Args:
        words: The listed words, in letters a to z.
        tokenizer: The tokenizer that the ids belong to.
        rule: Which tokens are in.

    Raises:
        TypeError: One word is given, not a list of them.
        UnsupportedTokenizerError: The vocabulary is not byte-level.
    """
    refuse_text("words", words)
    vocabulary = vocabulary_table(decode_vocabulary(tokenizer.tokenizer))
    rules = TokenRules(use="english", rules={"english": rule})
    return TokenSubset.of_tokens(find_english_tokens(vocabulary, words, tokenizer, rules), "english", tokenizer)


@dataclass(frozen=True)
class Segmentation:
    """The tokens of many texts, end to end.

    Attributes:
        ids: Token ids of all texts, int32.
        offsets: Where each text's tokens begin, int64, shape ``(texts + 1,)``.
    """

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of_rows(cls, rows: Sequence[Sequence[int] | np.ndarray]) -> Segmentation:
        """Puts the token ids of each text end to end."""
        ids = np.concatenate([np.empty(0, dtype=np.int32), *rows]).astype(np.int32)
        return cls(ids=ids, offsets=np.concatenate(([0], np.cumsum([len(row) for row in rows], dtype=np.int64))))


class SubsetCoverage(FrozenModel):
    """What is said of the texts that a subset cannot write."""

    top_missing: int = Field(30, ge=1, le=10_000, description="Missing tokens listed for each kind of text.")


def cover(
    texts: Mapping[str, Segmentation], subsets: Sequence[TokenSubset], tokens: TokenBytes, settings: SubsetCoverage
) -> list[dict[str, Any]]:
    """Compares what texts need with what each subset has.

    Args:
        texts: Kinds of texts by name, each with its token ids.
        subsets: The subsets.
        tokens: The decoded vocabulary.
        settings: How many missing tokens are listed.

    Returns:
        A row for each kind and subset: ``corpus``, ``rule``; ``texts``, ``tokens``, ``distinct`` (ids needed);
        ``missing`` (of the distinct ones, how many the subset lacks), ``covered_tokens_share``; ``lost_texts`` and
        ``lost_texts_share``: texts with at least one missing token, which a model trimmed to the subset cannot read and
        a mask cannot write; ``examples``: the most frequent missing tokens with ``token_id``, ``text`` and ``count``.
    """
    return [
        _cover(name, cut, subset, tokens, settings) for name, cut in texts.items() for subset in subsets if len(cut.ids)
    ]


def _cover(
    name: str, cut: Segmentation, subset: TokenSubset, tokens: TokenBytes, settings: SubsetCoverage
) -> dict[str, Any]:
    inside = subset.contains(len(tokens))[cut.ids]
    distinct, counts = np.unique(cut.ids, return_counts=True)
    is_missing = ~np.isin(distinct, subset.ids)
    frequent = np.lexsort((distinct[is_missing], -counts[is_missing]))[: settings.top_missing]
    n_texts = len(cut.offsets) - 1
    lost = np.unique(np.repeat(np.arange(n_texts), np.diff(cut.offsets))[~inside])
    return {
        "corpus": name,
        "rule": subset.rule,
        "texts": n_texts,
        "tokens": len(cut.ids),
        "distinct": len(distinct),
        "missing": int(is_missing.sum()),
        "covered_tokens_share": round(float(inside.mean()), 6),
        "lost_texts": len(lost),
        "lost_texts_share": round(len(lost) / n_texts, 6),
        "examples": [
            {"token_id": int(token), "text": tokens.name(int(token)), "count": int(count)}
            for token, count in zip(distinct[is_missing][frequent], counts[is_missing][frequent], strict=True)
        ],
    }


def encoded_parts(encoded_examples: pd.DataFrame) -> dict[str, Segmentation]:
    """Splits encoded examples at their label start into what is read and what is answered.

    Args:
        encoded_examples: Columns ``input_ids`` and ``label_start``.

    Returns:
        ``prompts`` and ``answers``, a text an example.
    """
    rows = list(zip(encoded_examples["input_ids"], encoded_examples["label_start"], strict=True))
    return {
        "prompts": Segmentation.of_rows([ids[:start] for ids, start in rows]),
        "answers": Segmentation.of_rows([ids[start:] for ids, start in rows]),
    }


def sentences_of(text: str) -> list[str]:
    """Returns the sentences of a plain English text, roughly: a sentence ends at a full stop, ! or ? before a space."""
    flat = " ".join(text.split())
    return [sentence for sentence in regex.split(r"(?<=[.!?][\"”’)]?)\s+", flat) if sentence]
