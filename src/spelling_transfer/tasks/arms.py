"""The arms of the experiment: their names, and what each of those that are trained is trained on.

All arms have the same settings, the same number of steps and the same share of rehearsal. They differ in what the rest
of their examples says.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pandas as pd

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.tasks.mixture import (
    INDEXED,
    POOL,
    REAL,
    SPELLING,
    TOKEN_LETTERS,
    WRONG_LETTERS,
    MixtureSettings,
    choose_mixture,
    first_by_hash,
)

TrainedArm = Literal[
    "spelling",
    "form_control",
    "direct_position",
    "direct_count",
    "wrong_letters",
    "indexed_spelling",
    "token_letters",
]
"""Arms with an adapter of their own.

``spelling`` is the treatment, ``form_control`` what it is compared with, the direct arms are the ceiling. The form
control has the prompts of spelling with the answers that the base model itself gives to them: it practises question and
answer and is told nothing about letters. ``wrong_letters`` has the same prompts with other words' answers: it unlearns.
"""

PromptedArm = Literal["few_shots", "spell_first", "letters_given"]
"""Ways of asking the base model: after solved questions of the same task; after it has spelled the word itself; after
the word was spelled for it."""

BASE = "base"
SPELLING_ARM: TrainedArm = "spelling"
FORM_CONTROL: TrainedArm = "form_control"
TRAINED_ARMS: tuple[TrainedArm, ...] = get_args(TrainedArm)
PROMPTED_ARMS: tuple[PromptedArm, ...] = get_args(PromptedArm)

_STAND_INS = {
    "wrong_letters": WRONG_LETTERS,
    "indexed_spelling": INDEXED,
    "token_letters": TOKEN_LETTERS,
}
"""Arms whose rows take the place of the spelling rows, with the kind of these rows."""
_DIRECT = {"direct_position": "position", "direct_count": "count"}


class ArmError(SpellingTransferError):
    """An arm cannot be trained on the examples there are."""


def choose_arm(examples: pd.DataFrame, arm: TrainedArm, settings: MixtureSettings) -> pd.DataFrame:
    """Chooses the rows that an arm is trained on, without rehearsal.

    Spelling has the mixture of its settings, and so has the form control, whose spelling rows are to be answered by
    the base model. In an arm that stands in for spelling the mixture's other tasks stay, so that the two differ in
    spelling alone; wrong letters stand behind the mixture's own prompts where there are such rows. A direct arm has
    questions of its task. Where there are enough rows, every arm has as many as the mixture.

    Args:
        examples: The encoded examples.
        arm: Which arm.
        settings: Share, variants and difficulty.

    Raises:
        ArmError: There is no row to train the arm on.
        MixtureError: The mixture cannot be made.
    """
    mixture = choose_mixture(examples, settings)
    if arm in (SPELLING_ARM, FORM_CONTROL):
        return mixture
    of_training = (examples["split"] == "train") & ~examples["template_held_out"]
    if arm in _DIRECT:
        rows, kept = examples[of_training & (examples["task"] == _DIRECT[arm])], mixture.iloc[:0]
        rows = rows[rows["kind"].isin([REAL, POOL])]
    else:
        rows, kept = examples[of_training & (examples["kind"] == _STAND_INS[arm])], mixture[mixture["task"] != SPELLING]
    if rows.empty:
        setting = "direct_per_word above 0" if arm in _DIRECT else "other_arms on and a longer word list"
        raise ArmError(
            f"arms.trained: there is no example to train {arm} on. Run 'kedro run --pipelines=local_prep' with "
            f"example_mix.{setting}, or leave the arm out."
        )
    wanted = min(len(mixture) - len(kept), len(rows))
    same = rows.index[rows["example_id"].isin(f"{WRONG_LETTERS}-" + mixture["example_id"])]
    rest = first_by_hash(rows["example_id"].drop(same), wanted - len(same), 0)
    return examples.loc[[*kept.index, *sorted([*same, *rest])]]


def with_rehearsal(chosen: pd.DataFrame, lines: pd.DataFrame, share: float) -> pd.DataFrame:
    """Adds plain lines to the rows of an arm until they are a share of all of them, to half a row.

    Each line comes once before one comes twice; which come first depends on hashes of their ids.

    Args:
        chosen: What ``choose_arm`` returned.
        lines: What ``encode_lines`` returned.
        share: The share, 0 to below 1.

    Raises:
        ArmError: There are no lines.
    """
    wanted = round(len(chosen) * share / (1 - share))
    if not wanted:
        return chosen
    if lines.empty:
        raise ArmError(
            f"spelling.rehearsal_share: {share} of the examples must be plain lines, but there are none. Run 'kedro "
            "run --pipelines=local_prep' again; if the word list has no family of the split 'pretrain', give a longer "
            "one or set the share to 0."
        )
    order = first_by_hash(lines["example_id"].reset_index(drop=True), len(lines), 0)
    return pd.concat([chosen, lines.iloc[np.resize(order, wanted)]], ignore_index=True)
