"""Scripts by the Unicode property."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spelling_transfer.tokenizer.scripts import COMMON, MIXED, script_names, scripts_of_texts


def names(*texts: str) -> list[str]:
    return script_names(scripts_of_texts(texts)).tolist()


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("strawberry", "Latin"),
        (" Straße,", "Latin"),
        ("дом", "Cyrillic"),
        ("δ=1", "Greek"),
        ("汉字", "Han"),
        ("한국어", "Hangul"),
        ("ひらがな", "Hiragana"),
        ("ไทย", "Thai"),
        ("é", "Latin"),  # decomposed: the accent takes the script of its letter
        ("ꓥ", "Lisu"),
        ("漢かな", MIXED),
        ("Aд", MIXED),
        ("123 + 4 = 🍓", COMMON),
        ("", COMMON),
        ("𐔀", "Other"),  # Elbasan, which the list leaves out
    ],
)
def test_a_text_has_the_script_of_its_letters(text, script):
    assert names(text) == [script]


@given(st.lists(st.text(max_size=5), max_size=8))
def test_a_text_has_the_same_script_alone_and_among_others(texts):
    assert names(*texts) == [name for text in texts for name in names(text)]
