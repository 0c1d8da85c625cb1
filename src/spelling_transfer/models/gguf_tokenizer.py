"""The tokenizer inside a GGUF file, written as ``tokenizer.json`` and ``tokenizer_config.json``.

A GGUF file keeps tokens, merges and the chat template, but of the rule that cuts a text before merging only its name
(``tokenizer.ggml.pre``). The rules behind the names are those of llama.cpp (``llm_tokenizer_bpe`` in
``src/llama-vocab.cpp``), in the terms of ``tokenizers``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from spelling_transfer.models.folder import ModelFolderError

_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5
"""Values of ``tokenizer.ggml.token_type``: special tokens, other added tokens, and rows without a token."""

_QWEN2_CUTS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


_CUTS: dict[str, Any] = {
    "gpt-2": _byte_level,
    "smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _byte_level()]),
    "qwen2": lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2_CUTS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}


def write_tokenizer(fields: Mapping[str, Any], file: Path, folder: Path) -> None:
    """Writes the tokenizer of a GGUF file into a model folder.

    Args:
        fields: The metadata of the file by name, those that begin with ``tokenizer.``.
        file: Where they come from, for messages.
        folder: Where to write.

    Raises:
        ModelFolderError: The tokenizer is of a kind that cannot be rebuilt exactly, or a part of it is missing.
    """
    kind, cuts = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if kind != "gpt2" or cuts not in _CUTS:
        raise ModelFolderError(
            f"{file}: its tokenizer is of the kind {kind!r} with the rule {cuts!r}; only byte-level BPE (gpt2) with "
            f"one of {', '.join(_CUTS)} can be rebuilt exactly. Take the model from the hub, with its tokenizer.json."
        )
    try:
        tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
        merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
        template, end = fields["tokenizer.chat_template"], tokens[fields["tokenizer.ggml.eos_token_id"]]
    except (KeyError, IndexError) as error:
        raise ModelFolderError(f"{file}: its tokenizer is incomplete ({error}).") from error
    tokenizer = Tokenizer(
        models.BPE(
            vocab={t: i for i, (t, k) in enumerate(zip(tokens, types, strict=True)) if k != _UNUSED}, merges=merges
        )
    )
    if cuts == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _CUTS[cuts]()
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    other = [token for token, kind in zip(tokens, types, strict=True) if kind == _USER_DEFINED]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in other])
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
