"""Arms: what each is trained on, in what number, with the same share of rehearsal."""

from __future__ import annotations

import pandas as pd
import pytest

from spelling_transfer.tasks.arms import TRAINED_ARMS, ArmError, choose_arm, with_rehearsal
from spelling_transfer.tasks.encoding import encode_examples, encode_lines
from spelling_transfer.tasks.mixture import MixtureSettings

ALL = MixtureSettings(spelling_data_ratio=1.0, spelling_difficulty="all")


@pytest.fixture(scope="module")
def encoded(examples, tokenizer) -> pd.DataFrame:
    return encode_examples(examples, tokenizer)


@pytest.fixture(scope="module")
def lines(examples, tokenizer) -> pd.DataFrame:
    return encode_lines(examples[examples["kind"] == "rehearsal"], tokenizer)


def test_each_arm_has_rows_of_its_own_kind(encoded):
    found = {arm: choose_arm(encoded, arm, ALL) for arm in TRAINED_ARMS}
    assert {arm: (*set(rows["task"]), *set(rows["kind"].replace("pool", "real"))) for arm, rows in found.items()} == {
        "spelling": ("spelling", "real"),
        "form_control": ("spelling", "real"),
        "direct_position": ("position", "real"),
        "direct_count": ("count", "real"),
        "wrong_letters": ("spelling", "wrong_letters"),
        "indexed_spelling": ("indexed", "indexed"),
        "token_letters": ("token_letters", "token_letters"),
    }
    assert all((rows["split"] == "train").all() for rows in found.values())
    assert max(len(rows) for rows in found.values()) == len(found["spelling"])


def test_no_arm_is_trained_on_a_question_that_is_asked(encoded):
    asked = set(encoded.loc[(encoded["kind"] == "asked") | (encoded["split"] != "train"), "example_id"])
    for arm in TRAINED_ARMS:
        assert not asked & set(choose_arm(encoded, arm, ALL)["example_id"])


def test_what_stands_in_for_spelling_keeps_the_other_tasks_of_the_mixture(encoded):
    mixed = MixtureSettings(spelling_data_ratio=0.7, spelling_difficulty="all")
    spelling, wrong = (choose_arm(encoded, arm, mixed) for arm in ("spelling", "wrong_letters"))
    others = [set(rows.loc[rows["task"] != "spelling", "example_id"]) for rows in (spelling, wrong)]
    assert others[0] == others[1] != set()
    assert len(spelling) == len(wrong)


def test_wrong_letters_have_the_prompts_of_the_spelling_arm(encoded):
    hard = MixtureSettings(spelling_data_ratio=0.9, spelling_difficulty="hard")
    spelling, wrong = (choose_arm(encoded, arm, hard) for arm in ("spelling", "wrong_letters"))
    prompts = spelling.loc[spelling["task"] == "spelling", "example_id"]
    assert set(wrong.loc[wrong["kind"] == "wrong_letters", "example_id"]) == set("wrong_letters-" + prompts)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.6])
def test_rehearsal_is_the_same_share_of_every_arm(encoded, lines, share):
    for arm in TRAINED_ARMS:
        rows = with_rehearsal(choose_arm(encoded, arm, ALL), lines, share)
        plain = rows["example_id"].str.startswith("rehearsal-")
        assert plain.mean() == pytest.approx(share, abs=1e-3)
        if share:
            assert rows.loc[plain, "example_id"].value_counts().agg(lambda n: n.max() - n.min()) <= 1


def test_an_arm_without_rows_says_what_to_change(encoded, lines):
    with pytest.raises(ArmError, match=r"train wrong_letters on\. .*example_mix\.other_arms on"):
        choose_arm(encoded[encoded["kind"] != "wrong_letters"], "wrong_letters", ALL)
    with pytest.raises(ArmError, match=r"direct_count on\. .*direct_per_word"):
        choose_arm(encoded[encoded["task"] != "count"], "direct_count", ALL)
    with pytest.raises(ArmError, match=r"spelling\.rehearsal_share: 0\.25 .*pretrain"):
        with_rehearsal(choose_arm(encoded, "spelling", ALL), lines.iloc[:0], 0.25)
