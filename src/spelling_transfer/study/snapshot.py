"""From records to what observers are shown, and to the tables of a finished study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from spelling_transfer.statistics.scores import SCORED_TASKS
from spelling_transfer.study.config import StudySettings
from spelling_transfer.study.executor import Evaluation, StudyResult
from spelling_transfer.study.observer import StudySnapshot, TrialSnapshot
from spelling_transfer.study.records import BASE_NUMBER, Records, TrialRow
from spelling_transfer.study.space import SearchSpace
from spelling_transfer.study.worker import config_of

_SCORES = (*SCORED_TASKS, "transfer_score")
Rows = Mapping[int, Sequence[Mapping[str, Any]]]


class Snapshots:
    """Takes snapshots; of trials that have not changed since the last one nothing is read again.

    Args:
        settings: The study.
        space: Its space.
        records: Its records.
        n_trials: Trials planned.
    """

    def __init__(self, settings: StudySettings, space: SearchSpace, records: Records, n_trials: int) -> None:
        self.settings = settings
        self.space = space
        self.records = records
        self.n_trials = n_trials
        self._seen: dict[int, tuple[tuple[Any, ...], TrialSnapshot]] = {}
        self._base: dict[str, float] = {}

    def take(self) -> StudySnapshot:
        """Returns where the study stands."""
        rows = self.records.trials()
        changed = [row for row in rows if row.number not in self._seen or self._seen[row.number][0] != _version(row)]
        numbers = [row.number for row in changed]
        curves = self.records.records("evaluation", numbers) if numbers else {}
        metrics = self.records.records("metrics", numbers) if numbers else {}
        for row in changed:
            if row.number == BASE_NUMBER:
                self._base = {name: each[name] for each in curves.get(row.number, ()) for name in _SCORES}
            else:
                snapshot = self._trial(row, curves.get(row.number, ()), metrics.get(row.number, ()))
                self._seen[row.number] = (_version(row), snapshot)
        return StudySnapshot(
            name=self.settings.name,
            settings=self.settings.model_dump(mode="json"),
            n_trials=self.n_trials,
            trials=tuple(self._seen[number][1] for number in sorted(self._seen)),
            base=self._base,
        )

    def _trial(
        self, row: TrialRow, curve: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]
    ) -> TrialSnapshot:
        config = config_of(row, self.settings, self.space)
        return TrialSnapshot(
            number=row.number,
            state=row.state,  # type: ignore[arg-type]
            seed=config.training.seed,
            choices=row.proposal.choices,
            config=config.model_dump(mode="json"),
            step=row.step,
            max_steps=config.training.max_steps,
            curve=[{name: each[name] for name in ("step", *_SCORES)} for each in curve],
            metrics=list(metrics),
            seconds=row.seconds,
            attempts=row.attempt,
            error=row.error,
            adapter=row.adapter,
        )


def _version(row: TrialRow) -> tuple[Any, ...]:
    return row.state, row.attempt, row.beat, row.step, row.seconds


def study_result(records: Records, settings: StudySettings) -> StudyResult:
    """Returns the tables of a study, by trial number."""
    evaluations = records.records("evaluation")
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    seconds: list[dict[str, Any]] = []
    base = Evaluation(0, 0.0, 0.0, 0.0)
    for row in records.trials():
        scored = evaluations.get(row.number, [])
        if row.number == BASE_NUMBER:
            base = _evaluation(scored[-1]) if scored else base
            continue
        # The adapter of a trial is the one at its end; a better evaluation in the middle is not what it leaves.
        final = scored[-1] if scored and row.state != "failed" else {}
        rows.append(
            {
                "number": row.number,
                "state": row.state,
                **row.proposal.choices,
                "seed": settings.trial_seed(row.number),
                "steps": row.step,
                "loss": row.loss,
                **{name: final.get(name, float("nan")) for name in _SCORES},
            }
        )
        curves += [
            {"number": row.number, **{name: value for name, value in each.items() if name != "verdict"}}
            for each in scored
        ]
        seconds.append({"number": row.number, "seconds": row.seconds})
    return StudyResult(pd.DataFrame(rows), pd.DataFrame(curves), pd.DataFrame(seconds), base)


def _evaluation(row: Mapping[str, Any]) -> Evaluation:
    return Evaluation(int(row["step"]), row["spelling"], row["position"], row["count"], row.get("marks", ""))
