"""What may be loaded: safetensors without code of their own, with the tokenizer the model was made for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GraniteConfig, GraniteForCausalLM

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.folder import ModelFolder, ModelFolderError, write_manifest
from spelling_transfer.models.generate import generate_answers
from spelling_transfer.models.load import LoadedModel, load_model, read_embedding
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.tokenizer.chat import ChatTokenizer

from .conftest import EMBEDDED


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(
        b"cos\nsystem\n(S'echo run > run'\ntR."
    )  # a pickle that runs a command
    with pytest.raises(ModelFolderError, match=r"no safetensors weights; pytorch_model\.bin hold pickles"):
        load_model(ModelFolder(tmp_path))
    assert not (tmp_path / "run").exists()


def test_a_pickle_of_an_adapter_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'echo run > run'\ntR.")
    write_manifest(tmp_path, {})
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened"))
    with pytest.raises(ModelFolderError, match=r"holds no adapter_model\.safetensors"):
        load_model(EMBEDDED, adapter=ModelFolder(tmp_path), device="cpu")


def test_no_adapter_in_a_models_folder_changes_it_unseen(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelFolderError, match=r"holds an adapter \(adapter_config\.json\)"):
        load_model(ModelFolder(tmp_path))


def test_code_of_a_model_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    config = {"model_type": "unheard-of", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    with pytest.raises(ModelFolderError, match="its own Python code, which is never run here"):
        load_model(ModelFolder(tmp_path))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"attn_implementation": "owner/kernel"},
        {"_attn_implementation": {"": "owner/kernel@main"}},
        {"text_config": {"experts_implementation": "owner/kernel:forward"}},
    ],
)
def test_code_of_the_hub_that_a_model_names_is_never_run(tmp_path: Path, config: dict[str, object]) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text(json.dumps(config).replace("/", "\\u002f"))
    with pytest.raises(ModelFolderError, match=r"_implementation: .*owner/kernel.* is code of the hub"):
        load_model(ModelFolder(tmp_path))


def test_weights_that_are_none_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((EMBEDDED.path / "config.json").read_text())
    header = json.dumps(
        {"model.norm.weight": {"dtype": "F32", "shape": [10**9, 10**10], "data_offsets": [0, 4]}}
    ).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    with pytest.raises(ModelFolderError, match="cannot be loaded as a causal language model"):
        load_model(ModelFolder(tmp_path), device="cpu")


def test_a_device_that_is_not_here_is_one_clear_error(tmp_path: Path) -> None:
    other = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(SpellingTransferError, match=f"{other} is wanted, and torch finds none here"):
        load_model(ModelFolder(tmp_path), device=other)


def test_prompts_of_another_tokenizer_are_refused(tokenizer: ChatTokenizer) -> None:
    loaded = load_model(EMBEDDED, device="cpu")
    assert loaded.tokenizer_sha256 == tokenizer.sha256
    other = load_model(EMBEDDED, ModelProfile(name="other", tokenizer_sha256="0" * 64), device="cpu")
    with pytest.raises(ModelFolderError, match=r"the model was made for 000000000000….*conf/smollm2/catalog"):
        generate_answers(other, tokenizer, tokenizer.encode_prompts(["Spell cat."]))


def test_a_model_that_names_no_tokenizer_takes_any(loaded: LoadedModel, tokenizer: ChatTokenizer) -> None:
    assert loaded.tokenizer_sha256 is None
    assert len(generate_answers(loaded, tokenizer, tokenizer.encode_prompts(["Spell cab."]), max_new_tokens=2)) == 1


def test_a_model_whose_parts_have_other_names_is_refused(tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=32, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(ModelFolderError, match="GPT2LMHeadModel does not keep its decoder under the name 'model'"):
        load_model(ModelFolder(tmp_path), device="cpu")
    with pytest.raises(ModelFolderError, match=r"no safetensors file holds model\.embed_tokens\.weight"):
        read_embedding(ModelFolder(tmp_path))


@pytest.mark.parametrize(("scaling", "refused"), [(8.0, True), (1.0, False)])
def test_a_model_that_changes_its_logits_after_the_head_is_refused(
    tmp_path: Path, scaling: float, refused: bool
) -> None:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = GraniteConfig(vocab_size=50, num_hidden_layers=1, logits_scaling=scaling, **shape)
    GraniteForCausalLM(config).save_pretrained(tmp_path)
    if not refused:
        load_model(ModelFolder(tmp_path), device="cpu")
        return
    with pytest.raises(ModelFolderError, match=r"changes its logits after the head \(logits_scaling is 8.0\)"):
        load_model(ModelFolder(tmp_path), device="cpu")
