"""What the parts of a study hand to each other: evaluations, outcomes, snapshots, and who takes which part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from spelling_transfer.errors import SpellingTransferError

if TYPE_CHECKING:
    import pandas as pd

    from spelling_transfer.study.config import TrialConfig

Verdict = Literal["complete", "stopped", "pruned"]
"""``complete``: continue, or all steps taken; ``stopped``: no longer gaining, still counts; ``pruned``: hopeless."""

TrialState = Literal["waiting", "running", "complete", "stopped", "pruned", "failed"]
"""``failed``: an error; the others as in `Verdict`."""
FINISHED_STATES: tuple[TrialState, ...] = ("complete", "stopped", "pruned", "failed")
"""A trial in one of these does not run again."""
COUNTED_STATES: tuple[TrialState, ...] = ("complete", "stopped")
"""Trials that ended as they should; pruned and failed ones are shown and left out of comparisons."""

WorkerState = Literal["starting", "running", "finished", "failed", "gone"]
"""``finished``: exit code 0; ``failed``: another one; ``gone``: the machine was taken away or killed."""


class TrialFailedError(SpellingTransferError):
    """One configuration cannot be trained; the others may."""


class StudyError(SpellingTransferError):
    """A study cannot begin or continue."""


class StudyInterruptedError(StudyError):
    """A study was asked to stop; running it again resumes it."""


class NoTrialLeftError(Exception):
    """Whoever chooses the trials in place of a sampler has no further one."""


@dataclass(frozen=True)
class Evaluation:
    """Scores at one point of a trial; the task fields are accuracies on validation words in 0..1.

    ``correct`` is the per-item correctness: whether each validation question was answered right, in their order. It is
    kept from the trial to ``trial_marks``, so that two trials can be compared question by question.
    """

    step: int
    spelling: float
    position: float
    count: float
    correct: tuple[bool, ...] = ()


def evaluation_of(row: Mapping[str, Any]) -> Evaluation:
    """Returns an evaluation from a row that holds its fields among others."""
    scores = {name: float(row[name]) for name in ("spelling", "position", "count")}
    return Evaluation(int(row["step"]), **scores, correct=tuple(map(bool, row.get("correct", ()))))


class TrialOutcome(NamedTuple):
    """What a finished trial leaves.

    ``plain_lines`` is the exact match on plain lines of the validation words, of the base model and at the end, where
    it was measured: whether training left what the model knew of letters.
    """

    curve: list[Evaluation]
    final_loss: float
    steps: int
    verdict: Verdict
    plain_lines: tuple[float, float] | None = None


class Monitor(Protocol):
    """What an objective reports to, and where it learns what an earlier attempt at the same trial left.

    Its folder is the trial's own, for checkpoints, and outlives a killed worker.
    """

    folder: Path
    checkpoint_every: int

    @property
    def curve(self) -> list[Evaluation]:
        """Evaluations that were reported, by earlier attempts too."""
        ...

    def __call__(self, evaluation: Evaluation) -> Verdict:
        """Takes an evaluation; the trial continues as long as the answer is ``complete``."""
        ...

    def progress(self, step: int) -> None:
        """Takes note of a finished step, before its checkpoint is written; may raise to end the attempt."""
        ...

    def metrics(self, row: Mapping[str, float]) -> None:
        """Takes a row of metrics with its ``step``."""
        ...


class Objective(Protocol):
    """Trains and scores one configuration. One with a method ``evaluate(0)`` scores the base model, too."""

    def __call__(self, config: TrialConfig, monitor: Monitor) -> TrialOutcome:
        """Trains one configuration; gives ``monitor`` each evaluation and ends unless it answers ``complete``.

        Raises:
            TrialFailedError: The configuration cannot be trained; the study continues.
            SpellingTransferError: Nothing can; the study ends.
        """
        ...


@runtime_checkable
class ObjectiveSource(Protocol):
    """Makes objectives: here, and in other processes from what it wrote."""

    def identity(self) -> Mapping[str, str]:
        """Returns what the scores depend on beside the settings: hashes of data and model by name."""
        ...

    def open(self) -> Objective:
        """Returns an objective for this process."""
        ...

    def write(self, folder: Path) -> tuple[str, dict[str, Any]]:
        """Writes what workers need, once a machine.

        Returns:
            ``module:function`` that makes the objective in another process, and its keyword arguments (JSON).
        """
        ...


class StudyResult(NamedTuple):
    """A finished study.

    Attributes:
        trials: One row a trial: number, state, settings, seed, scores of its last evaluation, transfer score.
        curves: One row an evaluation: trial, step, spelling, position, count, transfer score and ``correct``.
        seconds: Seconds a trial; apart, because times differ from run to run.
        base: The base model's scores; nothing but zeros where the objective cannot give them.
    """

    trials: pd.DataFrame
    curves: pd.DataFrame
    seconds: pd.DataFrame
    base: Evaluation


class TrialBackend(Protocol):
    """Starts, watches and stops workers: processes here, or jobs on rented machines.

    A worker is a command. It takes trials from the study's records until none is left, so a back end knows nothing of
    trials, and losing a worker loses at most the steps since the last checkpoint of its trial. Classes register by
    entry point ``spelling_transfer.trial_backends`` and are made with the study's folder and settings.
    """

    def start(self, worker: int, command: Sequence[str], env: Mapping[str, str]) -> str:
        """Starts a worker.

        Args:
            worker: Its number, from 0; starting the same number twice must not make two of them.
            command: Program and arguments.
            env: Variables to set, beside those the machine has; no secret may appear in ``command``.

        Returns:
            An id for the other methods.
        """
        ...

    def poll(self, ids: Sequence[str]) -> Mapping[str, WorkerState]:
        """Returns where each worker stands; one call for all of them."""
        ...

    def stop(self, ids: Sequence[str]) -> None:
        """Ends workers and what they started; one that has ended already is no error."""
        ...


def counted(trials: pd.DataFrame) -> pd.DataFrame:
    """Returns the trials that ended as they should."""
    return trials[trials["state"].isin(COUNTED_STATES)]


@dataclass(frozen=True)
class TrialSnapshot:
    """All that is known of one trial at a moment.

    A later snapshot of the same trial holds everything an earlier one held. So an observer that missed some, or saw
    one twice, ends where one that saw each of them once does.

    Attributes:
        number: Number of the trial in its study; its seed is the study's plus this.
        choices: What the search chose, by dotted setting name.
        config: The whole configuration, by group.
        max_steps: Optimiser steps it will take at most.
        curve: One row an evaluation: ``step``, ``spelling``, ``position``, ``count`` (accuracies in 0..1) and
            ``transfer_score``.
        metrics: One row a logged step: ``step``, ``train/loss``, ``train/grad_norm``, ``train/learning_rate``,
            ``train/examples_per_second``, ``train/label_tokens_per_second``, ``train/memory_mb``.
        seconds: Seconds of training and scoring, over all attempts.
        attempts: How often it was begun or resumed.
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

    ``base`` holds the scores of the base model on the same questions.
    """

    name: str
    settings: Mapping[str, Any]
    n_trials: int
    trials: Sequence[TrialSnapshot] = field(default_factory=tuple)
    base: Mapping[str, float] = field(default_factory=dict)


class StudyObserver(Protocol):
    """Watches a study. It never stops it: an error of an observer is a warning."""

    def update(self, study: StudySnapshot) -> None:
        """Takes note of where the study stands; called every second or so, and once at its end."""
        ...

    def close(self) -> None:
        """Ends the watch; the last ``update`` has been seen."""
        ...
