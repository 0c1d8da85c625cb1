"""The evaluation as a whole: a real (random) model with an adapter, real datasets, the real catalog entries."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.models.folder import ABSENT, ModelFolder, new_folder
from spelling_transfer.models.generate import cpu_threads
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.pipelines.evaluation import create_pipeline
from spelling_transfer.study.config import StudySettings
from spelling_transfer.tasks.registry import CORE_TASKS, load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer

CATALOG = Path(__file__).parents[2] / "conf" / "base" / "catalog" / "evaluation.yml"
WORDS = ["cab", "bad", "dab", "fad", "bead", "deaf", "face", "cafe", "fade", "babe", "cede", "dead"]


@pytest.fixture(scope="module")
def examples() -> pd.DataFrame:
    rng = random.Random(0)
    rows = []
    for task in CORE_TASKS:
        for word in WORDS:
            example = load_tasks()[task].make(word, rng)
            rows.append(
                {
                    **vars(example),
                    "example_id": f"{task}/{word}",
                    "kind": "real",
                    "stem": word,
                    "word_set": "word",
                    "split": "test",
                    "difficulty": "easy",
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def encoded_examples(examples: pd.DataFrame, tokenizer: ChatTokenizer) -> pd.DataFrame:
    prompts = tokenizer.encode_prompts(examples["question"].tolist())
    answers = tokenizer.encode_texts(examples["answer"].tolist())
    return pd.DataFrame(
        {
            "example_id": examples["example_id"],
            "input_ids": [[*p, *a, tokenizer.end_id] for p, a in zip(prompts, answers, strict=True)],
            "label_start": [len(prompt) for prompt in prompts],
        }
    )


@pytest.fixture(scope="module")
def models(
    encoded_examples: pd.DataFrame, tokenizer: ChatTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ModelFolder, ModelFolder, ModelFolder]:
    """A base model and two adapters that change what it says; all random, all from a seed."""
    import numpy as np
    import torch

    from spelling_transfer.models.trainable import LoraSettings, attach_lora
    from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE
    from spelling_transfer.training.pretrain import PretrainSettings, new_model

    folder = tmp_path_factory.mktemp("models")
    ids = {int(token) for row in encoded_examples["input_ids"] for token in row} | set(tokenizer.think_ids)
    loaded = new_model(np.array(sorted(ids)), tokenizer.end_id, PretrainSettings(hidden_size=32, layers=2))
    with new_folder(folder / "base", {}) as work:
        loaded.model.save_pretrained(str(work))
        (work / TOKEN_IDS_FILE).write_text(json.dumps(sorted(ids)))
    base = ModelFolder(folder / "base")
    torch.manual_seed(1)
    model = attach_lora(loaded, LoraSettings(r=4), ModelProfile(name="tiny").lora_targets)
    for adapter in ("adapter", "control"):
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight)
        with new_folder(folder / adapter, {"base_sha256": base.sha256}) as work:
            model.save_pretrained(str(work))
    return base, ModelFolder(folder / "adapter"), ModelFolder(folder / "control")


@pytest.fixture
def catalog(
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    models: tuple[ModelFolder, ModelFolder, ModelFolder],
    tokenizer: ChatTokenizer,
    tmp_path: Path,
) -> DataCatalog:
    entries = yaml.safe_load(CATALOG.read_text().replace("${globals:storage_root}", str(tmp_path)))
    catalog = DataCatalog.from_config(entries)
    settings = EvaluationSettings(examples_per_task=10, max_new_tokens=8, batch_size=16, n_resamples=999)
    inputs = {
        "base_model": models[0],
        "best_adapter": models[1],
        "control_adapter": models[2],
        "tokenizer": tokenizer,
        "examples": examples,
        "encoded_examples": encoded_examples,
        "params:model_profile": ModelProfile(name="tiny"),
        "params:evaluation": settings,
        "params:study": StudySettings(focus="transfer", space={"lora.r": [4]}),
    }
    for name, value in inputs.items():
        catalog[name] = MemoryDataset(value, copy_mode="assign")
    return catalog


def test_a_run_leaves_answers_scores_comparison_figures_and_page(catalog: DataCatalog) -> None:
    SequentialRunner().run(create_pipeline(), catalog)
    answers, scores, comparison = (catalog[name].load() for name in ("answers", "scores", "comparison"))
    assert answers.groupby(["arm", "task"]).size().to_dict() == {
        (arm, task): 10 for arm in ("base", "fine-tuned", "control") for task in CORE_TASKS
    }
    base, tuned = (answers[answers["arm"] == arm]["output"].tolist() for arm in ("base", "fine-tuned"))
    assert base != tuned
    assert not answers["output"].str.contains("think>").any()
    main = scores[scores["group"] == "all"]
    assert len(main) == 9
    assert main[["n", "low", "high"]].notna().all().all()
    rows = comparison[comparison["group"].isin(["all", "focus"])]
    assert rows["task"].tolist() == ["spelling", "position", "count", "all"]
    assert rows["value"].iloc[-1] == "transfer"
    assert catalog["evaluation_scores_plot"].load().data
    page = catalog["evaluation_page"].load()
    assert page.startswith("<!DOCTYPE html>")
    assert "Adjusted for the control arm" in page
    assert "the ceiling was not trained: no arm learned position and count directly" in page
    verdict = catalog["verdict"].load()
    assert verdict["answer"] == "cannot be told"
    assert [gate["passed"] for gate in verdict["gates"]] == [True, False, False, False]
    control = catalog["control_comparison"].load()
    assert set(control["reference"]) == {"control"}
    assert control[control["group"].isin(["all", "focus"])]["task"].tolist()[:4] == [*CORE_TASKS, "all"]


@pytest.mark.parametrize(("asked", "expected"), [(1, 1), (3, 3), (None, 2)])
def test_answers_are_computed_with_the_threads_that_are_set(
    catalog: DataCatalog, monkeypatch: pytest.MonkeyPatch, asked: int | None, expected: int
) -> None:
    import torch

    seen: set[int] = set()
    forward = torch.nn.Embedding.forward

    def count(self: torch.nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
        seen.add(torch.get_num_threads())
        return forward(self, ids)

    monkeypatch.setattr(torch.nn.Embedding, "forward", count)
    settings = catalog["params:evaluation"].load().model_copy(update={"threads": asked})
    catalog["params:evaluation"] = MemoryDataset(settings, copy_mode="assign")
    with cpu_threads(2):
        SequentialRunner().run(create_pipeline().only_nodes("evaluation.answer"), catalog)
        assert torch.get_num_threads() == 2
    assert seen == {expected}


def test_without_a_control_arm_nothing_is_claimed(catalog: DataCatalog, tmp_path: Path) -> None:
    with new_folder(tmp_path / "none", {"kind": ABSENT}):
        pass
    catalog["control_adapter"] = MemoryDataset(ModelFolder(tmp_path / "none"), copy_mode="assign")
    SequentialRunner().run(create_pipeline(), catalog)
    assert set(catalog["answers"].load()["arm"]) == {"base", "fine-tuned"}
    assert catalog["control_comparison"].load().empty
    assert "there are no answers of control" in catalog["evaluation_page"].load()
    assert catalog["verdict"].load()["answer"] == "cannot be told"


def test_a_second_run_gives_the_same_bytes(catalog: DataCatalog, tmp_path: Path) -> None:
    kept = []
    for _ in range(2):
        SequentialRunner().run(create_pipeline(), catalog)
        kept.append({file.name: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()})
    assert kept[0].keys() == kept[1].keys()
    assert [name for name in kept[0] if kept[0][name] != kept[1][name]] == []


def test_both_arms_are_asked_with_the_prompts_of_training(
    catalog: DataCatalog, models: tuple[ModelFolder, ModelFolder, ModelFolder], tokenizer: ChatTokenizer
) -> None:
    from spelling_transfer.models.generate import generate_answers
    from spelling_transfer.models.load import load_model

    SequentialRunner().run(create_pipeline().only_nodes("evaluation.answer"), catalog)
    answers = catalog["answers"].load()
    for arm, adapter in (("base", None), ("fine-tuned", models[1]), ("control", models[2])):
        rows = answers[answers["arm"] == arm]
        loaded = load_model(models[0], adapter=adapter)
        prompts = tokenizer.encode_prompts(rows["question"].tolist())
        expected = generate_answers(loaded, tokenizer, prompts, max_new_tokens=8, batch_size=16)
        assert rows["output"].tolist() == [tokenizer.decode(ids) for ids in expected]


def test_examples_that_were_not_encoded_are_an_error(catalog: DataCatalog, encoded_examples: pd.DataFrame) -> None:
    catalog["encoded_examples"] = MemoryDataset(encoded_examples.iloc[:5])
    with pytest.raises(EvaluationError, match=r"test examples are missing.*local_prep"):
        SequentialRunner().run(create_pipeline(), catalog)


def test_only_answering_needs_a_gpu() -> None:
    assert [node.name for node in create_pipeline().nodes if "gpu" in node.tags] == ["evaluation.answer"]
