"""What the tests of the token analysis share: the decoded vocabulary, the words of the list, the shipped rules."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from spelling_transfer.tokenizer.byte_level import BYTE_CHARACTERS, TokenBytes, decode_vocabulary
from spelling_transfer.tokenizer.chat import ChatTokenizer, load_chat_tokenizer
from spelling_transfer.tokenizer.english import TokenRules, find_english_tokens
from spelling_transfer.tokenizer.vocabulary import vocabulary_table
from spelling_transfer.words.word_list import WordSelection, select_words

STUDY = Path(__file__).parents[2] / "conf" / "base" / "study" / "token_analysis"


@pytest.fixture(scope="session")
def tokens(tokenizer: ChatTokenizer) -> TokenBytes:
    return decode_vocabulary(tokenizer.tokenizer)


@pytest.fixture(scope="session")
def vocabulary(tokens: TokenBytes) -> pd.DataFrame:
    return vocabulary_table(tokens)


@pytest.fixture(scope="session")
def listed_words() -> list[str]:
    """All words of the study, by the same rule as in preparation."""
    return select_words(WordSelection()).words


@pytest.fixture(scope="session")
def rules() -> TokenRules:
    """The rules that are shipped."""
    return TokenRules.model_validate(yaml.safe_load((STUDY / "rules.yml").read_text()))


@pytest.fixture(scope="session")
def english_tokens(
    vocabulary: pd.DataFrame, listed_words: list[str], tokenizer: ChatTokenizer, rules: TokenRules
) -> pd.DataFrame:
    return find_english_tokens(vocabulary, listed_words, tokenizer, rules)


@pytest.fixture(scope="session")
def byte_level() -> Callable[..., Tokenizer]:
    """Makes a byte-level BPE tokenizer that knows the bytes and, merged from left to right, the given words."""

    def make(*words: str, added: tuple[str, ...] = ()) -> Tokenizer:
        vocabulary = {character: byte for byte, character in enumerate(BYTE_CHARACTERS)}
        merges = []
        for word in words:
            text = "".join(BYTE_CHARACTERS[byte] for byte in word.encode())
            for end in range(2, len(text) + 1):
                if text[:end] not in vocabulary:
                    merges.append((text[: end - 1], text[end - 1]))
                    vocabulary[text[:end]] = len(vocabulary)
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_tokens([AddedToken(text, normalized=False) for text in added])
        return tokenizer

    return make


CHAT = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}<|end|>{% endfor %}[assistant]"
"""A template that begins with a token and ends a turn with another than the end of a text."""


@pytest.fixture
def own_chat(byte_level: Callable[..., Tokenizer], tmp_path: Path) -> Callable[..., ChatTokenizer]:
    """Opens a small byte-level tokenizer as a folder from the hub, with a template of its own."""

    def make(template: str = CHAT, **config: object) -> ChatTokenizer:
        tokenizer = byte_level(" straw", "berry", added=("<s>", "</s>", "<|end|>"))
        tokenizer.enable_padding()
        tokenizer.enable_truncation(2)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        named = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "unk_token": None, "add_bos_token": True}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(named | config))
        (tmp_path / "chat_template.jinja").write_text(template)
        return load_chat_tokenizer(tmp_path)

    return make


@pytest.fixture(scope="session")
def word_piece() -> Tokenizer:
    """A tokenizer whose vocabulary is written in plain text, not in bytes."""
    return Tokenizer(models.WordPiece(vocab={"[UNK]": 0, "straw": 1, "##berry": 2, "дом": 3}, unk_token="[UNK]"))


@pytest.fixture(scope="session")
def chat(tokenizer: ChatTokenizer) -> Callable[[Tokenizer], ChatTokenizer]:
    """Puts another tokenizer into the chat template of Qwen3."""
    return lambda other: replace(tokenizer, tokenizer=other, sha256="0" * 64, think_ids=())
