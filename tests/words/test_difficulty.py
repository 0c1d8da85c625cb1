"""Easy, medium and hard words."""

import numpy as np
import pandas as pd
import pytest

from spelling_transfer.words.difficulty import (
    DifficultyError,
    DifficultySettings,
    model_scores,
    rate_difficulty,
    structural_score,
)


def test_a_third_of_the_real_words_is_easy_a_third_medium_a_third_hard(words):
    shares = words.loc[words["word_set"] != "random", "difficulty"].value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"easy": 1 / 3, "medium": 1 / 3, "hard": 1 / 3}, abs=0.03)


def test_structure_finds_long_rare_words_of_many_tokens_hard(words):
    level = words.set_index("word")["difficulty"]
    assert level["the"] == level["time"] == "easy"
    means = (
        words[words["word_set"] != "random"].groupby("difficulty")[["length", "n_tokens_bare", "zipf_frequency"]].mean()
    )
    assert means["length"]["easy"] < means["length"]["medium"] < means["length"]["hard"]
    assert means["n_tokens_bare"]["easy"] < means["n_tokens_bare"]["hard"]
    assert means["zipf_frequency"]["easy"] > means["zipf_frequency"]["hard"]
    assert (words.loc[words["word_set"] == "random", "difficulty"] == "hard").mean() > 0.5


def test_random_strings_do_not_shift_the_labels(words):
    real = words[words["word_set"] != "random"].drop(columns=["difficulty", "difficulty_score"])
    alone = rate_difficulty(real, structural_score(real))
    assert list(alone["difficulty"]) == list(words.loc[real.index, "difficulty"])


class LengthScorer:
    """Finds an answer as hard as it is long."""

    def __init__(self):
        self.largest = 0

    def answer_losses(self, input_ids, label_start):
        self.largest = max(self.largest, len(input_ids))
        return np.array([len(ids) - start for ids, start in zip(input_ids, label_start, strict=True)], dtype=float)


def test_a_model_scores_the_answer_and_its_end_in_batches(words, tokenizer):
    scorer = LengthScorer()
    questions = words[["word"]].assign(question=[f"Spell {word}." for word in words["word"]])
    questions = questions.assign(answer=[" ".join(word) for word in words["word"]])
    scores = model_scores(questions, tokenizer, scorer, batch_size=64)
    assert list(scores) == [length + 1 for length in words["length"]]
    assert scorer.largest == 64


def test_scores_that_are_no_numbers_are_an_error(words):
    scores = pd.Series(1.0, index=words.index)
    scores.iloc[5] = np.nan
    with pytest.raises(DifficultyError, match="1 words have no finite score"):
        rate_difficulty(words, scores)


def test_even_two_words_can_be_rated(words):
    rated = rate_difficulty(words.iloc[:2], pd.Series([0.1, 0.9], index=words.index[:2]))
    assert list(rated["difficulty"]) == ["easy", "medium"]


def test_settings_are_bounded():
    with pytest.raises(ValueError, match="backend"):
        DifficultySettings(backend="tensorflow")
