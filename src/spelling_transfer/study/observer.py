"""What a study tells those who watch it: the terminal, a tracker, the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import pandas as pd

TrialState = Literal["waiting", "running", "complete", "stopped", "pruned", "failed"]
"""``complete``: all steps taken; ``stopped``: no longer gaining, still counts; ``pruned``: hopeless; ``failed``: an
error."""
COUNTED_STATES: tuple[TrialState, ...] = ("complete", "stopped")
"""Trials that ended as they should; pruned and failed ones are shown and left out of comparisons."""


def counted(trials: pd.DataFrame) -> pd.DataFrame:
    """Returns the trials that ended as they should."""
    return trials[trials["state"].isin(COUNTED_STATES)]


@dataclass(frozen=True)
class TrialSnapshot:
    """All that is known of one trial at a moment.

    A later snapshot of the same trial holds everything an earlier one held, so that a watcher which missed some, or saw
    one twice, ends where one that saw each of them once does.

    Attributes:
        number: Number of the trial in its study; its seed is the study's plus this.
        state: Where it stands.
        seed: Its seed.
        choices: What the search chose, by dotted setting name.
        config: The whole configuration, by group.
        step: Optimiser steps taken.
        max_steps: Optimiser steps it will take at most.
        curve: One row an evaluation: ``step``, ``spelling``, ``position``, ``count`` (accuracies in 0..1) and
            ``transfer_score``.
        metrics: One row a logged step: ``step``, ``train/loss``, ``train/grad_norm``, ``train/learning_rate``,
            ``train/examples_per_second``, ``train/label_tokens_per_second``, ``train/memory_mb``.
        seconds: Seconds of training and scoring, over all attempts.
        attempts: How often it was begun or taken up again.
        error: What went wrong, for a failed one.
        adapter: Folder of its adapter, where it was kept.
    """

    number: int
    state: TrialState
    seed: int
    choices: Mapping[str, Any]
    config: Mapping[str, Any]
    step: int = 0
    max_steps: int = 0
    curve: Sequence[Mapping[str, float]] = ()
    metrics: Sequence[Mapping[str, float]] = ()
    seconds: float = 0.0
    attempts: int = 1
    error: str = ""
    adapter: str = ""


@dataclass(frozen=True)
class StudySnapshot:
    """All that is known of a study at a moment.

    Attributes:
        name: Its name.
        settings: Its settings, as in the configuration.
        n_trials: Trials planned.
        trials: Its trials so far, by number.
        base: Scores of the base model on the same questions: ``spelling``, ``position``, ``count``, ``transfer_score``.
    """

    name: str
    settings: Mapping[str, Any]
    n_trials: int
    trials: Sequence[TrialSnapshot] = field(default_factory=tuple)
    base: Mapping[str, float] = field(default_factory=dict)


class StudyObserver(Protocol):
    """Watches a study. It never stops it: an error of a watcher is a warning."""

    def update(self, study: StudySnapshot) -> None:
        """Takes note of where the study stands; called every second or so, and once at its end."""
        ...

    def close(self) -> None:
        """Ends the watch; the last ``update`` has been seen."""
        ...
