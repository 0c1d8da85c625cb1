"""What the table of words in tokens says, in a few numbers for each form, and what the text around a word changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from spelling_transfer.frozen import FrozenModel
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.tokenizer.words import FORM_DESCRIPTIONS, WORD_FORMS

_QUESTIONS_A_TEMPLATE = 50


class WordAnalysis(FrozenModel):
    """How words in tokens are summed up."""

    frequency_bands: dict[str, float] = Field(
        {"very frequent": 5.0, "frequent": 4.0, "less frequent": 3.0, "rare": 0.0},
        min_length=1,
        description="Lowest Zipf frequency of each band, the highest first; 5 is once in ten thousand words.",
    )
    top_words: int = Field(30, ge=1, le=1_000, description="Words of several tokens that are listed for each form.")
    contexts: dict[str, str] = Field(
        {
            "after a space": "Spell {word}.",
            "at the start": "{word} has how many letters?",
            "after a newline": "Spell this word:\n{word}",
            "in double quotes": 'Spell "{word}".',
            "in single quotes": "Spell '{word}'.",
            "in brackets": "Spell this word ({word}).",
            "in square brackets": "Spell [{word}].",
            "after a hyphen": "Spell non-{word}.",
            "after an underscore": "Spell the_{word}.",
            "after a colon without a space": "Word:{word}",
        },
        description="Texts around a word, by name; what stands in front of it decides how it is cut.",
    )
    context_words: int = Field(1_000, ge=1, le=300_000, description="Words that are put into each text.")

    @field_validator("frequency_bands")
    @classmethod
    def _bands_descend(cls, bands: dict[str, float]) -> dict[str, float]:
        floors = list(bands.values())
        if floors != sorted(set(floors), reverse=True):
            raise ValueError(f"word_analysis.frequency_bands: {floors} must go down, without repeats")
        return bands

    @field_validator("contexts")
    @classmethod
    def _contexts_hold_the_word_once(cls, contexts: dict[str, str]) -> dict[str, str]:
        for name, text in contexts.items():
            if text.count("{word}") != 1:
                raise ValueError(f"word_analysis.contexts: {name!r} must hold {{word}} once, is {text!r}")
        return contexts


def summarise_words(word_tokens: pd.DataFrame, settings: WordAnalysis) -> dict[str, Any]:
    """Sums up the table of :func:`~spelling_transfer.tokenizer.words.analyse_words`.

    Plurals count only where they are on the list themselves: the regular ending makes no words out of verbs.

    Returns:
        ``forms``: for each form its description and numbers; ``by_frequency`` and ``by_length``: tables as lists of
        rows; for each form the most frequent words of more than one token (``multi_token_words``) and those that fewer
        tokens could write than the tokenizer takes (``ambiguous_words``).
    """
    counted = word_tokens[word_tokens["is_listed"]]
    counted = counted.assign(band=band_of(counted["zipf_frequency"], settings.frequency_bands))
    several = counted[counted["n_tokens"] > 1]
    # Where fewer tokens would do: the order of the merges, not the length, decides how the tokenizer cuts.
    longer = counted[counted["n_tokens"] > counted["fewest_tokens"]]
    return {
        "words": int(word_tokens["word"].nunique()),
        "forms": [_form_summary(counted[counted["form"] == form], form) for form in WORD_FORMS],
        "by_frequency": _by(counted, "band"),
        "by_length": _by(counted, "length"),
        "multi_token_words": _top(several, ["letters_in_several_tokens"], settings.top_words),
        "ambiguous_words": _top(longer, ["fewest_tokens", "shortest_ways", "ways"], settings.top_words),
    }


def _form_summary(rows: pd.DataFrame, form: Any) -> dict[str, Any]:
    several = rows[rows["n_tokens"] > 1]
    distribution = rows["n_tokens"].value_counts().sort_index()
    return {
        "form": form,
        "description": FORM_DESCRIPTIONS[form],
        "words": len(rows),
        "mean_tokens": _mean(rows["n_tokens"]),
        "single_token": int((rows["n_tokens"] == 1).sum()),
        "single_token_share": _mean(rows["n_tokens"] == 1),
        "tokens": {int(count): int(words) for count, words in distribution.items()},  # type: ignore[call-overload]
        # Of words of several tokens alone: a single token has no border that letters could cross.
        "splits_double_letter_share": _mean(several["splits_double_letter"]),
        "letters_in_several_tokens_share": _mean(several["letters_in_several_tokens"] != ""),
        "not_shortest_share": _mean(several["n_tokens"] > several["fewest_tokens"]),
        "several_shortest_share": _mean(several["shortest_ways"] > 1),
        "median_ways": float(several["ways"].median()) if len(several) else 0.0,
    }


def _by(rows: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    groups = rows.groupby([column, "form"], observed=True)["n_tokens"]
    table = groups.agg(words="size", mean_tokens="mean", single_token_share=lambda counts: np.mean(counts == 1))
    return table.round(4).reset_index().to_dict("records")  # type: ignore[return-value]


def _top(rows: pd.DataFrame, columns: Sequence[str], count: int) -> dict[str, list[dict[str, Any]]]:
    frequent = rows.sort_values("zipf_frequency", ascending=False, kind="stable")
    shown = ["word", "zipf_frequency", "pieces", "n_tokens", *columns]
    return {
        form: frequent.loc[frequent["form"] == form, shown].head(count).to_dict("records")  # type: ignore[misc]
        for form in WORD_FORMS
    }


def _mean(values: pd.Series[Any]) -> float:
    return round(float(values.mean()), 4) if len(values) else 0.0


def band_of(zipf_frequency: pd.Series[float], bands: Mapping[str, float]) -> pd.Categorical[str]:
    """Returns the frequency band of each word.

    Args:
        zipf_frequency: Zipf frequencies (log10 of occurrences in a thousand million words).
        bands: The lowest frequency of each band by name, the highest first.
    """
    names, floors = list(bands), list(bands.values())
    conditions = [zipf_frequency.to_numpy() >= floor for floor in floors]
    codes = np.select(conditions, list(range(len(names))), default=len(names) - 1)
    return pd.Categorical.from_codes(codes, pd.Index(names), ordered=True)


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


def segmentation_in_templates(tokenizer: ChatTokenizer, examples: pd.DataFrame) -> list[dict[str, Any]]:
    """Compares the tokens of the words in real questions with those of the word after a space and alone.

    Args:
        tokenizer: The tokenizer.
        examples: Columns ``task``, ``template``, ``word``, ``question``; the first 50 of each template are looked at.

    Returns:
        A row a template, with the shares of :func:`segmentation_in_contexts`.
    """
    rows = []
    for (task, template), group in examples.groupby(["task", "template"], sort=True, observed=True):
        sample = group.head(_QUESTIONS_A_TEMPLATE)
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
