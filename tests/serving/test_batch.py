"""Requests side by side in slots: none waits for a longer one, and each gets what it would get alone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from spelling_transfer.models.generate import generate_answers
from spelling_transfer.serving.batch import PreparedRequest, RunningBatch
from spelling_transfer.serving.engine import AnswerEngine
from spelling_transfer.serving.protocol import ChatRequest, CompletionRequest
from spelling_transfer.serving.settings import ServedSettings
from spelling_transfer.tokenizer.chat import ChatTokenizer

from .conftest import QUESTION, SAMPLING, MakeDeployable

SETTINGS = ServedSettings(max_batch_size=3, max_tokens_limit=64, default_max_tokens=64, threads=1)


@pytest.fixture(scope="module")
def engine(make_deployable: MakeDeployable, tmp_path_factory: pytest.TempPathFactory) -> AnswerEngine:
    engine = AnswerEngine.load(make_deployable(tmp_path_factory.mktemp("batch") / "model", SETTINGS), device="cpu")
    with torch.no_grad():  # an answer goes on until its limit, which makes steps countable
        row = int(engine.loaded.vocabulary.to_rows([engine.tokenizer.end_id])[0])
        engine.loaded.model.lm_head.weight[row] = engine.loaded.model.lm_head.weight[row] * 0
        engine.loaded.model.lm_head.weight[row, 0] = -50.0
    return engine


def ask(engine: AnswerEngine, question: str = QUESTION, **fields: Any) -> PreparedRequest:
    body = {"model": engine.card.model, "messages": [{"role": "user", "content": question}], "seed": 1, **fields}
    return engine.prepare(ChatRequest.model_validate(body))


def ends(batch: RunningBatch) -> dict[str, int]:
    """In which step each request ends."""
    found: dict[str, int] = {}
    step = 0
    while batch.busy:
        step += 1
        found |= {one.name: step for one, _ in batch.step() if one.finished}
    return found


def test_a_short_request_is_held_by_no_long_one_and_takes_the_first_free_slot(engine: AnswerEngine) -> None:
    batch = engine.new_batch()
    for name, n_tokens in (("long", 40), ("short", 2), ("other", 4), ("late", 3), ("later", 1)):
        batch.add(name, ask(engine, max_tokens=n_tokens))
    assert ends(batch) == {"short": 2, "other": 4, "late": 5, "later": 5, "long": 40}


def test_many_choices_hold_up_no_other_request(engine: AnswerEngine) -> None:
    batch = engine.new_batch()
    batch.add("many", ask(engine, max_tokens=5, n=12))
    batch.add("one", ask(engine, max_tokens=5))
    assert ends(batch) == {"one": 5, "many": 25}


def test_what_is_taken_back_frees_its_slots_and_its_place(engine: AnswerEngine) -> None:
    batch = engine.new_batch()
    for name in ("a", "b", "c", "d", "e"):
        batch.add(name, ask(engine, max_tokens=20))
    list(batch.step())
    batch.take_back("a")
    batch.take_back("d")
    assert batch.names() == {"b", "c", "e"}
    assert ends(batch) == {"b": 19, "c": 19, "e": 20}


def test_only_what_has_not_begun_is_overdue(engine: AnswerEngine) -> None:
    batch = engine.new_batch()
    batch.add("begun", ask(engine, max_tokens=2, n=5))
    list(batch.step())
    batch.add("waits", ask(engine))
    assert batch.overdue(60) == []
    assert [one.name for one in batch.overdue(-1)] == ["waits"]
    assert set(ends(batch)) == {"begun"}


def test_answers_are_those_of_the_batched_path_whoever_comes_and_goes(
    engine: AnswerEngine, tokenizer: ChatTokenizer
) -> None:
    questions = [QUESTION, "a", "a a", "How do you spell word ?", " ".join("abcdefghij"), " ".join("aceg" * 12)]
    requests = [ask(engine, text, seed=2**63 - 1 - i, max_tokens=3 + 5 * i) for i, text in enumerate(questions)]
    batch = engine.new_batch()
    answers: dict[str, list[int]] = {}
    for i, request in enumerate(requests):
        batch.add(str(i), request)
        batch.add(f"gone {i}", request)
        answers |= {one.name: answer.ids for one, answer in batch.step() if one.finished}
        batch.take_back(f"gone {i}")
    while batch.busy:
        answers |= {one.name: answer.ids for one, answer in batch.step() if one.finished}
    for i, request in enumerate(requests):
        (alone,) = generate_answers(
            engine.loaded,
            tokenizer,
            [request.prompt_ids],
            max_new_tokens=request.max_tokens,
            sampling=SAMPLING,
            seeds=[request.seed],
        )
        assert answers[str(i)] == alone


def test_slots_widen_for_a_long_prompt_and_keep_what_runs(engine: AnswerEngine) -> None:
    short = ask(engine, seed=4, max_tokens=30)
    (alone,) = (answer.choices[0].message.content for answer in engine.answer([short]))
    batch = engine.new_batch()
    batch.add("short", short)
    list(batch.step())
    columns = batch._decoder.size.columns
    batch.add("long", PreparedRequest(ask(engine, "a " * 40).prompt_ids * 3, 4, 0, 1))
    texts = {}
    while batch.busy:
        texts |= {one.name: engine.tokenizer.decode(answer.ids) for one, answer in batch.step() if one.finished}
    assert batch._decoder.size.columns > columns
    assert texts["short"] == alone


@pytest.fixture
def said(engine: AnswerEngine) -> Iterator[Callable[..., tuple[list[str], str]]]:
    def events(**fields: Any) -> tuple[list[str], str]:
        """The pieces of a stream, step by step, and the whole answer."""
        batch = engine.new_batch()
        batch.add("x", ask(engine, stream=True, **fields))
        pieces, whole = [], ""
        while batch.busy:
            for one, answer in batch.step():
                pieces.append("".join(engine.events(one, answer)))
                if one.finished:
                    whole = engine.completion(one).choices[0].message.content  # type: ignore[union-attr]
        return pieces, whole

    return events


def test_a_stream_says_each_token_in_the_step_that_draws_it(said: Callable[..., tuple[list[str], str]]) -> None:
    pieces, whole = said(max_tokens=7)
    assert len(pieces) == 7
    assert all('"content"' in piece for piece in pieces)
    assert '"role": "assistant"' in pieces[0]
    assert not any("role" in piece for piece in pieces[1:])
    assert whole


def test_half_a_character_is_not_said(
    engine: AnswerEngine, said: Callable[..., tuple[list[str], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {1: "\ufffd", 2: "é", 3: "é\ufffd", 4: "é\ufffd"}
    monkeypatch.setattr(type(engine.tokenizer), "decode", lambda _, ids: texts[len(ids)])
    pieces, _ = said(max_tokens=4)
    contents = [piece.split('"content": "')[1].split('"')[0] if '"content"' in piece else "" for piece in pieces]
    assert contents == ["", "\\u00e9", "", "\\ufffd"]


def test_a_text_completion_is_the_answer_to_the_same_question(engine: AnswerEngine) -> None:
    fields = {"model": engine.card.model, "seed": 3, "max_tokens": 6, "return_token_ids": True}
    text = engine.prepare(CompletionRequest.model_validate({**fields, "prompt": QUESTION}))
    chat = ask(engine, **fields)
    told, asked = engine.answer([text, chat])
    assert told.prompt_token_ids == asked.prompt_token_ids == engine.tokenizer.encode_prompts([QUESTION])[0]
    assert told.choices[0].text == asked.choices[0].message.content  # type: ignore[union-attr]
    assert (told.object, told.id[:5]) == ("text_completion", "cmpl-")


def test_a_model_whose_attention_is_not_plain_is_an_error_at_load(
    engine: AnswerEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from spelling_transfer.serving.deployable import DeployableError

    monkeypatch.setattr(type(engine.loaded.model), "_supports_attention_backend", False)
    with pytest.raises(DeployableError, match=r"cannot be served, as .* has non-standard attention"):
        engine.new_batch()
