import numpy as np
import pytest

from spelling_transfer.statistics.paired import gap_closed, gap_closed_interval, paired_difference
from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.statistics.scores import (
    SCORED_TASKS,
    Focus,
    StudyResamples,
    compare_transfer_scores,
    resample_scores,
    transfer_score,
)

BASE = {"spelling": 0.5, "position": 0.3, "count": 0.55}


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


class Answers:
    """Right and wrong answers of a base model and of trials that gain a share, one question a task and family."""

    def __init__(self, families: int, gains: list[float], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        base = [rng.random(families) < share for share in BASE.values()]
        self.base = np.concatenate(base)
        self.trials = np.array(
            [np.concatenate([each | (rng.random(families) < gain) for each in base]) for gain in gains]
        )
        self.tasks = np.repeat(SCORED_TASKS, families)
        self.families = np.tile([f"stem{i}" for i in range(families)], 3)

    def compared(self, focus: Focus = "balanced", kept: np.ndarray | slice = slice(None)):
        columns = (self.base, self.trials[0], self.tasks, self.families)
        return compare_transfer_scores(*(column[kept] for column in columns), focus)

    def resampled(
        self, *, n_resamples: int = 1_999, seed: int = 0, kept: np.ndarray | slice = slice(None)
    ) -> StudyResamples:
        return resample_scores(
            range(len(self.trials)),
            self.trials[:, kept],
            self.base[kept],
            self.tasks[kept],
            self.families[kept],
            Bootstrap(n_resamples=n_resamples, seed=seed),
        )


def test_scores_are_those_of_the_shares_and_lie_in_their_intervals() -> None:
    answers = Answers(400, [0.2])
    scores = answers.compared("transfer")
    shares = [float(answers.trials[0][answers.tasks == task].mean()) for task in SCORED_TASKS]
    assert scores.arm == pytest.approx(transfer_score(*shares, "transfer"))
    assert scores.arm_interval.low < scores.arm < scores.arm_interval.high
    assert scores.reference_interval.low < scores.reference < scores.reference_interval.high
    assert scores.interval.low < scores.difference < scores.interval.high
    assert scores.families == 400


def test_the_interval_agrees_with_resampling_written_out() -> None:
    answers = Answers(150, [0.1], seed=1)
    right = [each.reshape(3, 150) for each in (answers.base, answers.trials[0])]
    rng = np.random.default_rng(9)
    differences = []
    for _ in range(4_000):
        draw = rng.integers(0, 150, 150)
        reference, arm = (transfer_score(*(float(row[draw].mean()) for row in each)) for each in right)
        differences.append(arm - reference)
    # Two independent estimates of a quantile from thousands of resamples differ by a few thousandths.
    assert answers.compared().interval == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.005)


def test_a_family_without_an_example_of_a_task_is_kept_for_the_others() -> None:
    answers = Answers(50, [0.3], seed=2)
    scores = answers.compared(kept=np.arange(140))  # the last ten families have no count question
    assert scores.families == 50
    assert np.isfinite(scores.interval).all()


def test_answers_that_are_none_and_several_seeds_are_refused() -> None:
    tasks, families = list(SCORED_TASKS), [0, 0, 0]
    with pytest.raises(ValueError, match=r"reference: 1 of 3 are neither right nor wrong \(7\)"):
        compare_transfer_scores([7, 0, 1], [1, 1, 1], tasks, families)
    for strange in ([1, 1], np.ones((3, 3))):
        with pytest.raises(ValueError, match="four arrays of one length"):
            compare_transfer_scores([1, 0, 1], strange, tasks, families)


def test_arms_that_differ_nowhere_or_everywhere_alike_are_no_certainty() -> None:
    tasks, families = np.repeat(SCORED_TASKS, 40), np.tile(np.arange(40), 3)
    for base, arm in ((np.zeros(120), np.ones(120)), (np.ones(120), np.ones(120))):
        found = compare_transfer_scores(base, arm, tasks, families, bootstrap=Bootstrap(n_resamples=99))
        assert found.arm == pytest.approx(1.2)
        assert np.isnan([*found.reference_interval, *found.arm_interval, *found.interval]).all()


def test_a_missing_task_is_named() -> None:
    answers = Answers(10, [0.1])
    with pytest.raises(ValueError, match="no example of position"):
        answers.compared(kept=answers.tasks != "position")


def test_values_are_the_shares_and_their_functions() -> None:
    answers = Answers(200, [0.2, 0.4])
    found = answers.resampled()
    base, trial = (np.array([each[answers.tasks == task].mean() for task in SCORED_TASKS])
                   for each in (answers.base, answers.trials[1]))  # fmt: skip
    assert found.base.value == pytest.approx(base)
    assert found.trials.value[1] == pytest.approx(trial)
    assert found.gaps_closed().value[1, 0] == pytest.approx(gap_closed(base[0], trial[0]))
    assert found.ratios().value[1] == pytest.approx((trial - base) / (trial - base)[0])
    assert found.transfer_scores("transfer").value[1] == pytest.approx(transfer_score(*trial, "transfer"))


def test_intervals_of_a_study_agree_with_those_of_two_arms() -> None:
    answers = Answers(300, [0.3])
    found = answers.resampled(n_resamples=9_999)
    for place, task in enumerate(SCORED_TASKS):
        rows = answers.tasks == task
        pair = (answers.base[rows], answers.trials[0][rows], answers.families[rows])
        # Quantiles of two sets of 9,999 resamples differ by a few thousandths.
        assert found.gains().interval(0, place) == pytest.approx(paired_difference(*pair).interval, abs=0.006)
        assert found.gaps_closed().interval(0, place) == pytest.approx(gap_closed_interval(*pair), abs=0.01)
    expected = answers.compared()
    assert found.transfer_scores("balanced").interval(0) == pytest.approx(expected.arm_interval, abs=0.006)
    assert found.base_transfer_score("balanced").interval() == pytest.approx(expected.reference_interval, abs=0.006)


def test_trials_share_their_resamples() -> None:
    # Two trials with the same answers differ by nothing in any resample, however wide their own intervals are.
    answers = Answers(200, [0.3, 0.3])
    answers.trials[1] = answers.trials[0]
    scores = answers.resampled().transfer_scores("balanced")
    assert np.ptp(scores.resamples[:, 0]) > 0
    assert (scores.resamples[:, 0] == scores.resamples[:, 1]).all()


def test_a_trial_without_errors_closes_the_whole_gap_in_every_resample() -> None:
    answers = Answers(200, [0.3, 0.3])
    answers.trials[1] = True
    closed = answers.resampled().gaps_closed()
    assert closed.value[1] == pytest.approx(1)
    assert closed.resamples[:, 1] == pytest.approx(1)
    assert np.ptp(closed.resamples[:, 0], axis=0).min() > 0


def test_a_base_without_errors_has_no_gap_to_close() -> None:
    answers = Answers(60, [0.3, 0.3])
    answers.base[:] = True
    answers.trials[1, 0] = False  # worse than the base: no gap of minus infinity either
    closed = answers.resampled().gaps_closed()
    assert np.isnan(closed.value).all()
    assert not closed.interval(1, 0).excludes(0.0)


def test_a_family_may_lack_a_task_and_too_few_families_have_no_interval() -> None:
    answers = Answers(60, [0.3])
    found = answers.resampled(kept=np.arange(140))
    assert found.families == 60
    assert found.trials.value[0, 2] == pytest.approx(answers.trials[0, 120:140].mean())
    few = Answers(29, [0.3]).resampled()
    assert np.isnan(few.gains().interval(0, 0)).all()
    assert not few.gains().interval(0, 0).excludes(0)


def test_a_task_of_too_few_families_has_no_interval_however_many_the_others_have() -> None:
    answers = Answers(60, [0.3])
    for n_count, expected in ((29, False), (30, True)):
        found = answers.resampled(kept=np.arange(120 + n_count))
        assert [np.isfinite(found.gains().interval(0, task)).all() for task in range(3)] == [True, True, expected]
        assert np.isfinite(found.transfer_scores("balanced").interval(0)).all() == expected
        compared = answers.compared(kept=np.arange(120 + n_count))
        assert np.isfinite(compared.interval).all() == np.isfinite(compared.arm_interval).all() == expected


def test_the_same_seed_gives_the_same_interval_in_whatever_order_questions_come() -> None:
    answers = Answers(200, [0.3])
    shuffled = answers.resampled(kept=np.random.default_rng(1).permutation(600))
    assert answers.resampled().gains().interval(0, 0) == shuffled.gains().interval(0, 0)
    assert answers.resampled(seed=1).gains().interval(0, 0) != shuffled.gains().interval(0, 0)


def test_a_focus_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="focus: 'x' is none of spelling, balanced, transfer"):
        transfer_score(0.5, 0.5, 0.5, focus="x")  # type: ignore[arg-type]
