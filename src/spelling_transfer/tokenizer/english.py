"""The English tokens of the vocabulary: the rules, what each takes in, and why.

Rules say which tokens are in a subset of the vocabulary; they are kept under ``conf/<env>/study/token_analysis/``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from spelling_transfer.frozen import FrozenModel
from spelling_transfer.tokenizer.byte_level import name_of_special
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.tokenizer.vocabulary import LETTER_CASES, TOKEN_CLASSES, LetterCase, TokenClass
from spelling_transfer.tokenizer.words import plural_of

PROMPT_REASON = "token of the prompt or the end of an answer"
NAMED_REASON = "named by the rule"


class TokenRule(FrozenModel):
    """A rule on the decoded bytes of a token. A token is in if its class is named here and the class's bounds hold."""

    description: str = Field(min_length=1, description="What the rule keeps, in a line for people.")
    classes: tuple[TokenClass, ...] = Field(min_length=1, description="Classes of tokens that are in.")
    letters_of_words: bool = Field(
        False,
        description="Letters are in only if a listed word, or its plural, has them: at its beginning where a space or "
        "capital shows that they begin a word, else anywhere. Single letters are always in, as spelling needs them.",
    )
    letter_cases: tuple[LetterCase, ...] = Field(LETTER_CASES, min_length=1, description="How letters may be written.")
    signs: str | None = Field(None, description="Punctuation is in only if made of these signs; null: any in ASCII.")
    max_signs: int | None = Field(None, ge=1, le=128, description="Most signs of one punctuation token; null: any.")
    max_blanks: int | None = Field(None, ge=1, le=128, description="Most spaces or newlines in a row; null: any.")
    joined_signs: str = Field("", description="Letters joined to one of these in front are in where the letters are.")
    prompt_tokens: bool = Field(False, description="The tokens of the prompt and the end of an answer are in.")
    also: tuple[str, ...] = Field((), description="Texts of further tokens that are in, such as the one for padding.")


ENGLISH = TokenRule(
    description="Letters of the words on the list and of their plurals, digits, the punctuation of English text, short "
    "white space, and the special tokens of the prompt.",
    classes=("letters", "digits", "punctuation", "whitespace"),
    letters_of_words=True,
    letter_cases=("lower", "capitalised", "upper"),
    signs=".,:;!?'\"()[]-/&%$*+=#@",
    max_signs=3,
    max_blanks=2,
    joined_signs="'\"(-",
    prompt_tokens=True,
    also=("<|endoftext|>",),
)
"""The rule ``english`` of ``conf/base/study/token_analysis/rules.yml``, for code that has no ``conf/``."""


class TokenRules(FrozenModel):
    """All rules by name, and the one that training, evaluation and serving use."""

    use: str = Field("english", description="Name of the rule whose tokens are the subset in use.")
    rules: dict[str, TokenRule] = Field(min_length=1, description="The rules by name.")

    @model_validator(mode="after")
    def _used_rule_is_known(self) -> TokenRules:
        if self.use not in self.rules:
            raise ValueError(
                f"token_rules.use: {self.use!r} is no rule; known are {', '.join(self.rules)} "
                "(conf/base/study/token_analysis/rules.yml)"
            )
        return self


class WordParts:
    """An index of words by their beginnings and by all their parts.

    Args:
        words: Words of the letters a to z.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._words = sorted(set(words))
        # Whatever stands anywhere in a word begins one of its endings; the word is noted behind each.
        self._endings = sorted(f"{word[start:]}\n{word}" for word in self._words for start in range(len(word)))

    def beginning_with(self, string: str) -> str:
        """Returns a word that begins with a string of the letters a to z; empty where none does."""
        return _first_with(self._words, string)

    def holding(self, string: str) -> str:
        """Returns a word that holds a string of the letters a to z anywhere; empty where none does."""
        return _first_with(self._endings, string).rpartition("\n")[2]


def _first_with(ordered: Sequence[str], beginning: str) -> str:
    place = bisect_left(ordered, beginning)
    return ordered[place] if place < len(ordered) and ordered[place].startswith(beginning) else ""


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
    begins = (vocabulary["leading_space"] | (vocabulary["letter_case"] == "capitalised")).to_numpy()
    reason, words_of, sign = (np.full(len(texts), "", dtype=object) for _ in range(3))
    fits = np.zeros(len(texts), dtype=bool)
    for token in np.flatnonzero((token_class == "letters") | (token_class == "code")):
        letters, is_beginning = texts[token].removeprefix(" ").lower(), begins[token]
        if token_class[token] == "code":
            letters, is_beginning = texts[token][1:].lower(), True
            if not letters.isalpha() or not texts[token][0].isprintable():
                continue
            sign[token] = texts[token][0]
        word = parts.beginning_with(letters) if is_beginning else parts.holding(letters)
        words_of[token], fits[token] = word, bool(word) or len(letters) == 1
        if len(letters) == 1:
            reason[token] = "single letter"
        elif is_beginning:
            reason[token] = "begins a listed word" if word else "no listed word begins so"
        else:
            reason[token] = "part of a listed word" if word else "part of no listed word"
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
    named = [token for token, text in enumerate(texts.tolist()) if text in rule.also]
    for special, reason in ((_prompt_ids(rule, tokenizer), PROMPT_REASON), (named, NAMED_REASON)):
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
