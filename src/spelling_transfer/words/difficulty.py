"""How hard a word is to spell: by what it looks like, or by what the base model makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from pydantic import Field

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.frozen import FrozenModel
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.word_sets import RANDOM

LEVELS = ("easy", "medium", "hard")


class DifficultyError(SpellingTransferError):
    """Words cannot be rated in the way that was asked for."""


class DifficultySettings(FrozenModel):
    """How the difficulty of words is rated."""

    method: Literal["structure", "loss"] = Field(
        "structure", description="By tokens, length, rarity and repeats, or by the base model's loss on the spelling."
    )
    backend: Literal["torch", "mlx"] = Field("torch", description="What computes the loss: torch, or MLX on a Mac.")
    batch_size: int = Field(128, ge=1, le=4096, description="Words the model reads side by side.")


class Scorer(Protocol):
    """A base model that says how well it foresees answers; one class a backend."""

    def answer_losses(self, input_ids: Sequence[Sequence[int]], label_start: Sequence[int]) -> np.ndarray:
        """Returns the mean loss over each answer.

        Args:
            input_ids: Prompt, answer and end token of each example, as ids of the tokenizer.
            label_start: Where the answer of each example begins.

        Returns:
            Nats a token, float64, shape ``(examples,)``: mean of −log p over ``input_ids[label_start:]``.
        """


def structural_score(words: pd.DataFrame) -> pd.Series:
    """Returns a score between 0 and 1 for what makes a spelling hard: the mean of four percentile ranks.

    The four are the number of tokens (mean of both forms), the length, rarity (falling Zipf frequency) and the number
    of letters that repeat an earlier one. Percentiles are those among the real words, so that random strings do not
    shift them.

    Args:
        words: The words frame with its token counts.
    """
    features = pd.DataFrame(
        {
            "tokens": (words["n_tokens_bare"] + words["n_tokens_spaced"]) / 2,
            "length": words["length"].astype(float),
            "rarity": -words["zipf_frequency"],
            "repeats": words["length"] - words["word"].map(lambda word: len(set(word))),
        }
    )
    real = (words["word_set"] != RANDOM).to_numpy()
    ranks = []
    for _, values in features.items():
        among = np.sort(values[real].to_numpy())
        below = np.searchsorted(among, values.to_numpy(), side="left")
        not_above = np.searchsorted(among, values.to_numpy(), side="right")
        ranks.append((below + not_above) / (2 * max(len(among), 1)))
    return pd.Series(np.mean(ranks, axis=0), index=words.index)


def model_scores(
    questions: pd.DataFrame, tokenizer: ChatTokenizer, scorer: Scorer, *, batch_size: int = 128
) -> pd.Series:
    """Returns the model's loss on the right answer to a question about each word.

    Args:
        questions: Columns ``word``, ``question`` and ``answer``, a row a word: how it is spelled.
        tokenizer: The tokenizer.
        scorer: The model.
        batch_size: Words that are scored side by side; those of similar length share a batch.
    """
    prompts = tokenizer.encode_prompts(questions["question"].tolist(), questions["word"].tolist())
    answers = tokenizer.encode_texts(questions["answer"].tolist())
    input_ids = [prompt + answer + [tokenizer.end_id] for prompt, answer in zip(prompts, answers, strict=True)]
    order = sorted(range(len(input_ids)), key=lambda place: len(input_ids[place]))
    losses = np.empty(len(input_ids))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        losses[batch] = scorer.answer_losses([input_ids[i] for i in batch], [len(prompts[i]) for i in batch])
    return pd.Series(losses, index=questions.index)


def rate_difficulty(words: pd.DataFrame, scores: pd.Series) -> pd.DataFrame:
    """Adds the difficulty: the real words' lowest third of scores is easy, the middle medium, the highest hard.

    Args:
        words: The words frame.
        scores: A score a word, higher is harder.

    Raises:
        DifficultyError: A score is not a finite number.
    """
    if not np.isfinite(scores).all():
        worst = words.loc[~np.isfinite(scores), "word"]
        raise DifficultyError(
            f"{len(worst)} words have no finite score, {worst.iloc[0]!r} among them. Check the model in "
            "'scoring_model', or set difficulty.method to 'structure'."
        )
    low, high = _thirds(scores[words["word_set"] != RANDOM].to_numpy())
    levels = np.where(scores <= low, LEVELS[0], np.where(scores <= high, LEVELS[1], LEVELS[2]))
    return words.assign(difficulty=levels, difficulty_score=scores)


def _thirds(scores: np.ndarray) -> tuple[float, float]:
    """Returns two bounds, each halfway between two neighbouring scores, so that tiny differences move no label."""
    ordered = np.sort(scores)

    def bound(place: int) -> float:
        place = min(max(place, 1), len(ordered) - 1)
        return float((ordered[place - 1] + ordered[place]) / 2)

    if len(ordered) < len(LEVELS):
        return float(ordered[0]), float(ordered[-1])
    return bound(round(len(ordered) / 3)), bound(round(2 * len(ordered) / 3))
