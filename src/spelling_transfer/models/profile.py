"""What this project needs to know about a base model: one YAML file under ``conf/<env>/study/models/``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from spelling_transfer.models.shape import ModelShape


class ModelProfile(BaseModel):
    """A causal language model that can be studied.

    Where its files are is the business of the ``base_model`` entry in the catalog; this says how to use them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="What reports and the endpoint call the model.")
    hub_id: str | None = Field(None, description="Repository on the hub, where the model comes from there.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="Type of the loaded weights.")
    four_bit: bool = Field(
        False, description="Hold the base in 4 bits (NF4, bitsandbytes; CUDA alone), unpacked to dtype for arithmetic."
    )
    tokenizer_sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="Hash of its tokenizer.json; by default that of the file in its folder. Prompts of another "
        "tokenizer are refused.",
    )
    lora_targets: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj"), min_length=1, description="Names of the linear layers LoRA adapts."
    )
    shape: ModelShape | None = Field(
        None, description="Its sizes, from its config.json; time and memory of a study are estimated from them."
    )
