"""The check proves what it claims: each way to be wrong fails a check of its own, and a right endpoint fails none."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from spelling_transfer.models import generate
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import AnswerHead, Sampling, drawer
from spelling_transfer.models.load import load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.serving import engine as engine_module
from spelling_transfer.serving.checks import Check
from spelling_transfer.serving.client import EndpointClient
from spelling_transfer.serving.deployable import write_deployable
from spelling_transfer.serving.engine import AnswerEngine
from spelling_transfer.serving.protocol import ChatRequest
from spelling_transfer.serving.reference import (
    Reference,
    check_answer_tokens,
    check_masks,
    check_merge,
    check_same_answers,
    check_sampling,
)
from spelling_transfer.serving.settings import ServedSettings
from spelling_transfer.tasks.registry import CORE_TASKS, load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer

from .conftest import SAMPLING, Serve

WORDS = ("apple", "banana", "garden", "window", "letter", "orange", "summer", "winter")
PROFILE = ModelProfile(name="tiny-random")
SETTINGS = ServedSettings(default_max_tokens=12, max_choices=64, max_batch_size=64)


@dataclass(frozen=True)
class Made:
    base: ModelFolder
    adapters: tuple[ModelFolder, ModelFolder]
    questions: list[str]
    answer_ids: list[int]
    deployables: tuple[ModelFolder, ModelFolder]


@pytest.fixture(scope="module")
def made(tokenizer: ChatTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A random base with logits that differ, two adapters on it, and an answer filter of half the vocabulary."""
    import torch
    from tests.samples.models import draw_adapter, save_adapter, save_base, small_model

    from spelling_transfer.models.trainable import LoraSettings, attach_lora

    chance, root = random.Random(0), tmp_path_factory.mktemp("made")
    asked = [vars(load_tasks()[task].make(word, chance)) for task in CORE_TASKS for word in WORDS]
    questions = [str(example["question"]) for example in asked]
    texts = [*questions, *(str(example["answer"]) for example in asked)]
    ids = sorted({token for row in tokenizer.encode_prompts(texts) for token in row} | set(tokenizer.think_ids))
    loaded = small_model(tokenizer, {*ids})
    with torch.no_grad():
        loaded.model.model.norm.weight.mul_(9.0)
    base = save_base(loaded, root / "base")
    model = attach_lora(loaded, LoraSettings(r=4), PROFILE.lora_targets)
    adapters = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        draw_adapter(model, std=0.3)
        adapters.append(save_adapter(model, root / f"adapter-{seed}", base_sha256=base.sha256))
    prompt_only = {*tokenizer.prefix_ids, *tokenizer.suffix_ids}
    answer_ids = [token for token in ids if token not in prompt_only][::2]
    deployables = [
        write_deployable(
            base,
            adapter,
            PROFILE,
            tokenizer,
            sampling=SAMPLING,
            allowed_ids=answer_ids,
            settings=SETTINGS,
            target=root / f"deployable-{place}",
        )
        for place, adapter in enumerate(adapters)
    ]
    return Made(base, (adapters[0], adapters[1]), questions, answer_ids, (deployables[0], deployables[1]))


@pytest.fixture(scope="module")
def reference(made: Made, tokenizer: ChatTokenizer) -> Reference:
    return Reference(
        load_model(made.base, PROFILE, made.adapters[0], device="cpu"), tokenizer, SAMPLING, made.answer_ids
    )


def all_checks(engine: AnswerEngine, serve: Serve, reference: Reference, questions: list[str]) -> dict[str, Check]:
    """Every check against an engine behind HTTP."""

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        prepared = engine.prepare(ChatRequest.model_validate({**body, "model": engine.card.model}))
        return 200, engine.answer([prepared])[0].model_dump()

    client = serve(answer)
    replies = [client.ask(text, seed=seed, return_token_ids=True) for seed, text in enumerate(questions)]
    checks = [
        *check_sampling(client, reference, [*questions, *WORDS]),
        *check_answer_tokens(reference, questions, replies),
        check_same_answers(reference, questions, replies, SETTINGS.default_max_tokens),
        *check_merge(reference, engine.loaded, questions),
        *check_masks(engine, reference, questions),
    ]
    assert len({check.id for check in checks}) == len(checks)
    return {check.id: check for check in checks}


def failed(checks: dict[str, Check]) -> set[str]:
    return {check.id for check in checks.values() if not check.passed}


def test_a_right_endpoint_passes(made: Made, reference: Reference, served_by: Serve) -> None:
    engine = AnswerEngine.load(made.deployables[0], device="cpu")
    checks = all_checks(engine, served_by, reference, made.questions)
    assert [check for check in checks.values() if not check.passed] == []
    assert {name.rpartition("-")[0] for name in checks} >= {"mask/think", "mask/filter", "model/merged-as-adapter"}
    power = checks["sampling/telling-prompts"].evidence["power"]
    assert all(power[name] > 0.999 for name in ("greedy", "temperature 1", "top-k 5", "no top-p", "no filter"))


def changed(**values: float | None) -> Callable[[Sampling], Any]:
    """The engine's way to draw with other sampling values; with ``temperature=None`` the most likely token."""
    if values.get("temperature", 1.0) is None:
        return lambda _: generate._best
    return lambda sampling: drawer(sampling.model_copy(update=values))


@pytest.mark.parametrize(
    ("sampling", "caught_by"),
    [
        ({"temperature": None}, "sampling/distribution"),
        ({"top_k": 5}, "sampling/distribution"),
        ({"temperature": 1.0}, "sampling/support"),
        ({"top_p": 1.0}, "sampling/support"),
    ],
)
def test_other_sampling_is_caught(
    made: Made,
    reference: Reference,
    served_by: Serve,
    monkeypatch: pytest.MonkeyPatch,
    sampling: dict[str, Any],
    caught_by: str,
) -> None:
    monkeypatch.setattr(engine_module, "drawer", changed(**sampling))
    engine = AnswerEngine.load(made.deployables[0], device="cpu")
    assert caught_by in failed(all_checks(engine, served_by, reference, made.questions))


def test_a_missing_filter_is_caught(
    made: Made, reference: Reference, served_by: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfiltered(loaded: Any, tokenizer: Any, _: Any) -> tuple[AnswerHead, Any]:
        return generate.answer_head(loaded, tokenizer, None)

    monkeypatch.setattr(engine_module, "answer_head", unfiltered)
    engine = AnswerEngine.load(made.deployables[0], device="cpu")
    found = failed(all_checks(engine, served_by, reference, made.questions))
    assert {"filter/tokens", "sampling/support"} <= found
    assert any(name.startswith("mask/filter") for name in found)


@pytest.mark.parametrize("filtered", [True, False])
def test_a_think_mask_that_is_off_is_caught_on_a_model_that_never_thinks(
    made: Made, reference: Reference, monkeypatch: pytest.MonkeyPatch, filtered: bool
) -> None:
    def unmasked(loaded: Any, tokenizer: Any, allowed_ids: Any) -> tuple[AnswerHead, Any]:
        ids = [*allowed_ids, tokenizer.end_id, *tokenizer.think_ids] if allowed_ids is not None else None
        rows = None if ids is None else loaded.vocabulary.known_rows(sorted(ids)).tolist()
        return AnswerHead.of(loaded, lambda _, logits: logits, rows), "off"

    engine = AnswerEngine.load(made.deployables[0], device="cpu")
    if not filtered:
        monkeypatch.setattr(engine, "allowed_ids", None)
    assert not any(not check.passed for check in check_masks(engine, reference, made.questions) if "think" in check.id)
    monkeypatch.setattr(engine_module, "answer_head", unmasked)
    found = [check for check in check_masks(engine, reference, made.questions) if "think" in check.id]
    assert len(found) == 2
    assert not any(check.passed for check in found)


def test_the_mask_check_leaves_the_weights_as_they_were(made: Made, reference: Reference) -> None:
    import torch

    engine = AnswerEngine.load(made.deployables[0], device="cpu")
    head = engine.loaded.model.get_output_embeddings()
    before = head.weight.detach().clone()
    assert list(check_masks(engine, reference, made.questions))
    assert engine.loaded.model.get_output_embeddings() is head
    assert torch.equal(head.weight, before)


def test_another_adapter_is_caught(made: Made, reference: Reference, served_by: Serve) -> None:
    engine = AnswerEngine.load(made.deployables[1], device="cpu")
    found = failed(all_checks(engine, served_by, reference, made.questions))
    assert {"model/same-answers", "model/merged-as-adapter-1", "model/merged-as-adapter-64"} <= found
    assert "sampling/distribution" in found or "sampling/support" in found


def test_the_subset_of_another_tokenizer_is_caught(made: Made, reference: Reference, served_by: Serve) -> None:
    right = AnswerEngine.load(made.deployables[0], device="cpu")
    ids = right.loaded.vocabulary.to_ids(np.arange(right.loaded.vocabulary.n_rows)).tolist()
    elsewhere = [ids[(ids.index(token) + 7) % len(ids)] for token in made.answer_ids]
    engine = AnswerEngine(right.loaded, right.tokenizer, right.card, elsewhere)
    found = failed(all_checks(engine, served_by, reference, made.questions))
    assert {"filter/tokens", "sampling/support"} <= found


def test_an_endpoint_that_is_gone_fails_and_ends_nothing(made: Made, reference: Reference) -> None:
    with EndpointClient("http://127.0.0.1:9", "m", timeout_seconds=2) as client:
        replies = [client.ask(text) for text in made.questions[:2]]
        checks = [*check_sampling(client, reference, made.questions[:8])]
        checks += check_answer_tokens(reference, made.questions[:2], replies)
        checks.append(check_same_answers(reference, made.questions[:2], replies, 4))
    assert {check.id for check in checks if check.passed} <= {"sampling/telling-prompts"}
