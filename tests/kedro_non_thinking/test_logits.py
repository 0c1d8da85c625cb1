"""A model that wants to think cannot: 1,000 answers by torch and by MLX, and every way of decoding that we use."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen3Config, Qwen3ForCausalLM

from kedro_non_thinking.errors import PolicyError
from kedro_non_thinking.logits import MlxThinkTokenMask, ThinkTokenMask

VOCABULARY = 512
THINK_IDS = (500, 501)
END_ID = 502
RAISED_BY = 50.0
N_ANSWERS = 1_000
NEW_TOKENS = 6
SAMPLING = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}
CACHE = "cache" if "cache" in signature(Qwen3ForCausalLM.forward).parameters else "past_key_values"
"""What transformers calls keys and values; 5.24 renamed them."""


def _prefer_thinking(model: Any, think_ids: tuple[int, ...] = THINK_IDS) -> Any:
    """Changes the weights so that the logits of the think tokens are higher by 50."""
    head = torch.nn.Linear(model.config.hidden_size, model.config.vocab_size, bias=True)
    with torch.no_grad():
        head.weight.copy_(model.lm_head.weight)
        head.bias.zero_()
        head.bias[list(think_ids)] = RAISED_BY
    model.lm_head = head
    return model.eval()


def _torch_model(vocabulary: int = VOCABULARY, seed: int = 0, think_ids: tuple[int, ...] = THINK_IDS) -> Any:
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        tie_word_embeddings=False,
        eos_token_id=END_ID,
        pad_token_id=END_ID,
        bos_token_id=None,
    )
    return _prefer_thinking(Qwen3ForCausalLM(config), think_ids)


@pytest.fixture(scope="module")
def torch_model() -> Any:
    return _torch_model()


def _prompts(count: int) -> torch.Tensor:
    return torch.randint(0, 400, (count, 5), generator=torch.Generator().manual_seed(1))


def _answers(model: Any, prompts: torch.Tensor, *, mask: ThinkTokenMask | None, **options: Any) -> torch.Tensor:
    processors = [] if mask is None else [mask]
    with torch.inference_mode():
        out = model.generate(prompts, max_new_tokens=NEW_TOKENS, logits_processor=processors, **options)
    answers: torch.Tensor = out[:, prompts.shape[1] :]
    return answers


def _thinks(answers: Any) -> bool:
    return bool(np.isin(np.asarray(answers), THINK_IDS).any())


def test_without_the_mask_the_model_thinks(torch_model: Any) -> None:
    assert _thinks(_answers(torch_model, _prompts(4), mask=None, do_sample=False))


def test_a_thousand_answers_by_torch_hold_no_think_token(torch_model: Any) -> None:
    torch.manual_seed(2)
    answers = _answers(torch_model, _prompts(N_ANSWERS), mask=ThinkTokenMask(THINK_IDS), do_sample=True, **SAMPLING)
    assert len(answers) == N_ANSWERS
    assert not _thinks(answers)


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False},
        {"do_sample": True, "temperature": 5.0, "top_k": 0, "top_p": 1.0},
        {"do_sample": True, "top_k": 1},
        {"do_sample": False, "num_beams": 4},
        {"do_sample": True, "num_beams": 3},
        {"do_sample": False, "repetition_penalty": 1.3, "min_new_tokens": 4},
    ],
    ids=["greedy", "hot", "top-1", "beams", "sampled beams", "penalties"],
)
def test_no_way_of_decoding_gets_around_the_mask(torch_model: Any, options: dict[str, Any]) -> None:
    torch.manual_seed(3)
    assert not _thinks(_answers(torch_model, _prompts(8), mask=ThinkTokenMask(THINK_IDS), **options))


def test_a_draft_model_that_thinks_is_not_followed(torch_model: Any) -> None:
    mask = ThinkTokenMask(THINK_IDS)
    answer = _answers(torch_model, _prompts(1), mask=mask, do_sample=False, assistant_model=_torch_model(seed=9))
    plain = _answers(torch_model, _prompts(1), mask=mask, do_sample=False)
    assert not _thinks(answer)
    assert answer.tolist() == plain.tolist()


def test_a_cached_prefix_changes_nothing(torch_model: Any) -> None:
    from transformers import DynamicCache

    prompt, mask = _prompts(1), ThinkTokenMask(THINK_IDS)
    cache = DynamicCache(config=torch_model.config)
    with torch.inference_mode():
        torch_model(prompt[:, :-1], use_cache=True, **{CACHE: cache})
    cached = _answers(torch_model, prompt, mask=mask, do_sample=False, **{CACHE: cache})
    assert not _thinks(cached)
    assert cached.tolist() == _answers(torch_model, prompt, mask=mask, do_sample=False).tolist()


def test_only_allowed_tokens_are_drawn_and_never_a_think_token(torch_model: Any) -> None:
    allowed = (3, 5, 7, END_ID, *THINK_IDS)
    torch.manual_seed(4)
    answers = _answers(torch_model, _prompts(50), mask=ThinkTokenMask(THINK_IDS, allowed), do_sample=True, **SAMPLING)
    assert set(answers.flatten().tolist()) <= {3, 5, 7, END_ID}


def test_the_ids_of_qwen3_are_masked_in_its_whole_vocabulary() -> None:
    think_ids = (151667, 151668)
    model = _torch_model(vocabulary=151_936, think_ids=think_ids)
    answers = _answers(model, _prompts(4), mask=ThinkTokenMask(think_ids), do_sample=False)
    assert not np.isin(answers.numpy(), think_ids).any()
    assert np.isin(_answers(model, _prompts(4), mask=None, do_sample=False).numpy(), think_ids).any()


@given(st.data())
@settings(max_examples=50)
def test_masked_scores_are_otherwise_the_same(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 40))
    think = data.draw(st.sets(st.integers(0, 60), max_size=4))
    scores = torch.tensor(data.draw(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2 * size, max_size=2 * size)))
    scores = scores.reshape(2, size)
    before = scores.clone()
    masked = ThinkTokenMask(think)(None, scores)
    inside = [token for token in think if token < size]
    kept = [token for token in range(size) if token not in think]
    assert bool((masked[:, inside] == float("-inf")).all())
    assert torch.equal(masked[:, kept], before[:, kept])
    assert torch.equal(scores, before)


def test_one_mask_serves_models_of_several_sizes() -> None:
    mask = ThinkTokenMask([3], allowed_ids=[1, 3, 6])
    for size, allowed in ((5, [1]), (9, [1, 6]), (5, [1])):
        masked = mask(None, torch.zeros(2, size))
        assert [row.isfinite().nonzero().ravel().tolist() for row in masked] == [allowed, allowed]


@pytest.mark.parametrize("kind", [ThinkTokenMask, MlxThinkTokenMask])
def test_an_answer_of_think_tokens_alone_is_refused(kind: type[ThinkTokenMask | MlxThinkTokenMask]) -> None:
    with pytest.raises(PolicyError, match="allowed_ids"):
        kind(THINK_IDS, THINK_IDS)


# -- MLX ---------------------------------------------------------------------------------------------------------------


def _mlx_model(seed: int = 0) -> Any:
    mlx = pytest.importorskip("mlx.core", reason="MLX is installed on Apple Silicon, and with [dev] on Linux")
    from mlx import nn
    from mlx_lm.models.qwen3 import Model, ModelArgs

    mlx.random.seed(seed)
    arguments = ModelArgs(
        model_type="qwen3",
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=32,
        num_attention_heads=2,
        rms_norm_eps=1e-6,
        vocab_size=VOCABULARY,
        num_key_value_heads=1,
        max_position_embeddings=128,
        rope_theta=10_000.0,
        head_dim=16,
        tie_word_embeddings=False,
    )
    model = Model(arguments)
    weight = model.lm_head.weight
    model.lm_head = nn.Linear(32, VOCABULARY, bias=True)
    bias = np.zeros(VOCABULARY, dtype=np.float32)
    bias[list(THINK_IDS)] = RAISED_BY
    model.lm_head.weight, model.lm_head.bias = weight, mlx.array(bias)
    mlx.eval(model.parameters())
    return model


def _mlx_answers(model: Any, prompts: list[list[int]], processors: list[Any], **options: Any) -> list[list[int]]:
    from mlx_lm.generate import BatchGenerator
    from mlx_lm.sample_utils import make_sampler

    sampler = make_sampler(**options) if options else None
    generator = BatchGenerator(model, stop_tokens=[[END_ID]], sampler=sampler, logits_processors=processors)
    uids = generator.insert(prompts, [NEW_TOKENS] * len(prompts))
    answers: dict[int, list[int]] = {uid: [] for uid in uids}
    while replies := generator.next_generated():
        for reply in replies:
            answers[reply.uid].append(reply.token)
    generator.close()
    return [answers[uid] for uid in uids]


def test_a_thousand_answers_by_mlx_hold_no_think_token() -> None:
    model, prompts = _mlx_model(), _prompts(N_ANSWERS).tolist()
    answers = _mlx_answers(model, prompts, [MlxThinkTokenMask(THINK_IDS)], temp=0.6, top_p=0.95, top_k=20)
    assert len(answers) == N_ANSWERS
    assert all(answers)
    assert not _thinks([token for answer in answers for token in answer])
    thinking = _mlx_answers(model, prompts[:4], [])
    assert _thinks([token for answer in thinking for token in answer])


def test_a_draft_model_and_a_cached_prefix_do_not_get_around_the_mask_of_mlx() -> None:
    import mlx.core as mx
    from mlx_lm.generate import generate_step, speculative_generate_step
    from mlx_lm.models.cache import make_prompt_cache

    model, prompt = _mlx_model(), mx.array(_prompts(1)[0].numpy())
    options: dict[str, Any] = {"max_tokens": NEW_TOKENS, "logits_processors": [MlxThinkTokenMask(THINK_IDS)]}
    plain = [int(token) for token, _ in generate_step(prompt, model, **options)]
    drafted = [int(entry[0]) for entry in speculative_generate_step(prompt, model, _mlx_model(seed=9), **options)]
    cache = make_prompt_cache(model)
    model(prompt[:-1][None], cache=cache)
    cached = [int(token) for token, _ in generate_step(prompt[-1:], model, prompt_cache=cache, **options)]
    assert not _thinks(plain + drafted + cached)
    assert plain == drafted == cached


def test_both_masks_agree() -> None:
    mlx = pytest.importorskip("mlx.core", reason="MLX is installed on Apple Silicon, and with [dev] on Linux")
    scores = np.random.default_rng(0).normal(size=(3, VOCABULARY)).astype(np.float32)
    allowed = [1, 2, 3, 400, *THINK_IDS]
    for ids in (None, allowed):
        by_torch = ThinkTokenMask(THINK_IDS, ids)(None, torch.tensor(scores)).numpy()
        by_mlx = np.array(MlxThinkTokenMask(THINK_IDS, ids)(None, mlx.array(scores)))
        np.testing.assert_array_equal(by_torch, by_mlx)
