import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from spelling_transfer.evaluation.answering import check_tokens
from spelling_transfer.evaluation.questions import (
    EvaluationError,
    core_questions,
    sample_examples,
    sample_test_examples,
)
from spelling_transfer.tokenizer.chat import load_chat_tokenizer


def test_one_question_a_family_and_task(examples: pd.DataFrame) -> None:
    plural = examples.assign(example_id=examples["example_id"] + "s", word=examples["word"] + "s")
    both = pd.concat([examples, plural], ignore_index=True)
    sample = sample_examples(both, split="test", per_task=1000)
    assert not sample.duplicated(["task", "stem"]).any()
    assert sample["stem"].nunique() == examples["stem"].nunique()
    assert 0 < sample["word"].str.endswith("s").mean() < 1


def test_all_tasks_are_asked_about_the_same_families(examples: pd.DataFrame) -> None:
    sample = sample_examples(examples, split="test", per_task=7)
    families = sample.groupby("task")["stem"].agg(frozenset)
    assert families.nunique() == 1
    assert len(families.iloc[0]) == 7


def test_only_real_examples_of_the_split_and_word_set_are_taken(examples: pd.DataFrame) -> None:
    others = [
        examples.assign(split="train"),
        examples.assign(kind="control"),
        examples.assign(word_set="random"),
    ]
    frame = pd.concat([other.assign(example_id=f"{i}/" + other["example_id"]) for i, other in enumerate(others)])
    assert sample_examples(frame, split="test", per_task=5).empty


def test_a_smaller_sample_is_part_of_a_larger_one_whatever_the_order(examples: pd.DataFrame) -> None:
    small = sample_examples(examples, split="test", per_task=5)
    large = sample_examples(examples.sample(frac=1, random_state=1), split="test", per_task=12)
    assert set(small["example_id"]) < set(large["example_id"])


def test_another_seed_takes_other_families(examples: pd.DataFrame) -> None:
    first, second = (sample_examples(examples, split="test", per_task=8, seed=seed) for seed in (0, 1))
    assert set(first["stem"]) != set(second["stem"])


def test_other_word_sets_come_along(examples: pd.DataFrame) -> None:
    strings = examples.assign(word_set="random", example_id="r/" + examples["example_id"])
    both = pd.concat([examples, strings], ignore_index=True)
    sample = sample_test_examples(both, per_task=10, per_other_word_set=3)
    assert sample.groupby(["word_set", "task"]).size().to_dict() == {
        **{("word", task): 10 for task in ("spelling", "position", "count")},
        **{("random", task): 3 for task in ("spelling", "position", "count")},
    }
    assert set(sample_test_examples(both, per_task=10, per_other_word_set=0)["word_set"]) == {"word"}


def test_no_held_out_words_is_an_error_that_says_what_to_run(examples: pd.DataFrame) -> None:
    with pytest.raises(EvaluationError, match=r"split 'test'.*local_prep"):
        sample_test_examples(examples.assign(split="train"), per_task=10, per_other_word_set=0)


def test_every_arm_is_asked_the_tasks_that_claims_are_about() -> None:
    sample = pd.DataFrame(
        {"task": ["spelling", "count", "reverse", "position"], "word_set": ["word", "random", "word", "word"]}
    )
    assert core_questions(sample)["task"].tolist() == ["spelling", "count", "position"]


def test_questions_about_trained_words_come_along(examples: pd.DataFrame) -> None:
    asked = examples.assign(split="train", kind="asked", example_id="asked/" + examples["example_id"])
    both = pd.concat([examples, asked, asked.assign(kind="real", example_id="real/" + asked["example_id"])])
    sample = sample_test_examples(both, per_task=10, per_other_word_set=0, per_trained_words=4)
    assert sample.groupby(["kind", "task"]).size().to_dict() == {
        **{("asked", task): 4 for task in ("spelling", "position", "count")},
        **{("real", task): 10 for task in ("spelling", "position", "count")},
    }


def test_a_task_that_asks_with_tokens_a_trimmed_model_lacks_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    tokenizer = load_chat_tokenizer()
    texts = {"count": "How many e are in letter?", "vowels": "How many vowels are in letter?"}
    ids = {task: tokenizer.tokenizer.encode(text).ids for task, text in texts.items()}
    questions = pd.DataFrame({"example_id": list(texts), "task": list(texts)})
    encoded = pd.DataFrame(
        {
            "example_id": list(texts),
            "input_ids": list(ids.values()),
            "label_start": [len(each) for each in ids.values()],
        }
    )
    base: Any = SimpleNamespace(path=tmp_path)
    check_tokens(questions, encoded, base, tokenizer)  # a full model has them all
    (tmp_path / "token_ids.json").write_text(json.dumps(sorted(ids["count"])))
    check_tokens(questions[:1], encoded, base, tokenizer)
    with pytest.raises(EvaluationError, match=r"^vowels: its questions need tokens .* does not have: ' vowels'\. Word"):
        check_tokens(questions, encoded, base, tokenizer)
