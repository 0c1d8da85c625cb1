"""The search space: candidates and ranges by setting, and how Optuna draws from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from spelling_transfer.study.config import StudyConfigError, TrialConfig, setting_names

if TYPE_CHECKING:
    import optuna

_SETTINGS_OF_A_STUDY = {
    "focus": "the weights of its own score",
    "position_task_weight": "the weights of its own score",
    "count_task_weight": "the weights of its own score",
    "gpu_tier": "the machine's price",
}


class Candidates(BaseModel):
    """A setting with listed values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: tuple[bool | int | float | str, ...] = Field(min_length=1)


class Range(BaseModel):
    """A setting with a lowest and a highest value, both included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: int | float
    high: int | float
    log: bool = Field(False, description="Draw on the logarithm's scale.")
    step: int | float | None = Field(None, description="Distance between values.")

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("a log range starts above 0 and takes no step")
        return self


SearchSpace = dict[str, Candidates | Range]


def read_space(space: dict[str, Any], defaults: TrialConfig) -> SearchSpace:
    """Checks a space from a YAML file.

    Args:
        space: ``values`` or ``low``/``high`` by dotted setting name.
        defaults: The configuration that the space varies; every end of the space must make a valid one.

    Raises:
        StudyConfigError: The space is empty, names an unknown setting or a setting of the study, or holds a value that
            no trial may have.
    """
    if not space:
        raise StudyConfigError("study.space: is empty; a search needs at least one setting to vary.")
    read: SearchSpace = {}
    for name, entry in space.items():
        if (short := name.rpartition(".")[2]) in _SETTINGS_OF_A_STUDY:
            raise StudyConfigError(
                f"study.space: {name} is a setting of a study and cannot be searched: a search over "
                f"{_SETTINGS_OF_A_STUDY[short]} compares nothing. Run one study for each value instead."
            )
        if name not in setting_names():
            raise StudyConfigError(f"study.space: {name}: no such setting; known are {', '.join(setting_names())}.")
        try:
            read[name] = Candidates.model_validate(entry) if "values" in entry else Range.model_validate(entry)
        except (ValidationError, TypeError) as error:
            detail = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise StudyConfigError(
                f"study.space: {name}: {entry!r} is not a candidate list or range: {detail}."
            ) from error
        for value in _ends(read[name]):
            defaults.varied({name: value})
    return read


def _ends(entry: Candidates | Range) -> tuple[Any, ...]:
    return entry.values if isinstance(entry, Candidates) else (entry.low, entry.high)


def draw(trial: optuna.Trial, space: SearchSpace) -> dict[str, Any]:
    """Returns one value a setting, drawn by the trial's sampler."""
    choices: dict[str, Any] = {}
    for name, entry in space.items():
        if isinstance(entry, Candidates):
            choices[name] = trial.suggest_categorical(name, list(entry.values))
        elif isinstance(entry.low, int) and isinstance(entry.high, int):
            choices[name] = trial.suggest_int(name, entry.low, entry.high, step=int(entry.step or 1), log=entry.log)
        else:
            step = None if entry.step is None else float(entry.step)
            choices[name] = trial.suggest_float(name, entry.low, entry.high, step=step, log=entry.log)
    return choices
