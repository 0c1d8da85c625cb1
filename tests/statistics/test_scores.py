import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spelling_transfer.statistics.scores import FOCUS_WEIGHTS, Focus, compare_transfer_scores, transfer_score

SHARE = st.floats(0, 1)


@pytest.mark.parametrize(
    ("focus", "expected"),
    [
        # spelling 0.8, position 0.3, count 0.5: the bonus is 0.2 * min(0.8, 0.4) = 0.08
        ("spelling", 0.3 * 0.3 + 0.3 * 0.5 + 0.08),
        ("balanced", 0.5 * 0.3 + 0.5 * 0.5 + 0.08),
        ("transfer", 0.6 * 0.3 + 0.6 * 0.5 + 0.08),
    ],
)
def test_transfer_score_by_hand(focus: Focus, expected: float) -> None:
    assert transfer_score(0.8, 0.3, 0.5, focus) == pytest.approx(expected)


def test_spelling_counts_only_as_far_as_the_others_keep_up() -> None:
    assert transfer_score(0.4, 0.4, 0.4) == transfer_score(1.0, 0.4, 0.4)
    assert transfer_score(0.1, 0.4, 0.4) == pytest.approx(0.4 + 0.02)


@given(SHARE, SHARE, SHARE, st.sampled_from(sorted(FOCUS_WEIGHTS)))
def test_more_of_anything_never_lowers_the_score(spelling: float, position: float, count: float, focus: Focus) -> None:
    score = transfer_score(spelling, position, count, focus)
    perfect = transfer_score(1.0, 1.0, 1.0, focus)
    assert 0 <= score <= perfect
    assert transfer_score(1.0, position, count, focus) >= score
    assert transfer_score(spelling, 1.0, count, focus) >= score


def _pairs(families: int, seed: int, gain: float) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    pairs = {}
    for task, base in (("spelling", 0.5), ("position", 0.3), ("count", 0.55)):
        reference = rng.random(families) < base
        arm = reference | (rng.random(families) < gain)
        stems = [f"stem{i}" for i in range(families)]
        pairs[task] = pd.DataFrame({"stem": stems, "reference": reference, "arm": arm})
    return pairs


def test_scores_are_those_of_the_shares_and_lie_in_their_intervals() -> None:
    pairs = _pairs(400, seed=0, gain=0.2)
    scores = compare_transfer_scores(pairs, "transfer")
    shares = [float(pairs[task]["arm"].mean()) for task in ("spelling", "position", "count")]
    assert scores.arm == pytest.approx(transfer_score(*shares, "transfer"))
    assert scores.arm_interval.low < scores.arm < scores.arm_interval.high
    assert scores.reference_interval.low < scores.reference < scores.reference_interval.high
    assert scores.interval.low < scores.difference < scores.interval.high
    assert scores.families == 400


def test_the_interval_agrees_with_resampling_written_out() -> None:
    pairs = _pairs(150, seed=1, gain=0.1)
    scores = compare_transfer_scores(pairs)
    rng = np.random.default_rng(9)
    differences = []
    for _ in range(4_000):
        draw = rng.integers(0, 150, 150)
        both = [
            transfer_score(*(float(pairs[task][column].to_numpy()[draw].mean()) for task in pairs))
            for column in ("reference", "arm")
        ]
        differences.append(both[1] - both[0])
    # Two independent estimates of a quantile from thousands of resamples differ by a few thousandths.
    assert scores.interval == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.005)


def test_a_family_without_an_example_of_a_task_is_kept_for_the_others() -> None:
    pairs = _pairs(50, seed=2, gain=0.3)
    pairs["count"] = pairs["count"].iloc[:40]
    scores = compare_transfer_scores(pairs)
    assert scores.families == 50
    assert np.isfinite(scores.interval).all()


def test_a_missing_task_is_named() -> None:
    pairs = _pairs(10, seed=3, gain=0.1)
    del pairs["position"]
    with pytest.raises(KeyError, match="position"):
        compare_transfer_scores(pairs)
