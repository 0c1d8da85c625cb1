"""liger's kernels come and go without a trace. They need CUDA: what puts them in place is a stand-in here."""

from __future__ import annotations

import copy
import sys
from types import MethodType
from typing import Any

import pytest
import torch
from transformers.models.qwen3 import modeling_qwen3

from spelling_transfer.models import kernels
from spelling_transfer.models.load import LoadedModel


def patch(*, model: Any, rope: bool, rms_norm: bool, swiglu: bool, cross_entropy: bool) -> None:
    """Does to a model what liger's functions do: a class of the module, a function of it, methods of the layers."""
    assert rope
    assert rms_norm
    assert swiglu
    assert not cross_entropy
    modeling_qwen3.apply_rotary_pos_emb = None  # type: ignore[assignment]
    modeling_qwen3.Qwen3MLP = None  # type: ignore[assignment,misc]
    for layer in model.model.layers:
        layer.mlp.forward = MethodType(lambda self, x: torch.zeros_like(x), layer.mlp)
        layer.input_layernorm.in_place = True


def test_a_model_has_its_own_layers_again(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_liger_for", lambda _: patch)
    model = copy.deepcopy(loaded.model)
    ids = torch.arange(6)[None]
    before = model(input_ids=ids).logits
    namespace = dict(vars(modeling_qwen3))
    with kernels.fused_kernels(model, "cuda"):
        assert modeling_qwen3.Qwen3MLP is None
        assert model.model.layers[0].input_layernorm.in_place
    assert vars(modeling_qwen3) == namespace
    assert not hasattr(model.model.layers[0].input_layernorm, "in_place")
    assert torch.equal(model(input_ids=ids).logits, before)


def test_elsewhere_nothing_is_changed(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_liger_for", lambda _: pytest.fail("asked for on a CPU"))
    with kernels.fused_kernels(loaded.model, "cpu"):
        pass


@pytest.mark.parametrize("version", ["none", "another"])
def test_without_liger_the_run_says_what_it_loses(
    version: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = "liger_kernel.transformers.monkey_patch"
    monkeypatch.setitem(sys.modules, name, None if version == "none" else sys)  # type: ignore[arg-type]
    kernels._liger_for.cache_clear()
    with caplog.at_level("INFO"):
        assert kernels._liger_for("qwen3") is None
    kernels._liger_for.cache_clear()
    assert ("pip install" if version == "none" else "0.8") in caplog.text
