"""Letters and places of tokens."""

from spelling_transfer.tasks.token_letters import letters_with_places, tokens_of


def test_letters_carry_their_places():
    assert letters_with_places("cat") == "c1 a2 t3"


def test_tokens_are_shown_as_they_are_in_words(words, tokenizer, examples):
    rows = examples[examples["kind"] == "token_letters"]
    trained = words[words["split"] == "train"]
    tokens = tokens_of([*trained["ids_bare"], *trained["ids_spaced"]], tokenizer)
    assert len(rows) == len(tokens) > 2000
    for (token, letters, spaced), row in list(zip(tokens, rows.itertuples(), strict=True))[::50]:
        assert row.answer == letters_with_places(letters)
        assert row.question.startswith(letters) != spaced
        (ids,) = tokenizer.encode_texts([row.question])
        assert token in ids


def test_tokens_of_held_out_words_stay_unseen(words, tokenizer, examples):
    trained = words[words["split"] == "train"]
    tokens = {token for token, _, _ in tokens_of([*trained["ids_bare"], *trained["ids_spaced"]], tokenizer)}
    held_out = words[words["word_set"] == "token_held_out"]
    assert not tokens & {token for column in ("ids_bare", "ids_spaced") for ids in held_out[column] for token in ids}
