"""Settings of a study and of one trial, in the mission's groups."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.lora import LoraSettings
from spelling_transfer.study.scores import Focus
from spelling_transfer.tasks.mixture import MixtureSettings
from spelling_transfer.training.config import TrainingSettings


class StudyConfigError(SpellingTransferError):
    """A study's settings contradict each other or name something that does not exist."""


class TokenizerSettings(BaseModel):
    """Which tokens take part in training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use_english_only_tokens: bool = Field(False, description="Restrict the softmax to the English subset.")


class TrialConfig(BaseModel):
    """One configuration that can be trained and scored; what a search varies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lora: LoraSettings = Field(default_factory=LoraSettings, description="The adapter.")
    training: TrainingSettings = Field(default_factory=TrainingSettings, description="The optimiser and its data.")
    spelling: MixtureSettings = Field(default_factory=MixtureSettings, description="What is trained on.")
    tokenizer: TokenizerSettings = Field(default_factory=TokenizerSettings, description="The tokens.")

    def varied(self, choices: dict[str, Any]) -> TrialConfig:
        """Returns this configuration with some settings replaced.

        Args:
            choices: New values by dotted name, such as ``{"lora.r": 8}``.

        Raises:
            StudyConfigError: A name does not exist or a value is not allowed.
        """
        data = self.model_dump()
        for name, value in choices.items():
            group, _, setting = name.partition(".")
            if setting not in data.get(group, {}):
                raise StudyConfigError(f"{name}: no such setting of a trial; known are {', '.join(setting_names())}.")
            data[group][setting] = value
        try:
            return TrialConfig.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise StudyConfigError(f"{where}: {first['input']!r} is not allowed: {first['msg']}.") from error


def setting_names() -> list[str]:
    """Returns the dotted name of every setting a search may vary."""
    return [f"{group}.{setting}" for group, settings in TrialConfig().model_dump().items() for setting in settings]


class StudySettings(BaseModel):
    """What a study tries and how its trials are compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("spelling_transfer_exp", pattern=r"^[\w.-]+$", description="Name of the study.")
    focus: Focus = Field("balanced", description="Weights of position and count in the transfer score.")
    n_trials: int = Field(3, ge=1, le=10_000, description="Configurations to try.")
    sampler: Literal["tpe", "random"] = Field("tpe", description="How Optuna chooses the next configuration.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the sampler; a trial adds its own number to it.")
    space: dict[str, Any] = Field(description="What is varied: candidates or ranges by dotted setting name.")
    validation_words: int = Field(200, ge=10, description="Words of each task a trial is scored on.")
    transfer_eval_frequency: int = Field(50, ge=1, description="Steps between evaluations within a trial.")
    patience: int | None = Field(
        None, ge=1, description="Evaluations without a better score before a trial stops early; null never stops."
    )
