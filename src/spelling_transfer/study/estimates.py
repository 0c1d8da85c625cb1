"""What a study will take before it begins: trials, steps, memory, time, money; and what fits the machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spelling_transfer.models.profile import ModelProfile, ModelShape
from spelling_transfer.statistics.scores import SCORED_TASKS
from spelling_transfer.study.choices import choices_of, planned_trials
from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.entries import Range
from spelling_transfer.study.space import SearchSpace
from spelling_transfer.study.speeds import Speed, find_speed

if TYPE_CHECKING:
    from spelling_transfer.study.arms import ArmSettings


@dataclass(frozen=True)
class Measured:
    """What an earlier study took on this machine.

    Attributes:
        seconds_per_example: Seconds of training and scoring, by example trained on.
        trials: Trials it was measured on.
    """

    seconds_per_example: float
    trials: int


@dataclass(frozen=True)
class Estimate:
    """What a study and the training of its arms will take at most: pruning and patience end trials earlier.

    ``configurations`` is the size of the full grid, ``None`` where a range has no end of values; ``hours`` are those of
    one worker, ``None`` where nothing is known of the model; ``arm_trainings`` are those with what was best, one after
    the other when the trials are done, and ``arm_hours`` theirs; ``cost_usd`` is of both; ``memory_gib`` is that of the
    largest trial; ``basis`` says what the times rest on.
    """

    trials: int
    configurations: int | None
    steps: int
    examples: int
    evaluations: int
    hours: float | None
    hours_with_workers: float | None
    arm_trainings: int
    arm_hours: float | None
    cost_usd: float | None
    memory_gib: float | None
    machine_gib: float
    tier: str
    workers: int
    basis: str


def estimate_study(
    space: SearchSpace,
    settings: StudySettings,
    profile: ModelProfile,
    *,
    arms: ArmSettings | None = None,
    measured: Measured | None = None,
    workers: int = 1,
) -> Estimate:
    """Estimates a study; nothing is trained.

    Time comes from measured speeds (`spelling_transfer.study.speeds`). What an earlier study measured on the same
    machine replaces it.

    Args:
        space: What is searched.
        settings: The study.
        profile: The model; its shape is needed for memory, and for time where nothing is measured.
        arms: Which arms are trained with what is best; ``None`` for none.
        measured: What an earlier study took here.
        workers: Trials in parallel.

    Raises:
        StudyConfigError: There is nothing to try.
    """
    configs = planned_configs(space, settings)
    trials = len(configs)
    steps = sum(config.training.max_steps for config in configs)
    examples = sum(examples_of(config) for config in configs)
    evaluations = sum(evaluations_of(config, settings) for config in configs)
    hours, arm_hours, basis = _hours(configs, settings, profile.shape, measured, arms)
    shared = None if hours is None else hours / max(min(workers, trials), 1)
    return Estimate(
        trials=trials,
        configurations=None if _is_endless(space) else space.grid_size,
        steps=steps,
        examples=examples,
        evaluations=evaluations,
        hours=hours,
        hours_with_workers=shared,
        arm_trainings=0 if arms is None else len(arms.trained) * arms.seeds,
        arm_hours=arm_hours,
        cost_usd=None if hours is None else (hours + (arm_hours or 0.0)) * settings.lightning.price_usd_per_hour,
        memory_gib=_memory(configs, profile),
        machine_gib=settings.lightning.memory_gib,
        tier=settings.lightning.gpu_tier,
        workers=workers,
        basis=basis,
    )


def examples_of(config: TrialConfig) -> int:
    """Returns the examples a configuration is trained on, repeated ones counted each time."""
    training = config.training
    return training.max_steps * training.batch_size * training.grad_accum_steps


def evaluations_of(config: TrialConfig, settings: StudySettings) -> int:
    """Returns how often a trial is scored."""
    return math.ceil(config.training.max_steps / settings.transfer_eval_frequency)


def planned_configs(space: SearchSpace, settings: StudySettings) -> list[TrialConfig]:
    """Returns the configurations that a study will try.

    Grid, one at a time, random and quasi-random are drawn trial by trial. For the samplers that learn from results,
    random draws stand in for what they will try.

    Raises:
        StudyConfigError: There is nothing to try.
    """
    if settings.sampler in ("tpe", "gp", "cmaes"):
        settings = settings.model_copy(update={"sampler": "random"})
    numbers = range(planned_trials(space, settings))
    return [space.defaults.varied(choices_of(space, settings, number) or {}) for number in numbers]


def trial_seconds(config: TrialConfig, evaluations: int, settings: StudySettings, speed: Speed) -> float:
    """Returns the seconds of training one configuration and scoring it so many times."""
    training = config.training
    batch = training.batch_size * training.grad_accum_steps
    questions = len(SCORED_TASKS) * settings.validation_words
    scoring = speed.answering_seconds(questions, speed.measured.tokens_per_answer)
    trained = speed.training_seconds(training.max_steps, batch, checkpointing=training.gradient_checkpointing)
    return trained + evaluations * scoring


def study_seconds(configs: list[TrialConfig], settings: StudySettings, speed: Speed) -> float:
    """Returns the seconds of all trials of a study, one after the other in one process."""
    trials = sum(trial_seconds(config, evaluations_of(config, settings), settings, speed) for config in configs)
    return speed.measured.import_s + trials


def arms_seconds(configs: list[TrialConfig], arms: ArmSettings, settings: StudySettings, speed: Speed) -> float:
    """Returns the seconds of training every arm; what is best is not known yet, so the mean of what is tried."""
    seconds = sum(trial_seconds(config, arms.evaluations, settings, speed) for config in configs) / len(configs)
    return speed.measured.import_s + len(arms.trained) * arms.seeds * seconds


def _hours(
    configs: list[TrialConfig],
    settings: StudySettings,
    shape: ModelShape | None,
    measured: Measured | None,
    arms: ArmSettings | None,
) -> tuple[float | None, float | None, str]:
    """Returns the hours of the trials and those of the arms, and what they rest on."""
    if measured is not None:
        examples = sum(examples_of(config) for config in configs)
        seconds = measured.seconds_per_example * examples
        of_arms = 0.0 if arms is None else len(arms.trained) * arms.seeds * seconds / len(configs)
        return seconds / 3600, of_arms / 3600, f"measured on {measured.trials} trials here"
    if shape is None:
        return None, None, "unknown: model_profile.shape is not set"
    speed = find_speed(settings.lightning.gpu_tier.upper(), shape)
    of_arms = 0.0 if arms is None else arms_seconds(configs, arms, settings, speed)
    return study_seconds(configs, settings, speed) / 3600, of_arms / 3600, speed.note


def _memory(configs: list[TrialConfig], profile: ModelProfile) -> float | None:
    if profile.shape is None:
        return None
    # Trials repeat the few values memory depends on.
    distinct = {(config.lora, config.training): config for config in configs}
    return max(memory_gib(config, profile) for config in distinct.values())


def _is_endless(space: SearchSpace) -> bool:
    return any(isinstance(each, Range) and each.step is None and not each.is_whole for each in space.entries.values())


def check_memory(space: SearchSpace, settings: StudySettings, profile: ModelProfile) -> None:
    """Checks that the default configuration fits the machine.

    Raises:
        StudyConfigError: It does not.
    """
    if profile.shape is None:
        return
    needed, there = memory_gib(space.defaults, profile), settings.lightning.memory_gib
    if needed > there:
        raise StudyConfigError(
            f"study.lightning: {profile.name} with rank {space.defaults.lora.r} needs about {needed:.1f} GiB for one "
            f"example; {settings.lightning.gpu_tier} has {there:g} GiB. Choose a larger --gpu-tier or a smaller rank, "
            "or set gradient_checkpointing."
        )


TOKENS_PER_EXAMPLE = 42
"""Tokens that memory is planned with: the longest examples of ``local_prep`` have about 40, the answer among them."""

_LIBRARIES_GIB = 1.0
"""Libraries, CUDA's context and the allocator's reserve."""
_LOGITS_MB = 256
"""A block of logits where the settings do not say and memory is short."""
_ADAM_BYTES = 16
"""A trainable weight in float32: itself, its gradient and Adam's two moments, 4 bytes each."""
_GIB = 2**30


def memory_gib(config: TrialConfig, profile: ModelProfile) -> float:
    """Returns the least memory that training one configuration takes, in GiB: one example at a time.

    Frozen weights, the adapter with its gradient and optimiser state, the activations that the backward pass needs and
    the logits of the label positions. Activations are counted from the layers' products, as Korthikanti et al. (2022,
    arXiv:2205.05198, section 4) do; attention keeps no matrix of scores. Where there is more memory, more examples run
    side by side; the size of a step takes none.

    Args:
        config: The configuration.
        profile: The model; its shape must be known.
    """
    shape = profile.shape
    assert shape is not None
    return (_fixed(config, profile, shape) + _per_example(config, shape)) / _GIB


def _fixed(config: TrialConfig, profile: ModelProfile, shape: ModelShape) -> float:
    embeddings = shape.vocabulary_rows * shape.hidden_size * (1 if shape.tied_embeddings else 2)
    weights = (shape.layer_weights + embeddings) * shape.bytes_per_weight
    logits = (config.training.logits_mb or _LOGITS_MB) * 1e6  # more are computed in chunks
    return _LIBRARIES_GIB * _GIB + weights + adapter_weights(config, profile) * _ADAM_BYTES + 2 * logits


def _per_example(config: TrialConfig, shape: ModelShape) -> float:
    heads = (shape.attention_heads + shape.key_value_heads) * shape.head_size
    layer = 4 * shape.hidden_size + 2 * heads + 4 * shape.feed_forward_size
    kept = shape.hidden_size * shape.layers + layer if config.training.gradient_checkpointing else layer * shape.layers
    return TOKENS_PER_EXAMPLE * kept * max(shape.bytes_per_weight, 2.0)


def adapter_weights(config: TrialConfig, profile: ModelProfile) -> int:
    """Returns the trainable weights of the adapter."""
    shape = profile.shape
    assert shape is not None
    query, key_value = shape.attention_heads * shape.head_size, shape.key_value_heads * shape.head_size
    hidden, inner = shape.hidden_size, shape.feed_forward_size
    ends = {
        "q_proj": hidden + query,
        "k_proj": hidden + key_value,
        "v_proj": hidden + key_value,
        "o_proj": query + hidden,
        "gate_proj": hidden + inner,
        "up_proj": hidden + inner,
        "down_proj": inner + hidden,
    }
    modules = config.lora.target_modules or profile.lora_targets
    return config.lora.r * shape.layers * sum(ends.get(name, hidden + inner) for name in modules)
