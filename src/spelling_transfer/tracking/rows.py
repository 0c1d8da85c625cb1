"""What Weights & Biases gets of a trial and of a study: names, configuration, rows by step, summaries, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from spelling_transfer.study.interfaces import FINISHED_STATES, StudySnapshot, TrialSnapshot

SCORE = "selection/score"
_NAMES = {
    "spelling": "spelling/accuracy",
    "position": "transfer/position",
    "count": "transfer/count",
    "transfer_score": "transfer/score",
    "selection_score": SCORE,
}
"""Spelling, which is trained, and transfer, which is not, in panels of their own."""
_GAINS = {
    "spelling": "spelling/gain",
    "position": "transfer/position_gain",
    "count": "transfer/count_gain",
    "transfer_score": "transfer/score_gain",
    "selection_score": "selection/score_gain",
}
_LONGEST_NAME = 120


class Row(NamedTuple):
    """What was measured at one optimiser step."""

    step: int
    values: dict[str, float]


def run_name(trial: TrialSnapshot) -> str:
    """Returns a readable name: the number of the trial and what the search chose for it."""
    chosen = " ".join(f"{name.rpartition('.')[2]}={_short(value)}" for name, value in trial.choices.items())
    name = f"{trial.number:03d} {chosen}".strip()
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def run_config(study: StudySnapshot, trial: TrialSnapshot) -> dict[str, Any]:
    """Returns the configuration of a trial's run: that of the trial by group, and what it belongs to."""
    return {
        **trial.config,
        "seed": trial.seed,
        "trial": trial.number,
        "searched": {name: _plain(value) for name, value in trial.choices.items()},
        "study": {name: value for name, value in study.settings.items() if name not in ("space", "storage")},
    }


def history(study: StudySnapshot, trial: TrialSnapshot) -> list[Row]:
    """Returns all that was measured of a trial, one row a step, in order."""
    rows: dict[int, dict[str, float]] = {}
    for each in trial.metrics:
        rows.setdefault(int(each["step"]), {}).update({name: value for name, value in each.items() if name != "step"})
    for each in trial.curve:
        rows.setdefault(int(each["step"]), {}).update(scores(each, study.base))
    return [Row(step, rows[step]) for step in sorted(rows)]


def scores(evaluation: Mapping[str, float], base: Mapping[str, float]) -> dict[str, float]:
    """Returns the scores of an evaluation, and their gain over the base model's where those are known."""
    found = {name: float(evaluation[key]) for key, name in _NAMES.items() if key in evaluation}
    gains = {name: float(evaluation[key] - base[key]) for key, name in _GAINS.items() if key in evaluation and base}
    return found | gains


def summary(study: StudySnapshot, trial: TrialSnapshot) -> dict[str, Any]:
    """Returns the summary of a trial: its scores are those at its end, as its adapter is."""
    last = scores(trial.curve[-1], study.base) if trial.curve else {}
    ended = {"state": trial.state, "steps": trial.step, "seconds": trial.seconds, "attempts": trial.attempts}
    return {**last, **ended, **({"error": trial.error} if trial.error else {})}


class Columns(NamedTuple):
    """A table by its columns' names and its rows."""

    names: list[str]
    rows: list[list[Any]]


def trial_table(study: StudySnapshot) -> Columns:
    """Returns one row a trial that has ended: what was chosen, and what came of it."""
    ended = [trial for trial in study.trials if trial.state in FINISHED_STATES]
    searched = list(dict.fromkeys(name for trial in ended for name in trial.choices))
    measured = [*_NAMES.values(), *(_GAINS.values() if study.base else ())]
    rows = []
    for trial in ended:
        last = summary(study, trial)
        chosen = [_text(trial.choices.get(name)) for name in searched]
        rows.append([trial.number, trial.state, *chosen, *(last.get(name) for name in measured), trial.step])
    return Columns(["trial", "state", *searched, *measured, "steps"], rows)


def transfer_table(study: StudySnapshot) -> Columns:
    """Returns the gain in spelling against the gain in position and count, one row a trial that ended with scores."""
    names = ["trial", "spelling gain", "position gain", "count gain"]
    keys = ("spelling/gain", "transfer/position_gain", "transfer/count_gain")
    rows: list[list[Any]] = []
    for trial in study.trials:
        last = summary(study, trial)
        if study.base and trial.state in FINISHED_STATES and trial.state != "failed" and trial.curve:
            rows.append([trial.number, *(last[key] for key in keys)])
    return Columns(names, rows)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(_plain(value))


def _plain(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _text(value: Any) -> Any:
    # A column of a table has one type; a setting that is not searched in every trial has none in some.
    value = _plain(value)
    return value if value is None or isinstance(value, int | float) else str(value)
