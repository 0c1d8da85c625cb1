"""The evaluation as a whole: a real (random) model with an adapter, real datasets, the real catalog entries."""

from __future__ import annotations

import inspect
import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog
from kedro.runner import SequentialRunner
from tests.samples.catalogs import CONF, project_catalog, put

from spelling_transfer.evaluation.errors import KINDS
from spelling_transfer.evaluation.questions import EvaluationError, longest_answer
from spelling_transfer.evaluation.settings import EvaluationSettings, LayerProbes
from spelling_transfer.evaluation.strata import COLUMNS
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import cpu_threads
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.pipelines.evaluation import create_pipeline
from spelling_transfer.pipelines.evaluation.nodes import answer
from spelling_transfer.study.arms import TrainedArms
from spelling_transfer.study.config import StudySettings
from spelling_transfer.tasks.registry import CORE_TASKS, UNTRAINED_TASKS, load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.tokenizer.subset import TokenSubset
from spelling_transfer.tracking import TrackingSettings

WORDS = ["cab", "bad", "dab", "fad", "bead", "deaf", "face", "cafe", "fade", "babe", "cede", "dead"]
MORE = sorted({"".join(letters) for letters in itertools.product("abcdef", repeat=3)} - set(WORDS))[:130]
"""Words enough for probes: 30 to test on and 100 to fit to."""


@pytest.fixture(scope="module")
def examples() -> pd.DataFrame:
    rng = random.Random(0)
    real = pd.DataFrame([question(task, word, rng) for task in CORE_TASKS for word in WORDS])
    asked = real.assign(split="train", kind="asked", stem="asked " + real["stem"])
    return pd.concat([real, asked.assign(example_id="asked/" + asked["example_id"])], ignore_index=True)


def question(task: str, word: str, rng: random.Random, **other: str) -> dict[str, Any]:
    names = {"example_id": f"{task}/{word}", "stem": word, "word_set": "word", "difficulty": "easy"}
    return {**vars(load_tasks()[task].make(word, rng)), **names, "kind": "real", "split": "test", **other}


@pytest.fixture(scope="module")
def more_examples(examples: pd.DataFrame) -> pd.DataFrame:
    """With questions for probes: 30 families of the test, 100 of validation."""
    rng = random.Random(1)
    rows = [
        question(task, word, rng, example_id=f"more/{task}/{word}", split="test" if place < 30 else "validation")
        for task in UNTRAINED_TASKS
        for place, word in enumerate(MORE)
    ]
    return pd.concat([examples, pd.DataFrame(rows)], ignore_index=True)


@pytest.fixture(scope="module")
def encoded_examples(more_examples: pd.DataFrame, tokenizer: ChatTokenizer) -> pd.DataFrame:
    prompts = tokenizer.encode_prompts(more_examples["question"].tolist())
    answers = tokenizer.encode_texts(more_examples["answer"].tolist())
    return pd.DataFrame(
        {
            "example_id": more_examples["example_id"],
            "input_ids": [[*p, *a, tokenizer.end_id] for p, a in zip(prompts, answers, strict=True)],
            "label_start": [len(prompt) for prompt in prompts],
        }
    )


@pytest.fixture(scope="module")
def models(
    encoded_examples: pd.DataFrame, tokenizer: ChatTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ModelFolder, ModelFolder]:
    """A base model and the adapters of two arms that change what it says; all random, all from a seed."""
    import torch
    from tests.samples.models import draw_adapter, save_adapter, save_base, small_model

    from spelling_transfer.models.trainable import LoraSettings, attach_lora

    folder = tmp_path_factory.mktemp("models")
    ids = {int(token) for row in encoded_examples["input_ids"] for token in row} | set(tokenizer.think_ids)
    loaded = small_model(tokenizer, ids)
    base = save_base(loaded, folder / "base")
    torch.manual_seed(1)
    model = attach_lora(loaded, LoraSettings(r=4), ModelProfile(name="tiny").lora_targets)
    adapters = {}
    for arm, seed in (("spelling", 7), ("spelling", 8), ("form_control", 7), ("form_control", 8)):
        draw_adapter(model)
        adapters[arm, seed] = save_adapter(model, folder / f"{arm}-{seed}", base_sha256=base.sha256)
    arms = TrainedArms(adapters=adapters, missing={"direct_count": "not in arms.trained"})
    return base, arms.folder(base)


@pytest.fixture
def catalog(
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    models: tuple[ModelFolder, ModelFolder],
    tokenizer: ChatTokenizer,
    tmp_path: Path,
) -> DataCatalog:
    ids = np.unique(np.concatenate([np.asarray(row) for row in encoded_examples["input_ids"]]))
    subset = TokenSubset("english", tokenizer.sha256, ids, np.array(sorted(tokenizer.think_ids)))
    settings = EvaluationSettings(
        examples_per_task=10,
        examples_per_trained_words=3,
        prompted=("spell_first",),
        decodings=("policy_sampling", "english_subset"),
        samples=3,
        max_new_tokens=8,
        batch_size=16,
        n_resamples=999,
    )
    inputs = {
        "base_model": models[0],
        "arm_adapters": models[1],
        "words": pd.DataFrame({"word": WORDS, "zipf_frequency": 3.5}),
        "tokenizer": tokenizer,
        "examples": examples,
        "encoded_examples": encoded_examples,
        "baselines": pd.DataFrame(
            [("test", "word", "position", name, 0.2, 9) for name in ("first_token_letter", "answer_by_argument")],
            columns=["split", "word_set", "task", "baseline", "accuracy", "questions"],
        ),
        "arm_curves": pd.DataFrame(
            [{"arm": "spelling", "seed": 7, "step": 5, "spelling": 0.5, "position": 0.3, "count": 0.2}]
        ),
        "base_validation_scores": {"step": 0, "spelling": 0.3, "position": 0.3, "count": 0.3},
        "english_subset": subset.to_json(tokenizer),
        "policy_rules": yaml.safe_load((CONF / "policy.yml").read_text()),
        "params:model_profile": ModelProfile(name="tiny"),
        "params:evaluation": settings,
        "params:tracking": TrackingSettings(mode="disabled"),
        "params:run_env": "standard",
        "tuning_studies": tmp_path,
        "params:study": StudySettings(focus="transfer", space={"lora.r": [4]}),
    }
    return project_catalog("evaluation", tmp_path, inputs)


def test_a_run_leaves_answers_scores_comparison_figures_and_page(catalog: DataCatalog) -> None:
    SequentialRunner().run(create_pipeline(), catalog)
    answers, scores, comparison = (catalog[name].load() for name in ("answers", "scores", "comparison"))
    runs = [("base", -1), ("spelling", 7), ("spelling", 8), ("form_control", 7), ("form_control", 8)]
    asked = {(*run, task): 13 for run in runs for task in CORE_TASKS}
    asked |= {("spell_first", -1, task): 13 for task in ("position", "count")}
    assert answers.groupby(["arm", "seed", "task"]).size().to_dict() == asked
    base, tuned = (
        answers[(answers["arm"] == arm) & (answers["seed"] == seed)]["output"].tolist() for arm, seed in runs[:2]
    )
    assert base != tuned
    assert not answers["output"].str.contains("think>").any()
    main = scores[scores["group"] == "all"]
    assert len(main) == 3 * 5 + 2
    table = catalog["arm_answers"].load()
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == len(answers)
    assert table["endpoint"].value_counts().to_dict() == {"held_out": 10 * 17, "spelled": 3 * 17}
    left_out = catalog["left_out"].load()
    assert left_out["arms"]["direct_count"] == "not in arms.trained"
    assert left_out["arms"]["few_shots"] == "not in evaluation.prompted"
    assert "position: direction forward" in left_out["strata"]["made_up"]
    assert main[["n", "low", "high"]].notna().all().all()
    rows = comparison[comparison["group"].isin(["all", "focus"])]
    assert rows["task"].tolist() == ["spelling", "position", "count", "all"]
    assert rows["value"].iloc[-1] == "transfer"
    for figure in ("scores", "arms", "strata", "dose", "errors"):
        assert catalog[f"evaluation_{figure}_plot"].load().data
    effects = catalog["arm_effects"].load()
    assert set(effects["arm"]) == {"spelling", "form_control", "spell_first"}
    assert set(catalog["floors"].load()["answerer"]) == {"commonest", "random_letter", "first_token_letter"}
    assert catalog["layer_probes"].load().empty
    page = catalog["evaluation_page"].load()
    assert page.startswith("<!DOCTYPE html>")
    assert "Knowledge against answers" not in page
    assert "To repeat it: <code>kedro run --pipelines=evaluation --env=standard</code>" in page
    assert "Adjusted for the form control" in page
    assert "the ceiling was not trained: no direct arm learned position and count" in page
    verdict = catalog["verdict"].load()
    assert verdict["answer"] == "inconclusive"
    assert [gate["passed"] for gate in verdict["gates"]] == [True, False, False, False]
    control = catalog["control_comparison"].load()
    assert set(control["reference"]) == {"form_control"}
    assert control[control["group"].isin(["all", "focus"])]["task"].tolist()[:4] == [*CORE_TASKS, "all"]


def test_a_task_that_is_not_installed_any_more_is_named_before_anything_is_answered() -> None:
    nothing: dict[str, Any] = dict.fromkeys(inspect.signature(answer).parameters)
    with pytest.raises(EvaluationError, match=r"no task named rhyme.*'kedro run --pipelines=local_prep,evaluation'"):
        answer(**{**nothing, "examples": pd.DataFrame({"task": ["rhyme"], "split": ["test"]})})


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
    put(catalog, {"params:evaluation": settings})
    with cpu_threads(2):
        SequentialRunner().run(create_pipeline().only_nodes("evaluation.answer"), catalog)
        assert torch.get_num_threads() == 2
    assert seen == {expected}


def of_runs(models: tuple[ModelFolder, ModelFolder], arm: str) -> TrainedArms:
    runs = models[1].manifest()["runs"]
    return TrainedArms(
        adapters={(r["arm"], r["seed"]): ModelFolder(models[1].path / r["folder"]) for r in runs if r["arm"] == arm}
    )


def test_answers_are_decoded_in_other_ways_and_errors_are_told(catalog: DataCatalog) -> None:
    SequentialRunner().run(create_pipeline(), catalog)
    decodings = catalog["decodings"].load()
    arms = {("base", -1), ("spelling", 7), ("form_control", 7)}
    draws = {"greedy": 1, "policy_sampling": 3, "english_subset": 1}
    found = decodings.set_index(["arm", "seed", "decoding", "task"])["draws"].to_dict()
    assert found == {
        (*arm, way, task): n for arm in arms for way, n in draws.items() for task in CORE_TASKS
    }  # fmt: skip
    greedy, drawn, subset = (decodings[decodings["decoding"] == way] for way in draws)
    assert greedy["changed"].tolist() == [0.0] * 9
    assert drawn["changed"].max() > 0
    assert (subset["candidates"].max() < greedy["candidates"].min(), subset["changed"].max()) == (True, 0.0)
    assert set(catalog["changed_answers"].load()["decoding"]) == {"policy_sampling"}
    page = catalog["evaluation_page"].load()
    assert "Other decodings" in page
    assert "What is wrong with wrong answers" in page
    errors, marked = catalog["errors"].load(), catalog["marked_answers"].load()
    wrong = marked[(marked["endpoint"] == "held_out") & ~marked["exact"] & ~marked["lenient"]]
    kinds = errors[errors["kind"].isin(KINDS)]
    assert kinds["n"].sum() == len(wrong)
    assert len(catalog["side_by_side"].load()) == 10 * len(CORE_TASKS)


def test_draws_follow_the_policy_of_the_project(catalog: DataCatalog) -> None:
    """An edited ``conf/base/policy.yml`` counts: with one candidate a draw is the most likely token."""
    answer, compare = (create_pipeline().only_nodes(f"evaluation.{name}") for name in ("answer", "compare_decodings"))
    changed = {}
    for top_k in (20, 1):
        rules = yaml.safe_load((CONF / "policy.yml").read_text().replace("top_k: 20", f"top_k: {top_k}"))
        put(catalog, {"policy_rules": rules})
        SequentialRunner().run(answer + compare, catalog)
        table = catalog["decodings"].load()
        changed[top_k] = table.loc[table["decoding"] == "policy_sampling", "changed"].max()
    assert changed[20] > 0
    assert changed[1] == 0


def test_without_a_control_arm_nothing_is_claimed(
    catalog: DataCatalog, models: tuple[ModelFolder, ModelFolder]
) -> None:
    alone = of_runs(models, "spelling").folder(models[0])
    put(catalog, {"arm_adapters": alone})
    SequentialRunner().run(create_pipeline(), catalog)
    assert set(catalog["answers"].load()["arm"]) == {"base", "spelling", "spell_first"}
    assert catalog["control_comparison"].load().empty
    assert "there are no answers of the form control" in catalog["evaluation_page"].load()
    assert catalog["verdict"].load()["answer"] == "inconclusive"


def test_a_second_run_gives_the_same_bytes(catalog: DataCatalog, tmp_path: Path) -> None:
    kept = []
    for _ in range(2):
        SequentialRunner().run(create_pipeline(), catalog)
        kept.append({file.name: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()})
    assert kept[0].keys() == kept[1].keys()
    assert [name for name in kept[0] if kept[0][name] != kept[1][name]] == []


def test_arms_of_another_base_and_answers_of_another_model_are_named(
    catalog: DataCatalog, models: tuple[ModelFolder, ModelFolder], tmp_path: Path
) -> None:
    other = of_runs(models, "spelling").folder(models[1])
    put(catalog, {"arm_adapters": other})
    with pytest.raises(EvaluationError, match="trained on another base model"):
        SequentialRunner().run(create_pipeline().only_nodes("evaluation.answer"), catalog)
    put(catalog, {"arm_adapters": models[1]})
    SequentialRunner().run(create_pipeline().only_nodes("evaluation.answer"), catalog)
    catalog["answers"].save(catalog["answers"].load().assign(model="0" * 64))
    with pytest.raises(EvaluationError, match="answers: they were given by another base model"):
        SequentialRunner().run(create_pipeline().only_nodes("evaluation.mark"), catalog)


def test_every_arm_is_asked_with_the_prompts_of_training(
    catalog: DataCatalog, models: tuple[ModelFolder, ModelFolder], tokenizer: ChatTokenizer
) -> None:
    from spelling_transfer.models.generate import generate_answers
    from spelling_transfer.models.load import load_model

    SequentialRunner().run(create_pipeline().only_nodes("evaluation.answer"), catalog)
    answers = catalog["answers"].load()
    runs = {
        (run["arm"], run["seed"]): ModelFolder(models[1].path / run["folder"]) for run in models[1].manifest()["runs"]
    }
    for (arm, seed), adapter in {("base", -1): None, **runs}.items():
        rows = answers[(answers["arm"] == arm) & (answers["seed"] == seed)]
        loaded = load_model(models[0], adapter=adapter)
        prompts = tokenizer.encode_prompts(rows["question"].tolist())
        expected = generate_answers(loaded, tokenizer, prompts, max_new_tokens=8, batch_size=16)
        assert rows["output"].tolist() == [tokenizer.decode(ids) for ids in expected]


def test_examples_that_were_not_encoded_are_an_error(catalog: DataCatalog, encoded_examples: pd.DataFrame) -> None:
    with pytest.raises(EvaluationError, match=r"test examples are missing.*local_prep"):
        longest_answer(encoded_examples, encoded_examples.iloc[:0])
    put(catalog, {"encoded_examples": encoded_examples.iloc[:5]})
    with pytest.raises(EvaluationError, match=r"test examples are missing.*local_prep"):
        SequentialRunner().run(create_pipeline(), catalog)


def test_a_limit_that_cuts_off_right_answers_is_an_error(catalog: DataCatalog) -> None:
    settings = catalog.load("params:evaluation").model_copy(update={"max_new_tokens": 4})
    put(catalog, {"params:evaluation": settings})
    with pytest.raises(EvaluationError, match=r"max_new_tokens: 4 would cut off.* takes 5 tokens.*Set it to 5 or more"):
        SequentialRunner().run(create_pipeline(), catalog)


def test_answering_and_probing_share_a_gpu() -> None:
    gpu = [node for node in create_pipeline().nodes if "gpu" in node.tags]
    assert [node.name for node in gpu] == ["evaluation.answer", "evaluation.probe_layers"]
    assert len({tag for node in gpu for tag in node.tags if tag.startswith("group-")}) == 1


def probing(catalog: DataCatalog, examples: pd.DataFrame, **changed: Any) -> pd.DataFrame:
    settings = (
        catalog["params:evaluation"]
        .load()
        .model_copy(
            update={"layer_probes": LayerProbes(enabled=True), "examples_per_task": 40, "prompted": (), **changed}
        )
    )
    put(catalog, {"params:evaluation": settings, "examples": examples})
    SequentialRunner().run(create_pipeline(), catalog)
    return catalog["layer_probes"].load()


def test_every_arm_is_probed_on_the_questions_that_it_answered(
    catalog: DataCatalog, more_examples: pd.DataFrame
) -> None:
    probes = probing(catalog, more_examples)
    probed = probes[probes["layer"] >= 0]
    runs = [("base", -1), ("spelling", 7), ("form_control", 7)]
    counted = {(*run, task): 3 for run in runs for task in UNTRAINED_TASKS}
    assert probed.groupby(["arm", "seed", "task"]).size().to_dict() == counted
    assert set(probed["n"]) == {40}
    assert set(probed["trained_on"]) == {112}  # 100 of validation, and 12 of which spelling alone is trained
    table = catalog["arm_answers"].load()
    for row in probed.itertuples():
        same = table[(table["arm"] == row.arm) & (table["seed"] == row.seed) & (table["task"] == row.task)]
        assert row.answered == same.loc[same["endpoint"] == "held_out", "correct"].mean()
    # The states of an adapter are its own, and the embedding at the end of a prompt says nothing of the word.
    by_arm = probed.pivot(index=["task", "layer"], columns="arm", values="error")
    assert by_arm["base"].to_numpy() != pytest.approx(by_arm["spelling"].to_numpy())
    assert (probed.loc[probed["layer"] == 0, "selectivity_low"] < 0).all()
    missing = probes[probes["layer"] < 0].set_index(["arm", "task"])["problem"]
    assert missing["direct_count"].to_dict() == dict.fromkeys(UNTRAINED_TASKS, "not in arms.trained")
    assert len(catalog["layer_probes_plot"].load().data) == 3 * 6
    page = catalog["evaluation_page"].load()
    assert "Knowledge against answers" in page
    assert "Not probed: direct arm (count) (not in arms.trained)." in page


def test_too_few_families_are_named_for_each_arm_and_nothing_is_probed(
    catalog: DataCatalog, examples: pd.DataFrame
) -> None:
    probes = probing(catalog, examples)
    assert set(probes["arm"]) == {"base", "spelling", "form_control", "direct_count"}
    assert probes["accuracy"].isna().all()
    assert (
        "base, spelling arm and form control (12 word families to test on, 30 are needed"
        in catalog["evaluation_page"].load()
    )


def test_answers_of_other_arms_than_are_probed_are_named(
    catalog: DataCatalog, models: tuple[ModelFolder, ModelFolder], more_examples: pd.DataFrame
) -> None:
    probing(catalog, more_examples)
    answers = catalog["answers"].load()
    catalog["answers"].save(answers[(answers["arm"] != "spelling") | (answers["seed"] != 7)])
    with pytest.raises(EvaluationError, match=r"spelling \(seed 7\) answered 0 of the 80 questions of the base model"):
        SequentialRunner().run(create_pipeline().only_nodes("evaluation.probe_layers"), catalog)
