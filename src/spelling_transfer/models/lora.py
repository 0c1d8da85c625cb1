"""LoRA through PEFT."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from spelling_transfer.models.load import LoadedModel, without_peft_warning


class LoraSettings(BaseModel):
    """LoRA (Hu et al., 2021, arXiv:2106.09685) as PEFT's ``LoraConfig`` takes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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


def attach_lora(loaded: LoadedModel, settings: LoraSettings, default_targets: tuple[str, ...]) -> Any:
    """Adds a trainable adapter to a loaded model, in place, and returns the PEFT model around it."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.target_modules or default_targets),
        use_dora=settings.use_dora,
        use_rslora=settings.use_rslora,
        task_type="CAUSAL_LM",
    )
    with without_peft_warning():
        loaded.model = get_peft_model(loaded.model, config)
    return loaded.model
