from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.lora import LoraError, LoraSettings, attach_lora

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


def test_dora_trains_the_magnitudes_too(loaded: LoadedModel) -> None:
    names = trainable(attach_lora(loaded, LoraSettings(r=4, alpha=8, use_dora=True), TARGETS))
    assert any("lora_magnitude_vector" in name for name in names)


def test_targets_of_the_settings_go_before_those_of_the_profile(loaded: LoadedModel) -> None:
    names = trainable(attach_lora(loaded, LoraSettings(target_modules=("mlp.up_proj",)), TARGETS))
    assert all("mlp.up_proj" in name for name in names)


def test_a_name_that_fits_no_layer_is_refused(loaded: LoadedModel) -> None:
    with pytest.raises(LoraError, match=r"lora.target_modules: .* named query; it has .*q_proj"):
        attach_lora(loaded, LoraSettings(target_modules=("q_proj", "query")), TARGETS)
    assert not hasattr(loaded.model, "peft_config")
