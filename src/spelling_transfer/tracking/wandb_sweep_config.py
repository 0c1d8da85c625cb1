"""A search space as W&B's sweeps know one, and what they chose as a trial of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spelling_transfer.study.choices import nearest, planned_trials
from spelling_transfer.study.config import StudyConfigError, StudySettings
from spelling_transfer.study.entries import Entry, Range
from spelling_transfer.study.records import Proposal
from spelling_transfer.study.space import SearchSpace
from spelling_transfer.tracking.wandb_rows import SCORE

_METHODS = {"grid": "grid", "random": "random", "tpe": "bayes", "gp": "bayes"}


def sweep_config(settings: StudySettings, space: SearchSpace) -> dict[str, Any]:
    """Returns the sweep of a study's search space, as ``wandb.sweep`` takes it.

    A setting that follows another one is a factor in it; conditions and constraints, which sweeps do not know, are
    applied to what the server chose. Hopeless trials are ended by the study's own pruner.

    Args:
        settings: The study.
        space: Its space.

    Raises:
        StudyConfigError: Sweeps have no such sampler.
    """
    method = _METHODS.get(settings.sampler)
    if method is None:
        raise StudyConfigError(
            f"study.sampler: {settings.sampler} is none that sweeps know; allowed with --mode sweep are "
            f"{', '.join(_METHODS)}. The other modes run {settings.sampler} without a server."
        )
    parameters = {
        entry.parameter(name): _parameter(entry, listed=method == "grid") for name, entry in space.entries.items()
    }
    return {
        "name": settings.name,
        "method": method,
        "metric": {"name": SCORE, "goal": "maximize"},
        "parameters": parameters,
        "run_cap": planned_trials(space, settings),
    }


def _parameter(entry: Entry, *, listed: bool) -> dict[str, Any]:
    if not isinstance(entry, Range) or listed or entry.step is not None:
        return {"values": entry.grid()}
    ends = {"min": entry.low, "max": entry.high}
    if entry.is_whole:
        return {"distribution": "q_log_uniform_values", "q": 1, **ends} if entry.log else ends
    return {"distribution": "log_uniform_values" if entry.log else "uniform", **ends}


def proposal_of(space: SearchSpace, chosen: Mapping[str, Any]) -> Proposal:
    """Returns what a trial tries from what the server chose for it.

    Args:
        space: The study's space.
        chosen: Values by the names of the sweep's parameters.

    Raises:
        StudyConfigError: The sweep is one of another space.
    """
    wanted = {entry.parameter(name): entry for name, entry in space.entries.items()}
    if set(chosen) != set(wanted):
        raise StudyConfigError(
            f"the sweep varies {', '.join(sorted(chosen))}, the study {', '.join(sorted(wanted))}. Give the study "
            "another name: it then gets a sweep of its own."
        )
    drawn = {name: _fitting(wanted[name], value) for name, value in chosen.items()}
    if space.constraints and space.broken(space.settle(drawn)):
        drawn = nearest(space, drawn)
    return Proposal(choices=space.settle(drawn))


def _fitting(entry: Entry, value: Any) -> Any:
    # JSON knows one kind of number, and a rounded draw may be a hair outside its range.
    if isinstance(entry, Range):
        inside = min(max(value, entry.low), entry.high)
        return round(inside) if entry.is_whole else float(inside)
    is_truth = isinstance(value, bool)
    return next((each for each in entry.grid() if each == value and isinstance(each, bool) == is_truth), value)
