"""Earlier turns before a question: solved questions, the word spelled by the model itself, the word spelled for it."""

from __future__ import annotations

import pandas as pd
import pytest

from spelling_transfer.evaluation.kept_answers import KeptAnswers, Respondent
from spelling_transfer.evaluation.prompting import prompts_after_turns, questions_for
from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import generate_answers
from spelling_transfer.models.load import load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.tasks.registry import CORE_TASKS


def asked(arm: str, folder: ModelFolder, tokenizer, examples: pd.DataFrame, solved: pd.DataFrame) -> list[str]:
    sample = questions_for(arm, examples[examples["task"].isin(CORE_TASKS)])
    prompts = tokenizer.encode_prompts(sample["question"].tolist())
    respondent = Respondent(folder, None, ModelProfile(name="tiny"), tokenizer, KeptAnswers())
    found = prompts_after_turns(
        arm, sample, prompts, solved, respondent=respondent, tokenizer=tokenizer, shots=2, max_new_tokens=6
    )
    assert [ids[-len(prompt) :] for ids, prompt in zip(found, prompts, strict=True)] == prompts
    return [tokenizer.tokenizer.decode(ids, skip_special_tokens=False) for ids in found]


def test_few_shots_are_solved_questions_of_the_same_task_about_training_words(
    folder: ModelFolder, tokenizer, examples: pd.DataFrame, solved: pd.DataFrame
) -> None:
    texts = asked("few_shots", folder, tokenizer, examples, solved)
    for text, task in zip(texts, examples["task"], strict=True):
        assert text.count("<|im_start|>user") == 3
        assert text.count("<think>\n\n</think>") == 3  # every turn in the one mode
        shown = solved[solved["task"] == task]
        assert sum(row.question in text and f"{row.answer}<|im_end|>\n" in text for row in shown.itertuples()) == 2


def test_the_word_is_spelled_before_a_question_about_it(
    folder: ModelFolder, tokenizer, examples: pd.DataFrame, solved: pd.DataFrame
) -> None:
    rows = examples[examples["task"] != "spelling"]
    given = asked("letters_given", folder, tokenizer, examples, solved)
    first = asked("spell_first", folder, tokenizer, examples, solved)
    for told, own, word in zip(given, first, rows["word"], strict=True):
        question = f"Spell {word} letter by letter."
        assert f"{question}<|im_end|>" in told
        assert f"{' '.join(word)}<|im_end|>\n" in told
        (answer,) = generate_answers(
            load_model(folder), tokenizer, tokenizer.encode_prompts([question]), max_new_tokens=6
        )
        assert f"</think>\n\n{tokenizer.decode(answer)}<|im_end|>\n" in own
        assert f"{' '.join(word)}<|im_end|>" not in own  # a random model does not know


def test_too_few_solved_questions_are_an_error_that_says_what_to_change(
    folder: ModelFolder, tokenizer, examples: pd.DataFrame, solved: pd.DataFrame
) -> None:
    with pytest.raises(EvaluationError, match=r"needs 2 solved questions of count.*direct_per_word"):
        asked("few_shots", folder, tokenizer, examples, solved[solved["task"] != "count"])
