"""The vocabulary as a table: what each token id stands for, of what kind it is, and in which script."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pandas as pd

from spelling_transfer.tokenizer.byte_level import TokenBytes, decode_vocabulary
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.tokenizer.scripts import script_names, scripts_of_texts

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


def _bytes_where(characters: str) -> np.ndarray:
    flags = np.zeros(256, dtype=bool)
    flags[list(characters.encode("latin-1"))] = True
    return flags


_LOWER = _bytes_where("abcdefghijklmnopqrstuvwxyz")
_UPPER = _bytes_where("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGITS = _bytes_where("0123456789")
_SPACE = _bytes_where(" ")
_BLANKS = _bytes_where(" \t\n\r\x0b\x0c")
_HIGH = np.arange(256) >= 0x80
_CONTROL = ((np.arange(256) < 0x20) | (np.arange(256) == 0x7F)) & ~_BLANKS
_SIGNS = ~(_LOWER | _UPPER | _DIGITS | _BLANKS | _HIGH | _CONTROL)


def describe_vocabulary(tokenizer: ChatTokenizer) -> pd.DataFrame:
    """Returns a row for every token id.

    Columns: ``token_id``; ``token`` (as the vocabulary writes it); ``text`` (what it stands for, missing where its
    bytes are no valid UTF-8); ``n_bytes``; ``n_characters`` (missing likewise); ``token_class``; ``script``;
    ``leading_space``; ``letter_case`` (of the class ``letters``, else missing).

    Raises:
        UnsupportedTokenizerError: The tokenizer is not byte-level BPE.
    """
    return vocabulary_table(decode_vocabulary(tokenizer.tokenizer))


def vocabulary_table(tokens: TokenBytes) -> pd.DataFrame:
    """Returns the table of :func:`describe_vocabulary` for tokens that are decoded already."""
    texts = [_text(data) for data in tokens]
    valid = np.fromiter((text is not None for text in texts), dtype=bool, count=len(texts))
    known = [text or "" for text in texts]
    n_characters = np.fromiter(map(len, known), dtype=np.int32, count=len(known))
    script = script_names(scripts_of_texts(known))
    script[~valid] = "Partial"
    return pd.DataFrame(
        {
            "token_id": np.arange(len(tokens), dtype=np.int32),
            "token": pd.array(tokens.strings, dtype="str"),
            "text": pd.array(texts, dtype="str"),
            "n_bytes": tokens.lengths.astype(np.int32),
            "n_characters": pd.arrays.IntegerArray(n_characters, ~valid),
            "token_class": pd.Categorical.from_codes(classify_tokens(tokens, valid), pd.Index(TOKEN_CLASSES)),
            "script": pd.Categorical(script),
            "leading_space": starts_with_space(tokens),
            "letter_case": pd.Categorical.from_codes(letter_cases(tokens), pd.Index(LETTER_CASES)),
        }
    )


def classify_tokens(tokens: TokenBytes, valid: np.ndarray) -> np.ndarray:
    """Returns the class of each token from its bytes.

    Args:
        tokens: The decoded vocabulary.
        valid: Whether a token's bytes are valid UTF-8, shape ``(tokens,)``.

    Returns:
        Places in ``TOKEN_CLASSES``, int8, shape ``(tokens,)``.
    """
    letters, digits = tokens.counts(_LOWER | _UPPER), tokens.counts(_DIGITS)
    blanks, signs, control = tokens.counts(_BLANKS), tokens.counts(_SIGNS), tokens.counts(_CONTROL)
    length, lead = tokens.lengths, starts_with_space(tokens)
    conditions: dict[TokenClass, np.ndarray] = {
        "special": tokens.added,
        "partial": ~valid,
        "non_ascii": tokens.counts(_HIGH) > 0,
        "letters": (letters > 0) & (letters + lead == length),
        "digits": (digits > 0) & (digits + lead == length),
        "whitespace": blanks == length,
        "control": (control > 0) & (control + blanks == length),
        "punctuation": (signs > 0) & (signs + blanks == length),
    }
    codes = [np.int8(TOKEN_CLASSES.index(name)) for name in conditions]
    return np.select(list(conditions.values()), codes, default=np.int8(TOKEN_CLASSES.index("code")))


def is_ascii(tokens: TokenBytes) -> np.ndarray:
    """Returns which base tokens are pure ASCII, bool, shape ``(tokens,)``."""
    plain = ~tokens.added
    plain[tokens.lengths == 0] = False
    filled = np.flatnonzero(tokens.lengths)
    plain[filled] &= np.maximum.reduceat(tokens.data, tokens.offsets.take(filled)) < 0x80
    return plain


def starts_with_space(tokens: TokenBytes) -> np.ndarray:
    """Returns whether each token begins with a space, bool, shape ``(tokens,)``."""
    first = np.zeros(len(tokens), dtype=np.uint8)
    filled = tokens.lengths > 0
    first[filled] = tokens.data[tokens.offsets[:-1][filled]]
    leading: np.ndarray = first == ord(" ")
    return leading


def letter_cases(tokens: TokenBytes) -> np.ndarray:
    """Returns how each token of the class ``letters`` is written; a single capital counts as capitalised.

    Returns:
        Places in ``LETTER_CASES``, -1 for tokens of another class; int8, shape ``(tokens,)``.
    """
    upper, lower, lead = tokens.counts(_UPPER), tokens.counts(_LOWER), starts_with_space(tokens)
    first = np.minimum(tokens.offsets[:-1] + lead, len(tokens.data) - 1)
    is_letters = ~tokens.added & (upper + lower > 0) & (upper + lower + lead == tokens.lengths)
    conditions = [~is_letters, upper == 0, _UPPER[tokens.data[first]] & (upper == 1), lower == 0]
    return np.select(conditions, [np.int8(-1), np.int8(0), np.int8(1), np.int8(2)], default=np.int8(3))


def _text(data: bytes) -> str | None:
    try:
        return data.decode("utf-8") or None
    except UnicodeDecodeError:
        return None
