"""A plain model folder as GGUF, with gguf's own writer, and the file that Ollama makes a model of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spelling_transfer.models.folder import ModelFolderError
from spelling_transfer.models.generate import Sampling
from spelling_transfer.models.gguf import CONTROL, CUTS, UNUSED, USER_DEFINED
from spelling_transfer.tokenizer.chat import ChatTokenizer

if TYPE_CHECKING:
    import torch

_ARCHITECTURES = {"Qwen3ForCausalLM": "QWEN3", "LlamaForCausalLM": "LLAMA"}
_NORMAL = 1
_ELSEWHERE = "llama.cpp's convert_hf_to_gguf.py reads the folder 'merged' of the export (--form=merged)."


def write_gguf(folder: Path, file: Path, *, name: str, licence: str | None = None) -> None:
    """Writes a GGUF file of a plain folder, in the type of its weights; what has one dimension in float32.

    Args:
        folder: As :func:`~spelling_transfer.models.export_plain.write_plain` writes it.
        file: The file to write.
        name: What to call the model.
        licence: As its SPDX identifier.

    Raises:
        ModelFolderError: The architecture, or the rule by which the tokenizer cuts texts, has no name in GGUF here.
    """
    import gguf
    import torch
    from transformers import AutoModelForCausalLM

    config = json.loads((folder / "config.json").read_text())
    architecture = config["architectures"][0]
    if architecture not in _ARCHITECTURES or config.get("rope_scaling"):
        scaled = " with scaled positions" if config.get("rope_scaling") else ""
        raise ModelFolderError(
            f"gguf: {architecture}{scaled} is not written here; known are {', '.join(_ARCHITECTURES)}. {_ELSEWHERE}"
        )
    arch = gguf.MODEL_ARCH[_ARCHITECTURES[architecture]]
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype="auto", local_files_only=True)
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_name(name)
    if licence:
        writer.add_license(licence)
    _add_shape(writer, model.config)
    _add_tokenizer(writer, folder, model.config.vocab_size)
    names = gguf.get_tensor_name_map(arch, model.config.num_hidden_layers)
    kind = {torch.bfloat16: gguf.GGMLQuantizationType.BF16, torch.float16: gguf.GGMLQuantizationType.F16}.get(
        model.dtype, gguf.GGMLQuantizationType.F32
    )
    writer.add_file_type({"BF16": 32, "F16": 1}.get(kind.name, 0))
    for key, tensor in model.state_dict().items():
        if key == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        target = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise ModelFolderError(f"gguf: the weights {key!r} of {architecture} have no name there. {_ELSEWHERE}")
        values = _rotated(key, tensor, model.config) if architecture == "LlamaForCausalLM" else tensor
        wanted = kind if tensor.dim() > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(target, gguf.quantize(values.float().numpy(), wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def modelfile(tokenizer: ChatTokenizer, sampling: Sampling, weights: str) -> str:
    """Returns the Modelfile of Ollama: the prompt of training, with the empty think block, and the policy's sampling.

    Args:
        tokenizer: The tokenizer of training.
        sampling: The policy's values.
        weights: Name of the GGUF file beside it.
    """
    end = tokenizer.tokenizer.id_to_token(tokenizer.end_id)
    # Ollama's own default would make a letter less likely each time it is said.
    fixed = {**sampling.model_dump(), "repeat_penalty": 1.0}
    values = "\n".join(f"PARAMETER {name} {value:g}" for name, value in fixed.items())
    return (
        f"# ollama create NAME -f Modelfile\nFROM ./{weights}\n"
        f'TEMPLATE """{tokenizer.prefix}{{{{ .Prompt }}}}{tokenizer.suffix}"""\n{values}\nPARAMETER stop "{end}"\n'
    )


def _add_shape(writer: Any, config: Any) -> None:
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _add_tokenizer(writer: Any, folder: Path, n_rows: int) -> None:
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokens, kinds = [f"[PAD{i}]" for i in range(n_rows)], [UNUSED] * n_rows
    for text, token in content["model"]["vocab"].items():
        tokens[token], kinds[token] = text, _NORMAL
    for entry in content["added_tokens"]:
        tokens[entry["id"]], kinds[entry["id"]] = entry["content"], CONTROL if entry["special"] else USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_name_of_cuts(content["pre_tokenizer"]))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in content["model"]["merges"]])
    end = tokens.index(config["eos_token"])
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(end)
    writer.add_add_bos_token(False)  # where the template wants it, the template names it
    if "bos_token" in config:
        writer.add_bos_token_id(tokens.index(config["bos_token"]))
    writer.add_chat_template(config["chat_template"])


def _name_of_cuts(rule: Mapping[str, Any]) -> str:
    for name, make in CUTS.items():
        if _meaning(json.loads(make().__getstate__())) == _meaning(rule):
            return name
    raise ModelFolderError(
        f"gguf: the rule by which the tokenizer cuts texts has no name here; known are {', '.join(CUTS)}. {_ELSEWHERE}"
    )


def _meaning(rule: Any) -> Any:
    """Returns a rule without what changes no token: the offsets that it reports."""
    if isinstance(rule, Mapping):
        return {name: _meaning(value) for name, value in rule.items() if name not in ("trim_offsets", "invert")}
    return [_meaning(each) for each in rule] if isinstance(rule, list) else rule


def _rotated(key: str, tensor: torch.Tensor, config: Any) -> torch.Tensor:
    """Returns weights of Llama's queries and keys in ggml's order: pairs of a rotation side by side, not in halves."""
    n_heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(key.split(".")[-2])
    if n_heads is None:
        return tensor
    return tensor.reshape(n_heads, 2, -1, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)
