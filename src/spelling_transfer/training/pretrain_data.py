"""What the embedded model is pre-trained on: rows of fixed width that hold whole examples end to end.

Plain lines say what is known of a word: its spelling, the letters at some of its places, the counts of some of its
letters. The chat form is asked of few word families only. A share of the families has no plain line at all, in each
split: what is not known of them cannot be said either.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import Field

from spelling_transfer.frozen import FrozenModel
from spelling_transfer.models.vocabulary import Vocabulary
from spelling_transfer.tasks.base import SEPARATORS, Task
from spelling_transfer.tasks.encoding import vocabulary_in_use
from spelling_transfer.tasks.marking import ordinal
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training.pretrain_wordings import (
    BENCHMARK_TEXTS,
    COUNT_FORMS,
    PLACE_FORMS,
    SEPARATED_LINES,
    SPELLING_LINES,
    chat_wordings,
    line_texts,
)
from spelling_transfer.words.families import bucket_of
from spelling_transfer.words.randomness import key_of, random_for
from spelling_transfer.words.word_sets import without_lines

_PRINTABLE = [chr(code) for code in range(32, 127)] + [f" {chr(code)}" for code in range(33, 127)]
_CAPITALISED = 800
"""So many of the most frequent words are kept capitalised too: questions begin with them."""
_MOST_PLACES = 6
_PRESENT_COUNTS, _DRAWN_COUNTS = 3, 2
_CHAT_POOL = 30_000
_END_CUES = ("backwards", "end", "back", "right", "last", "reverse")


class PretrainMixture(FrozenModel):
    """How much of what the model is pre-trained on."""

    spelling_share: float = Field(0.25, ge=0, le=1, description="Share of examples that are plain lines of spelling.")
    places_share: float = Field(0.30, ge=0, le=1, description="Share of plain lines that say letters at places.")
    counts_share: float = Field(0.20, ge=0, le=1, description="Share of plain lines that count; the rest is chat form.")
    spelling_families: int = Field(80, ge=0, description="Families with spelling questions in chat form.")
    question_families: int = Field(36, ge=0, description="Of those, families with questions about places and counts.")
    without_lines: float = Field(0.1, ge=0, lt=1, description="Share of families without any plain line.")
    forms: int = Field(3, ge=1, le=3, description="Wordings of places and counts in plain lines.")
    letters_given: float = Field(
        0.35, ge=0, lt=1, description="Share of chat questions about made-up words, written letter by letter."
    )
    noise: float = Field(0.15, ge=0, le=1, description="Share of words of half of the wordings replaced by others.")
    seed: int = Field(0, ge=0, description="Seed of the choice of families and of all examples.")


def pretraining_vocabulary(words: pd.DataFrame, tasks: Mapping[str, Task], tokenizer: ChatTokenizer) -> np.ndarray:
    """Returns the token ids that get a row, ascending: words, all wordings, printable characters, capitalised openers.

    Args:
        words: Column ``word``, the most frequent first.
        tasks: Every registered task; wordings that are held out have rows as well.
        tokenizer: The tokenizer.
    """
    ids = vocabulary_in_use(words["word"], tasks, tokenizer)
    openers = [word.capitalize() for word in words["word"].head(_CAPITALISED)]
    texts = [*line_texts(), *BENCHMARK_TEXTS, *_PRINTABLE, *openers, *(f" {word}" for word in openers)]
    return np.array(sorted(ids | {token for row in tokenizer.encode_texts(texts) for token in row}), dtype=np.int64)


@dataclass(frozen=True)
class ChatExample:
    """A question with its answer in the chat form.

    Attributes:
        rows: Embedding rows of prompt, answer and end.
        label_start: Where the answer begins.
        replaceable: Places of the prompt whose rows may be replaced by those of other wordings.
    """

    rows: list[int]
    label_start: int
    replaceable: list[int]


class PretrainData:
    """Makes the batches of pre-training, each from the seed and its number alone.

    Args:
        words: Columns ``word``, ``stem`` and ``split``; the real words.
        tasks: The core tasks.
        tokenizer: The tokenizer.
        vocabulary: The model's rows.
        mixture: How much of what.

    Attributes:
        lined: The words that have plain lines.
        asked: For each core task, the words that are asked in chat form.
        label_rows: Every row that can be a label, ascending.
    """

    def __init__(
        self,
        words: pd.DataFrame,
        tasks: Mapping[str, Task],
        tokenizer: ChatTokenizer,
        vocabulary: Vocabulary,
        mixture: PretrainMixture,
    ) -> None:
        self.mixture = mixture
        self._tokenizer, self._vocabulary = tokenizer, vocabulary
        has_lines = ~words["stem"].map(lambda stem: without_lines(stem, mixture.without_lines))
        self.lined = words.loc[has_lines, "word"].tolist()
        self._real = set(words["word"])
        self.asked = self._choose_asked(words[has_lines])
        self._end = self._rows_of_ids([tokenizer.end_id])[0]
        self._newline = self._rows("\n")[0]
        self._forms = [self._encode_words(form) for form in ("{word}", " {word}")]
        self._lines = {line: self._encode_words(line) for line in SPELLING_LINES}
        self._lines |= {line: self._encode_words(line) for _, line in SEPARATED_LINES}
        self._spelled = {
            characters: dict(zip(self.lined, self._rows_of_texts(map(characters.join, self.lined)), strict=True))
            for characters in {" ", *(separator for separator, _ in SEPARATED_LINES)}
        }
        self._letter = {letter: self._rows(letter)[0] for letter in string.ascii_lowercase}
        self._digits = [self._rows(str(number))[0] for number in range(10)]
        longest = max(map(len, self.lined))
        self._place_cues = [
            {
                sign * place: self._rows(form.format(place=place, ordinal=ordinal(place)))
                for place in range(1, longest + 1)
                for sign, form in zip((1, -1), forms, strict=True)
            }
            for forms in PLACE_FORMS[: mixture.forms]
        ]
        self._count_cues = [
            {letter: self._rows(form.format(letter=letter)) for letter in string.ascii_lowercase}
            for form in COUNT_FORMS[: mixture.forms]
        ]
        self._fillers = self._choose_fillers(tasks)
        self._chat = {name: self._make_chat(tasks[name]) for name in self.asked if self.asked[name]}
        self.label_rows = self._find_label_rows()

    def batch(self, number: int, rows: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns one batch: whole examples end to end in each row, drawn for this number.

        Args:
            number: Number of the batch; the same number gives the same batch.
            rows: Rows.
            width: Tokens a row.

        Returns:
            Embedding rows, shape ``(rows, width)``; whether each is a label; its place in its example, from 0. A row's
            padding is examples of one token.
        """
        rng = random_for("pretraining", self.mixture.seed, number)
        ids = np.full((rows, width), self._end, dtype=np.int64)
        labels = np.zeros((rows, width), dtype=bool)
        places = np.zeros((rows, width), dtype=np.int64)
        waiting = self._draw(rng)
        for row in range(rows):
            at = 0
            while at + len(waiting[0]) <= width:
                tokens, is_label = waiting
                ids[row, at : at + len(tokens)] = tokens
                labels[row, at : at + len(tokens)] = is_label
                places[row, at : at + len(tokens)] = np.arange(len(tokens))
                at += len(tokens)
                waiting = self._draw(rng)
                while len(waiting[0]) > width:
                    waiting = self._draw(rng)
        return ids, labels, places

    def _draw(self, rng: random.Random) -> tuple[list[int], list[bool]]:
        kind, mixture = rng.random(), self.mixture
        if (kind := kind - mixture.spelling_share) < 0:
            return self.spelling_line(rng.choice(self.lined), rng)
        if (kind := kind - mixture.places_share) < 0:
            return self.places_line(rng.choice(self.lined), rng)
        if (kind := kind - mixture.counts_share) < 0 or not self._chat:
            return self.counts_line(rng.choice(self.lined), rng)
        # Spelling twice as often as each of the others: its answers are longer, and more families are asked.
        names = [name for name in ("spelling", "spelling", "position", "count") if name in self._chat]
        return self._chat_form(rng.choice(self._chat[rng.choice(names)]), rng)

    def spelling_line(self, word: str, rng: random.Random) -> tuple[list[int], list[bool]]:
        """Returns a plain line that spells a word, and which of its tokens are labels."""
        kind = rng.random()
        if kind < 0.15:
            characters, line = rng.choice(SEPARATED_LINES)
        else:
            characters, line = " ", rng.choice(SPELLING_LINES if kind < 0.5 else SPELLING_LINES[:2])
        prompt, answer = self._lines[line][word], self._spelled[characters][word]
        return [*prompt, *answer, self._end], [False] * len(prompt) + [True] * (len(answer) + 1)

    def places_line(self, word: str, rng: random.Random) -> tuple[list[int], list[bool]]:
        """Returns a word with the letters at up to six of its places; the letters alone are labels."""
        places = rng.sample([*range(1, len(word) + 1), *range(-len(word), 0)], min(_MOST_PLACES, 2 * len(word)))
        cues = rng.choice(self._place_cues)
        answers = [(cues[place], self._letter[word[place - 1 if place > 0 else place]]) for place in places]
        return self._line(rng.choice(self._forms)[word], answers)

    def counts_line(self, word: str, rng: random.Random) -> tuple[list[int], list[bool]]:
        """Returns a word with the counts of three of its letters, repeated ones first, and of two drawn ones."""
        present = sorted(set(word))
        rng.shuffle(present)
        present.sort(key=word.count, reverse=True)
        letters = list({*present[:_PRESENT_COUNTS], *rng.sample(string.ascii_lowercase, _DRAWN_COUNTS)})
        letters.sort()
        rng.shuffle(letters)
        cues = rng.choice(self._count_cues)
        answers = [(cues[letter], self._digits[min(9, word.count(letter))]) for letter in letters]
        return self._line(rng.choice(self._forms)[word], answers)

    def _line(self, word: list[int], answers: Sequence[tuple[list[int], int]]) -> tuple[list[int], list[bool]]:
        tokens, labels = list(word), [False] * len(word)
        for cue, answer in answers:
            tokens += [*cue, answer]
            labels += [False] * len(cue) + [True]
        return [*tokens, self._end], [*labels, False]

    def _chat_form(self, example: ChatExample, rng: random.Random) -> tuple[list[int], list[bool]]:
        tokens = list(example.rows)
        if rng.random() < 0.5:
            for place in example.replaceable:
                if rng.random() < self.mixture.noise:
                    tokens[place] = rng.choice(self._fillers)
        return tokens, [False] * example.label_start + [True] * (len(tokens) - example.label_start)

    def _choose_asked(self, words: pd.DataFrame) -> dict[str, list[str]]:
        pool = words[words["split"] == "pretrain"]
        # The last buckets first: a smaller pretrain split, with more left to validate and test on, still holds them.
        order = {stem: (-bucket_of(stem), key_of(self.mixture.seed, "asked", stem)) for stem in pool["stem"].unique()}
        stems = sorted(order, key=order.__getitem__)
        few, more = stems[: self.mixture.question_families], stems[: self.mixture.spelling_families]
        chosen = {"spelling": more, "position": few, "count": few}
        return {name: pool.loc[pool["stem"].isin(stems), "word"].tolist() for name, stems in chosen.items()}

    def _choose_fillers(self, tasks: Mapping[str, Task]) -> list[int]:
        """Returns the rows of words of all wordings, held-out ones too, that do not say from which end to count."""
        texts = [template.text for task in tasks.values() for template in [*task.templates, *chat_wordings(task)]]
        found = {word for text in texts for word in text.replace(":", " ").replace(",", " ").split()}
        kept = sorted(word for word in found if word.isalpha() and len(word) > 1 and word not in _END_CUES)
        encoded = self._tokenizer.encode_texts([*kept, *(f" {word}" for word in kept)])
        single = sorted({ids[0] for ids in encoded if len(ids) == 1})
        rows: list[int] = self._vocabulary.known_rows(single).tolist()
        return rows

    def _make_chat(self, task: Task) -> list[ChatExample]:
        rng = random_for("chat form", self.mixture.seed, task.name)
        wordings, own = chat_wordings(task), [each for each in task.templates if not each.held_out]
        separators = [characters for characters, _ in SEPARATORS.values()]
        asked = []
        for _ in range(_CHAT_POOL):
            template = rng.choice(own if rng.random() < 0.4 else wordings)
            word, separator = rng.choice(self.asked[task.name]), rng.choice(separators)
            given = self.mixture.letters_given > 0 and rng.random() < self.mixture.letters_given
            if given:
                word, separator = self._make_up(rng), separator or " "  # unseparated, it may be tokens without a row
            shown = " ".join(word) if given else None
            asked.append(task.make(word, rng, template=template, separator=separator, shown=shown))
        prompts = self._tokenizer.encode_prompts([example.question for example in asked])
        answers = self._tokenizer.encode_texts([example.answer for example in asked])
        before, after = len(self._tokenizer.prefix_ids), len(self._tokenizer.suffix_ids)
        is_filler = set(self._fillers)
        made = []
        for prompt, answer in zip(prompts, answers, strict=True):
            rows = self._rows_of_ids([*prompt, *answer, self._tokenizer.end_id])
            places = [at for at in range(before, len(prompt) - after) if rows[at] in is_filler]
            made.append(ChatExample(rows, len(prompt), places))
        return made

    def _make_up(self, rng: random.Random) -> str:
        """Returns the letters of some word in another order, which is no word of any split."""
        while True:
            letters = list(rng.choice(self.lined))
            rng.shuffle(letters)
            if (made_up := "".join(letters)) not in self._real:
                return made_up

    def _find_label_rows(self) -> np.ndarray:
        found = {self._end, *self._letter.values(), *self._digits}
        found |= {row for spelled in self._spelled.values() for rows in spelled.values() for row in rows}
        found |= {
            row for chat in self._chat.values() for example in chat for row in example.rows[example.label_start :]
        }
        return np.array(sorted(found), dtype=np.int64)

    def _encode_words(self, text: str) -> dict[str, list[int]]:
        encoded = self._rows_of_texts(text.format(word=word) for word in self.lined)
        return dict(zip(self.lined, encoded, strict=True))

    def _rows_of_texts(self, texts: Iterator[str]) -> list[list[int]]:
        return [self._rows_of_ids(ids) for ids in self._tokenizer.encode_texts(list(texts))]

    def _rows(self, text: str) -> list[int]:
        return self._rows_of_ids(self._tokenizer.encode_texts([text])[0])

    def _rows_of_ids(self, ids: Sequence[int]) -> list[int]:
        rows: list[int] = self._vocabulary.to_rows(ids).tolist()
        return rows
