"""A GGUF file as a model folder: weights dequantised to safetensors, tokenizer and template beside them.

A GGUF file keeps tokens, merges and the chat template, but of the rule that cuts a text before merging only its name
(``tokenizer.ggml.pre``). The rules behind the names are those of llama.cpp (``llm_tokenizer_bpe`` in
``src/llama-vocab.cpp``), in the terms of ``tokenizers``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from spelling_transfer.files import sha256_of
from spelling_transfer.models.folder import MANIFEST, ModelFolder, ModelFolderError, check_replaceable, new_folder

_MAGIC = b"GGUF"
Dtype = Literal["float32", "bfloat16", "float16"]


def convert_gguf(file: Path, target: Path, *, sha256: str, dtype: Dtype = "float32") -> ModelFolder:
    """Converts a GGUF file, once: what was converted before from the same file is taken as it is.

    Args:
        file: The GGUF file.
        target: The folder to write. It is there whole or not at all.
        sha256: The hash the file must have; another file of the same name would be another model.
        dtype: Type of the stored weights. Quantised weights have a scale a block, which float32 alone holds exactly.

    Raises:
        ModelFolderError: The file is missing, has another hash, is no GGUF file, or holds a model or a tokenizer that
            cannot be converted; or the folder holds something else.
    """
    check_replaceable(target)
    if (target / MANIFEST).is_file():
        folder = ModelFolder.open(target)
        made_from = folder.manifest().get("gguf_sha256"), folder.manifest().get("dtype")
        if made_from == (sha256, dtype):
            return folder
        if made_from[0] is None:
            raise ModelFolderError(f"{target}: holds another model, not one converted from a GGUF file. Move it away.")
    _check(file, sha256)
    reader = _read(file)
    wanted = [name for name in reader.fields if name.startswith(("general.", "tokenizer."))]
    fields = {name: reader.fields[name].contents() for name in wanted}
    notes: dict[str, Any] = {"kind": "model", "gguf": file.name, "gguf_sha256": sha256, "dtype": dtype}
    notes |= {"licence": fields.get("general.license"), "name": fields.get("general.name")}
    with new_folder(target, notes) as work:
        write_tokenizer(fields, file, work)
        _write_weights(reader, file, work, dtype)
    return ModelFolder(target)


def _check(file: Path, expected: str) -> None:
    try:
        with file.open("rb") as stream:
            magic = stream.read(len(_MAGIC))
        actual = sha256_of(file)
    except OSError as error:
        raise ModelFolderError(f"{file}: cannot be read ({error.strerror}).") from error
    if magic != _MAGIC:
        raise ModelFolderError(f"{file}: is no GGUF file (it begins with {magic!r}).")
    if actual != expected:
        raise ModelFolderError(
            f"{file}: sha256 is {actual}, expected {expected}. It is another model or was cut short; get it again, or "
            "change the hash in the catalog if this is the one you mean."
        )


def _read(file: Path) -> Any:
    from gguf import GGUFReader

    try:
        return GGUFReader(file)
    except Exception as error:  # the reader meets a damaged file with whatever numpy raises
        raise ModelFolderError(f"{file}: cannot be read as GGUF ({type(error).__name__}: {error}).") from error


@contextmanager
def _already_read(reader: Any) -> Iterator[None]:
    """Hands transformers the reader there is: it would read the file twice more, each a third of the whole time."""
    import gguf

    original = gguf.GGUFReader
    gguf.GGUFReader = lambda *_: reader  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        gguf.GGUFReader = original  # type: ignore[misc]


def _write_weights(reader: Any, file: Path, folder: Path, dtype: Dtype) -> None:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with _already_read(reader):
            model: Any = AutoModelForCausalLM.from_pretrained(
                str(file.parent), gguf_file=file.name, dtype=getattr(torch, dtype), trust_remote_code=False
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelFolderError(f"{file}: transformers cannot load this model from GGUF ({error}).") from error
    # The weights are plain numbers by now; saved as they are, they would still count as quantised.
    model.hf_quantizer = None
    model.is_quantized = False
    model.config.quantization_config = None
    del model.config.quantization_config
    model.save_pretrained(str(folder), safe_serialization=True)
    (folder / "generation_config.json").unlink(missing_ok=True)  # it would override sampling unseen


CONTROL, USER_DEFINED, UNUSED = 3, 4, 5
"""Values of ``tokenizer.ggml.token_type``: special tokens, other added tokens, and rows without a token."""

_QWEN2_CUTS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


CUTS: dict[str, Any] = {
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
    if kind != "gpt2" or cuts not in CUTS:
        raise ModelFolderError(
            f"{file}: its tokenizer is of the kind {kind!r} with the rule {cuts!r}; only byte-level BPE (gpt2) with "
            f"one of {', '.join(CUTS)} can be rebuilt exactly. Take the model from the hub, with its tokenizer.json."
        )
    try:
        tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
        merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
        template, end = fields["tokenizer.chat_template"], tokens[fields["tokenizer.ggml.eos_token_id"]]
        named = {"bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]]} if "bos_token" in template else {}
    except (KeyError, IndexError) as error:
        raise ModelFolderError(f"{file}: its tokenizer is incomplete ({error}).") from error
    tokenizer = Tokenizer(
        models.BPE(
            vocab={t: i for i, (t, k) in enumerate(zip(tokens, types, strict=True)) if k != UNUSED}, merges=merges
        )
    )
    if cuts == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = CUTS[cuts]()
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL]
    other = [token for token, kind in zip(tokens, types, strict=True) if kind == USER_DEFINED]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in other])
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **named, "eos_token": end, "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
