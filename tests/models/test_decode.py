"""Answers in slots equal those of the batched path, for prompts of all lengths; what is recorded looks at no data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.samples.models import draw_adapter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from spelling_transfer.models import decode, generate
from spelling_transfer.models.capture import CaptureError, GraphPool
from spelling_transfer.models.decode import Admission, DecoderSize, StaticDecoder, rounded
from spelling_transfer.models.generate import Sampling, drawer, generate_answers, random_numbers
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.slots import layer_shapes
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.tokenizer.chat import ChatTokenizer

from .conftest import EMBEDDED, WORDS

QUESTIONS = [
    *(f"How do you spell {word}?" for word in WORDS),
    *(f"How many letters e are in {word}?" for word in WORDS),
    *(f"What is letter 2 of {word}?" for word in WORDS),
    *("How do you spell" + f" {word}" * (i + 2) + "?" for i, word in enumerate(WORDS)),
]
SAMPLED: dict[str, Any] = {
    "sampling": Sampling(temperature=0.9, top_p=0.95, top_k=20, min_p=0.05),
    "seeds": list(range(len(QUESTIONS))),
}
HOW = pytest.mark.parametrize("settings", [{}, SAMPLED], ids=["greedy", "sampled"])


@pytest.fixture(autouse=True)
def recorded_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_READS_BEFORE", 2)


@pytest.fixture
def adapted() -> LoadedModel:
    loaded = load_model(EMBEDDED, ModelProfile(name="tiny-qwen3"), device="cpu")
    torch.manual_seed(0)
    attach_lora(loaded, LoraSettings(r=4, alpha=8), ("q_proj", "v_proj"))
    draw_adapter(loaded.model, std=0.05)
    return loaded


@pytest.fixture(scope="module")
def prompts(tokenizer: ChatTokenizer) -> list[list[int]]:
    return tokenizer.encode_prompts(QUESTIONS)


class Recording(GraphPool):
    """Stands in for a CUDA graph on the CPU: each operation on tensors is noted, and a replay does the same ones again.

    What Python computes beside the tensors is not done again, and a look at what a tensor holds cannot be recorded.
    """

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"), enabled=True)
        self.recorded = 0
        self.replayed = 0

    def warm_up(self, function: Callable[[], None]) -> None:
        function()

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        kept = _state_of(function)
        with _Recorder() as recorder:
            function()
        for tensor, before in kept:  # a graph is recorded without being run
            tensor.copy_(before)
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            for operation, args, kwargs, outputs in recorder.operations:
                results = tree_leaves(operation(*args, **kwargs))
                for kept_output, result in zip(outputs, results, strict=True):
                    if isinstance(result, torch.Tensor) and kept_output is not None:
                        kept_output.copy_(result)

        return replay


class _Recorder(TorchDispatchMode):
    LOOKS = ("_local_scalar_dense", "nonzero", "masked_select", "item", "_unique2", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[torch.Tensor | None]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        indices = [leaf for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor) and leaf.dtype == torch.bool]
        # One truth value comes from transformers' top-p, which sets a slice to it: a fill, with no copy to a device.
        made = name == "lift_fresh" and not (args[0].dim() == 0 and args[0].dtype == torch.bool)
        if made or name in self.LOOKS or (name.startswith("index") and indices):
            raise CaptureError(f"{name} looks at what a tensor holds, or takes what Python holds")
        out = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        outputs = [
            leaf if isinstance(leaf, torch.Tensor) and leaf.untyped_storage().data_ptr() not in given else None
            for leaf in tree_leaves(out)
        ]
        self.operations.append((func, args, kwargs or {}, outputs))
        return out


def _state_of(function: Callable[[], None]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    (decoder,) = [c.cell_contents for c in function.__closure__ or () if isinstance(c.cell_contents, StaticDecoder)]
    tensors = [t for t in vars(decoder).values() if isinstance(t, torch.Tensor)]
    tensors += [*decoder._cache._keys, *decoder._cache._values]
    return [(tensor, tensor.clone()) for tensor in tensors]


def in_slots(
    loaded: LoadedModel,
    tokenizer: ChatTokenizer,
    prompts: list[list[int]],
    *,
    max_new_tokens: int = 24,
    sampling: Sampling | None = None,
    seeds: list[int] | None = None,
    allowed_ids: list[int] | None = None,
    slots: int = 16,
    pool: GraphPool | None = None,
    n_shared: int = 0,
) -> list[list[int]]:
    """The answers of a decoder of its own."""
    loaded.model.eval()
    rows = [loaded.vocabulary.to_rows(prompt) for prompt in prompts]
    size = DecoderSize(slots, rounded(max(map(len, rows)) + max_new_tokens), max_new_tokens)
    answers: dict[int, list[int]] = {}
    with torch.inference_mode():
        decoder = StaticDecoder(
            loaded,
            generate.answer_head(loaded, tokenizer, allowed_ids)[0],
            generate._best if sampling is None else drawer(sampling),
            size,
            layer_shapes(loaded),
            end_row=int(loaded.vocabulary.to_rows([tokenizer.end_id])[0]),
            pool=pool or GraphPool(torch.device("cpu"), enabled=False),
            prefix=rows[0][:n_shared],
        )
        numbers = None if seeds is None else random_numbers(seeds, max_new_tokens)
        for done in decoder.answers(rows, numbers, max_new_tokens):
            assert not set(done) & set(answers)
            answers |= done
    assert sorted(answers) == list(range(len(prompts)))
    return [loaded.vocabulary.to_ids(answers[i]).tolist() for i in range(len(prompts))]


def endless(
    loaded: LoadedModel, tokenizer: ChatTokenizer, size: DecoderSize, pool: GraphPool, prefix: Any = None
) -> StaticDecoder:
    """A decoder that takes the most likely token each time, and no token for the end."""
    head, layers = generate.answer_head(loaded, tokenizer, None)[0], layer_shapes(loaded)
    return StaticDecoder(loaded, head, generate._best, size, layers, end_row=-1, pool=pool, prefix=prefix)


@HOW
@pytest.mark.parametrize(("slots", "n_shared"), [(4, 3), (16, 0), (64, 1)])
def test_answers_in_slots_equal_batched_ones(
    embedded: LoadedModel,
    tokenizer: ChatTokenizer,
    prompts: list[list[int]],
    settings: dict[str, Any],
    slots: int,
    n_shared: int,
) -> None:
    expected = generate_answers(embedded, tokenizer, prompts, **settings)
    assert len({len(answer) for answer in expected}) > 3
    assert in_slots(embedded, tokenizer, prompts, slots=slots, n_shared=n_shared, **settings) == expected


@HOW
def test_with_a_subset_an_adapter_and_answers_that_never_end(
    adapted: LoadedModel,
    tokenizer: ChatTokenizer,
    prompts: list[list[int]],
    letters: list[int],
    settings: dict[str, Any],
) -> None:
    end_row = adapted.vocabulary.to_rows([tokenizer.end_id])
    for more in ({}, {"allowed_ids": letters}):
        expected = generate_answers(adapted, tokenizer, prompts, **settings, **more)  # type: ignore[arg-type]
        assert in_slots(adapted, tokenizer, prompts, **settings, **more) == expected
    with torch.no_grad():
        weight = adapted.model.get_output_embeddings().weight
        weight[end_row] *= -3.0
    expected = generate_answers(adapted, tokenizer, prompts, max_new_tokens=7, **settings)
    assert sum(len(answer) == 7 for answer in expected) > len(prompts) / 2
    assert in_slots(adapted, tokenizer, prompts, max_new_tokens=7, **settings) == expected


@HOW
def test_one_prompt_and_one_token(
    embedded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]], settings: dict[str, Any]
) -> None:
    for some, n in ((prompts[:1], 24), (prompts[:5], 1)):
        own = settings and {**settings, "seeds": settings["seeds"][: len(some)]}
        expected = generate_answers(embedded, tokenizer, some, max_new_tokens=n, **own)
        assert in_slots(embedded, tokenizer, some, max_new_tokens=n, **own) == expected


@HOW
@pytest.mark.parametrize("subset", [False, True])
def test_a_recorded_step_gives_the_same_answers(
    adapted: LoadedModel,
    tokenizer: ChatTokenizer,
    prompts: list[list[int]],
    letters: list[int],
    settings: dict[str, Any],
    subset: bool,
) -> None:
    more: dict[str, Any] = {"allowed_ids": letters} if subset else {}
    pool = Recording()
    recorded = in_slots(adapted, tokenizer, prompts, slots=8, pool=pool, n_shared=3 * subset, **settings, **more)
    assert recorded == generate_answers(adapted, tokenizer, prompts, **settings, **more)
    assert 2 <= pool.recorded < 10  # the step, and widths that came twice
    assert pool.replayed > 3 * pool.recorded


def test_a_step_that_looks_at_its_data_cannot_be_recorded(
    embedded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "_best", generate._most_likely)  # the batched path's, which looks for what is better
    with pytest.raises(CaptureError, match="looks at"):
        in_slots(embedded, tokenizer, prompts, pool=Recording())


@torch.inference_mode()
def test_a_slot_that_was_idle_from_the_start_keeps_what_all_prompts_begin_with(
    embedded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]]
) -> None:
    rows = [embedded.vocabulary.to_rows(prompt) for prompt in prompts]
    found = []
    for pool in (GraphPool(torch.device("cpu"), enabled=False), Recording()):
        decoder = endless(embedded, tokenizer, DecoderSize(8, 64, 24), pool, rows[0][:3])
        decoder.admit([Admission(0, rows[0], None, 24)])
        for _ in range(3):  # once recorded, a step computes every slot
            decoder.step()
        decoder.admit([Admission(7, rows[1], None, 24)])
        found.append([decoder.step(logprobs=True) for _ in range(4)])
    plain, recorded = found
    assert [drawn[7] for drawn, _ in recorded] == [drawn[7] for drawn, _ in plain]
    assert [logs[7] for _, logs in recorded] == pytest.approx([logs[7] for _, logs in plain], abs=1e-4)


@torch.inference_mode()
def test_logprobs_and_wider_slots_when_recorded(
    embedded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]]
) -> None:
    rows = [embedded.vocabulary.to_rows(prompt) for prompt in prompts]
    found = []
    for pool in (GraphPool(torch.device("cpu"), enabled=False), Recording()):
        decoder = endless(embedded, tokenizer, DecoderSize(4, 32, 200), pool)
        said = []
        for slot in range(3):
            decoder.admit([Admission(slot, rows[slot], None, 20 + 150 * (slot == 2))])
            said += [decoder.step(logprobs=True) for _ in range(4)]
            decoder.release(0)
        assert decoder.size.columns > 128
        found.append([(drawn[1:2], logs[1:2]) for drawn, logs in said[4:]])
    plain, recorded = found
    assert [drawn for drawn, _ in plain] == [drawn for drawn, _ in recorded]
    assert [logs[0] for _, logs in recorded] == pytest.approx([logs[0] for _, logs in plain], abs=1e-4)
    assert all(logs[0] < 0 for _, logs in plain)


@torch.inference_mode()
def test_a_prompt_may_be_one_token_longer_than_what_all_begin_with(
    embedded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]]
) -> None:
    (rows,) = [embedded.vocabulary.to_rows(prompt) for prompt in prompts[:1]]
    found = []
    for pool, n_shared in ((GraphPool(torch.device("cpu"), enabled=False), 0), (Recording(), 4)):
        decoder = endless(embedded, tokenizer, DecoderSize(4, 64, 24), pool, rows[:n_shared])
        decoder.admit([Admission(0, rows[:5], None, 24)])
        found.append([decoder.step()[0][0] for _ in range(4)])
    assert found[0] == found[1]


@torch.inference_mode()
def test_a_prompt_asked_by_several_at_once_is_read_once(
    embedded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [embedded.vocabulary.to_rows(prompt) for prompt in prompts[:2]]
    read, run = [], StaticDecoder._pass
    monkeypatch.setattr(StaticDecoder, "_pass", lambda self, ids, *more: read.append(len(ids)) or run(self, ids, *more))
    alone, together = [], []
    for asked, found in (([0, 1], alone), ([0, 1, 1, 0, 1], together)):
        decoder = endless(embedded, tokenizer, DecoderSize(8, 64, 24), GraphPool(torch.device("cpu"), enabled=False))
        decoder.admit([Admission(slot, rows[place], None, 24) for slot, place in enumerate(asked)])
        found += [decoder.step(logprobs=True) for _ in range(4)]
    assert [n for n in read if n != 5] == [2, *[2] * 4, 2]  # the passes of five rows are steps
    for (drawn, logs), (expected, expected_logs) in zip(together, alone, strict=True):
        assert drawn == [expected[place] for place in (0, 1, 1, 0, 1)]
        assert logs == pytest.approx([expected_logs[place] for place in (0, 1, 1, 0, 1)], abs=1e-4)


@torch.inference_mode()
def test_what_was_no_number_in_a_slot_leaves_with_its_answer(
    embedded: LoadedModel, tokenizer: ChatTokenizer, prompts: list[list[int]]
) -> None:
    rows = sorted((embedded.vocabulary.to_rows(prompt) for prompt in prompts), key=len)
    decoder = StaticDecoder(
        embedded,
        generate.answer_head(embedded, tokenizer, None)[0],
        generate._best,
        DecoderSize(4, 64, 24),
        layer_shapes(embedded),
        end_row=-1,
        pool=Recording(),
        prefix=rows[0][:3],
    )
    found = []
    for overflows in (False, True):
        decoder.admit([Admission(0, rows[-1], None, 24)])
        if overflows:  # as in float16
            for kept in (*decoder._cache._keys, *decoder._cache._values):
                kept[0, :, len(rows[-1]) - 4 :] = torch.nan
        decoder.step()
        decoder.admit([Admission(0, rows[0], None, 24)])
        found.append([decoder.step(logprobs=True) for _ in range(3)])
    assert [(drawn[0], logs[0]) for drawn, logs in found[0]] == [(drawn[0], logs[0]) for drawn, logs in found[1]]
