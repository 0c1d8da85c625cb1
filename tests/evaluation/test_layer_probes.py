"""Probes read a letter where a model was made to hold it, and nowhere else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from spelling_transfer.evaluation import layer_probes
from spelling_transfer.evaluation.layer_probes import ProbedTask, best_layers, check_families, choose_tasks, read_layers
from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.states import last_states
from spelling_transfer.models.vocabulary import Vocabulary

LETTERS, FITTED, TESTED = 5, 300, 120
START, END, FIRST_WORD = 0, 1, 2


class OneLayerKnows(torch.nn.Module):
    """A word's letter comes to the end of the prompt in layer 2 and is taken away again in layer 3."""

    def __init__(self, letters: np.ndarray, width: int = 40) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.words = torch.nn.Embedding.from_pretrained(torch.randn(FIRST_WORD + len(letters), width, generator=draw))
        table = torch.zeros(FIRST_WORD + len(letters), width)
        table[FIRST_WORD:] = torch.randn(LETTERS, width, generator=draw)[torch.from_numpy(letters)]
        self.letters = torch.nn.Embedding.from_pretrained(table)

    def forward(self, input_ids: torch.Tensor, **_: Any) -> SimpleNamespace:
        embedded = self.words(input_ids)
        # As attention does: each place gathers what stands before it.
        mixed = embedded.cumsum(1)
        told = mixed + self.letters(input_ids).cumsum(1)
        return SimpleNamespace(hidden_states=(embedded, mixed, told, mixed))


@pytest.fixture(scope="module")
def letters() -> np.ndarray:
    return np.random.default_rng(3).integers(0, LETTERS, FITTED + TESTED)


def task_of(letters: np.ndarray) -> ProbedTask:
    names = [f"word {place}" for place in range(len(letters))]
    rows = pd.DataFrame({"example_id": names, "stem": names, "answer": [f"{letter}" for letter in letters]})
    return ProbedTask("position", rows[:FITTED], rows[FITTED:])


@pytest.fixture(scope="module")
def states(letters: np.ndarray) -> np.ndarray:
    model = torch.nn.Module()
    model.model = OneLayerKnows(letters)
    loaded = LoadedModel(model, Vocabulary(None, FIRST_WORD + len(letters)))
    prompts = [[*[START] * (1 + place % 3), FIRST_WORD + place, END] for place in range(len(letters))]
    return last_states(loaded, prompts)


def read(states: np.ndarray, task: ProbedTask) -> pd.DataFrame:
    answered = np.arange(TESTED) % 2 == 0
    return pd.DataFrame(read_layers(states, task, answered, confidence=0.95, seed=0)).assign(arm="base")


def test_the_letter_is_read_in_the_layer_that_has_it(states: np.ndarray, letters: np.ndarray) -> None:
    rows = read(states, task_of(letters))
    assert rows["accuracy"][2] > 0.95
    assert rows["selectivity_low"][2] > 0.6
    assert rows["difference_low"][2] > 0.3  # half of the questions are answered right
    assert rows["answered"].tolist() == [0.5] * 4
    assert (rows["selectivity_low"][[0, 1, 3]] < 0).all()
    assert (rows["accuracy"][[0, 1, 3]] < 0.35).all()
    assert best_layers(rows)["layer"].tolist() == [2]


def test_shuffled_labels_give_chance_in_every_layer(states: np.ndarray, letters: np.ndarray) -> None:
    rows = read(states, task_of(letters))
    assert (abs(rows["shuffled"] - 1 / LETTERS) < 0.12).all()
    wrong = np.random.default_rng(4).permutation(letters)
    assert (read(states, task_of(wrong))["selectivity_low"] < 0).all()


def test_families_on_both_sides_are_noticed_and_would_be_known_by_heart(
    states: np.ndarray, letters: np.ndarray
) -> None:
    """The mutant of `check_families`: other questions on tested families, and a layer that knows nothing is read."""
    task = task_of(letters)
    shared = ProbedTask("position", pd.concat([task.tested, task.tested, task.fitted[:60]]), task.tested)
    with pytest.raises(EvaluationError, match=r"120 word families of position, 'word 300' among them"):
        check_families(shared)
    check_families(task)
    tested = list(range(FITTED, FITTED + TESTED))
    apart, together = read(states, task), read(states[:, [*tested, *tested, *range(60), *tested]], shared)
    assert apart["accuracy"][1] < 0.35
    assert together["accuracy"][1] > 0.5
    assert together["selectivity_low"][1] > 0.15


def test_questions_to_fit_are_of_other_families_those_that_no_arm_saw_first() -> None:
    rows = [
        {"example_id": f"{split}/{kind}/{n}", "task": "count", "stem": f"{split[:2]}{n}", "split": split, "kind": kind}
        for split, kind, count in (("train", "pool", 200), ("validation", "real", 80), ("test", "real", 40))
        for n in range(count)
    ]
    examples = pd.DataFrame(rows).assign(word_set="word", answer="1")
    answers = examples[examples["split"] == "test"].assign(arm="base", endpoint="held_out")
    settings = EvaluationSettings(layer_probes={"enabled": True, "training_families": 120})
    position, count = choose_tasks(examples, answers, settings)
    assert len(count.fitted) == 120
    assert count.fitted["split"].value_counts().to_dict() == {"validation": 80, "train": 40}
    assert (count.problem, len(count.tested)) == ("", 40)
    assert position.problem.startswith("0 word families to test on, 30 are needed")
    few = ProbedTask("count", count.fitted[:99], count.tested)
    assert few.problem == "99 word families to fit to, 100 are needed: prepare a longer word list"
    mixed = examples.assign(split=examples["split"].replace("test", "validation"))
    with pytest.raises(EvaluationError, match="would be fitted and tested"):
        choose_tasks(mixed, answers, settings)


def test_the_columns_are_those_of_a_reading(states: np.ndarray, letters: np.ndarray) -> None:
    row = next(read_layers(states, task_of(letters), np.ones(TESTED, dtype=bool), confidence=0.95, seed=0))
    assert ["arm", "seed", *row] == list(layer_probes.COLUMNS)
