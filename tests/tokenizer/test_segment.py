"""Words into tokens, thousands at a time, against the tokenizer itself."""

from hypothesis import given, settings
from hypothesis import strategies as st

from spelling_transfer.tokenizer.byte_level import decode_vocabulary
from spelling_transfer.tokenizer.segment import WordSegmenter
from spelling_transfer.tokenizer.words import WORD_FORMS, write_forms

_LETTERS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=40)
_WORDS = st.builds(
    lambda space, word, capital: space + (word.capitalize() if capital else word),
    st.sampled_from(["", " "]),
    _LETTERS,
    st.booleans(),
)


def test_every_word_of_the_list_in_every_form_is_cut_as_by_the_tokenizer(tokenizer, segmenter, listed_words):
    forms = write_forms(listed_words)
    texts = [text for form in WORD_FORMS for text in forms[form]]
    assert len(texts) > 140_000
    assert segmenter.segment(texts).to_lists() == tokenizer.encode_texts(texts)


@given(st.lists(_WORDS, max_size=30))
@settings(deadline=None)
def test_strings_of_letters_are_cut_as_by_the_tokenizer(tokenizer, segmenter, texts):
    assert segmenter.segment(texts).to_lists() == tokenizer.encode_texts(texts)


@given(st.lists(st.text(max_size=12) | st.sampled_from([" ", "", "a b", "mcDonald", "A", " A", "\n", "a\nb", "naïve"])))
@settings(deadline=None)
def test_any_other_text_is_left_to_the_tokenizer(tokenizer, segmenter, texts):
    assert segmenter.segment(texts).to_lists() == tokenizer.encode_texts(texts)


def test_a_token_that_is_a_word_stays_whole(tokens, segmenter, vocabulary):
    plain = vocabulary["letter_case"].isin(["lower", "capitalised"]) & (vocabulary["n_bytes"] <= 30)
    rows = vocabulary[plain]
    assert segmenter.segment(rows["text"].tolist()).to_lists() == [[token_id] for token_id in rows["token_id"]]


def test_another_tokenizer_cuts_its_own_way(byte_level, chat):
    other = chat(byte_level(" straw", "berry"))
    segmenter = WordSegmenter(other, decode_vocabulary(other.tokenizer))
    texts = [" strawberry", "x", " été"]
    assert segmenter.segment(texts).to_lists() == other.encode_texts(texts)


def brute_force(text: str, vocabulary: set[str]) -> list[int]:
    """Lengths of all segmentations, found one by one."""
    if not text:
        return [0]
    return [
        1 + rest
        for end in range(1, len(text) + 1)
        if text[:end] in vocabulary
        for rest in brute_force(text[end:], vocabulary)
    ]


@given(st.lists(st.text(alphabet="abn", min_size=1, max_size=8), max_size=5))
@settings(deadline=None)
def test_the_ways_to_cut_a_word_are_those_found_one_by_one(byte_level, chat, texts):
    words = ("ab", "ban", "bana", "na", "nan")
    other = chat(byte_level(*words))
    tokens = decode_vocabulary(other.tokenizer)
    known = {data.decode() for data in tokens if data.isascii()}
    found = WordSegmenter(other, tokens).ambiguity(texts)
    for place, text in enumerate(texts):
        lengths = brute_force(text, known)
        assert found.ways[place] == len(lengths)
        assert found.fewest[place] == min(lengths)
        assert found.shortest_ways[place] == lengths.count(min(lengths))


def test_texts_that_are_no_words_have_no_ways(segmenter):
    found = segmenter.ambiguity(["strawberry", "été", "a b", ""])
    assert (found.ways > 0).tolist() == [True, False, False, False]
    assert found.fewest.tolist()[1:] == [0, 0, 0]
