"""What a model knows of letters, layer by layer, beside what it answers: linear probes with a control task.

At the last token of a question's prompt, where the answer is chosen, a linear probe reads the right answer from the
states of each layer. It is fitted to questions about some word families and tested on those that the arms answered,
about others. Where the probe reads more than the model says, the model knows more than it tells (arXiv:2604.00778: the
count is there in the middle and suppressed at the end). What a probe reaches with shuffled labels needs no
knowledge; the difference is its selectivity (Hewitt and Liang 2019, EMNLP).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from spelling_transfer.evaluation.answering import adapters_of, check_model
from spelling_transfer.evaluation.marking import mark_answers
from spelling_transfer.evaluation.questions import EvaluationError, prompts_of, sample_examples
from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.evaluation.strata import HELD_OUT, NO_SEED
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import cpu_threads
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.states import last_states
from spelling_transfer.progress import progress_bar
from spelling_transfer.statistics import paired_difference, read_linearly, wilson_interval
from spelling_transfer.statistics.resampling import FEWEST_FAMILIES
from spelling_transfer.tasks.arms import BASE
from spelling_transfer.tasks.mixture import ASKED, POOL, REAL
from spelling_transfer.tasks.registry import UNTRAINED_TASKS, load_tasks

NO_LAYER = -1
"""The layer of a row that says why there is no probe."""

COLUMNS = {
    "arm": str, "seed": int, "task": str, "layer": int, "trained_on": int, "n": int,
    "accuracy": float, "low": float, "high": float,
    "shuffled": float, "selectivity": float, "selectivity_low": float, "selectivity_high": float,
    "majority": float, "answered": float, "difference": float, "difference_low": float, "difference_high": float,
    "error": float, "problem": str,
}  # fmt: skip
"""The columns of the table. ``difference`` is accuracy less answered; ``error`` the leave-one-out error of the fit."""

_FEWEST_FITTED = 100
_SOURCES = (("validation", REAL), ("train", ASKED), ("train", REAL), ("train", POOL))
"""Where questions to fit come from, first those about words that no arm is trained on."""


@dataclass(frozen=True)
class ProbedTask:
    """The questions of a task, one a word family; no family is on both sides.

    Attributes:
        fitted: Questions a probe is fitted to.
        tested: Questions it is tested on, which every arm answered.
    """

    task: str
    fitted: pd.DataFrame
    tested: pd.DataFrame

    @property
    def problem(self) -> str:
        """Why there can be no probe; empty where there can."""
        if len(self.tested) < FEWEST_FAMILIES:
            return (
                f"{len(self.tested)} word families to test on, {FEWEST_FAMILIES} are needed: raise "
                "evaluation.examples_per_task or prepare a longer word list"
            )
        if len(self.fitted) < _FEWEST_FITTED:
            return (
                f"{len(self.fitted)} word families to fit to, {_FEWEST_FITTED} are needed: prepare a longer word list"
            )
        return ""


def probe_layers(
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    answers: pd.DataFrame,
    settings: EvaluationSettings,
    *,
    base_model: ModelFolder,
    arm_adapters: ModelFolder,
    profile: ModelProfile,
) -> pd.DataFrame:
    """Probes the base model and the first seed of every trained arm.

    Args:
        examples: All examples.
        encoded_examples: Their token ids.
        answers: What the arms answered.
        settings: Whether to probe, and how.
        base_model: The model all arms share.
        arm_adapters: The folder of their adapters.
        profile: How the model is loaded.

    Returns:
        The columns of :data:`COLUMNS`: a row an arm, task and layer, layer 0 being the embedding. What was not probed
        has one row, with ``problem`` and no numbers. No rows where probes are not enabled.

    Raises:
        EvaluationError: Answers and arms are not of one run, or a family is on both sides.
        HiddenStatesError: The model gives no hidden states.
    """
    if not settings.layer_probes.enabled:
        return _table([])
    check_model(answers, base_model)
    tasks = choose_tasks(examples, answers, settings)
    asked = pd.concat(
        [part for task in tasks if not task.problem for part in (task.fitted, task.tested)] or [examples[:0]]
    )
    prompts = dict(zip(asked["example_id"], prompts_of(asked, encoded_examples), strict=True))
    rows: list[dict[str, Any]] = []
    with cpu_threads(settings.threads):
        for arm, (seed, adapter) in first_seeds(arm_adapters, base_model).items():
            right = _right_answers(answers, arm, seed, tasks)
            loaded = load_model(base_model, profile, adapter) if prompts else None
            for task in tasks:
                if loaded is None or task.problem:
                    rows.append(_unprobed(arm, seed, task.task, task.problem))
                else:
                    rows += _probe(loaded, arm, seed, task, prompts, right, settings)
            del loaded  # two large models do not fit on one device
    missing = arm_adapters.manifest().get("missing", {})
    rows += [_unprobed(arm, NO_SEED, task.task, why) for arm, why in missing.items() for task in tasks]
    return _table(rows)


def first_seeds(arm_adapters: ModelFolder, base_model: ModelFolder) -> dict[str, tuple[int, ModelFolder | None]]:
    """Returns the first seed of each arm with its adapter, the base model first."""
    runs: dict[str, tuple[int, ModelFolder | None]] = {BASE: (NO_SEED, None)}
    for arm, seed, adapter in sorted(adapters_of(arm_adapters, base_model), key=lambda run: run[1]):
        runs.setdefault(arm, (seed, adapter))
    return runs


def choose_tasks(examples: pd.DataFrame, answers: pd.DataFrame, settings: EvaluationSettings) -> list[ProbedTask]:
    """Chooses the questions that probes are fitted to and tested on.

    Raises:
        EvaluationError: A family is on both sides.
    """
    most = settings.layer_probes.training_families
    examples = examples[examples["task"].isin(UNTRAINED_TASKS)]
    sources = [
        sample_examples(examples, split=split, per_task=most, seed=settings.seed, kind=kind) for split, kind in _SOURCES
    ]
    offered = pd.concat(sources).drop_duplicates(["task", "stem"])
    tested = answers[(answers["arm"] == BASE) & (answers["endpoint"] == HELD_OUT)]
    tasks = [
        ProbedTask(task, offered[offered["task"] == task].head(most), tested[tested["task"] == task])
        for task in UNTRAINED_TASKS
    ]
    for task in tasks:
        check_families(task)
    return tasks


def check_families(task: ProbedTask) -> None:
    """Checks that a probe is tested on families it was not fitted to: else it may know their words by heart.

    Raises:
        EvaluationError: A family is on both sides.
    """
    shared = sorted(set(task.fitted["stem"]) & set(task.tested["stem"]))
    if shared:
        raise EvaluationError(
            f"layer probes: {len(shared)} word families of {task.task}, {shared[0]!r} among them, would be fitted and "
            "tested. Examples and answers are of different runs: run 'kedro run --pipelines=local_prep' and answer "
            "again with 'kedro run --pipelines=evaluation'."
        )


def _right_answers(answers: pd.DataFrame, arm: str, seed: int, tasks: list[ProbedTask]) -> pd.Series:
    asked = pd.concat([task.tested["example_id"] for task in tasks])
    of_arm = answers[(answers["arm"] == arm) & (answers["seed"] == seed) & answers["example_id"].isin(asked)]
    if len(of_arm) != len(asked):
        raise EvaluationError(
            f"answers: {arm} (seed {seed}) answered {len(of_arm)} of the {len(asked)} questions of the base model. Its "
            "adapter is of another run: answer again with 'kedro run --pipelines=evaluation'."
        )
    return mark_answers(of_arm, load_tasks()).set_index("example_id")["exact"]


def _probe(
    loaded: LoadedModel,
    arm: str,
    seed: int,
    task: ProbedTask,
    prompts: dict[str, list[int]],
    right: pd.Series,
    settings: EvaluationSettings,
) -> Iterator[dict[str, Any]]:
    ids = [*task.fitted["example_id"], *task.tested["example_id"]]
    with progress_bar(f"Layers of {arm}, {task.task}", total=len(ids)) as advance:
        states = last_states(loaded, [prompts[each] for each in ids], progress=advance)
    answered = right[task.tested["example_id"]].to_numpy(dtype=bool)
    for row in read_layers(states, task, answered, confidence=settings.confidence, seed=settings.seed):
        yield {"arm": arm, "seed": seed, **row}


def read_layers(
    states: np.ndarray, task: ProbedTask, answered: np.ndarray, *, confidence: float, seed: int
) -> Iterator[dict[str, Any]]:
    """Yields what a probe reads from each layer: the columns of :data:`COLUMNS` without arm and seed.

    One regression reads the right answers and the shuffled ones, so both have the same inputs and penalties.

    Args:
        states: Hidden states of the questions, those to fit first, shape ``(layers, fitted + tested, hidden)``.
        task: The questions.
        answered: Whether the model answers each tested question right, shape ``(tested,)``.
        confidence: Confidence level of the intervals.
        seed: Seed of the shuffles; the same for every layer and arm.
    """
    rng = np.random.default_rng(seed)
    n, families = len(task.tested), task.tested["stem"].to_numpy()
    fitted, tested = (frame["answer"].to_numpy(dtype=str) for frame in (task.fitted, task.tested))
    dealt, asked = rng.permutation(fitted), rng.permutation(tested)
    classes = np.unique(fitted)
    wanted = np.hstack([labels[:, None] == classes for labels in (fitted, dealt)]).astype(float)
    for layer, each in enumerate(states):
        reading = read_linearly(each[: len(fitted)], wanted, each[len(fitted) :])
        outputs, shuffled_outputs = np.hsplit(reading.outputs, 2)
        read = classes[outputs.argmax(axis=1)] == tested
        shuffled = classes[shuffled_outputs.argmax(axis=1)] == asked
        selectivity, difference = (
            paired_difference(other, read, families, confidence=confidence) for other in (shuffled, answered)
        )
        low, high = wilson_interval(int(read.sum()), n, confidence=confidence)
        yield {
            "task": task.task, "layer": layer, "trained_on": len(fitted), "n": n,
            "accuracy": selectivity.arm, "low": low, "high": high,
            "shuffled": selectivity.reference, "selectivity": selectivity.difference,
            "selectivity_low": selectivity.interval.low, "selectivity_high": selectivity.interval.high,
            "majority": float(np.unique(tested, return_counts=True)[1].max() / n), "answered": difference.reference,
            "difference": difference.difference,
            "difference_low": difference.interval.low, "difference_high": difference.interval.high,
            "error": float(reading.errors[: len(classes)].sum()), "problem": "",
        }  # fmt: skip


def best_layers(probes: pd.DataFrame) -> pd.DataFrame:
    """Returns the row of the layer that is read best in each arm and task; the error of the fit says which."""
    probed = probes[probes["layer"] != NO_LAYER]
    return probed.loc[probed.groupby(["arm", "task"], sort=False)["error"].idxmin()].reset_index(drop=True)


def _unprobed(arm: str, seed: int, task: str, problem: str) -> dict[str, Any]:
    return {"arm": arm, "seed": seed, "task": task, "layer": NO_LAYER, "trained_on": 0, "n": 0, "problem": problem}


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
