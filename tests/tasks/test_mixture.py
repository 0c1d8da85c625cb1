"""The mixture: exact shares, difficulty, variants, and errors that say what to change."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spelling_transfer.tasks.mixture import MixtureError, MixtureSettings, choose_mixture


def mix(ratio=1.0, augmentation=True, difficulty="all") -> MixtureSettings:
    return MixtureSettings(
        spelling_data_ratio=ratio, spelling_augmentation=augmentation, spelling_difficulty=difficulty
    )


@pytest.fixture(scope="module")
def pool() -> pd.DataFrame:
    rows = [
        {"task": task, "split": split, "kind": "pool", "augmented": augmented, "difficulty": difficulty}
        for task, copies in (("spelling", 40), ("position", 21), ("count", 13))
        for split in ("train", "test")
        for augmented in (True, False)
        for difficulty in ("easy", "medium", "hard")
        for _ in range(copies)
    ]
    frame = pd.DataFrame(rows).assign(template_held_out=False)
    frame["example_id"] = [f"e{number}" for number in range(len(frame))]
    return frame


@given(ratio=st.floats(0, 1), seed=st.integers(0, 5))
def test_shares_are_exact(pool, ratio, seed):
    chosen = choose_mixture(pool, mix(ratio), seed=seed)
    spelling = int((chosen["task"] == "spelling").sum())
    assert abs(spelling - ratio * len(chosen)) <= 0.5
    others = (
        chosen.loc[chosen["task"] != "spelling", "task"].value_counts().reindex(["position", "count"], fill_value=0)
    )
    assert others.max() - others.min() <= 1
    assert (chosen["split"] == "train").all()
    # None could be added without breaking a share: one of the two is nearly used up.
    assert spelling >= 119 or others.sum() >= 155


def test_a_mixture_depends_on_ids_and_seed_alone(pool):
    backwards = pool.iloc[::-1]
    assert set(choose_mixture(pool, mix(0.7))["example_id"]) == set(choose_mixture(backwards, mix(0.7))["example_id"])
    assert set(choose_mixture(pool, mix(0.7), seed=1)["example_id"]) != set(
        choose_mixture(pool, mix(0.7))["example_id"]
    )


def test_difficulty_and_augmentation_choose_the_spelling_alone(pool):
    chosen = choose_mixture(pool, mix(0.6, augmentation=False, difficulty="hard"))
    spelling = chosen[chosen["task"] == "spelling"]
    assert set(spelling["difficulty"]) == {"hard"}
    assert not spelling["augmented"].any()
    assert set(chosen.loc[chosen["task"] != "spelling", "difficulty"]) == {"easy", "medium", "hard"}


def test_wordings_that_are_held_out_are_never_trained_on(pool):
    held_out = pool.assign(template_held_out=pool.index % 2 == 0)
    for ratio in (0.0, 0.5, 1.0):
        assert not choose_mixture(held_out, mix(ratio))["template_held_out"].any()
    with pytest.raises(MixtureError):
        choose_mixture(pool.assign(template_held_out=True), mix(0.5))


def test_what_cannot_be_met_is_said_with_the_remedy(pool):
    with pytest.raises(MixtureError, match="spelling_difficulty: no spelling example of difficulty 'hard'"):
        choose_mixture(pool[pool["difficulty"] != "hard"], mix(difficulty="hard"))
    with pytest.raises(MixtureError, match=r"spelling_data_ratio: 0.5 leaves a share .*direct_per_word"):
        choose_mixture(pool[pool["task"] == "spelling"], mix(0.5))
