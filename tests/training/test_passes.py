"""How a step is cut: padding, memory, few widths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import Qwen3Config

from spelling_transfer.training.passes import Cutter, estimate_pass_tokens, few_widths

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40)


@given(LENGTHS, st.integers(1, 500), st.integers(0, 200))
def test_every_example_is_in_one_pass_and_no_pass_is_too_large(lengths: list[int], tokens: int, cost: int) -> None:
    passes = Cutter(tokens=tokens, pass_cost=cost).cut(lengths)
    assert sorted(i for part in passes for i in part.tolist()) == list(range(len(lengths)))
    for part in passes:
        longest = max(lengths[i] for i in part)
        assert len(part) == 1 or len(part) * longest <= tokens


def test_a_pass_more_is_made_where_it_saves_more_padding_than_it_costs() -> None:
    lengths = [10, 10, 50, 50]  # together 200 tokens of padded rows, apart 120
    assert len(Cutter(pass_cost=79).cut(lengths)) == 2
    assert len(Cutter(pass_cost=81).cut(lengths)) == 1


@given(LENGTHS, st.integers(0, 150))
def test_the_cut_is_the_cheapest(lengths: list[int], cost: int) -> None:
    def price(passes: list[list[int]]) -> int:
        return sum(len(part) * max(part) + cost for part in passes)

    found = price([[lengths[i] for i in part] for part in Cutter(tokens=10**6, pass_cost=cost).cut(lengths)])
    ordered = sorted(lengths)
    best = [0]
    for end in range(1, len(ordered) + 1):
        best.append(min(best[start] + (end - start) * ordered[end - 1] + cost for start in range(end)))
    assert found == best[-1]


def test_rows_are_the_same_at_every_width() -> None:
    cutter = Cutter(tokens=400, pass_cost=10**9, widths=(24, 40))
    for longest in (20, 38):
        assert {len(part) for part in cutter.cut([longest] * 40)} == {10}


def test_memory_that_ran_out_halves_the_passes_until_one_example_is_left() -> None:
    cutter = Cutter(tokens=400, widths=(40,))
    assert cutter.halve(8, 320)
    assert cutter.tokens == 160
    assert cutter.halve(4, 160)
    assert not cutter.halve(1, 40)
    assert cutter.tokens == 80
    assert cutter.halve(2, 100)  # the largest is one long example; others are still cut
    assert cutter.tokens == 40


@given(st.lists(st.integers(1, 2_000), min_size=1, max_size=60))
def test_widths_are_few_and_hold_every_step(lengths: list[int]) -> None:
    steps = [[i] for i in range(len(lengths))]
    widths = few_widths(np.array(lengths), steps)
    assert len(widths) <= 4
    assert all(width % 8 == 0 for width in widths)
    assert all(any(width >= n for width in widths) for n in lengths)


def test_the_estimate_is_what_was_measured_on_qwen3_4b() -> None:
    config = Qwen3Config(
        hidden_size=2560,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=9728,
    )
    # 128 rows of 40 tokens took 25.6 GB, of which 8.1 are the weights, on an H100.
    tokens = estimate_pass_tokens(config, round((25.6 - 8.1) * 1e9 / 0.75), bytes_per_value=2)
    assert tokens == pytest.approx(128 * 40, rel=0.25)
    assert estimate_pass_tokens(config, 1, bytes_per_value=2) == 1
