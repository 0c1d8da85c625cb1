"""The mixture that is trained on: exact shares of spelling and other tasks, difficulty, with or without variants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import pandas as pd
from pydantic import Field

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.frozen import FrozenModel
from spelling_transfer.words.randomness import key_of

SpellingDifficulty = Literal["easy", "medium", "hard", "all"]

REAL, POOL, ASKED = "real", "pool", "asked"
"""Kinds of examples: in the mixture, or asked about held-out families; for training, but not in the mixture; asked
about words whose spelling is trained."""

WRONG_LETTERS, INDEXED, TOKEN_LETTERS = "wrong_letters", "indexed", "token_letters"
"""Kinds that other arms are trained on: see :mod:`.arm_examples`."""

REHEARSAL = "rehearsal"
"""Kind, and task, of the plain lines that every trained arm may be given a share of."""

SPELLING = "spelling"


class MixtureError(SpellingTransferError):
    """A mixture cannot be made from the examples there are."""


class MixtureSettings(FrozenModel):
    """What a model is trained on; the mission's three spelling settings, and rehearsal."""

    spelling_data_ratio: float = Field(
        0.7, ge=0.0, le=1.0, description="Share of spelling; position, count and trained plugin tasks share the rest."
    )
    spelling_augmentation: bool = Field(
        True, description="Train many wordings, cases and separators; else one wording, lower case, spaces."
    )
    spelling_difficulty: SpellingDifficulty = Field(
        "medium", description="Difficulty of the words whose spelling is trained; 'all' takes every word."
    )
    rehearsal_share: float = Field(
        0.0, ge=0.0, lt=1.0, description="Share of plain lines of other words, against forgetting; alike in each arm."
    )


def choose_mixture(examples: pd.DataFrame, settings: MixtureSettings, *, seed: int = 0) -> pd.DataFrame:
    """Chooses the rows that a model is trained on, as many as the shares allow, in their order in the frame.

    The share of spelling is exact to half an example; the other tasks share the rest equally, to one example. Rows are
    chosen by hashes of their ids.

    Args:
        examples: The examples or the encoded examples; only rows of the training split of kind ``real`` or ``pool``
            are looked at.
        settings: Share, variants and difficulty.
        seed: Salt of the hashes.

    Raises:
        MixtureError: There is no example of a task or difficulty that the settings ask for.
    """
    pool = examples[
        (examples["split"] == "train") & examples["kind"].isin([REAL, POOL]) & ~examples["template_held_out"]
    ]
    is_spelling = pool["task"] == SPELLING
    spelling = pool[is_spelling & (pool["augmented"] == settings.spelling_augmentation)]
    if settings.spelling_difficulty != "all":
        spelling = spelling[spelling["difficulty"] == settings.spelling_difficulty]
    others = [rows["example_id"] for _, rows in pool[~is_spelling].groupby("task", sort=True)]
    n_spelling, n_others = _sizes(settings, len(spelling), list(map(len, others)))
    chosen = [first_by_hash(spelling["example_id"], n_spelling, seed)]
    for place, ids in enumerate(others):
        share = n_others // len(others) + (place < n_others % len(others))
        chosen.append(first_by_hash(ids, share, seed))
    return examples.loc[pd.Index(chosen[0]).append(list(map(pd.Index, chosen[1:]))).sort_values()]


def first_by_hash(ids: pd.Series, count: int, seed: int) -> list[int]:
    """Returns the labels of the ids whose hashes come first; all of them without hashing where all are wanted."""
    if count == len(ids):
        return [int(label) for label in ids.index]
    keys = sorted(
        (key_of(seed, "mixture", example_id), int(label)) for label, example_id in zip(ids.index, ids, strict=True)
    )
    return [label for _, label in keys[:count]]


def _sizes(settings: MixtureSettings, n_spelling: int, n_others: Sequence[int]) -> tuple[int, int]:
    ratio = settings.spelling_data_ratio
    most_others = len(n_others) * min(n_others, default=0)
    if ratio > 0 and not n_spelling:
        raise MixtureError(
            f"spelling_difficulty: no spelling example of difficulty {settings.spelling_difficulty!r} is there to "
            f"train on (spelling_augmentation: {settings.spelling_augmentation}). Allowed are easy, medium, hard, all; "
            "if the words have run out, run 'kedro run --pipelines=local_prep' with a longer word list."
        )
    if ratio < 1 and not most_others:
        raise MixtureError(
            f"spelling_data_ratio: {ratio} leaves a share to other tasks, but the examples hold none of them for "
            "training. Set example_mix.direct_per_word to 1 or more and run 'kedro run --pipelines=local_prep'."
        )
    most = min(n_spelling / ratio if ratio > 0 else math.inf, most_others / (1 - ratio) if ratio < 1 else math.inf)
    total = int(most) + 1
    while round(total * ratio) > n_spelling or total - round(total * ratio) > most_others:
        total -= 1
    return round(total * ratio), total - round(total * ratio)
