from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, get_args

import optuna
import pytest
import sqlalchemy as sa

from spelling_transfer.study.choices import NUMBERED, choices_of, planned_trials
from spelling_transfer.study.config import Pruner, Sampler, StudySettings, TrialConfig
from spelling_transfer.study.records import Proposal, Records
from spelling_transfer.study.samplers import History, draw, make_pruner
from spelling_transfer.study.space import SearchSpace, read_space
from spelling_transfer.study.storage import open_engine

SPACE: dict[str, Any] = {
    "lora.r": {"values": [4, 8, 16, 32]},
    "lora.alpha": {"follows": "lora.r", "ratios": [1, 2, 4]},
    "lora.use_rslora": {"values": [False, True], "when": {"lora.r": [32]}},
    "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "training.batch_size": {"low": 8, "high": 32, "step": 8},
    "training.grad_accum_steps": {"values": [1, 2, 4]},
    "constraints": [{"product": ["training.batch_size", "training.grad_accum_steps"], "at_most": 64}],
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a sampler must not print advice at each trial
        yield
    optuna.logging.set_verbosity(before)


def settings(sampler: str, **changes: Any) -> StudySettings:
    return StudySettings.model_validate(
        {"space": SPACE, "sampler": sampler, "n_trials": 12, "startup_trials": 4, **changes}
    )


def space() -> SearchSpace:
    return read_space(SPACE, TrialConfig())


def score(choices: dict[str, Any]) -> float:
    return -abs(choices["training.learning_rate"] - 1e-3) * 100 + choices["lora.r"] / 100


def run(study: StudySettings, workers: int = 1) -> list[dict[str, Any]]:
    """Tries all trials of a study; ``workers`` of them are asked for before the first of these ends."""
    varied = space()
    planned = planned_trials(varied, study)
    records = Records(open_engine(sa.URL.create("sqlite")), "s")  # in memory
    records.create("{}", base=False)
    histories = [History(records) for _ in range(workers)]
    while len(records.trials()) < planned:
        claimed = []
        for history in histories:

            def propose(number: int, history: History = history) -> Proposal | None:
                return history.propose(number, study, varied)

            claimed.append(records.claim(str(len(records.trials())), planned, propose, is_dead=lambda *_: False))
        for row in claimed:
            if row is not None:
                scored = {"step": 1, "selection_score": score(dict(row.proposal.choices))}
                records.write(row, steps=[("evaluation", scored)], state="complete")
    tried = [dict(row.proposal.choices) for row in records.trials()]
    records.engine.dispose()
    return tried


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_every_sampler_gives_trials_that_obey_the_space(sampler: str) -> None:
    # A Gaussian process takes a second a trial.
    for choices in run(settings(sampler, n_trials=6 if sampler == "gp" else 12)):
        TrialConfig().varied(choices)
        assert set(choices) == set(SPACE) - {"constraints"}
        assert choices["training.batch_size"] * choices["training.grad_accum_steps"] <= 64
        assert choices["lora.alpha"] / choices["lora.r"] in (1, 2, 4)
        assert choices["lora.r"] == 32 or not choices["lora.use_rslora"]


@pytest.mark.parametrize("sampler", [each for each in get_args(Sampler) if each != "gp"])
def test_the_same_study_gives_the_same_trials_and_another_seed_others(sampler: str) -> None:
    assert run(settings(sampler)) == run(settings(sampler))
    if sampler != "one_at_a_time":
        assert run(settings(sampler)) != run(settings(sampler, seed=1))


@pytest.mark.parametrize("sampler", NUMBERED)
def test_one_worker_and_four_give_the_same_trials(sampler: str) -> None:
    study = settings(sampler)
    alone = run(study)
    assert alone == run(study, workers=4)
    assert alone == [choices_of(space(), study, number) for number in range(len(alone))]


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "random", "qmc"])
def test_workers_that_ask_at_the_same_time_do_not_try_the_same(sampler: str) -> None:
    tried = run(settings(sampler), workers=4)
    assert len({choices["training.learning_rate"] for choices in tried}) == len(tried)
    assert (choices_of(space(), settings(sampler), 0) is None) == (sampler not in NUMBERED)


def test_what_was_learnt_is_used() -> None:
    def best(sampler: str, seed: int) -> float:
        return max(map(score, run(settings(sampler, n_trials=40, seed=seed))))

    wins = sum(best("tpe", seed) >= best("random", seed) for seed in range(5))
    assert wins >= 4


@pytest.mark.parametrize(
    ("state", "scores", "shown"),
    [
        ("complete", [0.3, 0.2], ("COMPLETE", 0.2)),
        ("stopped", [0.3, 0.2], ("COMPLETE", 0.2)),
        ("pruned", [0.3, 0.2], ("PRUNED", 0.2)),
        ("failed", [0.3], ("FAIL", None)),
        ("complete", [], ("FAIL", None)),
    ],
)
def test_optuna_is_told_how_a_trial_ended(state: str, scores: list[float], shown: tuple[str, float | None]) -> None:
    records = Records(open_engine(sa.URL.create("sqlite")), "s")
    records.create("{}", base=False)
    study, storage = settings("tpe"), optuna.storages.InMemoryStorage()
    history = History(records, storage=storage)
    row = records.claim("a", 1, lambda number: history.propose(number, study, space()), is_dead=lambda *_: False)
    assert row is not None
    evaluations = [("evaluation", {"step": step, "selection_score": each}) for step, each in enumerate(scores, start=1)]
    records.write(row, steps=evaluations, state=state)  # type: ignore[arg-type]
    history.follow()
    (trial,) = optuna.load_study(study_name="s", storage=storage).trials
    assert (trial.state.name, trial.value) == shown
    assert trial.intermediate_values == dict(enumerate(scores, start=1))
    records.engine.dispose()


def test_a_number_that_another_worker_took_is_not_proposed_and_what_was_asked_for_it_is_no_trial() -> None:
    records = Records(open_engine(sa.URL.create("sqlite")), "s")
    records.create("{}", base=False)
    study, mine, others = settings("random"), History(records), History(records)
    assert mine.propose(1, study, space()) is None  # the trial before it is not there
    assert mine.propose(0, study, space()) is not None
    other = settings("random", seed=7)
    row = records.claim("b", 1, lambda number: others.propose(number, other, space()), is_dead=lambda *_: False)
    assert row is not None
    mine.follow()
    assert [trial.params for trial in mine._study.trials] == [row.proposal.params]
    assert mine.propose(0, study, space()) is None
    records.engine.dispose()


def test_a_moved_draw_says_so() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    moved = 0
    for _ in range(30):
        trial = study.ask()
        choices = draw(trial, space(), "random")
        proposed = trial.params["training.batch_size"] * trial.params["training.grad_accum_steps"]
        assert ("moved" in trial.user_attrs) == (proposed > 64)
        if proposed > 64:
            assert trial.user_attrs["moved"] == choices
            moved += 1
    assert moved > 0


def curve(final: float, steps: int = 10) -> list[float]:
    return [final * step / steps for step in range(1, steps + 1)]


@pytest.mark.parametrize("pruner", get_args(Pruner))
def test_every_pruner_ends_hopeless_trials_and_none_of_the_best(pruner: str) -> None:
    study = StudySettings.model_validate({"space": SPACE, "pruner": pruner, "transfer_eval_frequency": 10})
    handle = optuna.create_study(direction="maximize", study_name="p", pruner=make_pruner(study, max_steps=100))
    steps = {"good": [], "bad": []}  # type: dict[str, list[int]]
    for number in range(24):
        kind = "bad" if number % 3 == 2 else "good"
        trial = handle.ask()
        reached = 0
        for place, value in enumerate(curve(0.1 if kind == "bad" else 0.8 + number / 200), start=1):
            trial.report(value, place * 10)
            reached = place * 10
            if trial.should_prune():
                handle.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            handle.tell(trial, value)
        steps[kind].append(reached)
    if pruner == "none":
        assert set(steps["bad"]) == {100}
    else:
        assert sum(steps["bad"]) < 100 * len(steps["bad"])
        assert max(steps["good"]) == 100
        assert sum(steps["bad"]) / len(steps["bad"]) < sum(steps["good"]) / len(steps["good"])
