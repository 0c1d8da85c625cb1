"""The search box of the page: type a word, see its tokens in each form. Works from the page alone, without a server."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from spelling_transfer.tokenizer.words import FORM_DESCRIPTIONS, WORD_FORMS


def search_box(word_tokens: pd.DataFrame) -> str:
    """Returns the search box as HTML with its script and data.

    Args:
        word_tokens: The table of :func:`~spelling_transfer.tokenizer.words.analyse_words`.
    """
    environment = Environment(
        loader=PackageLoader("spelling_transfer.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = lambda name: Markup(environment.loader.get_source(environment, name)[0])  # type: ignore[union-attr]  # noqa: S704
    data = json.dumps(search_data(word_tokens), ensure_ascii=False, separators=(",", ":"))
    # In JSON "<" stands in strings alone; escaped, it can end no element.
    return environment.get_template("search.html.j2").render(data=Markup(data.replace("<", "\\u003c")))  # noqa: S704


def search_data(word_tokens: pd.DataFrame) -> dict[str, Any]:
    """Returns what the script needs, packed: all words of all forms, and each token once.

    Returns:
        ``tokens``: ``[id, text]`` of every token in use; ``words``: all words, with blanks between; ``forms``: for each
        form its name, its description and ``tokens``, a string with a word's tokens as places in ``tokens`` (base 36,
        with dots between tokens and blanks between words); ``plurals``: the plurals as written, with blanks between.
    """
    ids = np.concatenate([np.empty(0, dtype=np.int64), *word_tokens["ids"].to_numpy()]).astype(np.int64)
    used, first = np.unique(ids, return_index=True)
    # No letter is a bar, so the pieces of a text are its tokens' texts, one for each id.
    pieces = "|".join(word_tokens["pieces"]).split("|")
    names = {token: _base_36(place) for place, token in enumerate(used.tolist())}
    forms = []
    for form in WORD_FORMS:
        rows = word_tokens.loc[word_tokens["form"] == form, "ids"]
        packed = " ".join(".".join([names[token] for token in row]) for row in map(list, rows))
        forms.append({"form": form, "description": FORM_DESCRIPTIONS[form], "tokens": packed})
    plurals = word_tokens.loc[word_tokens["form"] == "plural", "text"].str.strip()
    return {
        "tokens": [[token, pieces[at]] for token, at in zip(used.tolist(), first.tolist(), strict=True)],
        "words": " ".join(word_tokens.loc[word_tokens["form"] == WORD_FORMS[0], "word"]),
        "plurals": " ".join(plurals),
        "forms": forms,
    }


def _base_36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
        if not number:
            return text
