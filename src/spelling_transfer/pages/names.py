"""What arms, endpoints and strata are called on every page, and what its words mean."""

from __future__ import annotations

import re
from collections.abc import Mapping

ARM_NAMES: Mapping[str, str] = {
    "base": "base",
    "spelling": "spelling arm",
    "control": "form control",
    "form_control": "form control",
    "direct position": "direct arm (position)",
    "direct count": "direct arm (count)",
    "direct_position": "direct arm (position)",
    "direct_count": "direct arm (count)",
    "wrong_letters": "wrong-letter arm",
    "indexed_spelling": "indexed spelling",
    "token_letters": "token letters",
    "few_shots": "base, few shots",
    "spell_first": "base, spells first",
    "letters_given": "base, letters given",
}
"""Name of each arm, by what it is called in data and in verdicts."""

ENDPOINT_NAMES: Mapping[str, str] = {
    "spelled": "spelling-only words",
    "held_out": "held-out families",
    "unseen_tokens": "unseen tokens",
    "unknown_spelling": "unknown spelling",
    "made_up": "random letters",
}
"""What a question is about; ``evaluation.strata`` says what each is."""
STRATUM_NAMES: Mapping[str, str] = {
    "direction": "counted from",
    "repeated_letter": "a letter twice",
    "true_count": "true count",
    "token_letters": "letters in the token",
    "frequency": "frequency (Zipf)",
}
_VALUE_NAMES = {"forward": "the front", "backward": "the end"}
_MEANINGS: Mapping[str, str] = {
    "token": "what a language model reads as one unit: a word, a part of a word, a sign",
    "spelling": "the task to write the letters of a word, one after the other",
    "position": "the task to name one letter: what is the 3rd letter of “apple”?",
    "count": "the task to say how often a letter occurs: how many p are in “apple”?",
    "other tasks": "contains: is a letter in the word? first_last: its first and last letter; length: how many letters "
    "it has; reverse: its letters from the end; substitute: its letters with one put in place of another",
    "the base": "the language model as it was before this study trained it",
    "LoRA": "a way to train: the model stays as it is, and a small addition, the adapter, learns",
    "arm": "one side of a comparison: the base, or the base trained or prompted in one way",
    "spelling arm": "the base trained on spelling alone, which is the treatment of the study",
    "form control": "the base trained on the same questions with its own answers: it learns the form of an answer, "
    "and no letters",
    "direct arm": "the base trained on position or on count itself; what it gains is the ceiling",
    "family": "a word with its inflections, such as “walk”, “walks” and “walked”",
    "held-out": "of families that no arm was trained on",
    "validation word": "a held-out word used to choose settings; the verdict uses other words",
    "trial": "one training with one choice of settings",
    "seed": "the number that random choices in training begin with; another seed is another training",
    "exact match": "the share of answers that are right and hold nothing else",
    "point": "a percentage point: from 40% to 45% is 5 points",
    "interval": "the range in which the true value most likely lies: at 95%, nineteen such ranges in twenty hold it",
    "p": "how likely a difference of this size or more would be by chance alone",
    "transfer score": "one number from spelling, position and count; more is better, and it is no share of anything",
    "floor": "what can be scored without knowing how words are spelled, such as by always giving one answer",
    "gate": "what has to hold before the question of the study is answered",
    "embedding": "the numbers by which a model represents a token before its first layer",
    "head": "the last part of a model, which gives each token of the vocabulary its chance to come next",
    "probe": "a small program fitted to a model's inner numbers, to see what can be read from them",
    "non-thinking mode": "the model answers at once, and writes no thoughts before its answer",
    "node": "one step of a run",
    "endpoint": "the address at which a program sends questions to the model",
    "percentile": "the 95th percentile is the time within which 95 of 100 answers arrived",
}
"""What words of the pages mean, for who reads nothing else."""


def arm_name(arm: str) -> str:
    """Returns what an arm is called."""
    return ARM_NAMES.get(arm, arm.replace("_", " "))


def value_name(value: str) -> str:
    """Returns what the value of a stratum is called."""
    return _VALUE_NAMES.get(value, value)


def meanings_in(text: str) -> dict[str, str]:
    """Returns what those words mean that occur in a text, in the singular or the plural."""
    forms = {
        word: f"{word[:-1]}(?:y|ies)" if word.endswith("y") else f"{word.removesuffix('s')}s?" for word in _MEANINGS
    }
    seen = (word for word, form in forms.items() if re.search(rf"(?<!-)\b{form}\b", text, re.IGNORECASE))
    return {word: _MEANINGS[word] for word in seen}
