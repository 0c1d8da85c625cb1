"""A tokenizer cut down to some of its tokens, numbered from 0: files that any tool reads, without a map of ids.

A byte-level BPE tokenizer makes each token by one merge of two others. With the ancestors of the kept tokens and the
256 bytes it encodes any text, and a text whose tokens are all kept as the whole tokenizer does: each merge on the way
to them is still there, in the same order, and what was left out could not have come before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spelling_transfer.tokenizer.byte_level import BYTE_CHARACTERS, UnsupportedTokenizerError


@dataclass(frozen=True)
class PlainTokenizer:
    """A tokenizer whose ids are numbered without gaps.

    Attributes:
        content: Of its ``tokenizer.json``.
        config: Of its ``tokenizer_config.json``.
        token_ids: The id in the whole tokenizer of each id here, ascending.
        parts: The two tokens that each merged one is made of; all in ids of the whole tokenizer.
    """

    content: dict[str, Any]
    config: dict[str, Any]
    token_ids: list[int]
    parts: dict[int, tuple[int, int]]

    def write(self, folder: Path) -> None:
        """Writes both files."""
        for name, value in (("tokenizer.json", self.content), ("tokenizer_config.json", self.config)):
            (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def plain_tokenizer(
    folder: Path, keep: Iterable[int] | None, template: str, named: Mapping[str, str]
) -> PlainTokenizer:
    """Cuts a tokenizer down.

    Args:
        folder: Holds ``tokenizer.json`` and ``tokenizer_config.json``.
        keep: Ids to keep, added tokens such as ``<|im_end|>`` among them; what they are merged from and the bytes are
            kept as well. ``None`` keeps the whole tokenizer with its ids.
        template: The chat template.
        named: The special tokens that it may name, ``eos_token`` among them; those that are not kept are left out.

    Raises:
        UnsupportedTokenizerError: It is no byte-level BPE tokenizer.
    """
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    model, vocabulary = content["model"], content["model"].get("vocab")
    if model.get("type") != "BPE" or not all(character in vocabulary for character in BYTE_CHARACTERS):
        raise UnsupportedTokenizerError(
            f"{folder / 'tokenizer.json'}: only a byte-level BPE tokenizer can be cut down to some of its tokens."
        )
    merges = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in model["merges"]]
    parts = {vocabulary[a + b]: (vocabulary[a], vocabulary[b]) for a, b in reversed(merges)}
    added = {entry["id"]: entry for entry in content["added_tokens"]}
    ids = list(range(max([*vocabulary.values(), *added]) + 1))
    if keep is not None:
        processor = content.get("post_processor") or {}
        steps = [processor, *processor.get("processors", ())]
        put_around = [token for step in steps for token in step.get("special_tokens", {}).values()]  # such as <s>
        ids = sorted(_closed([*keep, *(i for token in put_around for i in token["ids"])], parts, vocabulary))
        place = {token: i for i, token in enumerate(ids)}
        model["vocab"] = {text: place[token] for text, token in vocabulary.items() if token in place}
        model["merges"] = [[a, b] for a, b in merges if {a, b, a + b} <= model["vocab"].keys()]
        for token in put_around:
            token["ids"] = [place[i] for i in token["ids"]]
        content["added_tokens"] = [{**entry, "id": place[token]} for token, entry in added.items() if token in place]
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    kept = {entry["content"] for entry in content["added_tokens"]}
    return PlainTokenizer(
        content,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **{name: text for name, text in named.items() if text in kept},
            "pad_token": named["eos_token"],
            "model_max_length": config.get("model_max_length"),
            "clean_up_tokenization_spaces": False,
            "chat_template": template,
        },
        ids,
        parts,
    )


def _closed(keep: Iterable[int], parts: dict[int, tuple[int, int]], vocabulary: dict[str, int]) -> set[int]:
    kept = {vocabulary[character] for character in BYTE_CHARACTERS}
    waiting = list(keep)
    while waiting:
        token = waiting.pop()
        if token not in kept:
            kept.add(token)
            waiting += parts.get(token, ())
    return kept
