"""The linear probe finds what was put into an embedding, and nothing where there is nothing."""

import numpy as np
import pytest

from spelling_transfer.tokenizer.probe import LetterProbe, LetterProbeError, probe_letters

SETTINGS = LetterProbe(max_tokens=800, folds=4, ridge_penalties=(10.0,), resamples=200)
HIDDEN = 32


@pytest.fixture(scope="module")
def token_ids(vocabulary) -> np.ndarray:
    lower = vocabulary[(vocabulary["letter_case"] == "lower") & (vocabulary["n_characters"] > 2)]
    return lower["token_id"].to_numpy()[:2_000]


def by_target(result: dict) -> dict:
    return {row["target"]: row for row in result["targets"]}


def test_letters_that_are_in_the_embedding_are_read_from_it(vocabulary, token_ids):
    rng = np.random.default_rng(0)
    first = np.array([ord(text.strip()[0]) - ord("a") for text in vocabulary["text"][token_ids]])
    directions = rng.standard_normal((26, HIDDEN))
    embedding = directions[first] + 0.5 * rng.standard_normal((len(token_ids), HIDDEN))
    targets = by_target(probe_letters(vocabulary, token_ids, embedding, SETTINGS))
    assert targets["first letter"]["score"] > 0.9
    assert targets["first letter"]["gain_low"] > 0.5
    assert targets["last letter"]["gain_low"] < 0.05


def test_nothing_is_read_from_noise(vocabulary, token_ids):
    embedding = np.random.default_rng(1).standard_normal((len(token_ids), HIDDEN)).astype(np.float32)
    result = probe_letters(vocabulary, token_ids, embedding, SETTINGS)
    assert (result["tokens"], result["hidden"]) == (800, HIDDEN)
    for row in result["targets"]:
        assert row["gain_low"] < 0.03
        assert abs(row["score"] - row["majority"]) < 0.1
        assert row["score_low"] <= row["score"] <= row["score_high"]


def test_the_same_letters_never_stand_on_both_sides(vocabulary):
    # One direction for all tokens of the same letters: a probe that has seen one of them is right about the others.
    letters = vocabulary["text"].str.strip().str.lower()
    fitting = vocabulary[(vocabulary["token_class"] == "letters") & (vocabulary["n_characters"] > 3)]
    several = fitting[letters[fitting.index].duplicated(keep=False)].head(600)
    group = letters[several.index].astype("category").cat.codes.to_numpy()
    embedding = np.random.default_rng(2).standard_normal((group.max() + 1, 300))[group]
    targets = by_target(probe_letters(vocabulary, several["token_id"].to_numpy(), embedding, SETTINGS))
    assert targets["first letter"]["score"] < 0.3


def test_it_is_the_same_every_time(vocabulary, token_ids):
    embedding = np.random.default_rng(3).standard_normal((len(token_ids), 16))
    first, second = (probe_letters(vocabulary, token_ids, embedding, SETTINGS) for _ in range(2))
    assert first == second


def test_an_embedding_that_cannot_be_probed_is_a_clear_error(vocabulary, token_ids):
    embedding = np.ones((len(token_ids), 4))
    with pytest.raises(LetterProbeError, match=r"40 are needed. Set letter_probe.enabled to false"):
        probe_letters(vocabulary, token_ids[:20], embedding[:20], SETTINGS)
    with pytest.raises(LetterProbeError, match="not finite"):
        probe_letters(vocabulary, token_ids, np.full_like(embedding, np.nan), SETTINGS)


def test_rows_without_a_token_are_passed_over(vocabulary, token_ids):
    ids = np.concatenate((token_ids, np.arange(151_669, 151_936)))
    embedding = np.random.default_rng(4).standard_normal((len(ids), 8))
    assert probe_letters(vocabulary, ids, embedding, SETTINGS)["tokens"] == 800
