"""Which strings begin a word, or stand in one."""

from hypothesis import given
from hypothesis import strategies as st

from spelling_transfer.tokenizer.word_parts import WordParts

_STRINGS = st.text(alphabet="abcz", max_size=18)


@given(st.lists(st.text(alphabet="abcz", min_size=1, max_size=18), max_size=8), st.lists(_STRINGS, max_size=8))
def test_parts_and_beginnings_are_those_of_a_plain_search(words, strings):
    parts = WordParts(words)
    holding, beginning = parts.holding(strings), parts.beginning_with(strings)
    for place, string in enumerate(strings):
        assert holding.in_words[place] == bool(string and any(string in word for word in words))
        assert beginning.in_words[place] == bool(string and any(word.startswith(string) for word in words))
        if holding.in_words[place]:
            assert holding.words[place] in words
            assert string in holding.words[place]
        if beginning.in_words[place]:
            assert beginning.words[place] in words
            assert beginning.words[place].startswith(string)


def test_a_string_that_is_a_word_is_found_in_itself():
    assert WordParts(["strawberry", "straw", "berry"]).beginning_with(["straw", "ber"]).words == ["straw", "berry"]
