"""Questions to prompts: no text becomes a token of the markup, no answer hides a think tag, words only speed it up."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spelling_transfer.tokenizer.chat import (
    ChatTokenizer,
    TokenizerFileError,
    cut_at_word,
    embedded_folder,
    encode_around_words,
    load_chat_tokenizer,
)
from spelling_transfer.tokenizer.subset import english_subset

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


def test_a_folder_may_be_named_by_a_text() -> None:
    assert load_chat_tokenizer(str(embedded_folder())).sha256 == _TOKENIZER.sha256
    with pytest.raises(TokenizerFileError, match=r"nowhere/tokenizer\.json"):
        load_chat_tokenizer("nowhere")


@pytest.mark.parametrize(
    ("config", "template"),
    [
        ({"chat_template": "{% if %}"}, None),
        ({"chat_template": "{{ messages.__class__.__mro__ }}"}, None),
        ({"chat_template": "{{ 'a' * 100000000000000 }}"}, None),
        ({"chat_template": "{% for i in range(1000000) %}{% endfor %}"}, None),
        ({}, b"\xff"),
        ([1], None),
        ({"eos_token": {}}, None),
    ],
)
def test_a_template_of_somebody_else_that_is_none_is_one_clear_error(
    tmp_path: Path, config: Any, template: bytes | None
) -> None:
    (tmp_path / "tokenizer.json").write_bytes((embedded_folder() / "tokenizer.json").read_bytes())
    if isinstance(config, dict):
        config = {**json.loads((embedded_folder() / "tokenizer_config.json").read_text()), **config}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    if template is not None:
        (tmp_path / "chat_template.jinja").write_bytes(template)
    with pytest.raises(TokenizerFileError):
        load_chat_tokenizer(tmp_path)


def test_a_template_is_given_its_special_tokens_and_says_how_a_turn_ends(own_chat) -> None:
    tokenizer = own_chat()
    name = tokenizer.tokenizer.token_to_id
    assert (tokenizer.prefix, tokenizer.suffix) == ("<s>[user]", "<|end|>[assistant]")
    assert (tokenizer.prefix_ids[0], tokenizer.suffix_ids[0]) == (name("<s>"), name("<|end|>"))
    assert tokenizer.end_id == name("<|end|>")  # a model that was taught so would go on until </s>
    assert own_chat("{{ messages[0].content }} {{ strftime_now('%d %B %Y') }}").suffix == " 26 July 2024"


def test_of_several_templates_the_default_is_taken(own_chat, tmp_path: Path) -> None:
    own_chat()
    (tmp_path / "chat_template.jinja").unlink()
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "{{ messages[0].content }}!"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "chat_template": named}))
    assert load_chat_tokenizer(tmp_path).suffix == "!"


def test_blanks_before_a_question_belong_to_its_first_token(own_chat) -> None:
    tokenizer = own_chat("{{ bos_token }}User: {{ messages[0].content }} Bot:")
    (prompt,) = tokenizer.encode_prompts(["straw"])
    tokenizer.tokenizer.encode_special_tokens = False
    assert prompt == tokenizer.tokenizer.encode("<s>User: straw Bot:").ids
    assert tokenizer.tokenizer.token_to_id("Ġstraw") in prompt


def test_texts_are_neither_padded_nor_cut_as_the_file_would_have_it(own_chat) -> None:
    assert list(map(len, own_chat().encode_texts(["a", " straw berry"]))) == [1, 3]


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].content }}[assistant]",
        "{{ bos_token }}User: {{ messages[0].content }} Bot:",
        "{{ raise_exception('two') if messages[1] }}{{ messages[0].content }}",
    ],
)
def test_a_template_that_ends_no_turn_leaves_it_to_the_end_of_a_text(template: str, own_chat) -> None:
    tokenizer = own_chat(template)
    assert tokenizer.end_id == tokenizer.tokenizer.token_to_id("</s>")


def test_prompts_keep_their_own_markup(tokenizer: ChatTokenizer) -> None:
    assert tokenizer.prefix_ids == (151644, 872, 198)
    assert tokenizer.suffix_ids == (151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271)


@pytest.mark.parametrize(
    ("ids", "text"), [([64, 151645], "a"), ([151667, 64, 151668], "<think>a</think>"), ([151643, 64], "a")]
)
def test_decoding_leaves_out_the_end_but_shows_think_tags(ids: list[int], text: str) -> None:
    assert _TOKENIZER.decode(ids) == text


_TEXT = st.text(st.sampled_from("abctCAT '-.,?!:\n\té́3\"("), max_size=30)


@settings(max_examples=400)
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


def test_one_text_where_a_list_is_meant_is_refused() -> None:
    for name, call in (
        ("texts", _TOKENIZER.encode_texts),
        ("questions", _TOKENIZER.encode_prompts),
        ("words", lambda text: english_subset(text, _TOKENIZER)),
    ):
        with pytest.raises(TypeError, match=rf"{name}: a list of texts is expected, not one text. Write \['cat'\]"):
            call("cat")
