"""The regular plural of an English noun."""

from __future__ import annotations

_VOWELS = frozenset("aeiou")


def plural_of(word: str) -> str:
    """Returns ``word`` with its plural ending by the regular rule: -s, -es after a hiss, -ies for a consonant and y.

    Irregular nouns (``men``) and words that are no nouns get the regular ending too; whether the result is a word is
    for the caller to look up.
    """
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in _VOWELS and len(word) > 1:
        return f"{word[:-1]}ies"
    return f"{word}s"
