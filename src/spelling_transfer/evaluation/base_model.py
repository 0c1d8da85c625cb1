"""What a study lacks because of its base model.

A study finds something only where the base knows more than it says: it answers each task better than whoever does not
know how the word is spelled, in the form that is asked for, and leaves room above. The committed model was chosen by
these rules (docs/embedded_base.md); one's own is held to them here, on the questions of the study.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from spelling_transfer.evaluation.settings import VerdictSettings
from spelling_transfer.evaluation.strata import HELD_OUT
from spelling_transfer.evaluation.verdict_parts import Note
from spelling_transfer.statistics.intervals import CONFIDENCE, wilson_interval
from spelling_transfer.tasks.arms import BASE
from spelling_transfer.tasks.registry import CORE_TASKS


def base_model_notes(
    marked: pd.DataFrame, floors: pd.DataFrame, settings: VerdictSettings, *, confidence: float = CONFIDENCE
) -> Iterator[Note]:
    """Yields what the base model surely fails in, for each task of the research question.

    Surely: by the near end of Wilson's interval, so that few questions accuse nobody.

    Args:
        marked: What ``mark_answers`` returns.
        floors: What ``floors`` returns.
        settings: What has to hold.
        confidence: Confidence level of the interval.

    Yields:
        ``base guesses`` with how far it is above the best guess, ``base invalid`` with its share of answers in another
        form, ``base full`` with its share of right answers, all between 0 and 1.
    """
    answered = marked[(marked["arm"] == BASE) & (marked["endpoint"] == HELD_OUT)]
    best = floors.groupby("task")["score"].max()
    for task in CORE_TASKS:
        of_task = answered[answered["task"] == task]
        if of_task.empty:
            continue
        right, invalid = float(of_task["exact"].mean()), float(of_task["invalid"].mean())
        least, most = wilson_interval(int(of_task["exact"].sum()), len(of_task), confidence=confidence)
        least_invalid, _ = wilson_interval(int(of_task["invalid"].sum()), len(of_task), confidence=confidence)
        if most - best[task] < settings.base_above_guess:
            yield Note("base guesses", task, right - best[task])
        if least_invalid > settings.base_invalid:
            yield Note("base invalid", task, invalid)
        if least > 1 - settings.room(task):
            yield Note("base full", task, right)
