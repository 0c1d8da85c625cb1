"""Earlier turns before a question: solved questions, the word spelled by the model itself, the word spelled for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.samples.answers import make_examples

from spelling_transfer.evaluation.prompting import prompts_after_turns, questions_for
from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.models.folder import ModelFolder, new_folder
from spelling_transfer.models.generate import generate_answers
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE
from spelling_transfer.tasks.registry import CORE_TASKS
from spelling_transfer.training.pretrain import PretrainSettings, new_model


@pytest.fixture(scope="module")
def solved() -> pd.DataFrame:
    return make_examples(["plum", "pear", "fig"], split="train")


@pytest.fixture(scope="module")
def loaded(tokenizer, solved: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    texts = [*make_examples()["question"], *solved["question"], "\n", *"abcdefghijklmnopqrstuvwxyz"]
    texts += [f" {letter}" for letter in "abcdefghijklmnopqrstuvwxyz"] + [f"Spell {word} letter by letter." for word in
              make_examples()["word"]]  # fmt: skip
    ids = {token for row in [*tokenizer.encode_texts(texts), *tokenizer.encode_prompts(texts)] for token in row}
    ids |= {
        *tokenizer.think_ids,
        tokenizer.end_id,
        *(t for row in tokenizer.encode_texts(list("0123456789")) for t in row),
    }
    made = new_model(np.array(sorted(ids)), tokenizer.end_id, PretrainSettings(hidden_size=32, layers=2))
    folder: Path = tmp_path_factory.mktemp("model") / "base"
    with new_folder(folder, {}) as work:
        made.model.save_pretrained(str(work))
        (work / TOKEN_IDS_FILE).write_text(json.dumps(sorted(ids)))
    return load_model(ModelFolder(folder))


def asked(arm: str, loaded: LoadedModel, tokenizer, examples: pd.DataFrame, solved: pd.DataFrame) -> list[str]:
    sample = questions_for(arm, examples[examples["task"].isin(CORE_TASKS)])
    prompts = tokenizer.encode_prompts(sample["question"].tolist())
    found = prompts_after_turns(
        arm, sample, prompts, solved, loaded=loaded, tokenizer=tokenizer, shots=2, max_new_tokens=6
    )
    assert [ids[-len(prompt) :] for ids, prompt in zip(found, prompts, strict=True)] == prompts
    return [tokenizer.tokenizer.decode(ids, skip_special_tokens=False) for ids in found]


def test_few_shots_are_solved_questions_of_the_same_task_about_training_words(
    loaded: LoadedModel, tokenizer, examples: pd.DataFrame, solved: pd.DataFrame
) -> None:
    texts = asked("few_shots", loaded, tokenizer, examples, solved)
    for text, task in zip(texts, examples["task"], strict=True):
        assert text.count("<|im_start|>user") == 3
        assert text.count("<think>\n\n</think>") == 3  # every turn in the one mode
        shown = solved[solved["task"] == task]
        assert sum(row.question in text and f"{row.answer}<|im_end|>\n" in text for row in shown.itertuples()) == 2


def test_the_word_is_spelled_before_a_question_about_it(
    loaded: LoadedModel, tokenizer, examples: pd.DataFrame, solved: pd.DataFrame
) -> None:
    rows = examples[examples["task"] != "spelling"]
    given = asked("letters_given", loaded, tokenizer, examples, solved)
    first = asked("spell_first", loaded, tokenizer, examples, solved)
    for told, own, word in zip(given, first, rows["word"], strict=True):
        question = f"Spell {word} letter by letter."
        assert f"{question}<|im_end|>" in told
        assert f"{' '.join(word)}<|im_end|>\n" in told
        (answer,) = generate_answers(loaded, tokenizer, tokenizer.encode_prompts([question]), max_new_tokens=6)
        assert f"</think>\n\n{tokenizer.decode(answer)}<|im_end|>\n" in own
        assert f"{' '.join(word)}<|im_end|>" not in own  # a random model does not know


def test_too_few_solved_questions_are_an_error_that_says_what_to_change(
    loaded: LoadedModel, tokenizer, examples: pd.DataFrame, solved: pd.DataFrame
) -> None:
    with pytest.raises(EvaluationError, match=r"needs 2 solved questions of count.*direct_per_word"):
        asked("few_shots", loaded, tokenizer, examples, solved[solved["task"] != "count"])
