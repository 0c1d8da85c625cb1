"""Speeds that plans are made from: what was measured, and what is scaled from it."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml

from spelling_transfer.models.profile import ModelShape
from spelling_transfer.study import speeds
from spelling_transfer.study.config import StudyConfigError
from spelling_transfer.study.speeds import find_speed, read_speeds

ROOT = Path(__file__).parents[2]
RESULTS = json.loads((ROOT / "benchmarks/results/h100.json").read_text())
QWEN3_4B = ModelShape.model_validate(
    {
        name: value
        for name, value in yaml.safe_load(
            (ROOT / "conf/base/study/token_analysis/qwen3_4b_shape.yml").read_text()
        ).items()
        if name != "version"
    }
)
TINY = QWEN3_4B.model_copy(update={"name": "tiny", "layers": 1, "hidden_size": 64, "vocabulary_rows": 1_000})


ROUND = {
    "examples_per_second": 700.0, "answers_per_second": 600.0, "tokens_per_answer": 24, "import_s": 20.0,
    "ready_s": 10.0,
}  # fmt: skip


@pytest.fixture
def round_figures(monkeypatch: pytest.MonkeyPatch) -> speeds.Speeds:
    """Figures to compute with by hand, whatever was measured last."""
    known = read_speeds()
    chosen = known.model_copy(update={"measured": known.measured.model_copy(update=ROUND)})
    monkeypatch.setattr(speeds, "read_speeds", lambda: chosen)
    return chosen


def figures(results: dict[str, Any]) -> dict[str, float]:
    """Returns the figures of ``speeds.yml`` as a run of the benchmark measured them."""
    found = {(each["part"], each["contestant"], each["setting"]): each for each in results["details"]}
    training = found["train-mission", "ours", "8 × 4"]
    answers = found["generate", "ours", "1,024 questions, 16 tokens"]
    return {
        "examples_per_second": training["examples"] / statistics.mean(training["steps_ms"][3:]) * 1e3,
        "step_at_least_s": found["correct", "bfloat16, CUDA", "32 × 1"]["median_ms"] / 1e3,
        "answers_per_second": answers["questions"] / answers["seconds"],
        "tokens_per_answer": answers["new_tokens"],
        "import_s": training["import_s"],
        "ready_s": training["start_up_s"] - training["import_s"],
    }


def kept(results: dict[str, Any]) -> dict[str, float]:
    return {name: getattr(read_speeds().measured, name) for name in figures(results)}


def test_the_figures_are_those_of_the_committed_results() -> None:
    assert kept(RESULTS) == pytest.approx(figures(RESULTS), rel=0.05)
    assert RESULTS["versions"]["device"] == "NVIDIA H100 80GB HBM3"
    measured = read_speeds().measured
    assert measured.layer_weights == QWEN3_4B.layer_weights
    assert measured.head_weights == QWEN3_4B.vocabulary_rows * QWEN3_4B.hidden_size


def test_results_that_moved_would_be_noticed() -> None:
    faster = json.loads(json.dumps(RESULTS))
    for each in faster["details"]:
        each["steps_ms"] = [0.9 * step for step in each.get("steps_ms", [])]
    assert kept(faster) != pytest.approx(figures(faster), rel=0.05)


def test_what_was_measured_comes_back_on_the_card_it_was_measured_on() -> None:
    speed, measured = find_speed("H100", QWEN3_4B), read_speeds().measured
    assert speed.basis == "measured"
    steps = speed.training_seconds(1000, 32) - measured.ready_s
    assert 32 * 1000 / steps == pytest.approx(measured.examples_per_second)
    assert 4_986 / speed.answering_seconds(4_986, measured.tokens_per_answer) == pytest.approx(
        measured.answers_per_second
    )


def test_a_smaller_card_by_hand(round_figures) -> None:
    """1,000 steps of 32 examples, and 1,000 answers of 24 tokens, of Qwen3-4B on an L4.

    The H100 trains 700 examples/s. An L4 has 121 of its 989 TFLOP/s, so 85.64 examples/s, or 373.7 s; reading the
    8.04 GB of weights twice at 300 GB/s takes 53.6 ms of a step's 373.7 ms and does not count. With 10 s until the
    first step is done: 383.7 s. It answers 600 questions/s there, 73.41 here: 13.62 s.
    """
    speed = find_speed("L4", QWEN3_4B)
    assert speed.training_seconds(1000, 32) == pytest.approx(383.7, rel=1e-3)
    assert speed.answering_seconds(1000, 24) == pytest.approx(13.62, rel=1e-3)
    assert speed.basis == "scaled"
    assert "121 of 989 TFLOP/s and 300 of 3,350 GB/s" in speed.note


def test_few_rows_wait_for_the_weights_to_be_read(round_figures) -> None:
    """One example a step on an L4: 11.7 ms of arithmetic, but 16.1 GB at 300 GB/s, 53.6 ms. An answer alone of 24
    tokens: 24 times 8.04 GB, 644 ms."""
    speed = find_speed("L4", QWEN3_4B)
    assert speed.training_seconds(1000, 1) == pytest.approx(10 + 53.6, rel=1e-3)
    assert speed.answering_seconds(1, 24) == pytest.approx(0.644, rel=1e-2)


def test_without_bandwidth_or_the_smallest_step_it_would_be_another_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutants of the rule: each of its three terms decides somewhere."""
    few, tiny = (find_speed(*each).training_seconds(1000, 1) for each in (("L4", QWEN3_4B), ("L4", TINY)))
    known = read_speeds()
    endless = known.cards["L4"].model_copy(update={"gigabytes_per_second": 1e9})
    no_smallest = known.measured.model_copy(update={"step_at_least_s": 1e-9})
    mutant = known.model_copy(update={"cards": {**known.cards, "L4": endless}, "measured": no_smallest})
    monkeypatch.setattr(speeds, "read_speeds", lambda: mutant)
    assert find_speed("L4", QWEN3_4B).training_seconds(1000, 1) < 0.5 * few
    assert find_speed("L4", TINY).training_seconds(1000, 1) < 0.5 * tiny


def test_another_model_is_scaled_by_its_arithmetic() -> None:
    half = QWEN3_4B.model_copy(update={"name": "half", "layers": 18})
    speed = find_speed("H100", half)
    assert speed.basis == "scaled"
    assert "half by its arithmetic" in speed.note
    ready = read_speeds().measured.ready_s
    whole = find_speed("H100", QWEN3_4B).training_seconds(1000, 32) - ready
    # The head is 3% of the work and stays.
    assert (speed.training_seconds(1000, 32) - ready) / whole == pytest.approx(0.515, abs=0.005)
    again = find_speed("H100", QWEN3_4B).training_seconds(1000, 32, checkpointing=True) - ready
    assert again / whole == pytest.approx(1.485, abs=0.005)


def test_a_card_that_is_not_known_is_named_with_those_that_are() -> None:
    with pytest.raises(StudyConfigError, match=r"B300: no speed is known of this machine; known are T4, L4, .*H100"):
        find_speed("B300", QWEN3_4B)
    assert find_speed("CPU", QWEN3_4B).basis == "guess"


def test_every_tier_of_a_study_is_known() -> None:
    tiers = [file.stem.upper() for file in (ROOT / "conf/base/study/lightning").glob("*.yml")]
    assert set(tiers) <= set(read_speeds().cards)
