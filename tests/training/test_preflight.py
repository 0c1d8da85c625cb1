from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.loss import loss_at
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import Batch, EncodedExamples, TrainingDataError, pack
from spelling_transfer.training.errors import DeviceError
from spelling_transfer.training.preflight import PackingError, check_packing, check_weights, lightning_precision
from spelling_transfer.training.run import train

from .conftest import make_settings


def value_and_gradient(model: Any, batch: Batch) -> tuple[float, list[torch.Tensor]]:
    model.zero_grad()
    loss = loss_at(model, batch.input_ids, batch.places, batch.targets, position_ids=batch.position_ids)
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
    with torch.no_grad():
        for layer in loaded.model.model.layers:  # random weights this small hardly attend to anything
            layer.self_attn.v_proj.weight *= 10
            layer.self_attn.o_proj.weight *= 10
    apart, _ = value_and_gradient(loaded.model, batch)
    together = loss_at(loaded.model, batch.input_ids, batch.places, batch.targets)
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


@pytest.mark.parametrize(
    ("asked", "device", "native", "expected"),
    [
        ("auto", "cpu", False, "32-true"),
        ("auto", "mps", False, "32-true"),
        ("auto", "cuda", True, "bf16-mixed"),
        ("auto", "cuda", False, "16-mixed"),  # a T4
        ("fp16", "cuda", True, "16-mixed"),
        ("bf16", "cpu", False, "bf16-mixed"),
        ("fp32", "cuda", True, "32-true"),
    ],
)
def test_precision_follows_the_device(
    monkeypatch: pytest.MonkeyPatch, asked: Any, device: str, native: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert lightning_precision(asked, device) == expected


def test_bf16_is_refused_where_it_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    with pytest.raises(DeviceError, match=r"training.precision: bf16 is not native to Tesla T4.*fp16"):
        lightning_precision("bf16", "cuda")


def test_float16_weights_are_not_trained(loaded: LoadedModel) -> None:
    with pytest.raises(DeviceError, match="float16"):
        check_weights(loaded.model.half())
    loaded.model.requires_grad_(False)
    check_weights(loaded.model)


def test_labels_beyond_the_subset_are_refused_before_the_first_step(
    loaded: LoadedModel, examples: EncodedExamples
) -> None:
    rows = examples.batch(range(len(examples))).targets.unique()
    lost = examples.rows[examples.label_start[0]]  # of the first example
    before = copy.deepcopy(loaded.model.state_dict())
    with pytest.raises(
        TrainingDataError, match=r"use_english_only_tokens.*outside the token subset.*spelling-0 \(cab\)"
    ):
        train(loaded, examples, make_settings(), subset_rows=rows[rows != lost])
    for name, tensor in loaded.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_an_example_longer_than_the_context_is_refused(loaded: LoadedModel, examples: EncodedExamples) -> None:
    loaded.model.config.max_position_embeddings = int(examples.lengths.max()) - 1
    longest = examples.names([int(np.argmax(examples.lengths))])
    with pytest.raises(TrainingDataError, match="longer than the model's context") as caught:
        train(loaded, examples, make_settings())
    assert longest in str(caught.value)
