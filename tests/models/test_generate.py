from __future__ import annotations

import pytest
import torch

from spelling_transfer.models.generate import Sampling, generate_answers
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.vocabulary import UnknownTokenError
from spelling_transfer.tokenizer.chat import ChatTokenizer

POLICY = Sampling(temperature=0.6, top_p=0.95, top_k=20, min_p=0.0)


@pytest.fixture
def prompts(tokenizer: ChatTokenizer) -> list[list[int]]:
    return tokenizer.encode_prompts(["Spell a bad cab now.", "Spell cab.", "a b", "Spell a bad cab."])


def test_greedy_equals_transformers_generate(
    loaded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]]
) -> None:
    ours = generate_answers(loaded, tokenizer, prompts, max_new_tokens=6)
    think = loaded.vocabulary.to_rows(tokenizer.think_ids).tolist()
    for prompt, answer in zip(prompts, ours, strict=True):
        ids = torch.from_numpy(loaded.vocabulary.to_rows(prompt))[None]
        theirs = loaded.model.generate(  # type: ignore[operator]
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=6, suppress_tokens=think
        )
        rows = theirs[0, ids.shape[1] :].tolist()
        end = int(loaded.vocabulary.to_rows([tokenizer.end_id])[0])
        rows = rows[: rows.index(end)] if end in rows else rows
        assert loaded.vocabulary.to_ids(rows).tolist() == answer


def test_an_answer_does_not_depend_on_its_batch(
    loaded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]]
) -> None:
    for settings in ({}, {"sampling": POLICY, "seeds": [1, 2, 3, 4]}):
        together = generate_answers(loaded, tokenizer, prompts, max_new_tokens=8, **settings)  # type: ignore[arg-type]
        alone = generate_answers(loaded, tokenizer, prompts, max_new_tokens=8, batch_size=1, **settings)  # type: ignore[arg-type]
        assert together == alone


def test_sampling_follows_its_seed(loaded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]]) -> None:
    def drawn(seeds: list[int]) -> list[list[int]]:
        return generate_answers(loaded, tokenizer, prompts, max_new_tokens=8, sampling=POLICY, seeds=seeds)

    assert drawn([1, 2, 3, 4]) == drawn([1, 2, 3, 4])
    assert drawn([1, 2, 3, 4]) != drawn([5, 6, 7, 8])
    with pytest.raises(ValueError, match="one seed a prompt"):
        drawn([1])


def test_no_think_token_and_nothing_outside_the_subset(
    loaded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]]
) -> None:
    letters = [row[0] for row in tokenizer.encode_texts(["a", " b", " c"])]
    # An end that is never chosen, and think tags that the model would always choose.
    rows = loaded.vocabulary.to_rows([*tokenizer.think_ids])
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[rows] *= 50  # type: ignore[index]
    for sampling in (None, POLICY):
        seeds = None if sampling is None else [1, 2, 3, 4]
        free = generate_answers(loaded, tokenizer, prompts, max_new_tokens=8, sampling=sampling, seeds=seeds)
        assert not {token for answer in free for token in answer} & set(tokenizer.think_ids)
        held = generate_answers(
            loaded, tokenizer, prompts, max_new_tokens=8, sampling=sampling, seeds=seeds, allowed_ids=letters
        )
        assert {token for answer in held for token in answer} <= set(letters)


def test_a_word_outside_the_trimmed_vocabulary_is_refused(loaded: LoadedModel, tokenizer: ChatTokenizer) -> None:
    with pytest.raises(UnknownTokenError, match="trimmed vocabulary"):
        generate_answers(loaded, tokenizer, tokenizer.encode_prompts(["Spell xylophone."]))
