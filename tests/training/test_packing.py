from __future__ import annotations

import copy
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.loss import answer_only_loss
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import Batch, EncodedExamples, pack
from spelling_transfer.training.packing import PackingError, check_packing
from spelling_transfer.training.run import train


@pytest.fixture
def examples(loaded: LoadedModel, tokenizer: ChatTokenizer, encoded: pd.DataFrame) -> EncodedExamples:
    return EncodedExamples(encoded, loaded.vocabulary, tokenizer.end_id)


def value_and_gradient(model: Any, batch: Batch) -> tuple[float, list[torch.Tensor]]:
    model.zero_grad()
    loss = answer_only_loss(model, batch.input_ids, batch.attention_mask, batch.labels, position_ids=batch.position_ids)
    loss.backward()
    return float(loss.detach()), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("row_tokens", [40, 100, None])
def test_packed_loss_and_gradient_equal_the_unpacked_ones(
    loaded: LoadedModel, examples: EncodedExamples, attention: str, row_tokens: int | None
) -> None:
    loaded.model.set_attn_implementation(attention)
    indices = [3, 0, 9, 4, 1, 7]
    packed = examples.packed_batch(indices, row_tokens)
    assert packed.input_ids.shape[0] < len(indices)
    plain_value, plain_gradient = value_and_gradient(loaded.model, examples.batch(indices))
    value, gradient = value_and_gradient(loaded.model, packed)
    assert value == pytest.approx(plain_value, rel=1e-5)
    for ours, theirs in zip(gradient, plain_gradient, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_examples_that_see_each_other_have_another_loss(loaded: LoadedModel, examples: EncodedExamples) -> None:
    batch = examples.packed_batch(list(range(8)), None)
    apart, _ = value_and_gradient(loaded.model, batch)
    together = answer_only_loss(loaded.model, batch.input_ids, None, batch.labels)
    assert abs(float(together.detach()) - apart) > 1e-3 * apart  # else the test above could not fail


def test_a_packed_run_takes_the_steps_of_a_padded_one(loaded: LoadedModel, examples: EncodedExamples) -> None:
    losses = []
    for batching in ("padded", "packed"):
        start = LoadedModel(copy.deepcopy(loaded.model), loaded.vocabulary)
        settings = TrainingSettings(
            batching=batching,
            packed_tokens=90,
            batch_size=4,
            grad_accum_steps=2,
            max_steps=6,
            warmup_steps=1,
            threads=1,
        )
        losses.append(train(start, examples, settings).losses)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_of_transformers_is_accepted(loaded: LoadedModel, attention: str) -> None:
    loaded.model.set_attn_implementation(attention)
    check_packing(loaded.model)


def test_attention_without_a_mask_is_refused_with_the_reason(loaded: LoadedModel, examples: EncodedExamples) -> None:
    # An implementation registered without a mask of its own gets none, as kernels from elsewhere do.
    AttentionInterface.register("maskless", sdpa_attention_forward)
    loaded.model.set_attn_implementation("maskless")
    with pytest.raises(PackingError, match=r"training.batching.*'maskless' does not keep packed examples apart"):
        train(loaded, examples, TrainingSettings(batching="packed", max_steps=1))


def test_a_model_without_restarted_positions_is_refused(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rotary = loaded.model.model.rotary_emb
    forward = rotary.forward
    monkeypatch.setattr(
        rotary, "forward", lambda x, position_ids: forward(x, torch.arange(position_ids.shape[1])[None])
    )
    check_packing(loaded.model)  # rotary positions are relative, so a shift of all of them changes nothing
    monkeypatch.setattr(
        rotary, "forward", lambda x, position_ids: forward(x, torch.arange(position_ids.shape[1])[None] ** 2)
    )
    with pytest.raises(PackingError, match="place in the row"):
        check_packing(loaded.model)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 80))
def test_each_example_has_one_place_and_no_shared_row_is_too_long(lengths: list[int], capacity: int) -> None:
    rows = pack(lengths, capacity)
    assert sorted(item for row in rows for item in row) == list(range(len(lengths)))
    assert all(len(row) == 1 or sum(lengths[i] for i in row) <= capacity for row in rows)
    # No two rows that would fit into one: what first fit promises.
    totals = sorted(sum(lengths[i] for i in row) for row in rows)
    assert len(totals) < 2 or totals[0] + totals[1] > capacity
