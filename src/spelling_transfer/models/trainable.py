"""What of a model is trained: a LoRA adapter through PEFT, or all weights where the model is small enough."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.frozen import FrozenModel
from spelling_transfer.models.load import LoadedModel, is_quantised, without_peft_warning


class LoraSettings(FrozenModel):
    """LoRA (Hu et al., 2021, arXiv:2106.09685) as PEFT's ``LoraConfig`` takes it."""

    r: int = Field(16, ge=1, le=512, description="Rank of the update.")
    alpha: int = Field(32, ge=1, le=1024, description="Scale: the update is multiplied by alpha / r.")
    dropout: float = Field(0.05, ge=0.0, lt=1.0, description="Dropout on the adapter's input.")
    target_modules: tuple[str, ...] | None = Field(None, description="Layers to adapt; the model profile's by default.")
    use_dora: bool = Field(False, description="DoRA (Liu et al., 2024): magnitude and direction apart.")
    use_rslora: bool = Field(False, description="rsLoRA (Kalajdzievski, 2023): scale by alpha / sqrt(r).")

    @field_validator("target_modules", mode="before")
    @classmethod
    def _names(cls, modules: Any) -> Any:
        # A search draws single values, so several layers are one text there.
        return tuple(part.strip() for part in modules.split(",")) if isinstance(modules, str) else modules


class LoraError(SpellingTransferError):
    """An adapter cannot be attached to this model."""


def attach_lora(loaded: LoadedModel, settings: LoraSettings, default_targets: tuple[str, ...]) -> Any:
    """Adds a trainable adapter to a loaded model, in place, and returns the PEFT model around it.

    Raises:
        LoraError: The model has no layer of a name that is to be adapted.
    """
    from peft import LoraConfig, get_peft_model

    targets = settings.target_modules or default_targets
    _check_targets(loaded.model, targets)
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(targets),
        use_dora=settings.use_dora,
        use_rslora=settings.use_rslora,
        task_type="CAUSAL_LM",
    )
    # PEFT keeps a set, whose order differs from process to process, and writes it into the adapter's folder as it is.
    config.target_modules = sorted(config.target_modules or ())
    with without_peft_warning():
        loaded.model = get_peft_model(loaded.model, config)
    return loaded.model


def _check_targets(model: Any, targets: Sequence[str]) -> None:
    # PEFT is content with one name that fits, and trains less than was asked for.
    import torch

    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    missing = [target for target in targets if not any(f".{name}".endswith(f".{target}") for name in linear)]
    if missing:
        known = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
        raise LoraError(
            f"lora.target_modules: the model has no linear layer named {', '.join(missing)}; it has {known}. Without "
            "'lora.target_modules', those of the model's profile are adapted."
        )


_BYTES_A_WEIGHT = 16
"""A float32 weight, its gradient and AdamW's two moments."""


def save_adapter(model: Any, folder: Path, base: str) -> None:
    """Writes an adapter as PEFT has it, and no path of this machine: the folder travels, and is known by its content.

    Args:
        model: The PEFT model.
        folder: Where to; it is there.
        base: What the adapter's configuration calls its base model.
    """
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    # PEFT's card is an empty form but for the path of the base; ``kedro export`` writes one that says something.
    (folder / "README.md").unlink(missing_ok=True)


class FullTrainingError(SpellingTransferError):
    """All weights of this model cannot be trained here."""


def train_all_weights(loaded: LoadedModel) -> Any:
    """Makes every weight of a model trainable, in place, and returns the model.

    Raises:
        FullTrainingError: The model is quantised, has an adapter, or needs more memory than there is.
    """
    model = loaded.model
    if hasattr(model, "peft_config"):
        raise FullTrainingError("method: full trains the base model, and this one has an adapter. Merge it first.")
    if is_quantised(model):
        raise FullTrainingError(
            "method: full cannot train weights of 4 bits. Set it to 'lora', or 'four_bit' to false in the profile."
        )
    weights = sum(p.numel() for p in model.parameters())
    needed, available = weights * _BYTES_A_WEIGHT, _available_bytes(loaded)
    if needed > available:
        raise FullTrainingError(
            f"method: full needs {needed / 1e9:.1f} GB for {weights / 1e6:.0f} million weights, their gradients and "
            f"AdamW's moments, and {available / 1e9:.1f} GB are free. Set it to 'lora'."
        )
    # What a float32 update adds to a coarser weight is mostly rounded away.
    model.float()
    model.requires_grad_(True)
    return model


def _available_bytes(loaded: LoadedModel) -> int:
    import psutil
    import torch

    if loaded.device.type == "cuda":
        return torch.cuda.mem_get_info(loaded.device)[0]
    return int(psutil.virtual_memory().available)
