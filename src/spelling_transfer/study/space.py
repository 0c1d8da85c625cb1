"""The search space as a whole: its configurations, how one is drawn, how it is read and checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import ValidationError

from spelling_transfer.study.config import StudyConfigError, TrialConfig, meant, setting_names
from spelling_transfer.study.entries import (
    Candidates,
    Constraint,
    Entry,
    Increasing,
    ProductBounds,
    Range,
    Ratio,
)

CONSTRAINTS = "constraints"
"""The key of a space that is no setting."""

MAX_GRID = 200_000
"""Configurations of a grid that are listed at most; nobody trains more."""

_TRIES = 2_000
"""Random draws before a space is said to have no configuration that obeys its constraints: one that holds for one in
three hundred is missed once in a thousand times."""

_ONE_STUDY_EACH = "Run one study for each value instead, with --name and this setting, and compare them side by side."
_OWN_SCORE = f"a search over the weights of its own score compares nothing. {_ONE_STUDY_EACH}"
_OTHER_STEPS = f"scores at other steps are not the same scores. {_ONE_STUDY_EACH}"
_SETTINGS_OF_A_STUDY = {
    **dict.fromkeys(("focus", "position_task_weight", "count_task_weight"), _OWN_SCORE),
    **dict.fromkeys(("transfer_eval_frequency", "eval_frequency"), _OTHER_STEPS),
    "gpu_tier": "a search over the machine's price compares nothing. To estimate each: kedro tune --gpu-tier TIER "
    "--dry-run.",
    "analyze_thinking_mode": "it changes no training; it is an analysis of the template: kedro tokens "
    "--analyze-thinking.",
    "seed": "each trial's seed comes from its number. To see the spread of one configuration, train it with several "
    "values of study.seed.",
    "threads": "it changes how fast a trial is, not what it learns.",
}
"""Why a setting of a study cannot be searched, and what to do instead."""


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """A space that has been checked.

    Attributes:
        defaults: The configuration that it varies.
        entries: What is varied, by dotted setting name; a setting comes after those it depends on.
        constraints: What every configuration obeys.
    """

    defaults: TrialConfig
    entries: Mapping[str, Entry]
    constraints: tuple[Constraint, ...] = ()

    def is_active(self, name: str, choices: Mapping[str, Any]) -> bool:
        """Tells whether a setting is searched, given the values of those before it."""
        conditions = self.entries[name].when
        return all(choices.get(other, self.default(other)) in values for other, values in conditions.items())

    def settle(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the value of each setting from what was drawn; one that is not searched here keeps its default.

        Args:
            drawn: Values by the entries' parameter names.
        """
        choices: dict[str, Any] = {}
        for name, entry in self.entries.items():
            parameter = entry.parameter(name)
            searched = parameter in drawn and self.is_active(name, choices)
            choices[name] = self.value(name, drawn[parameter], choices) if searched else self.default(name)
        return choices

    def value(self, name: str, drawn: Any, choices: Mapping[str, Any]) -> Any:
        """Returns a setting's value from what was drawn, rounded where the setting is a whole number.

        Args:
            name: The setting.
            drawn: What was drawn.
            choices: Values of the settings before it; of those that are missing, the defaults.
        """
        entry = self.entries[name]
        known = {other: self.default(other) for other in entry.needs()} | dict(choices)
        value = entry.settle(drawn, known)
        return round(value) if isinstance(value, float) and isinstance(self.defaults.value(name), int) else value

    def broken(self, choices: Mapping[str, Any]) -> list[Constraint]:
        """Returns the constraints that a configuration breaks."""

        def value(name: str) -> Any:
            return choices[name] if name in choices else self.default(name)

        return [constraint for constraint in self.constraints if not constraint.holds(value)]

    @property
    def grid_size(self) -> int:
        """The size of the full grid, constraints and conditions left out."""
        return math.prod(len(entry.grid()) for entry in self.entries.values())

    @cached_property
    def grid(self) -> tuple[dict[str, Any], ...]:
        """The configurations of the grid that obey the constraints, as what is drawn for each.

        Raises:
            StudyConfigError: There are more than anybody lists.
        """
        if self.grid_size > MAX_GRID:
            raise StudyConfigError(
                f"study.space: a grid of {self.grid_size:,} configurations is more than {MAX_GRID:,}. Take fewer "
                "values, or the sampler random, tpe or one_at_a_time."
            )
        return tuple(self._extended({}, list(self.entries)))

    def _extended(self, drawn: dict[str, Any], names: Sequence[str]) -> Iterator[dict[str, Any]]:
        if not names:
            if not self.constraints or not self.broken(self.settle(drawn)):
                yield drawn
            return
        name, entry = names[0], self.entries[names[0]]
        if entry.when and not self.is_active(name, self.settle(drawn)):
            yield from self._extended(drawn, names[1:])
            return
        for value in entry.grid():
            yield from self._extended({**drawn, entry.parameter(name): value}, names[1:])

    def at(self, shares: Iterable[float]) -> dict[str, Any]:
        """Returns what is drawn at a point of the unit cube, one coordinate a setting; constraints may be broken."""
        drawn: dict[str, Any] = {}
        for share, (name, entry) in zip(shares, self.entries.items(), strict=False):
            if not entry.when or self.is_active(name, self.settle(drawn)):
                drawn[entry.parameter(name)] = entry.at(float(share))
        return drawn

    def random(self, seed: Sequence[int]) -> dict[str, Any]:
        """Returns a random draw that obeys the constraints.

        Raises:
            StudyConfigError: None was found.
        """
        rng = np.random.default_rng(seed)
        for _ in range(_TRIES):
            drawn = self.at(rng.random(len(self.entries)))
            if not self.broken(self.settle(drawn)):
                return drawn
        raise self.infeasible()

    def infeasible(self) -> StudyConfigError:
        """Returns the error of a space without a configuration."""
        constraints = "; ".join(map(str, self.constraints))
        return StudyConfigError(f"study.space: no configuration obeys all constraints: {constraints}.")

    def as_data(self) -> dict[str, Any]:
        """Returns the space as ``read_space`` and YAML files take it."""
        data = {
            name: entry.model_dump(mode="json", exclude_unset=True, exclude_none=True)
            for name, entry in self.entries.items()
        }
        if self.constraints:
            constraints = [each.model_dump(mode="json", exclude_unset=True, by_alias=True) for each in self.constraints]
            data[CONSTRAINTS] = constraints  # type: ignore[assignment]
        return data

    def default(self, name: str) -> Any:
        """Returns the default of a setting, as it would be listed among candidates."""
        value = self.defaults.value(name)
        return ",".join(value) if isinstance(value, tuple) else value


def read_space(space: Mapping[str, Any], defaults: TrialConfig) -> SearchSpace:
    """Checks a space from a YAML file.

    Args:
        space: ``values``, ``low`` and ``high``, or ``follows`` and ``ratios`` by dotted setting name; a list of
            ``constraints`` beside them. It may be empty: then there is the default configuration alone.
        defaults: The configuration that the space varies; every end of the space must make a valid one.

    Raises:
        StudyConfigError: The space names an unknown setting or a setting of the study, holds a value that no trial may
            have, or no configuration obeys its constraints.
    """
    entries = {name: _read_entry(name, entry) for name, entry in space.items() if name != CONSTRAINTS}
    read = SearchSpace(defaults, _in_order(entries), tuple(map(_read_constraint, space.get(CONSTRAINTS) or ())))
    for name, entry in read.entries.items():
        _check_values(name, entry, read)
    if read.constraints and (read.grid_size > MAX_GRID or not read.grid):
        # Too many to look at each; or none of them, but the points of a grid are not all of a range.
        read.random((0, 0))
    return read


_ENTRIES: dict[str, type[Entry]] = {"values": Candidates, "ratios": Ratio, "low": Range}
_CONSTRAINTS: dict[str, type[Constraint]] = {
    "product": ProductBounds,
    "increasing": Increasing,
}


def _read_entry(name: str, entry: Any) -> Entry:
    known = setting_names()
    if (short := name.rpartition(".")[2]) in _SETTINGS_OF_A_STUDY:
        reason = _SETTINGS_OF_A_STUDY[short]
        raise StudyConfigError(f"study.space: {name} is a setting of a study and cannot be searched: {reason}")
    if name not in known:
        raise StudyConfigError(f"study.space: {name}: no such setting{meant(name, known)}.")
    try:
        if not isinstance(entry, dict):
            raise ValueError("write {values: [...]}, {low: ..., high: ...} or {follows: ..., ratios: [...]}")
        kind = next((kind for key, kind in _ENTRIES.items() if key in entry), Range)
        read: Entry = kind.model_validate(entry)
    except ValueError as error:
        raise StudyConfigError(
            f"study.space: {name}: {entry!r} is not a candidate list or range: {_first(error)}."
        ) from error
    if isinstance(read, Range) and isinstance(TrialConfig().value(name), float):
        read = read.model_copy(update={"low": float(read.low), "high": float(read.high)})  # 0 to 1 is not 0 or 1
    for other in sorted(read.needs()):
        if other not in known:
            raise StudyConfigError(f"study.space: {name}: depends on {other}: no such setting{meant(other, known)}.")
    return read


def _read_constraint(entry: Any) -> Constraint:
    try:
        kinds = [kind for key, kind in _CONSTRAINTS.items() if isinstance(entry, dict) and key in entry]
        if len(kinds) != 1:
            raise ValueError(f"{entry!r} is not a constraint: it needs one of {', '.join(_CONSTRAINTS)}")
        return kinds[0].model_validate(entry)
    except ValueError as error:
        raise StudyConfigError(f"study.space: {CONSTRAINTS}: {_first(error)}.") from error


def _first(error: ValueError) -> str:
    text = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
    return text.removeprefix("Value error, ").rstrip(".")


def _in_order(entries: dict[str, Entry]) -> dict[str, Entry]:
    ordered: dict[str, Entry] = {}
    while len(ordered) < len(entries):
        ready = [
            name
            for name in entries
            if name not in ordered and not (entries[name].needs() & set(entries)) - set(ordered)
        ]
        if not ready:
            circle = [name for name in entries if name not in ordered]
            raise StudyConfigError(f"study.space: {', '.join(circle)} depend on each other in a circle.")
        ordered |= {ready[0]: entries[ready[0]]}
    return ordered


def _check_values(name: str, entry: Entry, space: SearchSpace) -> None:
    if isinstance(entry, Ratio):
        followed = space.entries.get(entry.follows)
        if isinstance(followed, Ratio):
            raise StudyConfigError(
                f"study.space: {name} follows {entry.follows}, which follows another setting itself."
            )
        of = [space.default(entry.follows)] if followed is None else followed.grid()
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in of):
            raise StudyConfigError(f"study.space: {name}: follows {entry.follows}, which is not a number.")
        values = [space.value(name, ratio, {entry.follows: value}) for ratio in entry.ratios for value in of]
    else:
        values = list(entry.values) if isinstance(entry, Candidates) else [entry.low, entry.high]
    is_whole = isinstance(space.defaults.value(name), int)
    if isinstance(entry, Range) and is_whole and not entry.is_whole:
        raise StudyConfigError(f"study.space: {name}: low, high and step must be whole numbers, as the setting is.")
    for value in values:
        try:
            space.defaults.varied({name: value})
        except StudyConfigError as error:
            raise StudyConfigError(f"study.space: {error}") from error
