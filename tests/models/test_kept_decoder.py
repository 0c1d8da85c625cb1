"""`generate_answers` in slots: its decoder is kept while it fits, made anew when weights move, smaller if need be."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from tests.samples.models import draw_adapter
from transformers import Qwen3Config, Qwen3ForCausalLM

from spelling_transfer.models import generate, kept_decoder
from spelling_transfer.models.decode import Admission, StaticDecoder
from spelling_transfer.models.generate import Sampling, generate_answers
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.tokenizer.chat import ChatTokenizer

from .conftest import EMBEDDED, WORDS

SAMPLING = Sampling(temperature=0.9, top_p=0.95, top_k=20, min_p=0.05)


@pytest.fixture(autouse=True)
def always_in_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "_in_slots", lambda _: True)


@pytest.fixture
def embedded() -> LoadedModel:
    return load_model(EMBEDDED, ModelProfile(name="tiny-qwen3"), device="cpu")


@pytest.fixture(scope="module")
def prompts(tokenizer: ChatTokenizer) -> list[list[int]]:
    return tokenizer.encode_prompts([f"How do you spell {word}?" for word in WORDS] + ["What is letter 2 of cat?"] * 20)


def batched(loaded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]], **settings: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "_in_slots", lambda _: False)
        return generate_answers(loaded, tokenizer, prompts, **settings)


def decoder_of(loaded: LoadedModel) -> StaticDecoder:
    assert loaded.kept_decoder is not None
    assert isinstance(loaded.kept_decoder.decoder, StaticDecoder)
    return loaded.kept_decoder.decoder


def fallbacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "without CUDA graphs" in record.getMessage()]


def test_the_public_function_answers_in_slots(
    embedded: LoadedModel,
    tokenizer: ChatTokenizer,
    prompts: list[list[int]],
    letters: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[int] = []
    drawn = {"sampling": SAMPLING, "seeds": list(range(len(prompts)))}
    for settings in ({}, drawn, {"allowed_ids": letters}, {**drawn, "allowed_ids": letters}):
        answers = generate_answers(embedded, tokenizer, prompts, batch_size=16, progress=done.append, **settings)
        assert answers == batched(embedded, tokenizer, prompts, **settings)
        assert sum(done) == len(prompts)
        assert len(done) > 1
        assert decoder_of(embedded).size.slots == 16
        done.clear()
    assert not fallbacks(caplog)


def test_a_decoder_is_kept_while_it_fits_and_sees_new_weights(
    embedded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]], letters: list[int]
) -> None:
    generate_answers(embedded, tokenizer, prompts, allowed_ids=letters, max_new_tokens=8)
    first = decoder_of(embedded)
    with torch.no_grad():
        for weight in embedded.model.parameters():  # as training does; the head's rows are a copy in the decoder
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())) * 0.02)
    fewer = generate_answers(embedded, tokenizer, prompts[:9], allowed_ids=letters, max_new_tokens=6)
    assert decoder_of(embedded) is first
    assert fewer == batched(embedded, tokenizer, prompts[:9], allowed_ids=letters, max_new_tokens=6)
    generate_answers(embedded, tokenizer, prompts, allowed_ids=letters, max_new_tokens=30)
    assert decoder_of(embedded) is not first


def test_a_shorter_answer_keeps_nothing_of_a_longer_one_before_it(
    embedded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]]
) -> None:
    spelled = prompts[: len(WORDS)]
    longer = generate_answers(embedded, tokenizer, spelled, max_new_tokens=12)
    assert max(map(len, longer)) > 2
    first = decoder_of(embedded)
    answers = generate_answers(embedded, tokenizer, spelled, max_new_tokens=2)
    assert decoder_of(embedded) is first
    assert answers == [answer[:2] for answer in longer]


def test_what_a_recorded_step_would_not_see_makes_a_new_decoder(
    embedded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]]
) -> None:
    attach_lora(embedded, LoraSettings(r=4, alpha=8), ("q_proj", "v_proj"))
    torch.manual_seed(0)
    draw_adapter(embedded.model, std=0.3)
    seen = []

    def answers() -> Any:
        found = generate_answers(embedded, tokenizer, prompts, max_new_tokens=8)
        assert found == batched(embedded, tokenizer, prompts, max_new_tokens=8)
        assert decoder_of(embedded) not in seen
        seen.append(decoder_of(embedded))
        return found

    adapted = answers()
    with embedded.model.disable_adapter():
        assert answers() != adapted
    assert answers() == adapted
    weight = embedded.backbone.layers[0].mlp.up_proj.weight
    weight.data = weight.data.clone() * 2
    assert answers() != adapted
    embedded.model.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"] *= 3
    answers()


def test_a_decoder_does_not_keep_its_model_alive(
    embedded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]]
) -> None:
    loaded = load_model(EMBEDDED, ModelProfile(name="tiny-qwen3"), device="cpu")
    gc.collect()
    gc.disable()
    try:
        generate_answers(loaded, tokenizer, prompts)
        decoder, model = weakref.ref(decoder_of(loaded)), weakref.ref(loaded)
        loaded.free_decoder()
        assert decoder() is None
        generate_answers(loaded, tokenizer, prompts)
        decoder = weakref.ref(decoder_of(loaded))
        del loaded
        assert model() is None
        assert decoder() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(("free", "slots"), [(10**12, 64), (2_000_000_000, 64), (20_000_000, 16)])
def test_less_memory_means_fewer_slots(
    embedded: LoadedModel,
    tokenizer: ChatTokenizer,
    prompts: list[list[int]],
    free: int,
    slots: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(kept_decoder, "_free_bytes", lambda _: free)
    with caplog.at_level(logging.WARNING):
        answers = generate_answers(embedded, tokenizer, prompts, max_new_tokens=8)
        assert decoder_of(embedded).size.slots == slots
        generate_answers(embedded, tokenizer, prompts, max_new_tokens=8)
    assert answers == batched(embedded, tokenizer, prompts, max_new_tokens=8)
    said = [record.getMessage() for record in caplog.records if "side by side" in record.getMessage()]
    assert len(said) == (slots == 16)
    assert all("16 answers run side by side instead of 64" in line for line in said)


def test_too_little_memory_for_any_slot_is_said_once_and_answered_as_before(
    embedded: LoadedModel,
    tokenizer: ChatTokenizer,
    prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(kept_decoder, "_free_bytes", lambda _: 1_000_000)
    answers = generate_answers(embedded, tokenizer, prompts, max_new_tokens=8)
    assert answers == batched(embedded, tokenizer, prompts, max_new_tokens=8)
    (line,) = fallbacks(caplog)
    assert "16 answers side by side need" in line
    assert "0.0 GB are free" in line
    monkeypatch.setattr(kept_decoder, "_free_bytes", lambda _: 10**12)  # what took the memory is done
    assert generate_answers(embedded, tokenizer, prompts, max_new_tokens=8) == answers
    assert decoder_of(embedded).size.slots == 64


def test_a_decoder_for_the_endpoint_holds_a_template_with_a_long_beginning(
    embedded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]]
) -> None:
    begin, rows = (embedded.vocabulary.to_rows(ids) for ids in (prompts[0][:-9] * 16, prompts[1]))
    assert len(begin) > 128
    head = generate.answer_head(embedded, tokenizer, None)[0]
    found = []
    for n_shared in (len(begin), 0):
        decoder = kept_decoder.new_decoder(
            embedded, head, generate._best, slots=2, new_tokens=8, end_row=-1, prefix=begin[:n_shared]
        )
        with torch.inference_mode():
            decoder.admit([Admission(0, np.concatenate([begin, rows]), None, 8)])
            found.append([decoder.step()[0][0] for _ in range(4)])
    assert found[0] == found[1]


def test_out_of_memory_on_the_way_goes_on_with_fewer_slots(
    embedded: LoadedModel,
    tokenizer: ChatTokenizer,
    prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    steps: list[int] = []
    step = StaticDecoder._step

    def tight(self: StaticDecoder, *shape: Any) -> None:
        steps.append(self.size.slots)
        if self.size.slots > 16 and len(steps) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        step(self, *shape)

    monkeypatch.setattr(StaticDecoder, "_step", tight)
    done: list[int] = []
    answers = generate_answers(embedded, tokenizer, prompts, max_new_tokens=8, progress=done.append)
    assert answers == batched(embedded, tokenizer, prompts, max_new_tokens=8)
    assert sum(done) == len(prompts)
    assert {*steps[:6]} == {64}
    assert {*steps[6:]} == {16}
    assert "does not hold 64 answers side by side; 16 run" in caplog.text
    assert generate_answers(embedded, tokenizer, prompts, max_new_tokens=8) == answers
    assert {*steps[6:]} == {16}  # as many as before, at the first try
    monkeypatch.setattr(StaticDecoder, "_step", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    assert generate_answers(embedded, tokenizer, prompts, max_new_tokens=8) == answers
    assert "16 answers side by side do not fit" in fallbacks(caplog)[0]


def test_slots_that_were_fewer_from_the_start_are_not_tried_twice(
    embedded: LoadedModel,
    tokenizer: ChatTokenizer,
    prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = generate_answers(embedded, tokenizer, prompts, max_new_tokens=8)
    embedded.free_decoder()
    tried: list[int] = []

    def no_memory(self: StaticDecoder, *_: Any) -> None:
        tried.append(self.size.slots)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(kept_decoder, "_free_bytes", lambda _: 20_000_000)
    monkeypatch.setattr(StaticDecoder, "_step", no_memory)
    assert generate_answers(embedded, tokenizer, prompts, max_new_tokens=8) == expected
    assert tried == [16]
    assert "16 answers side by side do not fit" in fallbacks(caplog)[0]


def test_a_call_in_mixed_precision_uses_no_decoder_of_another_and_forbids_none(
    embedded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    how: dict[str, Any] = {"max_new_tokens": 8, "sampling": SAMPLING, "seeds": list(range(len(prompts)))}
    expected = generate_answers(embedded, tokenizer, prompts, **how)
    with torch.autocast("cpu", torch.bfloat16):
        generate_answers(embedded, tokenizer, prompts, **how)
    assert "mixed precision" in fallbacks(caplog)[0]
    assert generate_answers(embedded, tokenizer, prompts, **how) == expected
    decoder_of(embedded)


def small(**changes: Any) -> LoadedModel:
    from spelling_transfer.models.vocabulary import Vocabulary

    shape: dict[str, Any] = {
        "vocab_size": 151_936,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "intermediate_size": 16,
    }
    torch.manual_seed(0)
    return LoadedModel(Qwen3ForCausalLM(Qwen3Config(**shape | changes)), Vocabulary(None, 151_936))


SLIDING = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}
DYNAMIC = {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [(SLIDING, "DynamicSlidingWindowLayer"), (DYNAMIC, "position encoding (dynamic)"), ({}, "recorded")],
    ids=["sliding window", "dynamic RoPE", "capture fails"],
)
def test_what_cannot_be_in_slots_is_answered_as_before(
    changes: dict[str, Any],
    reason: str,
    tokenizer: ChatTokenizer,
    prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from spelling_transfer.models.capture import CaptureError

    loaded = small(**changes)
    if not changes:

        def fails(_: StaticDecoder, *shape: Any) -> None:
            raise CaptureError("a step cannot be recorded as a CUDA graph (CUDA driver version is insufficient)")

        monkeypatch.setattr(StaticDecoder, "_step", fails)
    expected = batched(loaded, tokenizer, prompts, max_new_tokens=6)
    for _ in range(2):
        caplog.clear()
        assert generate_answers(loaded, tokenizer, prompts, max_new_tokens=6) == expected
        (line,) = fallbacks(caplog)
        assert reason in line
    assert loaded.model.config._attn_implementation != "spelling_transfer_slots"


def test_an_attention_of_other_kind_is_refused_not_approximated(
    tokenizer: ChatTokenizer, prompts: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    loaded = small()
    loaded.model.eval()
    for layer in loaded.model.model.layers:
        layer.self_attn.sliding_window = 4  # as Mistral hands it over
    expected = batched(loaded, tokenizer, prompts, max_new_tokens=6)
    assert generate_answers(loaded, tokenizer, prompts, max_new_tokens=6) == expected
    assert "wants sliding_window of its attention" in fallbacks(caplog)[0]
