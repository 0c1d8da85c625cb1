"""Samplers and pruners of a study, by the names of its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import optuna
from optuna.samplers import BaseSampler

from spelling_transfer.study.choices import NUMBERED, choices_of, drawn_of, nearest, planned_trials, values_of
from spelling_transfer.study.config import StudySettings
from spelling_transfer.study.entries import Candidates, Entry, Range, Ratio
from spelling_transfer.study.space import SearchSpace

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

Made = TypeVar("Made")

__all__ = ["choices_of", "draw", "make_pruner", "make_sampler", "planned_trials"]

_BY_PLACE = ("cmaes",)
"""Samplers that know numbers alone: they draw the place of a value in its list, so that its order is kept."""


class StudySampler(BaseSampler):
    """Chooses the next configuration; what it draws by chance depends on the study's seed and the trial's number.

    Grid, one at a time, random and quasi-random look at nothing else. The others are Optuna's own, with a generator
    that begins anew at each trial: two workers that ask at the same time then do not try the same thing because they
    share a seed.

    Args:
        settings: The study.
        space: Its space; samplers that learn from results can do without.
    """

    def __init__(self, settings: StudySettings, space: SearchSpace | None = None) -> None:
        self.settings = settings
        self.space = space
        self._inner: tuple[int, BaseSampler] | None = None
        self._drawn: tuple[int, dict[str, Any] | None] | None = None

    def __str__(self) -> str:
        return self.settings.sampler

    def drawn(self, trial: FrozenTrial) -> dict[str, Any] | None:
        """Returns what a trial draws, for samplers that look at its number alone."""
        if self.space is None:
            return None
        number = _first_number(trial)
        if self._drawn is None or self._drawn[0] != number:
            self._drawn = (number, drawn_of(self.space, self.settings, number))
        return self._drawn[1]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns what the inner sampler draws together."""
        if self.settings.sampler in NUMBERED:
            return {}
        return self._optuna(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draws what is drawn together."""
        if self.settings.sampler in NUMBERED:
            return {}
        return self._optuna(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draws one value."""
        drawn = self.drawn(trial)
        if drawn is not None:
            return drawn[param_name]
        return self._optuna(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Prepares the inner sampler."""
        if self.settings.sampler not in NUMBERED:
            self._optuna(trial).before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: Any, values: Any) -> None:
        """Tells the inner sampler that a trial has ended."""
        if self.settings.sampler not in NUMBERED:
            self._optuna(trial).after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Does nothing: the generator begins anew at each trial."""

    def _optuna(self, trial: FrozenTrial) -> BaseSampler:
        if self._inner is None or self._inner[0] != trial.number:
            self._inner = (trial.number, _optuna_sampler(self.settings, self.space, trial.number))
        return self._inner[1]


def make_sampler(settings: StudySettings, space: SearchSpace | None = None) -> StudySampler:
    """Returns the sampler of a study."""
    return StudySampler(settings, space)


def make_pruner(settings: StudySettings, max_steps: int | None = None) -> optuna.pruners.BasePruner:
    """Returns the pruner of a study; the step it is told is the optimiser's.

    - ``median``: worse than the median of the earlier trials at the same step, after five trials (Golovin et al. 2017).
    - ``successive_halving``: asynchronous, ASHA (Li et al. 2020, arXiv:1810.05934).
    - ``hyperband``: several of these with different first rungs (Li et al. 2018, arXiv:1603.06560).
    - ``wilcoxon``: a signed-rank test of the learning curve against that of the best trial.

    Args:
        settings: The study.
        max_steps: The most steps a trial may take, for the brackets of Hyperband; by default those of the first trial
            that takes all.
    """
    first_rung = settings.transfer_eval_frequency
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5)
    if settings.pruner == "successive_halving":
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=first_rung, reduction_factor=settings.reduction_factor
        )
    if settings.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=first_rung,
            max_resource="auto" if max_steps is None else max(max_steps, first_rung),
            reduction_factor=settings.reduction_factor,
        )
    if settings.pruner == "wilcoxon":
        return _quiet(optuna.pruners.WilcoxonPruner, p_threshold=settings.p_threshold)
    return optuna.pruners.NopPruner()


def draw(trial: optuna.Trial, space: SearchSpace) -> dict[str, Any]:
    """Returns one value a setting, drawn by the trial's sampler.

    A draw that breaks a constraint is moved to the nearest that breaks none; the trial's attribute ``moved`` then holds
    the values in use.
    """
    sampler = trial.study.sampler
    kind = sampler.settings.sampler if isinstance(sampler, StudySampler) else ""
    drawn: dict[str, Any] = {}
    for name, entry in space.entries.items():
        if space.is_active(name, space.settle(drawn)):
            drawn[entry.parameter(name)] = _suggest(trial, space, name, entry, kind)
    if space.constraints and space.broken(space.settle(drawn)):
        drawn = nearest(space, drawn)
        trial.set_user_attr("moved", space.settle(drawn))
    return space.settle(drawn)


def _suggest(trial: optuna.Trial, space: SearchSpace, name: str, entry: Entry, kind: str) -> Any:
    parameter = entry.parameter(name)
    if kind == "one_at_a_time":
        return trial.suggest_categorical(parameter, values_of(space, name))
    if isinstance(entry, Range):
        if entry.is_whole:
            step = int(entry.step or 1)
            return trial.suggest_int(parameter, int(entry.low), int(entry.high), step=step, log=entry.log)
        size = None if entry.step is None else float(entry.step)
        return trial.suggest_float(parameter, float(entry.low), float(entry.high), step=size, log=entry.log)
    values = list(entry.ratios if isinstance(entry, Ratio) else entry.values)
    if kind in _BY_PLACE and _is_ordered(entry) and len(values) > 1:
        return sorted(values)[trial.suggest_int(f"place of {parameter}", 0, len(values) - 1)]
    return trial.suggest_categorical(parameter, values)


def _is_ordered(entry: Candidates | Ratio) -> bool:
    values = entry.ratios if isinstance(entry, Ratio) else entry.values
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _first_number(trial: FrozenTrial) -> int:
    # A trial that was lost and is taken up again has a number of its own, but is the same trial.
    return int(trial.system_attrs.get("failed_trial", trial.number))


def _optuna_sampler(settings: StudySettings, space: SearchSpace | None, number: int) -> BaseSampler:
    seed = (settings.seed * 1_000_003 + number) % 2**32
    samplers = optuna.samplers
    by_chance = samplers.RandomSampler(seed=seed)
    if settings.sampler == "tpe":
        conditional = space is not None and any(entry.when for entry in space.entries.values())
        return _quiet(
            samplers.TPESampler,
            seed=seed,
            n_startup_trials=settings.startup_trials,
            group=conditional,
        )
    if settings.sampler == "gp":
        return _quiet(
            samplers.GPSampler,
            seed=seed,
            n_startup_trials=settings.startup_trials,
            independent_sampler=by_chance,
            warn_independent_sampling=False,
        )
    return _quiet(
        samplers.CmaEsSampler,
        seed=seed,
        independent_sampler=by_chance,
        warn_independent_sampling=False,
        with_margin=True,  # whole numbers do not get stuck on one value (Hamano et al. 2022, arXiv:2205.13482)
    )


def _quiet(make: Callable[..., Made], **options: Any) -> Made:
    """Makes an object of Optuna that says it is experimental each time it is made."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make(**options)
