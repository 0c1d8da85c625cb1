"""How the text around a word changes its tokens: the space, quote or bracket in front decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.tokenizer.word_stats import WordAnalysis


def segmentation_in_contexts(
    tokenizer: ChatTokenizer, words: pd.DataFrame, settings: WordAnalysis
) -> list[dict[str, Any]]:
    """Puts words into texts and compares their tokens there with those of the word after a space and alone.

    Args:
        tokenizer: The tokenizer.
        words: Column ``word``.
        settings: The texts, and how many words.

    Returns:
        A row a text: ``context``, ``text``, ``words``; the shares of words cut as after a space (``spaced_share``), as
        alone (``bare_share``), in neither way (``other_share``), and ``glued_share``: the first token also holds what
        stands in front. A word can be cut alike alone and after a space, so shares need not add up to 1.
    """
    # Every n-th word: the most frequent ones alone are single tokens nearly everywhere.
    step = max(1, -(-len(words) // settings.context_words))
    listed = words["word"].iloc[::step].tolist()
    return [
        {"context": name, "text": text, **_shares(tokenizer, *_put_into(text, listed))}
        for name, text in settings.contexts.items()
    ]


def segmentation_in_templates(
    tokenizer: ChatTokenizer, examples: pd.DataFrame, *, per_template: int = 50
) -> list[dict[str, Any]]:
    """Compares the tokens of the words in real questions with those of the word after a space and alone.

    Args:
        tokenizer: The tokenizer.
        examples: Columns ``task``, ``template``, ``word``, ``question``.
        per_template: How many examples of each template are looked at, the first ones.

    Returns:
        A row a template, with the shares of :func:`segmentation_in_contexts`.
    """
    rows = []
    for (task, template), group in examples.groupby(["task", "template"], sort=True, observed=True):
        sample = group.head(per_template)
        texts, words = sample["question"].tolist(), sample["word"].tolist()
        places = [place_of_word(text, word) for text, word in zip(texts, words, strict=True)]
        shares = _shares(tokenizer, texts, words, places)
        rows.append({"task": task, "template": template, "text": sample["question"].iloc[0], **shares})
    return rows


def place_of_word(text: str, word: str) -> int:
    """Returns where ``word`` first stands in ``text`` as a word of its own, capitals or not; -1 where it does not."""
    text, begin = text.lower(), -1
    while (begin := text.find(word, begin + 1)) >= 0:
        around = text[max(begin - 1, 0) : begin] + text[begin + len(word) : begin + len(word) + 1]
        if not any(character.isalpha() for character in around):
            return begin
    return -1


def _put_into(text: str, words: Sequence[str]) -> tuple[list[str], Sequence[str], list[int]]:
    place = text.index("{word}")
    return [text.replace("{word}", word) for word in words], words, [place] * len(words)


def _shares(
    tokenizer: ChatTokenizer, texts: Sequence[str], words: Sequence[str], places: Sequence[int]
) -> dict[str, Any]:
    bare, spaced = tokenizer.encode_texts(words), tokenizer.encode_texts([f" {word}" for word in words])
    # The plain batch call, as the fast one leaves out where a token stands.
    encodings = tokenizer.tokenizer.encode_batch(list(texts), add_special_tokens=False)
    n_words = n_spaced = n_bare = n_other = n_glued = 0
    rows = zip(encodings, texts, words, places, bare, spaced, strict=True)
    for encoding, text, word, begin, as_bare, as_spaced in rows:
        if begin < 0:
            continue
        offsets = encoding.offsets
        # A space in front belongs to the word's tokens, also where it is a token of its own (" urs").
        first = begin - 1 if text[begin - 1 : begin] == " " else begin
        covering = [at for at, (start, end) in enumerate(offsets) if end > first and start < begin + len(word)]
        ids = [encoding.ids[at] for at in covering]
        before = text[offsets[covering[0]][0] : begin]
        is_spaced, is_bare = ids == as_spaced, ids == as_bare and not before
        n_words += 1
        n_spaced += is_spaced
        n_bare += is_bare
        n_other += not (is_spaced or is_bare)
        n_glued += bool(before.strip())
    total = max(n_words, 1)
    return {
        "words": n_words,
        "spaced_share": round(n_spaced / total, 4),
        "bare_share": round(n_bare / total, 4),
        "other_share": round(n_other / total, 4),
        "glued_share": round(n_glued / total, 4),
    }
