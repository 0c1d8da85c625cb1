"""Optuna's part of a study: what it is shown of the records, which configuration it proposes, which trial it prunes.

The records stay the truth. Trials are numbered as in them, and what is known of a trial only grows, so bringing Optuna
up to date is adding what it lacks. Doing it twice, or again after being killed half-way, adds nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from spelling_transfer.study.choices import drawn_of, nearest, values_of
from spelling_transfer.study.config import StudySettings
from spelling_transfer.study.entries import Candidates, Entry, Range, Ratio
from spelling_transfer.study.records import Proposal, Records, TrialRow
from spelling_transfer.study.space import SearchSpace

_BY_PLACE = ("cmaes",)
"""Samplers that know numbers alone: they draw the place of a value in its list, so that its order is kept."""


class History:
    """A study of Optuna's that follows the records.

    Args:
        records: The records.
        pruner: Judges running trials; none by default.
        storage: Where Optuna keeps its study, for its dashboard; in this process's memory by default.
    """

    def __init__(
        self,
        records: Records,
        *,
        pruner: optuna.pruners.BasePruner | None = None,
        storage: BaseStorage | None = None,
    ) -> None:
        self._records = records
        self._pruner = pruner or optuna.pruners.NopPruner()
        self._asked: tuple[int, Proposal] | None = None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._open(storage or InMemoryStorage())

    def _open(self, storage: BaseStorage) -> None:
        self._storage = storage
        self._study = optuna.create_study(
            study_name=self._records.study,
            storage=storage,
            direction="maximize",
            pruner=self._pruner,
            load_if_exists=True,
        )
        self._id = storage.get_study_id_from_name(self._records.study)

    def follow(self) -> None:
        """Adds what the records hold and Optuna does not."""
        rows = self._records.trials()
        if self._asked is not None:
            (number, proposal), self._asked = self._asked, None
            if number >= len(rows) or rows[number].proposal.params != proposal.params:
                # Another worker proposed this number first; what was only asked for here is no trial.
                self._open(InMemoryStorage())
        shown = self._study.get_trials(deepcopy=False)
        ended = {trial.number for trial in shown if trial.state.is_finished()}
        evaluations = self._records.steps("evaluation", [row.number for row in rows if row.number not in ended])
        for row in rows:
            if row.number not in ended:
                self._add(row, shown[row.number] if row.number < len(shown) else None, evaluations.get(row.number, ()))
        for name, value in (rows[-1].proposal.study_attrs if rows else {}).items():
            self._storage.set_study_system_attr(self._id, name, value)

    def _add(self, row: TrialRow, shown: FrozenTrial | None, evaluations: Sequence[Mapping[str, Any]]) -> None:
        trial_id = (
            self._storage.create_new_trial(self._id, _template(row)) if shown is None else self._id_of(row.number)
        )
        trial = shown or self._storage.get_trial(trial_id)
        for name, value in row.attrs.items():
            if name not in trial.system_attrs:
                self._storage.set_trial_system_attr(trial_id, name, value)
        for each in evaluations:
            if int(each["step"]) not in trial.intermediate_values:
                score = float(each["selection_score"])
                self._storage.set_trial_intermediate_value(trial_id, int(each["step"]), score)
        if row.finished:
            state, value = optuna_state(row, evaluations)
            self._storage.set_trial_state_values(trial_id, state, None if value is None else [value])

    def _id_of(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    def propose(self, number: int, settings: StudySettings, space: SearchSpace) -> Proposal | None:
        """Lets the sampler choose what the next trial tries.

        Args:
            number: Number of the trial.
            settings: The study.
            space: Its space.

        Returns:
            The proposal, or ``None`` where the number has been taken since.
        """
        self.follow()
        if len(self._study.get_trials(deepcopy=False)) != number:
            return None
        self._study.sampler = make_sampler(settings, space, number)
        trial = self._study.ask()
        choices = draw(trial, space, settings.sampler)
        proposal = Proposal(
            choices,
            {name: distribution_to_json(each) for name, each in trial.distributions.items()},
            dict(trial.params),
            self.attrs(number),
            dict(self._storage.get_study_system_attrs(self._id)),
            dict(trial.user_attrs),
        )
        self._asked = (number, proposal)
        return proposal

    def attrs(self, number: int) -> dict[str, Any]:
        """Returns what samplers and pruners noted on a trial, to be kept in its record."""
        return dict(self._storage.get_trial(self._id_of(number)).system_attrs)

    def is_hopeless(self, number: int, step: int, score: float) -> bool:
        """Adds a score to a running trial and asks the pruner whether to end it."""
        self.follow()
        trial_id = self._id_of(number)
        self._storage.set_trial_intermediate_value(trial_id, step, score)
        return bool(self._pruner.prune(self._study, self._storage.get_trial(trial_id)))


def optuna_state(row: TrialRow, evaluations: Sequence[Mapping[str, Any]]) -> tuple[TrialState, float | None]:
    """Returns a finished trial's state and value as Optuna knows them."""
    if row.state == "failed" or not evaluations:
        return TrialState.FAIL, None
    score = float(evaluations[-1]["selection_score"])
    # Optuna's samplers read a pruned trial's value as its last score.
    return (TrialState.PRUNED if row.state == "pruned" else TrialState.COMPLETE), score


def _template(row: TrialRow) -> FrozenTrial:
    return optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=dict(row.proposal.params),
        distributions={name: json_to_distribution(text) for name, text in row.proposal.distributions.items()},
        user_attrs={"choices": dict(row.proposal.choices), **row.proposal.notes},
        system_attrs=dict(row.attrs),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Some of Optuna's classes say that they are experimental each time one is made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


@_quiet()
def make_sampler(settings: StudySettings, space: SearchSpace, number: int) -> BaseSampler:
    """Returns the sampler that chooses one trial.

    What it draws by chance depends on the study's seed and the trial's number. So two workers that ask at the same time
    do not try the same thing, and grid, one at a time, random and quasi-random look at nothing else.
    """
    seed = (settings.seed * 1_000_003 + number) % 2**32
    by_chance = optuna.samplers.RandomSampler(seed=seed)
    drawn = drawn_of(space, settings, number)
    if drawn is not None:
        return optuna.samplers.PartialFixedSampler(fixed_params=drawn, base_sampler=by_chance)
    if settings.sampler == "tpe":
        return optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=settings.startup_trials,
            group=any(entry.when for entry in space.entries.values()),
        )
    if settings.sampler == "gp":
        return optuna.samplers.GPSampler(
            seed=seed,
            n_startup_trials=settings.startup_trials,
            independent_sampler=by_chance,
            warn_independent_sampling=False,
        )
    return optuna.samplers.CmaEsSampler(
        seed=seed,
        independent_sampler=by_chance,
        warn_independent_sampling=False,
        with_margin=True,  # whole numbers do not get stuck on one value (Hamano et al. 2022, arXiv:2205.13482)
    )


@_quiet()
def make_pruner(settings: StudySettings, max_steps: int) -> optuna.pruners.BasePruner:
    """Returns the pruner of a study; the step it is told is the optimiser's.

    - ``median``: worse than the median of the earlier trials at the same step, after five trials (Golovin et al. 2017).
    - ``successive_halving``: asynchronous, ASHA (Li et al. 2020, arXiv:1810.05934).
    - ``hyperband``: several of these with different first rungs (Li et al. 2018, arXiv:1603.06560).
    - ``wilcoxon``: a signed-rank test of the learning curve against that of the best trial.

    Args:
        settings: The study.
        max_steps: The most steps a trial may take, for the brackets of Hyperband.
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
            max_resource=max(max_steps, first_rung),
            reduction_factor=settings.reduction_factor,
        )
    if settings.pruner == "wilcoxon":
        return optuna.pruners.WilcoxonPruner(p_threshold=settings.p_threshold)
    return optuna.pruners.NopPruner()


def draw(trial: optuna.Trial, space: SearchSpace, sampler: str) -> dict[str, Any]:
    """Returns one value a setting, drawn by the trial's sampler.

    A draw that breaks a constraint is moved to the nearest that breaks none; the trial's attribute ``moved`` then holds
    the values in use.

    Args:
        trial: Optuna's trial.
        space: The space.
        sampler: Name of the sampler in the study's settings.
    """
    drawn: dict[str, Any] = {}
    for name, entry in space.entries.items():
        if space.is_active(name, space.settle(drawn)):
            drawn[entry.parameter(name)] = _suggest(trial, space, name, entry, sampler)
    if space.constraints and space.broken(space.settle(drawn)):
        drawn = nearest(space, drawn)
        trial.set_user_attr("moved", space.settle(drawn))
    return space.settle(drawn)


def _suggest(trial: optuna.Trial, space: SearchSpace, name: str, entry: Entry, sampler: str) -> Any:
    parameter = entry.parameter(name)
    if sampler == "one_at_a_time":
        return trial.suggest_categorical(parameter, values_of(space, name))
    if isinstance(entry, Range):
        if entry.is_whole:
            step = int(entry.step or 1)
            return trial.suggest_int(parameter, int(entry.low), int(entry.high), step=step, log=entry.log)
        size = None if entry.step is None else float(entry.step)
        return trial.suggest_float(parameter, float(entry.low), float(entry.high), step=size, log=entry.log)
    values = list(entry.ratios if isinstance(entry, Ratio) else entry.values)
    if sampler in _BY_PLACE and _is_ordered(entry) and len(values) > 1:
        return sorted(values)[trial.suggest_int(f"place of {parameter}", 0, len(values) - 1)]
    return trial.suggest_categorical(parameter, values)


def _is_ordered(entry: Candidates | Ratio) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in entry.grid())
