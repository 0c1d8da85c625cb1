"""Other ways of asking the base model: after solved questions, after spelling the word itself, after being told it.

What comes first stands as earlier turns of the conversation, in the same chat format and non-thinking mode as all
else. So no wording is needed that a model with a trimmed vocabulary may not have.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from spelling_transfer.evaluation.kept_answers import GREEDY, Respondent, Way
from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.evaluation.strata import NO_SEED
from spelling_transfer.tasks.arms import PromptedArm
from spelling_transfer.tasks.mixture import POOL, REAL
from spelling_transfer.tasks.registry import TRAINED_TASK
from spelling_transfer.tasks.spelling import Spelling
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.randomness import key_of, random_for


def prompts_after_turns(
    arm: PromptedArm,
    sample: pd.DataFrame,
    prompts: Sequence[list[int]],
    examples: pd.DataFrame,
    *,
    respondent: Respondent,
    tokenizer: ChatTokenizer,
    shots: int,
    max_new_tokens: int,
) -> list[list[int]]:
    """Returns the prompts with what an arm puts before them.

    Args:
        arm: ``few_shots``: questions of the same task about training words with their right answers. ``spell_first``:
            a spelling question about the word with the model's own answer. ``letters_given``: the same with the right
            one.
        sample: The questions.
        prompts: The prompt of each, token ids.
        examples: All examples; solved questions are taken from those for training.
        respondent: The base model.
        tokenizer: The tokenizer.
        shots: Solved questions before each.
        max_new_tokens: Longest answer of the model's own.

    Raises:
        EvaluationError: There are too few solved questions of a task.
    """
    if arm == "few_shots":
        solved = _solved_questions(sample, examples, tokenizer, shots)
        return [solved[task] + prompt for task, prompt in zip(sample["task"], prompts, strict=True)]
    template = Spelling().templates[0]
    words = sorted(sample["word"].unique())
    asked = [Spelling().make(word, random_for("spell first", word), template=template) for word in words]
    questions = tokenizer.encode_prompts([each.question for each in asked])
    if arm == "letters_given":
        answers = tokenizer.encode_texts([each.answer for each in asked])
    else:
        notes = {"arm": arm, "seed": NO_SEED}
        answers = respondent.answer(questions, Way(GREEDY, max_new_tokens), notes=notes)["ids"].tolist()
    turns = {
        word: _turn(question, answer, tokenizer)
        for word, question, answer in zip(words, questions, answers, strict=True)
    }
    return [turns[word] + prompt for word, prompt in zip(sample["word"], prompts, strict=True)]


def questions_for(arm: PromptedArm, sample: pd.DataFrame) -> pd.DataFrame:
    """Returns the questions that it makes sense to ask in this way: a word that is spelled first is not asked for."""
    return sample if arm == "few_shots" else sample[sample["task"] != TRAINED_TASK].reset_index(drop=True)


def _solved_questions(
    sample: pd.DataFrame, examples: pd.DataFrame, tokenizer: ChatTokenizer, shots: int
) -> dict[str, list[int]]:
    of_training = examples[(examples["split"] == "train") & examples["kind"].isin([REAL, POOL])]
    solved = {}
    for task in sample["task"].unique():
        rows = of_training[of_training["task"] == task]
        if len(rows) < shots:
            raise EvaluationError(
                f"evaluation.prompted: few_shots needs {shots} solved questions of {task}, and examples hold "
                f"{len(rows)}. Set example_mix.direct_per_word to 1 or more and run 'kedro run --pipelines=local_prep'."
            )
        order = [key_of("few shots", example_id) for example_id in rows["example_id"]]
        chosen = rows.assign(order=order).nsmallest(shots, "order")
        questions = tokenizer.encode_prompts(chosen["question"].tolist())
        answers = tokenizer.encode_texts(chosen["answer"].tolist())
        turns = (_turn(*each, tokenizer) for each in zip(questions, answers, strict=True))
        solved[str(task)] = [token for turn in turns for token in turn]
    return solved


def _turn(question: Sequence[int], answer: Sequence[int], tokenizer: ChatTokenizer) -> list[int]:
    return [*question, *answer, tokenizer.end_id, *tokenizer.encode_texts(["\n"])[0]]
