"""What the arms beside spelling are trained on: one function an arm, from the same words and settings.

Each arm has the form of question and answer in common with another and differs from it in what it says of letters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.tasks.base import DEFAULT_SEPARATOR, Example, Template, make_templates
from spelling_transfer.tasks.mixture import INDEXED, REAL, REHEARSAL, SPELLING, TOKEN_LETTERS, WRONG_LETTERS
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.randomness import shuffled
from spelling_transfer.words.word_sets import TOKEN_HELD_OUT, WORD, tokens_in, without_tokens

PLAIN_LINE = " {word}:\n"
"""Before a word's letters outside the chat format, as in running text."""

TOKEN_TEMPLATES: tuple[Template, ...] = make_templates(
    TOKEN_LETTERS,
    trained=[
        "Which letters does the token {word} have, and at which places?",
        "Give each letter of the token {word} with its place.",
        "{word}: list the letters of this token with their places.",
        "Number the letters of the token {word}.",
        "{word}: which letter of this token stands where?",
    ],
    held_out=[],
)
INDEXED_TEMPLATES: tuple[Template, ...] = make_templates(
    INDEXED,
    trained=[
        "Which letters does {word} have, and at which places?",
        "Give each letter of {word} with its place.",
        "{word}: list its letters with their places.",
        "Number the letters of {word}.",
        "{word}: which letter stands where?",
    ],
    held_out=[],
)


class ControlError(SpellingTransferError):
    """No control data can be made of the words there are."""


def wrong_letter_rows(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Returns the real spelling rows with the answers of other words; see :func:`wrong_letters`."""
    real = frame[(frame["kind"] == REAL) & (frame["split"] == "train") & (frame["task"] == SPELLING)]
    return real.assign(
        example_id=f"{WRONG_LETTERS}-" + real["example_id"], kind=WRONG_LETTERS, answer=wrong_letters(real, seed)
    )


def wrong_letters(spelling: pd.DataFrame, seed: int) -> list[str]:
    """Returns, for each spelling example, the spelling of another word with the separator asked for.

    With the same prompts and the answers of other words the format is learnt, and what a model knew of letters is
    unlearnt. The other word comes from another family and, where there is one, has the same length. Within a length the
    words stand in a circle and each takes the answer of the next one, so that every word's letters are said as often as
    in the real data.

    Args:
        spelling: Rows with ``word``, ``stem`` and ``separator``.
        seed: Salt of the order of words.

    Raises:
        ControlError: All words are of one family.
    """
    stems = dict(zip(spelling["word"], spelling["stem"], strict=True))
    everything = shuffled(stems, seed, "control")
    by_length: dict[int, list[str]] = {}
    for word in everything:
        by_length.setdefault(len(word), []).append(word)
    other: dict[str, str] = {}
    for circle in by_length.values():
        for place, word in enumerate(circle):
            found = _next_of_another_family(circle, place, stems) or _next_of_another_family(
                everything, everything.index(word), stems
            )
            if found is None:
                raise ControlError(
                    f"example_mix.other_arms: all {len(stems)} training words are of the family {stems[word]!r}, so no "
                    "word can take another's answer. Give a longer word list or set example_mix.other_arms to false."
                )
            other[word] = found
    return [
        separator.join(other[word]) for word, separator in zip(spelling["word"], spelling["separator"], strict=True)
    ]


def _next_of_another_family(circle: Sequence[str], place: int, stems: Mapping[str, str]) -> str | None:
    others = (circle[(place + step) % len(circle)] for step in range(1, len(circle)))
    return next((word for word in others if stems[word] != stems[circle[place]]), None)


def rehearsal_lines(words: pd.DataFrame) -> pd.DataFrame:
    """Returns plain lines of words that no arm is trained on and no question is about, so that letters stay known.

    They are words of the ``pretrain`` split without a token of the words whose tokens are to stay unseen. ``question``
    is the line, outside the chat format, so these rows are no part of the encoded examples.
    """
    spare = words[words["split"] == "pretrain"]
    spare = spare[without_tokens(spare, tokens_in(words[words["word_set"] == TOKEN_HELD_OUT]))]
    return pd.DataFrame(
        {
            "example_id": f"{REHEARSAL}-" + spare["word"],
            "task": REHEARSAL,
            "template": f"{REHEARSAL}/00",
            "template_held_out": False,
            "kind": REHEARSAL,
            "augmented": False,
            **{name: spare[name] for name in ("word", "stem", "word_set", "split", "difficulty")},
            "question": [PLAIN_LINE.format(word=word) for word in spare["word"]],
            "answer": [DEFAULT_SEPARATOR.join(word) for word in spare["word"]],
            "argument": "",
            "separator": DEFAULT_SEPARATOR,
        }
    )


def letters_with_places(token: str) -> str:
    """Returns ``c1 a2 t3`` for ``cat``."""
    return " ".join(f"{letter}{place}" for place, letter in enumerate(token, 1))


def indexed_letters(word: str) -> str:
    """Returns ``1: c 2: a 3: t`` for ``cat``: a letter after a space is the token that spelling has."""
    return " ".join(f"{place}: {letter}" for place, letter in enumerate(word, 1))


def indexed_examples(words: pd.DataFrame) -> list[Example]:
    """Returns one example a training word that says its letters with their places, the wordings by turns.

    After TIPA (Xu et al., "Enhancing Character-Level Understanding in LLMs through Token Internal Structure Learning",
    ACL 2025), for whole words in place of tokens.
    """
    trained = sorted(words.loc[words["split"] == "train", "word"])
    turns = (INDEXED_TEMPLATES[number % len(INDEXED_TEMPLATES)] for number in range(len(trained)))
    return [
        Example(INDEXED, template.name, False, word, template.text.format(word=word), indexed_letters(word))
        for word, template in zip(trained, turns, strict=True)
    ]


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

    After TIPA (see :func:`indexed_examples`), which trains a model on the letters and places inside the tokens of its
    own vocabulary. Only tokens of training words are used, so that the token-held-out test words stay unseen, and none
    that is a word of another split ("house" in "farmhouse").

    Args:
        words: The frame of words with ``split``, ``stem``, ``ids_bare`` and ``ids_spaced``.
        tokenizer: The tokenizer.
    """
    trained, others = words[words["split"] == "train"], words[words["split"] != "train"]
    held_out = {*others["word"], *others["stem"]}
    tokens = tokens_of([*trained["ids_bare"], *trained["ids_spaced"]], tokenizer)
    by_form = {bare: [each for each in TOKEN_TEMPLATES if each.bare == bare] for bare in (True, False)}
    examples = []
    for number, (_, letters, spaced) in enumerate(each for each in tokens if each[1].lower() not in held_out):
        templates = by_form[not spaced]
        template = templates[number % len(templates)]
        question, answer = template.text.format(word=letters), letters_with_places(letters.lower())
        examples.append(
            Example(TOKEN_LETTERS, template.name, False, letters.lower(), question, answer, separator=DEFAULT_SEPARATOR)
        )
    return examples


def made_rows(kind: str, examples: Sequence[Example], words: pd.DataFrame) -> pd.DataFrame:
    """Returns examples of an arm as rows of the training split; what is no word of the list is a family of its own."""
    frame = pd.DataFrame([vars(example) for example in examples], columns=list(Example.__dataclass_fields__))
    facts = words.set_index("word").reindex(frame["word"])
    return frame.assign(
        example_id=[f"{kind}-{number}" for number in range(len(frame))],
        kind=kind,
        augmented=False,
        stem=frame["word"].to_numpy() if kind != INDEXED else facts["stem"].to_numpy(),
        word_set=WORD,
        split="train",
        difficulty="medium" if kind != INDEXED else facts["difficulty"].to_numpy(),
    )
