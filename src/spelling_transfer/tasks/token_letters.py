"""Token letters: each token's letters with their places, training data for an arm of its own.

After TIPA (Xu et al., "Enhancing Character-Level Understanding in LLMs through Token Internal Structure Learning",
ACL 2025), which trains a model on the letters and places inside the tokens of its own vocabulary. Only tokens of
training words are used, so that the token-held-out test words stay unseen.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from spelling_transfer.tasks.base import Example, Template, make_templates
from spelling_transfer.tokenizer.chat import ChatTokenizer

KIND = TASK = "token_letters"

TEMPLATES: tuple[Template, ...] = make_templates(
    TASK,
    trained=[
        "Which letters does the token {word} have, and at which places?",
        "Give each letter of the token {word} with its place.",
        "{word}: list the letters of this token with their places.",
        "Number the letters of the token {word}.",
        "{word}: which letter of this token stands where?",
    ],
    held_out=[],
)


def letters_with_places(token: str) -> str:
    """Returns ``c1 a2 t3`` for ``cat``."""
    return " ".join(f"{letter}{place}" for place, letter in enumerate(token, 1))


def tokens_of(id_lists: Iterable[Iterable[int]], tokenizer: ChatTokenizer) -> list[tuple[int, str, bool]]:
    """Returns the tokens of words as id, letters, and whether a space is part of the token; ascending by id.

    Left out are tokens that, written alone, would be cut differently, so that the question always shows the token.
    """
    ids = sorted({token for ids in id_lists for token in ids})
    texts = [tokenizer.decode([token]) for token in ids]
    alone = tokenizer.encode_texts(texts)
    return [
        (token, text.removeprefix(" "), text.startswith(" "))
        for token, text, encoded in zip(ids, texts, alone, strict=True)
        if encoded == [token] and text.removeprefix(" ").isascii() and text.removeprefix(" ").isalpha()
    ]


def make_token_examples(words: pd.DataFrame, tokenizer: ChatTokenizer) -> list[Example]:
    """Returns one example a token of the training words, the wordings by turns.

    Args:
        words: The frame of words with ``split``, ``ids_bare`` and ``ids_spaced``.
        tokenizer: The tokenizer.
    """
    trained = words[words["split"] == "train"]
    by_form = {bare: [each for each in TEMPLATES if each.bare == bare] for bare in (True, False)}
    examples = []
    for number, (_, letters, spaced) in enumerate(tokens_of([*trained["ids_bare"], *trained["ids_spaced"]], tokenizer)):
        templates = by_form[not spaced]
        template = templates[number % len(templates)]
        examples.append(
            Example(
                task=TASK,
                template=template.name,
                template_held_out=False,
                word=letters.lower(),
                question=template.text.format(word=letters),
                answer=letters_with_places(letters.lower()),
                separator=" ",
            )
        )
    return examples
