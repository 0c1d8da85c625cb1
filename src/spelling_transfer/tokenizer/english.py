"""Applies the rules to the vocabulary: for every token whether it is in, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.tokenizer.plurals import plural_of
from spelling_transfer.tokenizer.rules import TokenRule, TokenRules
from spelling_transfer.tokenizer.vocabulary import TOKEN_CLASSES
from spelling_transfer.tokenizer.word_parts import WordParts

PROMPT_REASON = "token of the prompt or the end of an answer"
NAMED_REASON = "named by the rule"


def find_english_tokens(
    vocabulary: pd.DataFrame, words: Iterable[str], tokenizer: ChatTokenizer, rules: TokenRules
) -> pd.DataFrame:
    """Applies every rule to every token.

    Args:
        vocabulary: The table of :func:`~spelling_transfer.tokenizer.vocabulary.describe_vocabulary`.
        words: The listed words, in letters a to z.
        tokenizer: The tokenizer, for the tokens of the prompt.
        rules: The rules.

    Returns:
        ``token_id``, ``token``, ``text``, ``token_class``; for each rule ``in_<rule>`` and ``why_<rule>``; ``word``, a
        listed word (or plural) that holds the letters of the token; ``prompt_only``: special tokens that a prompt
        needs and that no answer may hold.
    """
    texts = vocabulary["text"].to_numpy(dtype=object, na_value="")
    letters = _match_letters(vocabulary, texts, words)
    columns: dict[str, object] = {}
    for name, rule in rules.rules.items():
        is_in, why = _apply(rule, vocabulary, texts, letters, tokenizer)
        columns[f"in_{name}"] = is_in
        columns[f"why_{name}"] = pd.Categorical(why)
    is_special = (vocabulary["token_class"] == "special").to_numpy()
    frame = vocabulary[["token_id", "token", "text", "token_class"]].assign(**columns)  # type: ignore[arg-type]
    return frame.assign(
        word=pd.array([word or None for word in letters.words.tolist()], dtype="str"),
        prompt_only=is_special & (vocabulary["token_id"].to_numpy() != tokenizer.end_id),
    )


@dataclass(frozen=True)
class _Letters:
    """The tokens that are letters, perhaps behind a sign, matched against the list; arrays of one entry a token.

    Attributes:
        reason: Why the letters occur in words or do not; empty for tokens of other kinds.
        fits: Whether a listed word holds them.
        sign: The sign in front of the letters, or empty.
        words: A word that holds them, or empty.
    """

    reason: np.ndarray
    fits: np.ndarray
    sign: np.ndarray
    words: np.ndarray


def _match_letters(vocabulary: pd.DataFrame, texts: np.ndarray, words: Iterable[str]) -> _Letters:
    listed = list(words)
    parts = WordParts([*listed, *map(plural_of, listed)])
    token_class = vocabulary["token_class"].to_numpy(dtype=object)
    reason, words_of, sign = (np.full(len(texts), "", dtype=object) for _ in range(3))
    fits = np.zeros(len(texts), dtype=bool)
    joined = [
        token
        for token in np.flatnonzero(token_class == "code")
        if texts[token][1:].isalpha() and texts[token].isascii() and texts[token][0].isprintable()
    ]
    sign[joined] = [texts[token][0] for token in joined]
    case = vocabulary["letter_case"].to_numpy(dtype=object)
    begins = vocabulary["leading_space"].to_numpy() | (case == "capitalised")
    begins[joined] = True
    of_letters = np.concatenate((np.flatnonzero(token_class == "letters"), np.array(joined, dtype=np.int64)))
    for ids, is_beginning in ((of_letters[begins[of_letters]], True), (of_letters[~begins[of_letters]], False)):
        strings = [texts[token].lstrip(" ").lower()[1 if sign[token] else 0 :] for token in ids]
        found = parts.beginning_with(strings) if is_beginning else parts.holding(strings)
        single = np.fromiter(map(len, strings), dtype=np.int64, count=len(strings)) == 1
        fits[ids] = found.in_words | single
        words_of[ids] = found.words
        yes, no = (
            ("begins a listed word", "no listed word begins so")
            if is_beginning
            else (
                "part of a listed word",
                "part of no listed word",
            )
        )
        reason[ids] = np.where(single, "single letter", np.where(found.in_words, yes, no))
    return _Letters(reason=reason, fits=fits, sign=sign, words=words_of)


def _apply(
    rule: TokenRule, vocabulary: pd.DataFrame, texts: np.ndarray, letters: _Letters, tokenizer: ChatTokenizer
) -> tuple[np.ndarray, np.ndarray]:
    token_class = vocabulary["token_class"].to_numpy(dtype=object)
    is_in = np.isin(vocabulary["token_class"].cat.codes, [TOKEN_CLASSES.index(name) for name in rule.classes])
    why = np.where(is_in, "class " + token_class + " is in", "class " + token_class + " is out")
    if "letters" in rule.classes:
        _bound_letters(rule, vocabulary, letters, is_in, why)
    if "punctuation" in rule.classes and (rule.signs is not None or rule.max_signs or rule.max_blanks):
        _note(np.flatnonzero(token_class == "punctuation"), texts, lambda text: _against_signs(rule, text), is_in, why)
    if "whitespace" in rule.classes and rule.max_blanks:
        too_long = f"more than {rule.max_blanks} blanks"
        ids = np.flatnonzero(token_class == "whitespace")
        _note(ids, texts, lambda text: too_long if len(text) > (rule.max_blanks or 0) else None, is_in, why)
    if rule.joined_signs:
        joined = np.isin(letters.sign, list(rule.joined_signs))
        fits = letters.fits | (not rule.letters_of_words)
        is_in[joined] = fits[joined]
        why[joined] = "sign joined to letters: " + letters.reason[joined]
    for special, reason in ((_prompt_ids(rule, tokenizer), PROMPT_REASON), (_named_ids(rule, texts), NAMED_REASON)):
        is_in[special], why[special] = True, reason
    return is_in, why


def _bound_letters(
    rule: TokenRule, vocabulary: pd.DataFrame, letters: _Letters, is_in: np.ndarray, why: np.ndarray
) -> None:
    of_letters = (vocabulary["token_class"] == "letters").to_numpy()
    case = vocabulary["letter_case"].to_numpy(dtype=object)
    if rule.letters_of_words:
        is_in[of_letters] = letters.fits[of_letters]
        why[of_letters] = letters.reason[of_letters]
    wrong_case = of_letters & ~np.isin(case, rule.letter_cases)
    is_in[wrong_case] = False
    why[wrong_case] = case[wrong_case] + " case is out"


def _note(
    ids: np.ndarray, texts: np.ndarray, against: Callable[[str], str | None], is_in: np.ndarray, why: np.ndarray
) -> None:
    for token in ids:
        reason = against(texts[token])
        if reason is not None:
            is_in[token], why[token] = False, reason


def _against_signs(rule: TokenRule, text: str) -> str | None:
    signs = [character for character in text if not character.isspace()]
    if rule.signs is not None and not set(signs) <= set(rule.signs):
        return "has a sign that the rule does not name"
    if rule.max_signs is not None and len(signs) > rule.max_signs:
        return f"more than {rule.max_signs} signs"
    blanks = len(text) - len(signs) - text.startswith(" ")
    return f"more than {rule.max_blanks} blanks" if rule.max_blanks is not None and blanks > rule.max_blanks else None


def _prompt_ids(rule: TokenRule, tokenizer: ChatTokenizer) -> list[int]:
    if not rule.prompt_tokens:
        return []
    return sorted({*tokenizer.prefix_ids, *tokenizer.suffix_ids, tokenizer.end_id})


def _named_ids(rule: TokenRule, texts: np.ndarray) -> list[int]:
    return [token for token, text in enumerate(texts.tolist()) if text in rule.also] if rule.also else []
