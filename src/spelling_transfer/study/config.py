"""Settings of a study and of one trial, in the mission's groups."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.files import NAME_LENGTH, NAME_PATTERN, NAME_RULE
from spelling_transfer.frozen import FrozenModel
from spelling_transfer.models.trainable import LoraSettings
from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.statistics.scores import FOCUS_WEIGHTS, Focus, FocusWeights
from spelling_transfer.study.selection import SelectBy
from spelling_transfer.tasks.mixture import MixtureSettings
from spelling_transfer.training.config import TrainingSettings

Sampler = Literal["grid", "one_at_a_time", "random", "tpe", "gp", "cmaes", "qmc"]
Pruner = Literal["none", "median", "successive_halving", "hyperband", "wilcoxon"]
GpuTier = Literal["cpu", "t4", "l4", "a100", "h100"]


class StudyConfigError(SpellingTransferError):
    """A study's settings contradict each other or name something that does not exist."""


class TokenizerSettings(FrozenModel):
    """Which tokens take part in training."""

    use_english_only_tokens: bool = Field(False, description="Restrict the softmax to the English subset.")


class TrialConfig(FrozenModel):
    """One configuration that can be trained and scored; what a search varies."""

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
                raise StudyConfigError(f"{name}: no such setting of a trial{meant(name, setting_names())}.")
            data[group][setting] = value
        try:
            return TrialConfig.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise StudyConfigError(f"{where}: {first['input']!r} is not allowed: {first['msg']}.") from error

    def value(self, name: str) -> Any:
        """Returns the value of a setting by its dotted name."""
        group, _, setting = name.partition(".")
        return getattr(getattr(self, group), setting)


def setting_names() -> list[str]:
    """Returns the dotted name of every setting a search may vary."""
    return [f"{group}.{setting}" for group, settings in TrialConfig().model_dump().items() for setting in settings]


def meant(name: str, known: list[str]) -> str:
    """Returns what a user may have meant by an unknown name, or all that is known, as the end of a sentence."""
    short = name.rpartition(".")[2]
    matches = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    matches += [each for each in known if each.rpartition(".")[2] == short and each not in matches]
    if matches:
        return f"; did you mean {' or '.join(map(repr, matches))}?"
    return f"; known are {', '.join(known)}"


class LightningSettings(FrozenModel):
    """The machine a study is estimated for, a file a tier in ``conf/*/study/lightning/``; ``compute.yml`` rents."""

    gpu_tier: GpuTier = Field("cpu", description="Class of machine.")
    memory_gib: float = Field(16.0, gt=0, le=4096, description="Memory a model can use: the GPU's, or the machine's.")
    price_usd_per_hour: float = Field(0.0, ge=0, le=1000, description="Price of one machine; 0 for your own.")


class StudySettings(FrozenModel):
    """What a study tries, how its trials are compared, and how they are run."""

    name: str = Field(
        "spelling_transfer_exp",
        pattern=NAME_PATTERN,
        max_length=NAME_LENGTH,
        description=f"Name of the study: {NAME_RULE}.",
    )
    focus: Focus = Field("balanced", description="Weights of position and count in the transfer score.")
    position_task_weight: float | None = Field(
        None, ge=0.0, le=1.0, description="Weight of position in the transfer score; the focus's where it is null."
    )
    count_task_weight: float | None = Field(
        None, ge=0.0, le=1.0, description="Weight of count in the transfer score; the focus's where it is null."
    )
    select_by: SelectBy = Field(
        "spelling", description="What trials are ranked by: spelling, or the weighted sum with position and count."
    )
    n_trials: int | None = Field(
        3, ge=1, le=10_000, description="Configurations to try; null tries all of grid and one_at_a_time."
    )
    sampler: Sampler = Field("tpe", description="How the next configuration is chosen; see study/samplers.py.")
    startup_trials: int = Field(10, ge=1, le=1000, description="Random trials before tpe and gp use results.")
    pruner: Pruner = Field("hyperband", description="How trials that fall behind are stopped; see study/samplers.py.")
    reduction_factor: int = Field(
        3, ge=2, le=10, description="Of this many trials, successive_halving and hyperband keep one at each rung."
    )
    p_threshold: float = Field(0.1, gt=0.0, lt=1.0, description="Level at which the wilcoxon pruner ends a trial.")
    seed: int = Field(0, ge=0, lt=2**31 - 10_000, description="Seed of the sampler; a trial adds its own number to it.")
    space: dict[str, Any] = Field(description="What is varied: candidates or ranges by dotted setting name.")
    validation_words: int = Field(200, ge=10, description="Words of each task a trial is scored on.")
    transfer_eval_frequency: int = Field(50, ge=1, description="Steps between evaluations within a trial.")
    patience: int | None = Field(
        None, ge=1, description="Evaluations without a better score before a trial stops early; null never stops."
    )
    lightning: LightningSettings = Field(
        default_factory=LightningSettings, description="The machine it is estimated for."
    )
    backend: str = Field(
        "local",
        pattern=r"^[\w.-]+$",
        description="Where workers run: local, or a name of spelling_transfer.trial_backends.",
    )
    workers: int | Literal["auto"] = Field(
        1, description="Trials that run in parallel; auto fits them to cores and memory here."
    )
    storage: str | None = Field(
        None, description="URL of the trials' database, such as postgresql+psycopg://user@host/studies; sqlite if null."
    )
    place: str | None = Field(
        None,
        description="Where jobs find material and leave checkpoints: s3://bucket/prefix, or a folder of data.mounts.",
    )
    sweep: bool = Field(False, description="Let a sweep of Weights & Biases choose the trials of the space.")
    resume: bool = Field(False, description="Resume a study that was interrupted.")
    heartbeat_seconds: int = Field(
        30, ge=1, le=3600, description="A worker that is silent for twice as long is considered lost."
    )
    checkpoint_every: int = Field(50, ge=1, le=100_000, description="Steps between checkpoints of a trial.")

    @field_validator("workers")
    @classmethod
    def _some_workers(cls, workers: int | str) -> int | str:
        if isinstance(workers, int) and not 1 <= workers <= 1024:
            raise ValueError(f"{workers} is not between 1 and 1024, and not 'auto'")
        return workers

    @field_validator("storage")
    @classmethod
    def _no_password(cls, storage: str | None) -> str | None:
        # A setting is printed, logged and kept beside the results; a password must not be.
        # Read by who will connect with it: to urlsplit, a password with a slash in it is none.
        if storage is None:
            return None
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            url = make_url(storage)
        except ArgumentError:
            raise ValueError(
                "not a database URL, such as sqlite:///study.db or postgresql+psycopg://user@host/name"
            ) from None
        if url.password or any("password" in name.lower() for name in url.query):
            raise ValueError("holds a password; leave it out and set PGPASSWORD or write it into ~/.pgpass")
        return storage

    @property
    def weights(self) -> FocusWeights:
        """The weights of position and count in the transfer score: the focus's, unless one is set."""
        focus = FOCUS_WEIGHTS[self.focus]
        position, count = self.position_task_weight, self.count_task_weight
        return FocusWeights(focus.position if position is None else position, focus.count if count is None else count)

    @property
    def focus_name(self) -> str:
        """The name of these weights: the focus, or ``own`` where a weight is set that is not the focus's."""
        return self.focus if self.weights == FOCUS_WEIGHTS[self.focus] else "own"

    def trial_seed(self, number: int) -> int:
        """Returns the seed of a trial."""
        return self.seed + number


class AnalysisSettings(FrozenModel):
    """How the intervals of a study's analysis are made."""

    n_resamples: int = Field(1_999, ge=199, le=100_000, description="Bootstrap resamples of word families and trials.")
    importance_seeds: int = Field(
        10, ge=1, le=1_000, description="Resamples of the trials for the spread of each setting's importance."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of all resampling.")

    @property
    def bootstrap(self) -> Bootstrap:
        """How families and trials are resampled."""
        return Bootstrap(n_resamples=self.n_resamples, seed=self.seed)
