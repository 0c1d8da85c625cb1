"""The distribution computed directly, against transformers' warpers; the test on draws finds what it is to find."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spelling_transfer.models.generate import Sampling
from spelling_transfer.serving.distribution import (
    ALPHA,
    REQUIRED_RIVALS,
    choose_prompts,
    clear_of_rounding,
    compare_draws,
    policy_distribution,
    power,
    rivals,
)

from .conftest import SAMPLING

VALUES = st.builds(
    Sampling,
    temperature=st.sampled_from([0.3, 0.6, 1.0, 1.7]),
    top_p=st.sampled_from([0.3, 0.8, 0.95, 1.0]),
    top_k=st.sampled_from([1, 5, 20, 500]),
    min_p=st.sampled_from([0.0, 0.05, 0.3]),
)


def logits_of(seed: int, scale: float = 1.0, rows: int = 60) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).normal(size=rows) * scale)


@given(sampling=VALUES, seed=st.integers(0, 10_000), scale=st.sampled_from([0.2, 1.0, 4.0]))
def test_it_is_what_transformers_warpers_leave(sampling: Sampling, seed: int, scale: float) -> None:
    import torch
    from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = logits_of(seed, scale)
    allowed = np.random.default_rng(seed + 1).random(len(logits)) < 0.7
    allowed[0] = True
    scores = torch.from_numpy(np.where(allowed, logits, -np.inf))[None]
    warpers = [TemperatureLogitsWarper(sampling.temperature), TopKLogitsWarper(sampling.top_k)]
    warpers += [TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1.0 else []
    warpers += [MinPLogitsWarper(sampling.min_p)] if sampling.min_p > 0.0 else []
    for warper in warpers:
        scores = warper(None, scores)
    assert policy_distribution(logits, sampling, allowed) == pytest.approx(scores.softmax(-1)[0].numpy(), abs=1e-12)


@given(seed=st.integers(0, 10_000), noise=st.integers(0, 100))
@example(seed=38, noise=1)  # two that are nearly alike on either side of top-p
def test_where_it_is_clear_of_rounding_noise_changes_no_support(seed: int, noise: int) -> None:
    logits, allowed = logits_of(seed), np.ones(60, dtype=bool)
    if clear_of_rounding(logits, SAMPLING, allowed, 0.01):
        other = logits + np.random.default_rng(noise).uniform(-0.002, 0.002, 60)
        before, after = (policy_distribution(row, SAMPLING, allowed) > 0 for row in (logits, other))
        assert (before == after).all()


def test_draws_of_the_right_sampler_pass_and_those_of_each_rival_do_not() -> None:
    allowed, possible = np.arange(60) < 50, np.ones(60, dtype=bool)
    candidates = [logits_of(seed) for seed in range(40)]
    wrong_ways = rivals(SAMPLING, allowed, possible)
    right = [policy_distribution(row, SAMPLING, allowed) for row in candidates]
    wrong = [{name: rival(row) for name, rival in wrong_ways.items()} for row in candidates]
    chosen = choose_prompts(right, wrong)
    assert chosen.n_draws == 256
    assert 1 <= len(chosen.places) <= 6
    assert all(chosen.powers[name] > 0.999 for name in (*REQUIRED_RIVALS, "no filter"))
    chance = np.random.default_rng(0)

    def rejects(distribution: list[np.ndarray]) -> bool:
        tests = [
            compare_draws(right[place], chance.choice(60, 256, p=distribution[place]).tolist())
            for place in chosen.places
        ]
        return any(test.outside or test.p_value <= ALPHA for test in tests)

    assert not any(rejects(right) for _ in range(50))
    for name in (*REQUIRED_RIVALS, "no filter"):
        assert all(rejects([rival[name] for rival in wrong]) for _ in range(20)), name


def test_a_prompt_that_tells_one_rival_does_not_keep_out_another_that_tells_the_rest() -> None:
    sure = np.array([0.6, 0.4, 0.0, 0.0])
    even = np.array([0.25, 0.25, 0.25, 0.25])
    first, second = np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.5, 0.5, 0.0, 0.0])
    chosen = choose_prompts([sure, even], [{"a": first, "b": sure}, {"a": even, "b": second}])
    assert sorted(chosen.places) == [0, 1]
    assert min(chosen.powers.values()) > 0.999


def test_what_every_model_must_tell_apart_is_chosen_before_the_rest() -> None:
    sure, other = np.array([0.9, 0.1, 0.0]), np.array([0.5, 0.5, 0.0])
    telling = dict.fromkeys(REQUIRED_RIVALS, sure) | {"no filter": other, "other min-p": other}
    distracting = dict.fromkeys(REQUIRED_RIVALS, other) | {"no filter": sure, "other min-p": sure}
    chosen = choose_prompts([other] * 4, [distracting, distracting, telling, distracting])
    assert chosen.places[0] == 2
    assert not chosen.unseen


def test_a_model_that_is_nearly_sure_is_drawn_from_more_often() -> None:
    sure = np.array([0.95, 0.05, 0.0])
    wrong = {name: np.array([0.97, 0.03, 0.0]) for name in REQUIRED_RIVALS}
    chosen = choose_prompts([sure] * 6, [wrong] * 6)
    assert chosen.n_draws > 256
    assert not chosen.unseen


def test_a_model_that_is_certain_tells_nothing() -> None:
    certain = np.array([1.0, 0.0, 0.0])
    assert power(certain, certain, 1000) == 0.0
    assert choose_prompts([certain], [{"greedy": certain}]).powers["greedy"] < 0.01
    assert choose_prompts([], []).places == []


def test_one_draw_that_cannot_be_is_enough() -> None:
    test = compare_draws(np.array([0.5, 0.5, 0.0]), [0] * 100 + [1] * 100 + [2])
    assert test.outside == {2: 1}
