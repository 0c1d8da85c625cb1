"""How many tokens each rule takes in, and why."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spelling_transfer.tokenizer.byte_level import name_of_special
from spelling_transfer.tokenizer.rules import TokenRules
from spelling_transfer.tokenizer.vocabulary import TOKEN_CLASSES


def summarise_english(english_tokens: pd.DataFrame, rules: TokenRules) -> list[dict[str, Any]]:
    """Counts the table of :func:`~spelling_transfer.tokenizer.english.find_english_tokens`.

    Returns:
        A row a rule: ``rule``, ``description``, ``in_use``, ``tokens``; ``classes``, a row a class with the tokens that
        are ``inside`` and ``outside``; ``reasons``, a row a reason with ``inside``, ``tokens`` and the ``first`` token.
    """
    named = english_tokens["text"].where(
        english_tokens["token_class"] != "special", english_tokens["token"].map(name_of_special)
    )
    named = named.fillna("")  # parts of characters have no text
    return [
        {
            "rule": name,
            "description": rule.description,
            "in_use": name == rules.use,
            "tokens": int(english_tokens[f"in_{name}"].sum()),
            "classes": _classes(english_tokens, name),
            "reasons": _reasons(english_tokens.assign(named=named), name),
        }
        for name, rule in rules.rules.items()
    ]


def _classes(english_tokens: pd.DataFrame, rule: str) -> list[dict[str, Any]]:
    inside = english_tokens.loc[english_tokens[f"in_{rule}"], "token_class"].value_counts()
    every = english_tokens["token_class"].value_counts()
    return [
        {"token_class": name, "inside": int(inside[name]), "outside": int(every[name] - inside[name])}
        for name in TOKEN_CLASSES
    ]


def _reasons(english_tokens: pd.DataFrame, rule: str) -> list[dict[str, Any]]:
    groups = english_tokens.groupby([f"in_{rule}", f"why_{rule}"], observed=True)["named"].agg(["size", "first"])
    groups = groups.reset_index().set_axis(["inside", "reason", "tokens", "first"], axis=1)
    groups = groups.sort_values(["inside", "tokens", "reason"], ascending=[False, False, True])
    return [
        {
            "inside": bool(inside),
            "reason": str(reason),
            "tokens": int(tokens),
            "first": first or None,
        }
        for inside, reason, tokens, first in groups.itertuples(index=False, name=None)
    ]
