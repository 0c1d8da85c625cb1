"""From vocabulary strings back to the bytes they stand for, for byte-level BPE tokenizers.

A byte-level vocabulary writes every byte as one printable character ("bytes_to_unicode" of GPT-2's ``encoder.py``,
which the ``ByteLevel`` pre-tokenizer of ``tokenizers`` follows): a space is ``Ġ``, a newline ``Ċ``, and the two bytes
of ``é`` are ``Ã©``. Whoever looks for ASCII in those strings takes every token that begins a word after a space for
foreign. Here tokens are decoded first and judged afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tokenizers import Tokenizer

from spelling_transfer.errors import SpellingTransferError


class UnsupportedTokenizerError(SpellingTransferError):
    """The tokenizer is of a kind whose tokens cannot be turned back into bytes."""


def _byte_characters() -> tuple[str, ...]:
    """Returns the character of each of the 256 bytes: itself where it prints, else the next one from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    characters = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        characters.setdefault(byte, chr(0x100 + len(characters) - len(printable)))
    return tuple(characters[byte] for byte in range(256))


BYTE_CHARACTERS = _byte_characters()
"""The character that a byte-level vocabulary writes for each byte."""
_BYTE_OF = {character: byte for byte, character in enumerate(BYTE_CHARACTERS)}


@dataclass(frozen=True)
class TokenBytes:
    """The bytes of every token id.

    Attributes:
        data: The bytes of each token; empty where no token has the id.
        strings: The token as the vocabulary writes it; empty where no token has the id.
        added: The ids of the added tokens, which are matched as whole texts.
    """

    data: tuple[bytes, ...]
    strings: tuple[str, ...]
    added: frozenset[int]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, token_id: int) -> bytes:
        return self.data[token_id]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.data)

    def name(self, token_id: int) -> str:
        """Returns a token's text for people: parts of characters as �, special tokens by name."""
        text = self[token_id].decode("utf-8", "replace")
        return name_of_special(text) if token_id in self.added else text

    def pieces(self) -> frozenset[bytes]:
        """Returns the bytes of the tokens that texts are cut into: all but the added ones."""
        return frozenset(data for token_id, data in enumerate(self.data) if data and token_id not in self.added)


def name_of_special(text: str) -> str:
    """Returns what to call a special token; written out, a think tag in a list of tokens would be one in the data."""
    return f"{'closing' if text.startswith('</') else 'special'} token {text.strip('<|/>')}"


def token_to_bytes(token: str) -> bytes:
    """Returns the bytes of one vocabulary string.

    Raises:
        UnsupportedTokenizerError: A character of it stands for no byte.
    """
    try:
        return bytes(map(_BYTE_OF.__getitem__, token))
    except KeyError:
        raise UnsupportedTokenizerError(
            f"tokenizer: its token {token!r} is not written in the byte-level alphabet, so its bytes are unknown. The "
            "vocabulary, its English subset and the letters of tokens can be analysed for byte-level BPE only (GPT-2, "
            "Qwen, Llama 3, SmolLM); 'kedro tokens --analyze-thinking' works with any tokenizer."
        ) from None


def decode_vocabulary(tokenizer: Tokenizer) -> TokenBytes:
    """Decodes every token of a byte-level BPE tokenizer.

    Raises:
        UnsupportedTokenizerError: The vocabulary is not byte-level.
    """
    id_of = tokenizer.get_vocab(with_added_tokens=True)
    strings = [""] * (max(id_of.values()) + 1)
    for token, token_id in id_of.items():
        strings[token_id] = token
    # Added tokens are matched as texts, so their strings are literal.
    texts = {token_id: token.content for token_id, token in tokenizer.get_added_tokens_decoder().items()}
    data = [texts[i].encode() if i in texts else token_to_bytes(token) for i, token in enumerate(strings)]
    return TokenBytes(data=tuple(data), strings=tuple(strings), added=frozenset(texts))
