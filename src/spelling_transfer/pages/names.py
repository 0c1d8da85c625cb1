"""What arms, endpoints and strata are called on every page."""

from __future__ import annotations

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


def arm_name(arm: str) -> str:
    """Returns what an arm is called."""
    return ARM_NAMES.get(arm, arm.replace("_", " "))


def value_name(value: str) -> str:
    """Returns what the value of a stratum is called."""
    return _VALUE_NAMES.get(value, value)
