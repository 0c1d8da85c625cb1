"""Settings of the tracking by Weights & Biases."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

NETWORK_SECONDS = 9.0
"""The network is never waited for longer than this at once; wandb adds a part of a second of its own."""


class TrackingSettings(BaseModel):
    """Whether a study is logged to Weights & Biases, and where.

    Whatever is chosen, the study's own records are complete: what was not sent is sent by ``kedro tune sync``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["auto", "offline", "online", "disabled"] = Field(
        "auto",
        description="auto: online where you are signed in, offline otherwise; offline: files beside the study, no "
        "connection; online: sent while the study runs; disabled: nothing.",
    )
    project: str = Field(
        "llm-spelling-transfer-learning",
        pattern=r"^[^/\\#?%:]{1,128}$",
        description="Project that the runs belong to.",
    )
    entity: str | None = Field(
        None, pattern=r"^[\w.-]{1,128}$", description="User or team that owns the project; your default one if null."
    )
    log_adapters: bool = Field(True, description="Send the adapter of each finished trial as an artifact, when online.")
