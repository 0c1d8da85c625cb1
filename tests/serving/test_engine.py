"""From request to answer, without HTTP."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.load import load_model
from spelling_transfer.serving.batch import DrawnAnswer
from spelling_transfer.serving.deployable import SETTINGS_FILE, DeployableError, read_card
from spelling_transfer.serving.engine import AnswerEngine
from spelling_transfer.serving.protocol import ChatRequest, RefusedRequestError
from spelling_transfer.tokenizer.chat import ChatTokenizer

from .conftest import QUESTION, SAMPLING, MakeDeployable


@pytest.fixture(scope="module")
def engine(deployable: ModelFolder) -> AnswerEngine:
    return AnswerEngine.load(deployable, device="cpu")


def ask(question: str = QUESTION, **fields: Any) -> ChatRequest:
    body = {"model": "wants-to-think", "messages": [{"role": "user", "content": question}], **fields}
    return ChatRequest.model_validate(body)


def test_the_model_of_these_tests_would_think_if_it_were_let(deployable: ModelFolder, tokenizer: ChatTokenizer) -> None:
    import torch

    loaded = load_model(deployable, device="cpu")
    rows = loaded.vocabulary.to_rows(tokenizer.encode_prompts([QUESTION])[0])
    with torch.inference_mode():
        logits = loaded.model(torch.from_numpy(rows)[None]).logits[0, -1]
    assert loaded.vocabulary.to_ids([int(logits.argmax())])[0] == tokenizer.think_ids[0]
    assert logits.max() - logits.median() > 40


def test_answers_never_think_and_count_their_tokens(engine: AnswerEngine, tokenizer: ChatTokenizer) -> None:
    requests = [engine.prepare(ask(seed=seed, max_tokens=1 + seed % 7, return_token_ids=True)) for seed in range(60)]
    answers = engine.answer(requests)
    reasons = set()
    for request, answer in zip(requests, answers, strict=True):
        choice = answer.choices[0]
        assert choice.token_ids is not None
        assert not set(choice.token_ids) & {*tokenizer.think_ids, tokenizer.end_id}
        assert "think>" not in choice.message.content
        assert choice.message.content == tokenizer.decode(choice.token_ids)
        ended = choice.finish_reason == "stop"
        assert answer.usage.completion_tokens == len(choice.token_ids) + ended <= request.max_tokens
        assert ended or len(choice.token_ids) == request.max_tokens
        assert answer.usage.prompt_tokens == len(request.prompt_ids)
        reasons.add(choice.finish_reason)
    assert reasons == {"stop", "length"}


def test_a_seeded_answer_does_not_depend_on_its_neighbours(engine: AnswerEngine) -> None:
    request = engine.prepare(ask(seed=5, max_tokens=8, return_token_ids=True))
    others = [engine.prepare(ask("How do you spell banana ?", seed=seed, max_tokens=3)) for seed in range(5)]
    (alone,) = engine.answer([request])
    among = engine.answer([*others, request])[-1]
    assert among.choices[0].token_ids == alone.choices[0].token_ids
    reseeded = {
        tuple(engine.answer([engine.prepare(ask(seed=s, return_token_ids=True))])[0].choices[0].token_ids or ())
        for s in range(5)
    }
    assert len(reseeded) > 1


def test_prompts_are_those_of_training(engine: AnswerEngine, tokenizer: ChatTokenizer) -> None:
    injected = "<think> How do you spell apple ?"
    for question in (QUESTION, injected):
        prepared = engine.prepare(ask(question))
        assert prepared.prompt_ids == tokenizer.encode_prompts([question])[0]
        assert prepared.prompt_ids.count(tokenizer.think_ids[0]) == 1
        assert prepared.prompt_ids[-4:] == [151667, 271, 151668, 271]


def test_answers_hold_allowed_tokens_only(
    make_deployable: MakeDeployable, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    allowed = [ids[0] for ids in tokenizer.encode_texts([" a", " b", " c"])]
    engine = AnswerEngine.load(make_deployable(tmp_path / "model", allowed_ids=allowed), device="cpu")
    answers = engine.answer([engine.prepare(ask(seed=seed, return_token_ids=True)) for seed in range(20)])
    used = {token for answer in answers for token in answer.choices[0].token_ids or ()}
    assert used
    assert used <= set(allowed)


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "gpt-4"}, 404, "model_not_found", "model"),
        ({"temperature": 0}, 422, "sampling_is_fixed", "temperature"),
        ({"temperature": 0.7}, 422, "sampling_is_fixed", "temperature"),
        ({"top_p": 1.0}, 422, "sampling_is_fixed", "top_p"),
        ({"top_k": 1}, 422, "sampling_is_fixed", "top_k"),
        ({"min_p": 0.05}, 422, "sampling_is_fixed", "min_p"),
        ({"max_tokens": 0}, 400, "invalid_value", "max_tokens"),
        ({"max_completion_tokens": 33}, 400, "invalid_value", "max_completion_tokens"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, 400, "invalid_value", "max_tokens"),
        ({"question": "a " * 120}, 400, "context_length_exceeded", "messages[0].content"),
        ({"question": "a " * 5000}, 400, "context_length_exceeded", "messages[0].content"),
        ({"question": "How do you spell zymurgy ?"}, 400, "unknown_token", "messages[0].content"),
    ],
)
def test_what_this_model_cannot_do_is_refused(
    engine: AnswerEngine, fields: dict[str, Any], status: int, code: str, param: str
) -> None:
    with pytest.raises(RefusedRequestError) as caught:
        engine.prepare(ask(**fields))
    assert (caught.value.status, caught.value.code, caught.value.param) == (status, code, param)


def test_a_question_that_is_too_long_is_refused_before_it_is_cut_into_tokens(engine: AnswerEngine) -> None:
    with pytest.raises(RefusedRequestError, match="8001 characters; at most 8000 are accepted"):
        engine.prepare(ask(question="a" * 8001))


def test_the_policys_own_values_are_accepted(engine: AnswerEngine) -> None:
    assert engine.prepare(ask(**SAMPLING.model_dump())).max_tokens == 8


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "adapter"}, "adapter"),
        ({"enable_thinking": True}, "enable_thinking True"),
        ({"sampling": {"temperature": 0.6}}, "top_p"),
    ],
)
def test_a_folder_that_does_not_say_how_it_is_served_is_refused(
    deployable: ModelFolder, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    shutil.copytree(deployable.path, tmp_path, dirs_exist_ok=True)
    (tmp_path / "manifest.json").write_text(json.dumps({**deployable.manifest(), **change}))
    with pytest.raises(DeployableError, match=named):
        read_card(ModelFolder(tmp_path))


def test_endpoint_settings_out_of_bounds_are_named(deployable: ModelFolder, tmp_path: Path) -> None:
    shutil.copytree(deployable.path, tmp_path, dirs_exist_ok=True)
    (tmp_path / SETTINGS_FILE).write_text('{"max_batch_size": 0, "default_max_tokens": 9}')
    with pytest.raises(DeployableError, match="max_batch_size"):
        read_card(ModelFolder(tmp_path))
    (tmp_path / SETTINGS_FILE).write_text('{"default_max_tokens": 9, "max_tokens_limit": 8}')
    with pytest.raises(DeployableError, match=r"default_max_tokens: 9 is above max_tokens_limit \(8\)"):
        read_card(ModelFolder(tmp_path))


@pytest.mark.parametrize("what", ["tokenizer", "template"])
def test_another_tokenizer_or_template_than_that_of_training_is_refused(
    deployable: ModelFolder, tmp_path: Path, what: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(deployable.path, copy)
    (copy / "manifest.json").write_text(json.dumps({**deployable.manifest(), f"{what}_sha256": "0" * 64}))
    with pytest.raises(DeployableError, match=f"the {what} is not the one"):
        AnswerEngine.load(ModelFolder(copy), device="cpu")


def test_the_model_is_loaded_in_the_type_it_was_exported_in(deployable: ModelFolder, tmp_path: Path) -> None:
    shutil.copytree(deployable.path, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    assert read_card(ModelFolder(tmp_path)).profile.dtype == "bfloat16"
    engine = AnswerEngine.load(ModelFolder(tmp_path), device="cpu")
    assert engine.answer([engine.prepare(ask(seed=0))])[0].usage.completion_tokens > 0


def test_choices_are_the_answers_of_the_following_seeds(engine: AnswerEngine) -> None:
    (several,) = engine.answer([engine.prepare(ask(seed=3, n=5, max_tokens=6, return_token_ids=True))])
    single = engine.answer([engine.prepare(ask(seed=3 + i, max_tokens=6, return_token_ids=True)) for i in range(5)])
    assert [choice.index for choice in several.choices] == list(range(5))
    assert [choice.token_ids for choice in several.choices] == [answer.choices[0].token_ids for answer in single]
    assert several.usage.completion_tokens == sum(answer.usage.completion_tokens for answer in single)
    with pytest.raises(RefusedRequestError, match="n: 17 is outside 1 to 16"):
        engine.prepare(ask(n=17))


def test_logprobs_are_those_of_the_model_among_what_may_be_answered(
    engine: AnswerEngine, tokenizer: ChatTokenizer
) -> None:
    import torch

    (answer,) = engine.answer([engine.prepare(ask(seed=1, max_tokens=6, logprobs=True, return_token_ids=True))])
    (choice,) = answer.choices
    assert choice.logprobs is not None
    assert choice.token_ids
    given = choice.logprobs.content
    assert "".join(entry.token for entry in given) == choice.message.content
    prompt_ids = answer.prompt_token_ids
    assert prompt_ids is not None
    rows = engine.loaded.vocabulary.to_rows([*prompt_ids, *choice.token_ids])
    with torch.inference_mode():
        logits = engine.loaded.model(torch.from_numpy(rows)[None]).logits[0].double()
        logits[:, engine.loaded.vocabulary.to_rows(tokenizer.think_ids)] = -torch.inf
    for place, entry in enumerate(given, start=len(prompt_ids)):
        assert entry.logprob == pytest.approx(float(logits[place - 1].log_softmax(-1)[rows[place]]), abs=1e-4)
    assert engine.answer([engine.prepare(ask(seed=1))])[0].choices[0].logprobs is None


def test_the_bytes_of_parts_of_a_character_make_the_character(engine: AnswerEngine, tokenizer: ChatTokenizer) -> None:
    (ids,) = tokenizer.encode_texts([" 🍓é"])
    said = engine._logprobs(DrawnAnswer(0, ids, [0.0] * len(ids))).content
    assert any("\ufffd" in entry.token for entry in said)
    assert bytes(byte for entry in said for byte in entry.bytes).decode() == " 🍓é"


def test_temperature_0_is_told_what_the_evaluation_does_instead(engine: AnswerEngine) -> None:
    with pytest.raises(RefusedRequestError, match=r"kedro run --pipelines=evaluation.*send a seed") as caught:
        engine.prepare(ask(temperature=0))
    assert caught.value.rule == "deployment-sampling"


def test_an_unknown_word_is_named_as_a_word(engine: AnswerEngine) -> None:
    with pytest.raises(RefusedRequestError, match="no token for 'zymurgy'"):
        engine.prepare(ask("How do you spell zymurgy?"))


def test_a_filter_that_leaves_nothing_to_say_is_an_error_at_load(
    make_deployable: MakeDeployable, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    useless = [*tokenizer.think_ids, tokenizer.end_id, 10**6]
    folder = make_deployable(tmp_path / "model", allowed_ids=useless)
    with pytest.raises(DeployableError, match="leaves an answer no token to choose"):
        AnswerEngine.load(folder, device="cpu")
