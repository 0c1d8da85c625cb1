"""Runs a study: trials side by side or one after the other, each once, whatever is killed; the result is a table."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import pandas as pd

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.study.config import StudySettings, TrialConfig

if TYPE_CHECKING:
    from spelling_transfer.study.backend import TrialBackend
    from spelling_transfer.study.observer import StudyObserver


Verdict = Literal["complete", "stopped", "pruned"]
"""``complete``: go on, or all steps taken; ``stopped``: no longer gaining, still counts; ``pruned``: hopeless."""


class TrialFailedError(SpellingTransferError):
    """One configuration cannot be trained; the others may."""


class StudyError(SpellingTransferError):
    """A study cannot begin, or cannot go on."""


class StudyInterruptedError(StudyError):
    """A study was asked to stop; running it again goes on."""


@dataclass(frozen=True)
class Evaluation:
    """Scores at one point of a trial; the fields are accuracies on validation words in 0..1.

    ``marks`` says of each validation question, in their order, whether it was answered right (``1``) or wrong (``0``);
    it is carried from the trial to ``trial_marks``, so that two trials can be compared question by question.
    """

    step: int
    spelling: float
    position: float
    count: float
    marks: str = ""


class TrialOutcome(NamedTuple):
    """What a finished trial leaves.

    Attributes:
        curve: Scores during training, the last one at the end.
        final_loss: Training loss of the last step.
        steps: Optimiser steps taken.
        verdict: How it ended.
    """

    curve: list[Evaluation]
    final_loss: float
    steps: int
    verdict: Verdict


class Monitor(Protocol):
    """What an objective reports to, and where it learns what an earlier attempt at the same trial left.

    Attributes:
        folder: The trial's own folder, for checkpoints; it outlives a killed worker.
        checkpoint_every: Steps between checkpoints.
    """

    folder: Path
    checkpoint_every: int

    @property
    def curve(self) -> list[Evaluation]:
        """Evaluations that were reported, by earlier attempts too."""
        ...

    def __call__(self, evaluation: Evaluation) -> Verdict:
        """Takes an evaluation; the trial goes on as long as the answer is ``complete``."""
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
        """Trains one configuration; tells ``monitor`` each evaluation and ends unless it answers ``complete``.

        Raises:
            TrialFailedError: The configuration cannot be trained; the study goes on.
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
        trials: One row a trial: number, state, settings, seed, scores of its best evaluation, transfer score.
        curves: One row an evaluation: trial, step, spelling, position, count, transfer score.
        seconds: Seconds a trial; apart, because times differ from run to run.
        base: The base model's scores; nothing but zeros where the objective cannot give them.
    """

    trials: pd.DataFrame
    curves: pd.DataFrame
    seconds: pd.DataFrame
    base: Evaluation


def run_study(
    settings: StudySettings,
    defaults: TrialConfig,
    objective: Objective | ObjectiveSource,
    *,
    folder: Path | None = None,
    observers: Sequence[StudyObserver] = (),
    backend: TrialBackend | None = None,
) -> StudyResult:
    """Runs what is left to run of a study, and returns all of it.

    One worker runs in this process; several are processes of their own, here or where the back end puts them. A study
    whose folder (or database) holds it already goes on where it stopped; a finished one returns at once.

    Args:
        settings: The study.
        defaults: The configuration its space varies.
        objective: Trains and scores one configuration; several workers need a source of them.
        folder: Where the study keeps records, checkpoints and material; ``None`` keeps nothing.
        observers: Told where the study stands, about every second.
        backend: Where workers run; that of the settings by default.

    Raises:
        StudyConfigError: The space is not valid, or the name is in use with other settings; before anything is trained.
        StorageError: The storage is not there or full.
        StudyInterruptedError: Ctrl-C or SIGTERM.
        StudyError: No trial could be trained.
    """
    from spelling_transfer.study.session import StudySession

    with ExitStack() as stack:
        is_kept = folder is not None
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spelling-transfer-study-")))
        session = StudySession(settings, defaults, objective, folder, is_kept=is_kept)
        stack.callback(session.close)
        if not session.is_finished():
            session.run(observers, backend)
        return session.result()
