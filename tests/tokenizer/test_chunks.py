"""Encoding around words gives the ids of the whole."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from spelling_transfer.tokenizer.chunks import cut_at_word, encode_around_words

_TEXT = st.text(st.sampled_from("abctCAT '-.,?!:\n\té́3\"("), max_size=30)


@settings(deadline=None, max_examples=400)
@given(
    before=_TEXT,
    after=_TEXT,
    word=st.sampled_from(["cat", "a", "tac"]),
    form=st.sampled_from(["lower", "upper", "title"]),
)
@example(before="x", after="'s", word="cat", form="lower")
@example(before="concat", after="cat cat", word="cat", form="lower")
@example(before="", after="\n", word="cat", form="title")
@example(before="x  ", after="  y", word="cat", form="upper")
def test_ids_equal_those_of_the_whole(tokenizer, before, after, word, form):
    text = before + getattr(word, form)() + after
    assert encode_around_words(tokenizer.tokenizer, [text], [word]) == tokenizer.encode_texts([text])


def test_a_text_is_cut_at_the_whole_word_alone():
    assert cut_at_word("List the letters of the.", "the") == ("List", " the", " letters of the.")
    assert cut_at_word("Bathe the cat", "cat") == ("Bathe the", " cat", "")
    assert cut_at_word("CAT: how?", "cat") == ("", "CAT", ": how?")
    assert cut_at_word("concatenate", "cat") == ("concatenate", "", "")


def test_prompts_are_the_same_with_and_without_the_words(tokenizer):
    questions, words = ["Spell cat.", " How is CAT spelled? ", "dog: which letters?"], ["cat", "cat", "dog"]
    assert tokenizer.encode_prompts(questions, words) == tokenizer.encode_prompts(questions)
