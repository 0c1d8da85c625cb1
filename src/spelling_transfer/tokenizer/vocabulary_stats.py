"""The vocabulary in numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from spelling_transfer.tokenizer.inspection import TokenizerReport
from spelling_transfer.tokenizer.vocabulary import ASCII_CLASSES, CLASS_DESCRIPTIONS, LETTER_CASES, TOKEN_CLASSES


def summarise_vocabulary(vocabulary: pd.DataFrame, report: TokenizerReport, *, embedding_rows: int) -> dict[str, Any]:
    """Sums up the table of :func:`~spelling_transfer.tokenizer.vocabulary.describe_vocabulary`.

    Args:
        vocabulary: The table.
        report: What the tokenizer is.
        embedding_rows: Rows of the embedding of the published model, to say how many have no token.

    Returns:
        Counts by class, letter case, script and length, and the raw-string heuristic beside the decoded bytes.
    """
    is_base = (vocabulary["token_class"] != "special").to_numpy()
    base = vocabulary[is_base]
    classes = base["token_class"].value_counts()
    letters = base[base["token_class"] == "letters"]
    lengths = base["n_characters"].dropna().astype(int)
    return {
        "tokenizer": asdict(report),
        "base_tokens": len(base),
        "added_tokens": int((~is_base).sum()),
        "embedding_rows": embedding_rows,
        "rows_without_token": embedding_rows - len(vocabulary) + report.ids_without_token,
        "valid_utf8": int(base["text"].notna().sum()),
        "ascii": int(classes[list(ASCII_CLASSES)].sum()),
        "letters": len(letters),
        "letters_bare": int((~letters["leading_space"]).sum()),
        "letters_spaced": int(letters["leading_space"].sum()),
        "letters_by_case": {
            case: {
                "bare": int(((letters["letter_case"] == case) & ~letters["leading_space"]).sum()),
                "spaced": int(((letters["letter_case"] == case) & letters["leading_space"]).sum()),
            }
            for case in LETTER_CASES
        },
        "classes": [
            {"token_class": name, "tokens": int(vocabulary["token_class"].eq(name).sum()), "meaning": text}
            for name, text in ((name, CLASS_DESCRIPTIONS[name]) for name in TOKEN_CLASSES)
        ],
        "scripts": {str(script): int(count) for script, count in base["script"].value_counts().items() if count},
        "characters": {
            "mean": round(float(lengths.mean()), 3),
            "longest": int(lengths.max()),
            "distribution": {int(length): int(count) for length, count in lengths.value_counts().sort_index().items()},  # type: ignore[call-overload]
        },
        "letter_lengths": _letter_lengths(letters),
        "raw_string_heuristic": judge_raw_strings(base),
    }


def judge_raw_strings(base: pd.DataFrame) -> dict[str, Any]:
    """Compares the obvious heuristic with the decoded bytes.

    The heuristic keeps a token if the string in which the vocabulary writes it is ASCII and does not begin with ``<``.
    A leading space is written ``Ġ``, which is not ASCII.

    Args:
        base: The base tokens of the vocabulary's table.
    """
    strings = base["token"]
    kept = strings.map(str.isascii) & ~strings.str.startswith("<")
    is_ascii = base["token_class"].isin(ASCII_CLASSES)
    lost = base[is_ascii & ~kept]
    examples = lost[lost["token_class"] == "letters"]["text"].head(8).tolist()
    return {
        "kept": int(kept.sum()),
        "lost": len(lost),
        "lost_share": round(len(lost) / max(int(is_ascii.sum()), 1), 4),
        "lost_letters": int((lost["token_class"] == "letters").sum()),
        "lost_with_leading_space": int(lost["leading_space"].sum()),
        "kept_with_leading_space": int((kept & base["leading_space"]).sum()),
        "wrongly_kept": int((kept & ~is_ascii).sum()),
        "lost_examples": examples,
    }


def _letter_lengths(letters: pd.DataFrame) -> list[dict[str, int]]:
    n_letters = letters["n_characters"].astype(int) - letters["leading_space"].astype(int)
    spaced = letters["leading_space"].to_numpy()
    longest = int(n_letters.max()) if len(letters) else 0
    bare_counts = np.bincount(n_letters[~spaced], minlength=longest + 1)
    spaced_counts = np.bincount(n_letters[spaced], minlength=longest + 1)
    return [
        {"letters": length, "bare": int(bare_counts[length]), "spaced": int(spaced_counts[length])}
        for length in range(1, longest + 1)
    ]
