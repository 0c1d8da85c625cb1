"""The search space: what is varied, under which constraints, and how Optuna draws from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from spelling_transfer.study.config import StudyConfigError, TrialConfig, meant, setting_names
from spelling_transfer.study.constraints import Constraint, read_constraint
from spelling_transfer.study.entries import Candidates, Entry, Range, Ratio, read_entry

if TYPE_CHECKING:
    import optuna

CONSTRAINTS = "constraints"
"""The key of a space that is no setting."""

_ONE_STUDY_EACH = "Run one study for each value instead, with --name and this setting, and compare them side by side."
_SETTINGS_OF_A_STUDY = {
    "focus": f"a search over the weights of its own score compares nothing. {_ONE_STUDY_EACH}",
    "position_task_weight": f"a search over the weights of its own score compares nothing. {_ONE_STUDY_EACH}",
    "count_task_weight": f"a search over the weights of its own score compares nothing. {_ONE_STUDY_EACH}",
    "gpu_tier": f"a search over the machine's price compares nothing. {_ONE_STUDY_EACH}",
    "transfer_eval_frequency": f"scores at other steps are not the same scores. {_ONE_STUDY_EACH}",
    "eval_frequency": f"scores at other steps are not the same scores. {_ONE_STUDY_EACH}",
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
            known = {other: self.default(other) for other in entry.needs()} | choices
            choices[name] = entry.settle(drawn[parameter], known) if searched else self.default(name)
        return choices

    def broken(self, choices: Mapping[str, Any]) -> list[Constraint]:
        """Returns the constraints that a configuration breaks."""

        def value(name: str) -> Any:
            return choices[name] if name in choices else self.default(name)

        return [constraint for constraint in self.constraints if not constraint.holds(value)]

    def as_data(self) -> dict[str, Any]:
        """Returns the space as ``read_space`` and YAML files take it."""
        data = {
            name: entry.model_dump(mode="json", exclude_unset=True, exclude_none=True)
            for name, entry in self.entries.items()
        }
        if self.constraints:
            data[CONSTRAINTS] = [each.model_dump(mode="json", exclude_unset=True) for each in self.constraints]  # type: ignore[assignment]
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
    if read.constraints:
        from spelling_transfer.study.choices import check_feasible

        check_feasible(read)
    return read


def _read_entry(name: str, entry: Any) -> Entry:
    known = setting_names()
    if (short := name.rpartition(".")[2]) in _SETTINGS_OF_A_STUDY:
        reason = _SETTINGS_OF_A_STUDY[short]
        raise StudyConfigError(f"study.space: {name} is a setting of a study and cannot be searched: {reason}")
    if name not in known:
        raise StudyConfigError(f"study.space: {name}: no such setting{meant(name, known)}.")
    try:
        read = read_entry(entry)
    except ValueError as error:
        raise StudyConfigError(
            f"study.space: {name}: {entry!r} is not a candidate list or range: {_first(error)}."
        ) from error
    for other in sorted(read.needs()):
        if other not in known:
            raise StudyConfigError(f"study.space: {name}: depends on {other}: no such setting{meant(other, known)}.")
    return read


def _read_constraint(entry: Any) -> Constraint:
    try:
        return read_constraint(entry)
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
        values = [entry.settle(ratio, {entry.follows: value}) for ratio in entry.ratios for value in of]
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


def draw(trial: optuna.Trial, space: SearchSpace) -> dict[str, Any]:
    """Returns one value a setting, drawn by the trial's sampler; see ``study.samplers.draw``."""
    from spelling_transfer.study import samplers

    return samplers.draw(trial, space)
