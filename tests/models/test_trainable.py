"""What of a model is trained."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.load import LoadedModel, QuantisationError, four_bit_options, load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.trainable import (
    FullTrainingError,
    LoraError,
    LoraSettings,
    attach_lora,
    save_adapter,
    train_all_weights,
)

TARGETS = ("q_proj", "v_proj")


def trainable(model: Any) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def test_the_adapter_starts_as_nothing_and_alone_is_trained(loaded: LoadedModel) -> None:
    ids = torch.arange(6)[None]
    with torch.no_grad():
        before = loaded.model(input_ids=ids).logits
        model = attach_lora(loaded, LoraSettings(r=4, alpha=8), TARGETS).eval()
        torch.testing.assert_close(model(input_ids=ids).logits, before)
    names = trainable(model)
    assert names
    assert all("lora_" in name for name in names)
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in names} == set(TARGETS)
    assert {p.shape[0] for name, p in names.items() if "lora_A" in name} == {4}


@pytest.mark.parametrize(("use_rslora", "scale"), [(False, 8 / 4), (True, 8 / math.sqrt(4))])
def test_the_scale_is_that_of_the_papers(loaded: LoadedModel, use_rslora: bool, scale: float) -> None:
    model = attach_lora(loaded, LoraSettings(r=4, alpha=8, use_rslora=use_rslora), TARGETS)
    layer = next(module for module in model.modules() if hasattr(module, "lora_A"))
    assert layer.scaling["default"] == pytest.approx(scale)


def test_the_dropout_is_that_of_the_settings(loaded: LoadedModel) -> None:
    model = attach_lora(loaded, LoraSettings(dropout=0.25), TARGETS)
    assert {module.p for name, module in model.named_modules() if name.endswith("lora_dropout.default")} == {0.25}


def test_dora_trains_the_magnitudes_too(loaded: LoadedModel) -> None:
    names = trainable(attach_lora(loaded, LoraSettings(r=4, alpha=8, use_dora=True), TARGETS))
    assert any("lora_magnitude_vector" in name for name in names)


def test_targets_of_the_settings_go_before_those_of_the_profile(loaded: LoadedModel) -> None:
    names = trainable(attach_lora(loaded, LoraSettings(target_modules=("mlp.up_proj",)), TARGETS))
    assert all("mlp.up_proj" in name for name in names)


def test_targets_are_saved_in_one_order_in_every_process(loaded: LoadedModel, tmp_path: Path) -> None:
    attach_lora(loaded, LoraSettings(), ("v_proj", "q_proj", "o_proj", "k_proj")).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))
    assert saved["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]


def test_an_adapter_holds_no_path_and_is_the_same_wherever_its_base_lay(loaded: LoadedModel, tmp_path: Path) -> None:
    model = attach_lora(loaded, LoraSettings(), TARGETS)
    written = []
    for place in ("here", "elsewhere"):
        model.get_base_model().config._name_or_path = str(tmp_path / place / "base")  # where it was loaded from
        folder = tmp_path / place / "adapter"
        folder.mkdir(parents=True)
        save_adapter(model, folder, "some/base")
        written.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {"adapter_config.json", "adapter_model.safetensors"}
    model.save_pretrained(tmp_path / "as PEFT has it")
    assert str(tmp_path) in (tmp_path / "as PEFT has it" / "README.md").read_text()


def test_a_name_that_fits_no_layer_is_refused(loaded: LoadedModel) -> None:
    with pytest.raises(LoraError, match=r"lora.target_modules: .* named query; it has .*q_proj"):
        attach_lora(loaded, LoraSettings(target_modules=("q_proj", "query")), TARGETS)
    assert not hasattr(loaded.model, "peft_config")


def test_every_weight_is_trained_in_float32(loaded: LoadedModel) -> None:
    loaded.model.bfloat16().requires_grad_(False)
    model = train_all_weights(loaded)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())


def test_a_model_too_large_for_the_memory_is_refused(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 16 * sum(p.numel() for p in loaded.model.parameters())
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed - 1))
    with pytest.raises(FullTrainingError, match=r"method: full needs .* 'lora'"):
        train_all_weights(loaded)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=needed))
    train_all_weights(loaded)


def test_adapters_and_quantised_weights_are_refused(loaded: LoadedModel) -> None:
    loaded.model.is_quantized = True
    with pytest.raises(FullTrainingError, match="4 bits"):
        train_all_weights(loaded)
    loaded.model.is_quantized = False
    attach_lora(loaded, LoraSettings(r=2, alpha=2), ("q_proj",))
    with pytest.raises(FullTrainingError, match="adapter"):
        train_all_weights(loaded)


def test_four_bits_need_cuda_and_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(QuantisationError, match=r"four_bit: .* needs CUDA"):
        four_bit_options("bfloat16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(QuantisationError, match=r"needs bitsandbytes.*\[cuda\]"):
        four_bit_options("bfloat16")


def test_four_bits_are_those_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setitem(sys.modules, "bitsandbytes", ModuleType("bitsandbytes"))
    options = four_bit_options("float16")
    config = options["quantization_config"]
    assert (config.load_in_4bit, config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert config.bnb_4bit_compute_dtype == torch.float16
    assert options["device_map"] == {"": 0}


def test_a_profile_of_four_bits_is_refused_without_cuda(loaded: LoadedModel, tmp_path: Path) -> None:
    loaded.model.save_pretrained(tmp_path)
    profile = ModelProfile(name="small", four_bit=True)
    if torch.cuda.is_available():
        pytest.skip("it is allowed on CUDA")
    with pytest.raises(QuantisationError, match="needs CUDA"):
        load_model(ModelFolder(tmp_path), profile)
