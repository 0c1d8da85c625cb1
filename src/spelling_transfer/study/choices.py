"""Choices that depend on the seed and a trial's number alone: grid, one setting at a time, random, quasi-random."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from spelling_transfer.study.config import StudyConfigError, StudySettings
from spelling_transfer.study.entries import Ratio
from spelling_transfer.study.space import SearchSpace

NUMBERED = ("grid", "one_at_a_time", "random", "qmc")
"""Samplers whose choices do not depend on results, so that their trials stay a sample of the space."""


def choices_of(space: SearchSpace, settings: StudySettings, number: int) -> dict[str, Any] | None:
    """Returns what trial ``number`` tries, or ``None`` where that depends on the results of others.

    Raises:
        StudyConfigError: The grid has no such number, or no configuration obeys the constraints.
    """
    drawn = drawn_of(space, settings, number)
    return None if drawn is None else space.settle(drawn)


def drawn_of(space: SearchSpace, settings: StudySettings, number: int) -> dict[str, Any] | None:
    """Returns the same as values by the entries' parameter names; a setting that keeps its default is left out."""
    if settings.sampler == "random":
        return space.random((settings.seed, number))
    if settings.sampler == "qmc":
        return _quasi_random(space, settings.seed, number)
    if settings.sampler not in NUMBERED:
        return None
    rows: Sequence[dict[str, Any]] = space.grid if settings.sampler == "grid" else _one_at_a_time(space)
    if number >= len(rows):
        raise StudyConfigError(f"study: {settings.sampler} has {len(rows)} configurations; there is no {number}.")
    if settings.sampler == "grid":  # shuffled, so that a part of a grid is spread over all of it
        number = int(np.random.default_rng(settings.seed).permutation(len(rows))[number])
    return dict(rows[number])


def planned_trials(space: SearchSpace, settings: StudySettings) -> int:
    """Returns how many trials a study has: ``n_trials``, and no more than there are configurations.

    Raises:
        StudyConfigError: There is nothing to try, or ``n_trials`` is missing where there is no end of configurations.
    """
    if settings.sampler == "one_at_a_time":
        available = len(_one_at_a_time(space))
    elif not space.entries:
        raise StudyConfigError(
            "study.space: is empty; a search needs at least one setting to vary. 'kedro tune --mode single' trains the "
            "default configuration alone."
        )
    elif settings.sampler == "grid":
        available = len(space.grid)
    elif settings.n_trials is None:
        raise StudyConfigError(
            f"study.n_trials: null is for grid and one_at_a_time; the sampler {settings.sampler} never ends by itself."
        )
    else:
        return settings.n_trials
    if not available:
        raise space.infeasible()
    return available if settings.n_trials is None else min(settings.n_trials, available)


def most_steps(space: SearchSpace) -> int:
    """Returns the most optimiser steps that a trial may take."""
    entry = space.entries.get("training.max_steps")
    default = space.defaults.training.max_steps
    if entry is None:
        return default
    searched = [int(space.value("training.max_steps", value, {})) for value in entry.grid()]
    return max([*searched, default] if entry.when else searched)


def values_of(space: SearchSpace, name: str) -> list[Any]:
    """Returns what is drawn for a setting one at a time: its default, then its values."""
    entry = space.entries[name]
    default, values = _default_drawn(space)[entry.parameter(name)], entry.grid()
    return values if default in values else [default, *values]


def nearest(space: SearchSpace, drawn: dict[str, Any]) -> dict[str, Any]:
    """Returns the drawn values moved as little as possible so that they obey the constraints.

    Only settings of broken constraints move, to values of their grid; distance is counted in places on it.

    Raises:
        StudyConfigError: No such move helps.
    """
    names = {name for constraint in space.broken(space.settle(drawn)) for name in constraint.names}
    names |= {name for name, entry in space.entries.items() if entry.needs() & names}
    moved = [name for name in space.entries if name in names and space.entries[name].parameter(name) in drawn]
    grids = [space.entries[name].grid() for name in moved]
    parameters = [space.entries[name].parameter(name) for name in moved]
    starts = [_place(grid, drawn[parameter]) for grid, parameter in zip(grids, parameters, strict=True)]
    places = sorted(
        product(*(range(len(grid)) for grid in grids)),
        key=lambda each: (sum(abs(a - b) for a, b in zip(each, starts, strict=True)), each),
    )
    for chosen in places:
        values = {parameter: grid[i] for parameter, grid, i in zip(parameters, grids, chosen, strict=True)}
        if not space.broken(space.settle({**drawn, **values})):
            return {**drawn, **values}
    raise space.infeasible()


def _place(grid: Sequence[Any], value: Any) -> int:
    if value in grid:
        return grid.index(value)
    return int(np.argmin([abs(each - value) for each in grid]))


def _quasi_random(space: SearchSpace, seed: int, number: int) -> dict[str, Any]:
    """Returns a point of the scrambled Sobol sequence: spread more evenly than chance (Owen 1998)."""
    from scipy.stats import qmc

    sequence = qmc.Sobol(max(len(space.entries), 1), scramble=True, rng=np.random.default_rng(seed))
    if number:
        sequence.fast_forward(number)
    drawn = space.at(sequence.random(1)[0])
    return nearest(space, drawn) if space.broken(space.settle(drawn)) else drawn


def _default_drawn(space: SearchSpace) -> dict[str, Any]:
    drawn = {}
    for name, entry in space.entries.items():
        value = space.default(name)
        drawn[entry.parameter(name)] = value / space.default(entry.follows) if isinstance(entry, Ratio) else value
    return drawn


def _one_at_a_time(space: SearchSpace) -> list[dict[str, Any]]:
    default = _default_drawn(space)
    rows = [default]
    for name, entry in space.entries.items():
        parameter = entry.parameter(name)
        for value in entry.grid():
            row = {**default, parameter: value}
            if value != default[parameter] and space.settle(row) != space.settle(default):
                rows.append(row)
    return [row for row in rows if not space.broken(space.settle(row))]
