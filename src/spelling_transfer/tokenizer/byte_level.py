"""From vocabulary strings back to the bytes they stand for, for byte-level BPE tokenizers.

A byte-level vocabulary writes every byte as one printable character ("bytes_to_unicode" of GPT-2's ``encoder.py``,
which the ``ByteLevel`` pre-tokenizer of ``tokenizers`` follows): a space is ``Ġ``, a newline ``Ċ``, and the two bytes
of ``é`` are ``Ã©``. Whoever looks for ASCII in those strings takes every token that begins a word after a space for
foreign. Here tokens are decoded first and judged afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
from tokenizers import Tokenizer

from spelling_transfer.errors import SpellingTransferError

NOT_A_BYTE = 0xFFFF
"""What the tables below hold where a character stands for no byte."""

_SEPARATOR = "\n"  # never in a byte-level string: the byte 0x0A is written Ċ


class UnsupportedTokenizerError(SpellingTransferError):
    """The tokenizer is of a kind whose tokens cannot be turned back into bytes."""


def _printable_bytes() -> list[int]:
    return [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]


def _byte_characters() -> tuple[str, ...]:
    """Returns the character of each of the 256 bytes: itself where it prints, else the next one from U+0100 on."""
    characters = {byte: chr(byte) for byte in _printable_bytes()}
    for byte in range(256):
        characters.setdefault(byte, chr(0x100 + len(characters) - len(_printable_bytes())))
    return tuple(characters[byte] for byte in range(256))


BYTE_CHARACTERS = _byte_characters()
"""The character that a byte-level vocabulary writes for each byte."""

_BYTE_OF = np.full(0x10000, NOT_A_BYTE, dtype=np.uint16)
_BYTE_OF[[ord(character) for character in BYTE_CHARACTERS]] = np.arange(256)


@dataclass(frozen=True)
class TokenBytes:
    """The bytes of every token id, kept end to end: fast to look at as a whole, and no object a token.

    Attributes:
        data: All bytes, uint8, shape ``(bytes,)``.
        offsets: Where each token begins, int64, shape ``(tokens + 1,)``.
        strings: The token as the vocabulary writes it; empty where no token has the id.
        added: Whether the id is one of the added tokens, which are matched as whole texts; shape ``(tokens,)``.
    """

    data: np.ndarray
    offsets: np.ndarray
    strings: tuple[str, ...]
    added: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, token_id: int) -> bytes:
        return self.data[self.offsets[token_id] : self.offsets[token_id + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        whole, ends = self.data.tobytes(), self.offsets.tolist()
        return (whole[start:end] for start, end in pairwise(ends))

    def name(self, token_id: int) -> str:
        """Returns a token's text for people: parts of characters as �, special tokens by name."""
        text = self[token_id].decode("utf-8", "replace")
        return name_of_special(text) if self.added[token_id] else text

    @property
    def lengths(self) -> np.ndarray:
        """Number of bytes of each token, int64, shape ``(tokens,)``."""
        return np.diff(self.offsets)

    def counts(self, flags: np.ndarray) -> np.ndarray:
        """Returns how many bytes of each token are flagged.

        Args:
            flags: Whether a byte counts, by its value; bool, shape ``(256,)``.
        """
        total = np.zeros(len(self.data) + 1, dtype=np.int32)
        np.cumsum(flags.take(self.data), out=total[1:])
        return np.diff(total.take(self.offsets))


def name_of_special(text: str) -> str:
    """Returns what to call a special token; written out, a think tag in a list of tokens would be one in the data."""
    return f"{'closing' if text.startswith('</') else 'special'} token {text.strip('<|/>')}"


def token_to_bytes(token: str) -> bytes:
    """Returns the bytes of one vocabulary string.

    Raises:
        UnsupportedTokenizerError: A character of it stands for no byte.
    """
    return b"".join(bytes([_checked_byte(character, token)]) for character in token)


def bytes_to_token(data: bytes) -> str:
    """Returns how a byte-level vocabulary writes ``data``; the inverse of :func:`token_to_bytes`."""
    return "".join(BYTE_CHARACTERS[byte] for byte in data)


def decode_vocabulary(tokenizer: Tokenizer) -> TokenBytes:
    """Decodes every token of a byte-level BPE tokenizer.

    Raises:
        UnsupportedTokenizerError: The vocabulary is not byte-level.
    """
    strings = _strings(tokenizer, tokenizer.get_vocab_size(with_added_tokens=True))
    if strings[-1] is None or None in strings:  # some ids have no token, so there are higher ones than tokens
        highest = max(tokenizer.get_vocab(with_added_tokens=True).values())
        strings = [token or "" for token in _strings(tokenizer, highest + 1)]
    tokens = cast("list[str]", strings)
    texts = {token_id: token.content for token_id, token in tokenizer.get_added_tokens_decoder().items()}
    # Added tokens are matched as texts, so their strings are literal; few differ from how their bytes are written.
    literal = {token_id: text for token_id, text in texts.items() if not _is_printable_ascii(text)}
    for token_id in literal:
        tokens[token_id] = ""
    data, offsets = _decode(tokens)
    if literal:
        data, offsets = _with_literals(data, offsets, literal)
    for token_id, text in literal.items():
        tokens[token_id] = text
    added = np.zeros(len(tokens), dtype=bool)
    added[list(texts)] = True
    return TokenBytes(data=data, offsets=offsets, strings=tuple(tokens), added=added)


def _strings(tokenizer: Tokenizer, n_ids: int) -> list[str | None]:
    return [*map(tokenizer.id_to_token, range(n_ids))]


def _is_printable_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _decode(strings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    # One pass over all tokens: as UTF-16 every character of the byte alphabet is one unit.
    units = np.frombuffer(_SEPARATOR.join(strings).encode("utf-16-le", "surrogatepass"), dtype=np.uint16)
    values = _BYTE_OF.take(units)
    ends = np.append(np.flatnonzero(units == ord(_SEPARATOR)), len(units))
    data = values.compress(values != NOT_A_BYTE).astype(np.uint8)
    # Whatever stands for no byte must be one of the separators.
    if len(ends) != len(strings) or len(data) != len(units) - len(strings) + 1:
        wrong = np.flatnonzero((values == NOT_A_BYTE) & (units != ord(_SEPARATOR)))
        raise _not_byte_level(strings[int(np.searchsorted(ends, wrong[0]))] if len(wrong) else _SEPARATOR)
    return data, np.concatenate(([0], ends - np.arange(len(ends)))).astype(np.int64)


def _with_literals(data: np.ndarray, offsets: np.ndarray, texts: dict[int, str]) -> tuple[np.ndarray, np.ndarray]:
    places, pieces, extra = [], [], np.zeros(len(offsets), dtype=np.int64)
    for token_id in sorted(texts):
        piece = np.frombuffer(texts[token_id].encode(), dtype=np.uint8)
        places.append(np.full(len(piece), offsets[token_id]))
        pieces.append(piece)
        extra[token_id + 1] = len(piece)
    return np.insert(data, np.concatenate(places), np.concatenate(pieces)), offsets + np.cumsum(extra)


def _checked_byte(character: str, token: str) -> int:
    byte = int(_BYTE_OF[ord(character)]) if ord(character) < len(_BYTE_OF) else NOT_A_BYTE
    if byte == NOT_A_BYTE:
        raise _not_byte_level(token)
    return byte


def _not_byte_level(token: str) -> UnsupportedTokenizerError:
    return UnsupportedTokenizerError(
        f"tokenizer: its token {token!r} is not written in the byte-level alphabet, so its bytes are unknown. The "
        "vocabulary, its English subset and the letters of tokens can be analysed for byte-level BPE only (GPT-2, "
        "Qwen, Llama 3, SmolLM); 'kedro tokens --analyze-thinking' works with any tokenizer."
    )
