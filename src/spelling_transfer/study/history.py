"""What Optuna is shown of a study: its samplers and pruners read it, its dashboard shows it.

The records stay the truth. Trials are numbered as in them, and what is known of a trial only grows, so bringing Optuna
up to date is adding what it lacks; doing it twice, or again after being killed half-way, adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spelling_transfer.study.records import Proposal, TrialRow

if TYPE_CHECKING:
    import optuna

Evaluations = Mapping[int, Sequence[Mapping[str, Any]]]
"""Rows of evaluations by trial number, as `Records.records` gives them."""


class History:
    """A study of Optuna's that follows the records.

    Args:
        make_study: Makes the study: in memory for a worker's own decisions, in a database for the dashboard.
    """

    def __init__(self, make_study: Callable[[], optuna.Study]) -> None:
        self._make_study = make_study
        self.study = make_study()
        self._proposed: tuple[int, Proposal] | None = None

    def follow(self, rows: Sequence[TrialRow], read: Callable[[list[int]], Evaluations]) -> None:
        """Adds what the records hold and Optuna does not.

        Args:
            rows: All trials; the base model's row is passed over.
            read: Reads the evaluations of some trials.
        """
        trials = [row for row in rows if row.number >= 0]
        shown = self.study.get_trials(deepcopy=False)
        if self._proposed is not None:
            number, proposal = self._proposed
            self._proposed = None
            if number >= len(trials) or trials[number].proposal.params != proposal.params:
                # Another worker proposed this number first; what was only asked for here is no trial.
                self.study = self._make_study()
                shown = []
        finished = {trial.number for trial in shown if trial.state.is_finished()}
        evaluations = read([row.number for row in trials if row.number not in finished])
        storage = self.study._storage
        for place, row in enumerate(trials):
            if place >= len(shown):
                trial_id = storage.create_new_trial(self.study._study_id, _template(row))
                frozen = storage.get_trial(trial_id)
            else:
                frozen = shown[place]
            if frozen.state.is_finished():
                continue
            for name, value in row.attrs.items():
                if name not in frozen.system_attrs:
                    storage.set_trial_system_attr(frozen._trial_id, name, value)
            scored = evaluations.get(row.number, ())
            for evaluation in scored:
                if int(evaluation["step"]) not in frozen.intermediate_values:
                    storage.set_trial_intermediate_value(
                        frozen._trial_id, int(evaluation["step"]), float(evaluation["transfer_score"])
                    )
            if row.finished:
                state, value = optuna_state(row, scored)
                storage.set_trial_state_values(frozen._trial_id, state, None if value is None else [value])
        for name, value in (trials[-1].proposal.study_attrs if trials else {}).items():
            storage.set_study_system_attr(self.study._study_id, name, value)

    def propose(self, number: int, draw: Callable[[optuna.Trial], dict[str, Any]]) -> Proposal | None:
        """Lets the sampler choose what the next trial tries.

        Args:
            number: Number of the trial; Optuna has been shown all before it.
            draw: Suggests one value a setting.

        Returns:
            The proposal, or ``None`` where the number has been taken since.
        """
        from optuna.distributions import distribution_to_json

        if len(self.study.get_trials(deepcopy=False)) != number:
            return None
        trial = self.study.ask()
        choices = draw(trial)
        distributions = {name: distribution_to_json(each) for name, each in trial.distributions.items()}
        proposal = Proposal(
            choices,
            distributions,
            dict(trial.params),
            self.attrs(number),
            dict(self.study._storage.get_study_system_attrs(self.study._study_id)),
            dict(trial.user_attrs),
        )
        self._proposed = (number, proposal)
        return proposal

    def attrs(self, number: int) -> dict[str, Any]:
        """Returns what samplers and pruners noted on a trial, to be kept in its record."""
        return dict(self.study.get_trials(deepcopy=False)[number].system_attrs)

    def is_hopeless(self, number: int, step: int, score: float) -> bool:
        """Adds a score to a running trial and asks the pruner whether to end it."""
        storage = self.study._storage
        trial = self.study.get_trials(deepcopy=False)[number]
        storage.set_trial_intermediate_value(trial._trial_id, step, score)
        return bool(self.study.pruner.prune(self.study, storage.get_trial(trial._trial_id)))


def optuna_state(
    row: TrialRow, evaluations: Sequence[Mapping[str, Any]]
) -> tuple[optuna.trial.TrialState, float | None]:
    """Returns a finished trial's state and value as Optuna knows them."""
    from optuna.trial import TrialState

    if row.state == "failed" or not evaluations:
        return TrialState.FAIL, None
    score = float(evaluations[-1]["transfer_score"])
    # Optuna's samplers read a pruned trial's value as its last score.
    return (TrialState.PRUNED if row.state == "pruned" else TrialState.COMPLETE), score


def _template(row: TrialRow) -> optuna.trial.FrozenTrial:
    import optuna
    from optuna.distributions import json_to_distribution

    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING,
        params=dict(row.proposal.params),
        distributions={name: json_to_distribution(text) for name, text in row.proposal.distributions.items()},
        user_attrs={"choices": dict(row.proposal.choices), **row.proposal.notes},
        system_attrs=dict(row.attrs),
    )
