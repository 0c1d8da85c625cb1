"""Answers: masked, seeded, and the same however much work is saved; real checkpoint, real questions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kedro_non_thinking import ThinkTokenMask
from spelling_transfer.models import generate
from spelling_transfer.models.generate import (
    AnswerHead,
    ContextLengthError,
    Sampling,
    SharedPrefix,
    common_length,
    generate_answers,
)
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.vocabulary import UnknownTokenError
from spelling_transfer.tokenizer.chat import ChatTokenizer

from .conftest import EMBEDDED, WORDS

POLICY = Sampling(temperature=0.6, top_p=0.95, top_k=20, min_p=0.0)


@pytest.fixture
def some_prompts(tokenizer: ChatTokenizer) -> list[list[int]]:
    return tokenizer.encode_prompts(["Spell a bad cab now.", "Spell cab.", "a b", "Spell a bad cab."])


def test_greedy_equals_transformers_generate(
    loaded: LoadedModel, tokenizer: ChatTokenizer, some_prompts: list[list[int]]
) -> None:
    ours = generate_answers(loaded, tokenizer, some_prompts, max_new_tokens=6)
    think = loaded.vocabulary.to_rows(tokenizer.think_ids).tolist()
    for prompt, answer in zip(some_prompts, ours, strict=True):
        ids = torch.from_numpy(loaded.vocabulary.to_rows(prompt))[None]
        theirs = loaded.model.generate(  # type: ignore[operator]
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=6, suppress_tokens=think
        )
        rows = theirs[0, ids.shape[1] :].tolist()
        end = int(loaded.vocabulary.to_rows([tokenizer.end_id])[0])
        rows = rows[: rows.index(end)] if end in rows else rows
        assert loaded.vocabulary.to_ids(rows).tolist() == answer


def test_a_prompt_beyond_the_context_is_named(
    loaded: LoadedModel, tokenizer: ChatTokenizer, some_prompts: list[list[int]]
) -> None:
    context = loaded.model.config.max_position_embeddings
    long = some_prompts[0][:-8] + some_prompts[0][-8:-7] * (context - 30) + some_prompts[0][-8:]
    with pytest.raises(ContextLengthError, match=rf"number 3 of 4, has {len(long)} tokens.*24.*context of {context}"):
        generate_answers(loaded, tokenizer, [*some_prompts[:2], long, some_prompts[2]])


def test_each_token_of_an_answer_stands_one_place_further(
    loaded: LoadedModel, tokenizer: ChatTokenizer, some_prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "_ENDED_SHARE", 2.0)  # no row is left out
    seen: list[list[int]] = []
    hook = loaded.backbone.register_forward_pre_hook(
        lambda _, args, given: seen.append(given["position_ids"][:, -1].tolist()) if "position_ids" in given else None,
        with_kwargs=True,
    )
    try:
        generate_answers(loaded, tokenizer, some_prompts, max_new_tokens=6)
    finally:
        hook.remove()
    by_length = sorted(map(len, some_prompts))
    assert len(seen) > 2
    assert seen == [[length - 1 + step for length in by_length] for step in range(len(seen))]


def test_an_answer_does_not_depend_on_its_batch(
    loaded: LoadedModel, tokenizer: ChatTokenizer, some_prompts: list[list[int]]
) -> None:
    for settings in ({}, {"sampling": POLICY, "seeds": [1, 2, 3, 4]}):
        together = generate_answers(loaded, tokenizer, some_prompts, max_new_tokens=8, **settings)  # type: ignore[arg-type]
        alone = generate_answers(loaded, tokenizer, some_prompts, max_new_tokens=8, batch_size=1, **settings)  # type: ignore[arg-type]
        assert together == alone


def test_sampling_follows_its_seed(
    loaded: LoadedModel, tokenizer: ChatTokenizer, some_prompts: list[list[int]]
) -> None:
    def drawn(seeds: list[int]) -> list[list[int]]:
        return generate_answers(loaded, tokenizer, some_prompts, max_new_tokens=8, sampling=POLICY, seeds=seeds)

    assert drawn([1, 2, 3, 4]) == drawn([1, 2, 3, 4])
    assert drawn([1, 2, 3, 4]) != drawn([5, 6, 7, 8])
    with pytest.raises(ValueError, match="one seed a prompt"):
        drawn([1])


def test_no_think_token_and_nothing_outside_the_subset(
    loaded: LoadedModel, tokenizer: ChatTokenizer, some_prompts: list[list[int]]
) -> None:
    letters = [row[0] for row in tokenizer.encode_texts(["a", " b", " c"])]
    # An end that is never chosen, and think tags that the model would always choose.
    rows = loaded.vocabulary.to_rows([*tokenizer.think_ids])
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[rows] *= 50  # type: ignore[index]
    for sampling in (None, POLICY):
        seeds = None if sampling is None else [1, 2, 3, 4]
        free = generate_answers(loaded, tokenizer, some_prompts, max_new_tokens=8, sampling=sampling, seeds=seeds)
        assert not {token for answer in free for token in answer} & set(tokenizer.think_ids)
        held = generate_answers(
            loaded, tokenizer, some_prompts, max_new_tokens=8, sampling=sampling, seeds=seeds, allowed_ids=letters
        )
        assert {token for answer in held for token in answer} <= set(letters)


def test_a_word_outside_the_trimmed_vocabulary_is_refused(loaded: LoadedModel, tokenizer: ChatTokenizer) -> None:
    with pytest.raises(UnknownTokenError, match="trimmed vocabulary"):
        generate_answers(loaded, tokenizer, tokenizer.encode_prompts(["Spell xylophone."]))


QUESTIONS = [
    *(f"How do you spell {word}?" for word in WORDS),
    *(f"How many letters e are in {word}?" for word in WORDS),
    *(f"What is letter 2 of {word}?" for word in WORDS),
]
SAMPLED: dict[str, Any] = {
    "sampling": Sampling(temperature=0.6, top_p=0.95, top_k=20, min_p=0.05),
    "seeds": list(range(len(QUESTIONS))),
}


@pytest.fixture(scope="module")
def prompts(tokenizer: ChatTokenizer) -> list[list[int]]:
    return tokenizer.encode_prompts(QUESTIONS)


class TokenCounter:
    """Counts the tokens that a model's first layer sees."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.tokens = 0
        self.handle = loaded.model.get_input_embeddings().register_forward_hook(self._count)

    def _count(self, _: object, inputs: tuple[torch.Tensor], __: object) -> None:
        self.tokens += inputs[0].numel()


@pytest.mark.parametrize("settings", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_a_shared_prefix_changes_no_answer(
    embedded: LoadedModel,
    tokenizer: ChatTokenizer,
    prompts: list[list[int]],
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counter = TokenCounter(embedded)
    shared = generate_answers(embedded, tokenizer, prompts, batch_size=8, **settings)
    with_prefix, counter.tokens = counter.tokens, 0
    monkeypatch.setattr(SharedPrefix, "of", lambda *_: SharedPrefix())
    unshared = generate_answers(embedded, tokenizer, prompts, batch_size=8, **settings)
    counter.handle.remove()
    assert shared == unshared
    assert len({tuple(answer) for answer in shared}) > len(WORDS)  # real answers, not one for all
    length = len(tokenizer.prefix_ids)  # the questions begin with different words
    assert counter.tokens - with_prefix == length * len(prompts) - length


@pytest.mark.parametrize("settings", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_answers_of_all_lengths_equal_those_asked_for_alone(
    embedded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]], settings: dict[str, Any]
) -> None:
    together = generate_answers(embedded, tokenizer, prompts, **settings)
    assert len({len(answer) for answer in together}) > 3
    for i, prompt in enumerate(prompts):
        own = {**settings, "seeds": [settings["seeds"][i]]} if settings else {}
        assert generate_answers(embedded, tokenizer, [prompt], **own) == [together[i]]


def test_rows_that_have_ended_are_not_computed_any_more(embedded: LoadedModel, tokenizer: ChatTokenizer) -> None:
    prompts = tokenizer.encode_prompts(QUESTIONS)
    counter = TokenCounter(embedded)
    answers = generate_answers(embedded, tokenizer, prompts, max_new_tokens=24)
    counter.handle.remove()
    prefix = len(tokenizer.prefix_ids)
    longest = max(len(prompt) for prompt in prompts) - prefix
    steps = max(len(answer) for answer in answers)
    assert counter.tokens < prefix + len(prompts) * (longest + steps) * 0.95


def test_the_restricted_head_answers_as_the_masked_one(
    embedded: LoadedModel,
    tokenizer: ChatTokenizer,
    prompts: list[list[int]],
    letters: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for settings in ({}, SAMPLED):
        restricted = generate_answers(embedded, tokenizer, prompts, allowed_ids=letters, **settings)
        with monkeypatch.context() as patch:
            # What a head that is more than a matrix gets: all rows, then the mask.
            patch.setattr(AnswerHead, "of", lambda loaded, mask, _: AnswerHead(loaded.model, None, None, mask))
            masked = generate_answers(embedded, tokenizer, prompts, allowed_ids=letters, **settings)
        assert restricted == masked
        assert {token for answer in restricted for token in answer} <= set(letters)


@pytest.mark.parametrize("restricted", [False, True])
def test_the_most_likely_is_found_block_by_block(
    loaded: LoadedModel, restricted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "_BLOCK_ROWS", 7)
    n_rows, hidden = loaded.model.get_output_embeddings().weight.shape
    states = torch.randn(50, hidden, generator=torch.Generator().manual_seed(0))
    free = AnswerHead.of(loaded, ThinkTokenMask([]), None).most_likely(states)
    forbidden = free[:5].tolist()  # what would be chosen, were it not masked
    rows = [row for row in range(0, n_rows, 2) if row not in forbidden] if restricted else None
    head = AnswerHead.of(loaded, ThinkTokenMask(forbidden), rows)
    chosen = head.most_likely(states)
    assert torch.equal(chosen, head.logits(states).argmax(-1))
    assert not set(head.to_rows(chosen).tolist()) & set(forbidden)


def test_the_kept_rows_of_the_head_follow_its_weights(loaded: LoadedModel) -> None:
    before = loaded.head_rows([1, 3])
    assert loaded.head_rows([1, 3]) is before
    with torch.no_grad():
        loaded.model.get_output_embeddings().weight.add_(1.0)
    torch.testing.assert_close(loaded.head_rows([1, 3]), before + 1.0)
    torch.testing.assert_close(loaded.head_rows([0]), loaded.model.get_output_embeddings().weight[[0]].detach())


def test_an_older_transformers_is_handed_the_cache_under_its_older_name(
    tokenizer: ChatTokenizer, prompts: list[list[int]], embedded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = load_model(EMBEDDED, ModelProfile(name="tiny-qwen3"), device="cpu")
    forward, name = type(older.backbone).forward, older.cache_name

    def forward_before_5_24(model: Any, past_key_values: Any = None, **inputs: Any) -> SimpleNamespace:
        out = forward(model, **{name: past_key_values}, **inputs)
        return Output(last_hidden_state=out.last_hidden_state, past_key_values=out[name])

    class Output(SimpleNamespace):
        def __getitem__(self, key: str) -> Any:
            return getattr(self, key)

    monkeypatch.setattr(
        older.backbone, "__class__", type("Older", (type(older.backbone),), {"forward": forward_before_5_24})
    )
    del older.cache_name
    assert older.cache_name == "past_key_values"
    assert generate_answers(older, tokenizer, prompts) == generate_answers(embedded, tokenizer, prompts)


def test_while_layers_are_compiled_for_a_training_answers_are_computed_by_their_own_code(
    tokenizer: ChatTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_model(EMBEDDED, ModelProfile(name="tiny-qwen3"), device="cpu")
    asked = tokenizer.encode_prompts([f"How do you spell {word}?" for word in WORDS[:4]])
    expected = generate_answers(loaded, tokenizer, asked, max_new_tokens=6)
    for layer in loaded.backbone.layers:
        layer.compile(backend=lambda *_: pytest.fail("a layer was compiled"))
    for in_slots in (False, True):
        monkeypatch.setattr(generate, "_in_slots", lambda _, chosen=in_slots: chosen)
        assert generate_answers(loaded, tokenizer, asked, max_new_tokens=6) == expected


def test_no_prompts_have_no_answers(embedded: LoadedModel, tokenizer: ChatTokenizer) -> None:
    assert generate_answers(embedded, tokenizer, []) == []


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=8))
def test_the_common_beginning_leaves_a_token_of_each_prompt(prompts: list[list[int]]) -> None:
    shortest = min(len(prompt) for prompt in prompts)
    shared = [n for n in range(shortest) if len({tuple(prompt[:n]) for prompt in prompts}) == 1]
    assert common_length(prompts) == max(shared)


def test_tokens_are_drawn_as_transformers_warps_them(loaded: LoadedModel, tokenizer: ChatTokenizer) -> None:
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    (prompt,) = tokenizer.encode_prompts(["Spell cab."])
    sampling = Sampling(temperature=1.5, top_p=0.9, top_k=8, min_p=0.02)
    n_draws = 4000
    drawn = generate_answers(
        loaded, tokenizer, [prompt] * n_draws, max_new_tokens=1, sampling=sampling, seeds=range(n_draws)
    )
    rows = loaded.vocabulary.to_rows([(answer or [tokenizer.end_id])[0] for answer in drawn])
    seen = torch.bincount(torch.from_numpy(rows), minlength=loaded.vocabulary.n_rows) / n_draws
    ids = torch.from_numpy(loaded.vocabulary.to_rows(prompt))[None]
    with torch.no_grad():
        logits = loaded.model(input_ids=ids).logits[:, -1].float()
    logits[:, loaded.vocabulary.known_rows(tokenizer.think_ids)] = -torch.inf
    warpers = LogitsProcessorList(
        [TemperatureLogitsWarper(1.5), TopKLogitsWarper(8), TopPLogitsWarper(0.9), MinPLogitsWarper(0.02)]
    )
    expected = warpers(ids, logits).softmax(-1)[0]
    assert (expected > 0).sum() > 1
    # Four standard deviations of a share among so many draws.
    assert (seen - expected).abs().max() < 4 * 0.5 / n_draws**0.5
    assert not seen[expected == 0].any()
