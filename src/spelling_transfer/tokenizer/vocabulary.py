"""The vocabulary as a table and in numbers: what each token id stands for, of what kind it is, and in which script."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from spelling_transfer.tokenizer.byte_level import TokenBytes, name_of_special
from spelling_transfer.tokenizer.chat import QWEN3_TOKENIZER_SHA256, ChatTokenizer

TokenClass = Literal[
    "letters", "digits", "punctuation", "whitespace", "code", "control", "non_ascii", "partial", "special"
]
TOKEN_CLASSES: tuple[TokenClass, ...] = get_args(TokenClass)
ASCII_CLASSES: tuple[TokenClass, ...] = ("letters", "digits", "punctuation", "whitespace", "code", "control")

CLASS_DESCRIPTIONS: dict[TokenClass, str] = {
    "letters": "letters a to z, A to Z, with or without one space in front",
    "digits": "digits",
    "punctuation": "ASCII signs, perhaps with a space in front or newlines behind",
    "whitespace": "spaces, tabs, newlines",
    "code": "letters joined to a sign or tab, mostly from program text (.get, _id, but also 's)",
    "control": "ASCII control characters",
    "non_ascii": "valid UTF-8 with a character outside ASCII",
    "partial": "bytes that are no valid UTF-8 by themselves: parts of characters",
    "special": "added tokens, matched as whole texts (<|im_end|>)",
}

LetterCase = Literal["lower", "capitalised", "upper", "mixed"]
LETTER_CASES: tuple[LetterCase, ...] = get_args(LetterCase)

_BLANKS = r" \t\n\r\x0b\x0c"
_PATTERNS: dict[TokenClass, re.Pattern[str]] = {
    "letters": re.compile(" ?[A-Za-z]+"),
    "digits": re.compile(" ?[0-9]+"),
    "whitespace": re.compile(f"[{_BLANKS}]*"),
    "control": re.compile(r"[\x00-\x20\x7f]+"),
    "punctuation": re.compile(rf"[!-/:-@\[-`{{-~{_BLANKS}]+"),
}
"""The classes of ASCII texts; the first that fits holds, and ``code`` where none does."""

COMMON = "Common"
"""No letter of a script: digits, punctuation, symbols, white space."""
MIXED = "Mixed"
"""Letters of more than one script."""
OTHER = "Other"
"""A script that is not among ``SCRIPTS``."""

# The most frequent ones first, as characters that are matched need no further look.
# fmt: off
SCRIPTS = (
    "Latin", "Han", "Hangul", "Cyrillic", "Arabic", "Greek", "Hebrew", "Thai", "Katakana", "Hiragana", "Devanagari",
    "Armenian", "Georgian", "Bengali", "Tamil", "Telugu", "Malayalam", "Kannada", "Gujarati", "Gurmukhi", "Oriya",
    "Sinhala", "Khmer", "Lao", "Myanmar", "Tibetan", "Mongolian", "Ethiopic", "Syriac", "Thaana", "Nko", "Cherokee",
    "Canadian_Aboriginal", "Coptic", "Tifinagh", "Javanese", "Balinese", "Sundanese", "Bopomofo", "Yi", "Runic",
    "Ogham", "Gothic", "Glagolitic", "Cuneiform", "Egyptian_Hieroglyphs", "Phoenician", "Braille", "Tai_Tham",
    "Tai_Viet", "Tai_Le", "New_Tai_Lue", "Mandaic", "Phags_Pa", "Buginese", "Samaritan", "Bamum",
    "Inscriptional_Parthian", "Old_Turkic", "Old_Persian", "Limbu", "Batak", "Lepcha", "Ol_Chiki", "Lisu", "Vai",
    "Cham", "Kaithi", "Modi", "Adlam", "Avestan", "Bhaiksuki", "Brahmi", "Buhid", "Carian", "Chakma", "Deseret",
    "Grantha", "Hanunoo", "Kayah_Li", "Kharoshthi", "Linear_A", "Linear_B", "Lycian", "Lydian", "Meetei_Mayek", "Osage",
    "Osmanya", "Rejang", "Saurashtra", "Shavian", "Siddham", "Syloti_Nagri", "Tagalog", "Tagbanwa", "Takri", "Ugaritic",
    "Old_Italic", "Nabataean", "Hatran", "Imperial_Aramaic", "Wancho", "Nushu", "Tangut",
)
# fmt: on


def vocabulary_table(tokens: TokenBytes) -> pd.DataFrame:
    """Returns a row for every token id.

    Columns: ``token_id``; ``token`` (as the vocabulary writes it); ``text`` (what it stands for, missing where its
    bytes are no valid UTF-8); ``n_bytes``; ``n_characters`` (missing likewise); ``token_class``; ``script``;
    ``leading_space``; ``letter_case`` (of the class ``letters``, else missing).
    """
    texts = [_text(data) for data in tokens]
    known = [text or "" for text in texts]
    missing = np.array([text is None for text in texts])
    classes = ["special" if i in tokens.added else _class_of(text) for i, text in enumerate(texts)]
    cases = [_case_of(text) if name == "letters" else None for text, name in zip(known, classes, strict=True)]
    scripts = ["Partial" if text is None else script for text, script in zip(texts, scripts_of(known), strict=True)]
    return pd.DataFrame(
        {
            "token_id": np.arange(len(tokens), dtype=np.int32),
            "token": pd.array(tokens.strings, dtype="str"),
            "text": pd.array(texts, dtype="str"),
            "n_bytes": np.array([len(data) for data in tokens], dtype=np.int32),
            "n_characters": pd.arrays.IntegerArray(np.array([len(text) for text in known], dtype=np.int32), missing),
            "token_class": pd.Categorical(classes, categories=pd.Index(TOKEN_CLASSES)),
            "script": pd.Categorical(scripts),
            "leading_space": np.array([data[:1] == b" " for data in tokens]),
            "letter_case": pd.Categorical(cases, categories=pd.Index(LETTER_CASES)),
        }
    )


def _text(data: bytes) -> str | None:
    try:
        return data.decode("utf-8") or None
    except UnicodeDecodeError:
        return None


def _class_of(text: str | None) -> TokenClass:
    if text is None:
        return "partial"
    if not text.isascii():
        return "non_ascii"
    return next((name for name, pattern in _PATTERNS.items() if pattern.fullmatch(text)), "code")


def _case_of(text: str) -> LetterCase:
    letters = text.removeprefix(" ")
    if letters.islower():
        return "lower"
    if letters[1:] == letters[1:].lower():  # a single capital counts as capitalised
        return "capitalised"
    return "upper" if letters.isupper() else "mixed"


def scripts_of(texts: Sequence[str]) -> list[str]:
    """Returns the script of each text: that of its letters if they share one, else ``Mixed`` or ``Common``."""
    script_of = _scripts_of_characters(set("".join(texts)))
    found = ({script_of[character] for character in text} - {COMMON} for text in texts)
    return [scripts.pop() if len(scripts) == 1 else MIXED if scripts else COMMON for scripts in found]


def _scripts_of_characters(characters: Iterable[str]) -> dict[str, str]:
    """Returns the Unicode property ``Script`` (UAX #24) of each character."""
    import regex

    remaining = "".join(sorted(characters))
    script_of = dict.fromkeys(remaining, OTHER)
    patterns = {COMMON: r"[\p{Script=Common}\p{Script=Inherited}]"} | {
        each: rf"\p{{Script={each}}}" for each in SCRIPTS
    }
    for script, pattern in patterns.items():
        script_of |= dict.fromkeys(regex.findall(pattern, remaining), script)
        remaining = regex.sub(pattern, "", remaining)
        if not remaining:
            break
    return script_of


QWEN3_ADDED_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
"""The added tokens of Qwen3 that prompts, padding and the policy speak of."""


@dataclass(frozen=True)
class TokenizerReport:
    """What a tokenizer is.

    Attributes:
        sha256: Hash of its file.
        is_pinned: Whether it is the official Qwen3 tokenizer.
        missing_added: Those of ``QWEN3_ADDED_TOKENS`` that it does not have, by name: a tag written out would be one.
        ids_without_token: How many ids below the highest one have no token.
        statements: What that means for the analysis, a sentence each.
    """

    sha256: str
    is_pinned: bool
    missing_added: tuple[str, ...]
    ids_without_token: int
    statements: tuple[str, ...]


def inspect_tokenizer(tokenizer: ChatTokenizer, tokens: TokenBytes) -> TokenizerReport:
    """Says what a byte-level tokenizer lets us analyse; others are refused when their vocabulary is decoded."""
    present = {token.content for token in tokenizer.tokenizer.get_added_tokens_decoder().values()}
    missing = tuple(text for text in QWEN3_ADDED_TOKENS if text not in present)
    is_pinned = tokenizer.sha256 == QWEN3_TOKENIZER_SHA256
    without = sum(not token for token in tokens.strings)
    statements = []
    if is_pinned:
        statements.append("This is the official Qwen3 tokenizer: everything is analysed.")
    else:
        statements.append(
            f"This is not the official Qwen3 tokenizer (sha256 {tokenizer.sha256[:12]}…): its vocabulary, words and "
            "subset are analysed; the figures in docs/qwen3_token_analysis.md are not about it."
        )
    if without:
        statements.append(f"{without} ids have no token; they count as tokens of no text.")
    for text in missing:
        statements.append(f"It has no {name_of_special(text)}: {_CONSEQUENCES[text]}.")
    return TokenizerReport(
        sha256=tokenizer.sha256,
        is_pinned=is_pinned,
        missing_added=tuple(map(name_of_special, missing)),
        ids_without_token=without,
        statements=tuple(statements),
    )


_CONSEQUENCES = {
    "<|endoftext|>": "a rule that names it for padding finds nothing",
    "<|im_start|>": "turns are marked in another way, and the prompt's tokens are those of its own template",
    "<|im_end|>": "an answer ends with the token by which its own template ends a turn, else with its `eos_token`",
    "<think>": "there is no think tag to keep out of answers, and the two renderings of the template may not differ",
    "</think>": "there is no think tag to keep out of answers, and the two renderings of the template may not differ",
}


def summarise_vocabulary(vocabulary: pd.DataFrame, report: TokenizerReport, *, embedding_rows: int) -> dict[str, Any]:
    """Sums up the table of :func:`~spelling_transfer.tokenizer.vocabulary.vocabulary_table`.

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
            for name, text in CLASS_DESCRIPTIONS.items()
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
