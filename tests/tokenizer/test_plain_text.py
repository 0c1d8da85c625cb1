"""A question cannot smuggle a token of the chat markup into the prompt, and an answer cannot hide a think tag."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spelling_transfer.tokenizer.chat import ChatTokenizer, load_chat_tokenizer

_TOKENIZER = load_chat_tokenizer()
_ADDED = _TOKENIZER.tokenizer.get_added_tokens_decoder()


@given(st.lists(st.sampled_from([token.content for token in _ADDED.values()]) | st.text(max_size=8), max_size=6))
def test_no_text_becomes_a_token_of_the_markup(parts: list[str]) -> None:
    text = "".join(parts)
    (ids,) = _TOKENIZER.encode_texts([text])
    assert not set(ids) & set(_ADDED)
    (prompt,) = _TOKENIZER.encode_prompts([text])
    assert prompt[: len(_TOKENIZER.prefix_ids)] == list(_TOKENIZER.prefix_ids)
    assert prompt.count(151667) == prompt.count(151668) == 1


def test_prompts_keep_their_own_markup(tokenizer: ChatTokenizer) -> None:
    assert tokenizer.prefix_ids == (151644, 872, 198)
    assert tokenizer.suffix_ids == (151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271)


@pytest.mark.parametrize(
    ("ids", "text"), [([64, 151645], "a"), ([151667, 64, 151668], "<think>a</think>"), ([151643, 64], "a")]
)
def test_decoding_leaves_out_the_end_but_shows_think_tags(ids: list[int], text: str) -> None:
    assert _TOKENIZER.decode(ids) == text
