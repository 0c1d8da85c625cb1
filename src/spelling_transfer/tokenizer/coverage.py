"""How far a subset of the vocabulary reaches: which tokens texts need, and which of them it lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from spelling_transfer.tokenizer.byte_level import TokenBytes
from spelling_transfer.tokenizer.segment import Segmentation
from spelling_transfer.tokenizer.subset import TokenSubset


class SubsetCoverage(BaseModel):
    """What is said of the texts that a subset cannot write."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    top_missing: int = Field(30, ge=1, le=10_000)
    """How many of the missing tokens are listed for each kind of text, the most frequent first."""


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
    lost = np.unique(np.repeat(np.arange(len(cut.offsets) - 1), cut.n_tokens)[~inside])
    n_texts = len(cut.offsets) - 1
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
    whole = Segmentation.of_arrays(encoded_examples["input_ids"].tolist())
    lengths = np.diff(whole.offsets)
    prompt_lengths = np.minimum(encoded_examples["label_start"].to_numpy(dtype=np.int64), lengths)
    place = np.arange(len(whole.ids)) - np.repeat(whole.offsets[:-1], lengths)
    is_prompt = place < np.repeat(prompt_lengths, lengths)
    return {
        "prompts": Segmentation(whole.ids[is_prompt], np.concatenate(([0], np.cumsum(prompt_lengths)))),
        "answers": Segmentation(whole.ids[~is_prompt], np.concatenate(([0], np.cumsum(lengths - prompt_lengths)))),
    }


def sentences_of(text: str) -> list[str]:
    """Returns the sentences of a plain English text, roughly: a sentence ends at a full stop, ! or ? before a space."""
    import regex

    flat = " ".join(text.split())
    return [sentence for sentence in regex.split(r"(?<=[.!?][\"”’)]?)\s+", flat) if sentence]
