"""The rules, what they take in, and why."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spelling_transfer.tokenizer.english import TokenRule, TokenRules, WordParts, find_english_tokens, summarise_english
from spelling_transfer.tokenizer.subset import TokenSubset
from spelling_transfer.tokenizer.words import plural_of


@pytest.fixture(scope="module")
def by_text(english_tokens):
    return english_tokens.set_index("text")


def test_the_rules_that_are_counted_in_the_vocabulary_have_its_figures(english_tokens):
    assert english_tokens["in_ascii"].sum() == 94_358
    assert english_tokens["in_letters"].sum() == 68_923


def test_encoding_any_word_of_the_list_needs_no_token_outside_english(english_tokens, listed_words, tokenizer):
    subset = TokenSubset.of_tokens(english_tokens, "english", tokenizer)
    forms = [*listed_words, *map(str.capitalize, listed_words), *map(plural_of, listed_words)]
    forms += map(str.upper, listed_words)
    needed = {token for ids in tokenizer.encode_texts([*forms, *(f" {form}" for form in forms)]) for token in ids}
    assert subset.missing(needed) == []


@pytest.mark.parametrize(
    ("text", "is_in", "why"),
    [
        (" strawberry", True, "begins a listed word"),
        ("berry", True, "part of a listed word"),
        ("Street", True, "begins a listed word"),
        ("q", True, "single letter"),
        (" endforeach", False, "no listed word begins so"),
        ("xmlns", False, "part of no listed word"),
        ("JavaScript", False, "mixed case is out"),
        ("7", True, "class digits is in"),
        ("?", True, "class punctuation is in"),
        (".\n\n", True, "class punctuation is in"),
        (" .\n\n", True, "class punctuation is in"),  # the space in front is none of the blanks
        ("...", True, "class punctuation is in"),
        ("};\n", False, "has a sign that the rule does not name"),
        ("....", False, "more than 3 signs"),
        ("    ", False, "more than 2 blanks"),
        ("'s", True, "sign joined to letters: single letter"),
        ("(the", True, "sign joined to letters: begins a listed word"),
        (".com", False, "class code is out"),
        ("é", False, "class non_ascii is out"),
        ("<|im_end|>", True, "token of the prompt or the end of an answer"),
        ("<|endoftext|>", True, "named by the rule"),
        ("<|vision_pad|>", False, "class special is out"),
    ],
)
def test_each_token_has_its_reason(by_text, text, is_in, why):
    row = by_text.loc[text]
    assert (row["in_english"], row["why_english"]) == (is_in, why)


def test_a_listed_word_witnesses_the_letters_of_each_token(english_tokens, listed_words):
    known = {*listed_words, *map(plural_of, listed_words)}
    taken = english_tokens[english_tokens["in_english"] & english_tokens["why_english"].str.contains("listed word")]
    assert len(taken) > 50_000
    for text, word in zip(taken["text"], taken["word"], strict=True):
        assert word in known
        assert text.lower().lstrip(" '\"(-") in word


def test_only_special_tokens_stand_in_prompts_alone(english_tokens, tokenizer):
    special = english_tokens[english_tokens["prompt_only"]]
    assert set(special["token_class"]) == {"special"}
    assert set(tokenizer.think_ids) <= set(special["token_id"])
    assert tokenizer.end_id not in set(special["token_id"])


def test_a_rule_of_ones_own_needs_no_code(vocabulary, tokenizer):
    rule = TokenRule(description="small words", classes=("letters",), letters_of_words=True, letter_cases=("lower",))
    table = find_english_tokens(vocabulary, ["straw"], tokenizer, TokenRules(use="own", rules={"own": rule}))
    texts = set(table.loc[table["in_own"], "text"])
    assert {"raw", " straw", "aws", " st", "z", " z"} <= texts
    assert not {"Str", " raw", "tea", "?"} & texts


def test_letters_behind_a_sign_are_bound_to_the_list_only_where_letters_are(vocabulary, tokenizer):
    rule = TokenRule(description="free letters", classes=("letters",), joined_signs="(\t")
    bound = rule.model_copy(update={"letters_of_words": True})
    table = find_english_tokens(vocabulary, ["the"], tokenizer, TokenRules(use="a", rules={"a": rule, "b": bound}))
    rows = table.set_index("text").loc[["(the", "(ptr", "_the", "\tthe"]]
    assert rows["in_a"].tolist() == [True, True, False, False]  # a tab is white space, no sign
    assert rows["in_b"].tolist() == [True, False, False, False]


def test_the_end_of_an_answer_is_a_token_of_the_prompt_where_the_prompt_does_not_hold_it(vocabulary, tokenizer):
    without = replace(tokenizer, suffix_ids=tuple(token for token in tokenizer.suffix_ids if token != tokenizer.end_id))
    rule = TokenRule(description="prompts", classes=("digits",), prompt_tokens=True)
    table = find_english_tokens(vocabulary, ["the"], without, TokenRules(use="own", rules={"own": rule}))
    assert bool(table.set_index("token_id").loc[tokenizer.end_id, "in_own"])


def test_the_counts_of_a_rule_are_those_of_its_table(english_tokens, rules):
    for row in summarise_english(english_tokens, rules):
        assert row["tokens"] == english_tokens[f"in_{row['rule']}"].sum() == sum(c["inside"] for c in row["classes"])
        assert sum(reason["tokens"] for reason in row["reasons"]) == len(english_tokens)
        assert sum(reason["tokens"] for reason in row["reasons"] if reason["inside"]) == row["tokens"]
        order = [(reason["inside"], reason["tokens"]) for reason in row["reasons"]]
        assert order == sorted(order, reverse=True)  # what is in comes first, and of each the most frequent


def test_an_unknown_rule_lists_the_known_ones(rules):
    with pytest.raises(ValidationError, match=r"'germanic' is no rule; known are ascii, letters, english .*rules.yml"):
        TokenRules(use="germanic", rules=rules.rules)


@pytest.mark.parametrize(
    "wrong", [{"classes": ["vowels"]}, {"classes": []}, {"max_signs": 0}, {"letter_cases": ["title"]}, {"sings": "."}]
)
def test_a_rule_with_an_unknown_part_is_refused(wrong):
    with pytest.raises(ValidationError):
        TokenRule.model_validate({"description": "x", "classes": ["letters"], **wrong})


@pytest.mark.parametrize(
    ("word", "plural"),
    [("berry", "berries"), ("boy", "boys"), ("box", "boxes"), ("church", "churches"), ("cat", "cats"), ("y", "ys")],
)
def test_the_regular_plural(word, plural):
    assert plural_of(word) == plural


@given(
    st.lists(st.text(alphabet="abcz", min_size=1, max_size=18), max_size=8),
    st.text(alphabet="abcz", min_size=1, max_size=18),
)
def test_parts_and_beginnings_are_those_of_a_plain_search(words, string):
    parts = WordParts(words)
    assert parts.holding(string) in ([word for word in words if string in word] or [""])
    assert parts.beginning_with(string) in ([word for word in words if word.startswith(string)] or [""])
