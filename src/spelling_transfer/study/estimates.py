"""What a study will take before it begins: trials, steps, memory, time, money; and what fits the machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from spelling_transfer.models.profile import ModelProfile, ModelShape
from spelling_transfer.statistics.scores import SCORED_TASKS
from spelling_transfer.study.choices import choices_of, planned_trials
from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.entries import Range
from spelling_transfer.study.space import CONSTRAINTS, SearchSpace

GENERATION_PENALTY = 5.0
"""How much slower a token is when it is generated one by one than when it is read: the weights are read for each. A
rough figure; the seconds of a finished study replace it."""

_SHAPELESS = "unknown: model_profile.shape is not set"


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
    """What a study will take at most: pruning and patience end trials earlier.

    Attributes:
        trials: Trials it will run.
        configurations: Size of the full grid; ``None`` where a range has no end of values.
        steps: Optimiser steps of all trials.
        examples: Examples trained on, over all trials.
        evaluations: Times a trial is scored.
        hours: Hours of one worker for all trials; ``None`` where nothing is known of the model.
        hours_with_workers: The same, shared by the workers.
        cost_usd: Price of these hours on a rented machine of the tier.
        memory_gib: Memory of the largest trial.
        machine_gib: Memory of the machine.
        tier: The tier.
        workers: Workers.
        basis: What the time rests on.
    """

    trials: int
    configurations: int | None
    steps: int
    examples: int
    evaluations: int
    hours: float | None
    hours_with_workers: float | None
    cost_usd: float | None
    memory_gib: float | None
    machine_gib: float
    tier: str
    workers: int
    basis: str

    def as_dict(self) -> dict[str, Any]:
        """Returns it as plain values."""
        return asdict(self)


def estimate_study(
    space: SearchSpace,
    settings: StudySettings,
    profile: ModelProfile,
    *,
    measured: Measured | None = None,
    workers: int = 1,
) -> Estimate:
    """Estimates a study; nothing is trained.

    Grid, one at a time, random and quasi-random are counted trial by trial. For the samplers that learn from results,
    random draws stand in for what they will try.

    Time is work over speed. Work is counted in multiplications and additions (Kaplan et al. 2020, arXiv:2001.08361,
    section 2.1): two for each weight and token forwards and, as frozen weights need no gradient of their own, two
    backwards; the head only where there is an answer. Speed is the peak of the tier times the share of it that training
    reaches, both in ``conf/*/study/lightning/``. What an earlier study measured on the same machine replaces it.

    Args:
        space: What is searched.
        settings: The study.
        profile: The model; its shape is needed for memory, and for time where nothing is measured.
        measured: What an earlier study took here.
        workers: Trials side by side.

    Raises:
        StudyConfigError: There is nothing to try.
    """
    trials = planned_trials(space, settings)
    drawn = (
        settings
        if settings.sampler not in ("tpe", "gp", "cmaes")
        else settings.model_copy(update={"sampler": "random"})
    )
    configs = [space.defaults.varied(choices_of(space, drawn, number) or {}) for number in range(trials)]
    steps = sum(config.training.max_steps for config in configs)
    examples = sum(examples_of(config) for config in configs)
    evaluations = sum(math.ceil(config.training.max_steps / settings.transfer_eval_frequency) for config in configs)
    hours, basis = _hours(configs, settings, profile.shape, measured, evaluations, examples)
    shared = None if hours is None else hours / max(min(workers, trials), 1)
    return Estimate(
        trials=trials,
        configurations=None if _is_endless(space) else space.grid_size,
        steps=steps,
        examples=examples,
        evaluations=evaluations,
        hours=hours,
        hours_with_workers=shared,
        cost_usd=None if hours is None else hours * settings.lightning.price_usd_per_hour,
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


def training_work(config: TrialConfig, shape: ModelShape) -> float:
    """Returns the multiplications and additions of a whole training."""
    passes = 3 if config.training.gradient_checkpointing else 2
    layers = 2 * passes * shape.layer_weights * TOKENS_PER_EXAMPLE
    head = 4 * shape.vocabulary_rows * shape.hidden_size * TOKENS_PER_ANSWER
    return examples_of(config) * (layers + head)


def scoring_work(settings: StudySettings, shape: ModelShape) -> float:
    """Returns the same for scoring a trial once, generation weighted by its penalty."""
    questions = len(SCORED_TASKS) * settings.validation_words
    reading = 2 * shape.layer_weights * TOKENS_PER_EXAMPLE
    token = 2 * (shape.layer_weights + shape.vocabulary_rows * shape.hidden_size)
    return questions * (reading + GENERATION_PENALTY * token * TOKENS_PER_ANSWER)


def _hours(
    configs: list[TrialConfig],
    settings: StudySettings,
    shape: ModelShape | None,
    measured: Measured | None,
    evaluations: int,
    examples: int,
) -> tuple[float | None, str]:
    if measured is not None:
        return measured.seconds_per_example * examples / 3600, f"measured on {measured.trials} trials here"
    if shape is None:
        return None, _SHAPELESS
    machine = settings.lightning
    work = sum(training_work(config, shape) for config in configs) + evaluations * scoring_work(settings, shape)
    speed = machine.teraflops * 1e12 * machine.utilisation
    return work / speed / 3600, f"computed for {machine.gpu_tier}: {speed / 1e12:g} TFLOP/s"


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
            f"trial.training.batch_size: {space.defaults.training.batch_size} examples of {profile.name} need about "
            f"{needed:.1f} GiB; {settings.lightning.gpu_tier} has {there:g} GiB. Take a smaller batch and more "
            "grad_accum_steps, set gradient_checkpointing, or choose a larger --gpu-tier."
        )


TOKENS_PER_EXAMPLE = 42
"""Tokens of a training example: the encoded examples of ``local_prep`` have 30 to 60, the answer among them."""
TOKENS_PER_ANSWER = 10
"""Tokens of an answer: a word of 8 letters is spelt in about this many."""

_LIBRARIES_GIB = 1.0
"""Libraries, CUDA's context and the allocator's reserve."""
_LOGITS_MB = 256
"""A block of logits where the settings do not say and memory is short."""
_ADAM_BYTES = 16
"""A trainable weight in float32: itself, its gradient and Adam's two moments, 4 bytes each."""
_HEADROOM = 0.9
"""Share of a machine's memory that a search may plan with: fragmentation takes the rest."""
_GIB = 2**30


def memory_gib(config: TrialConfig, profile: ModelProfile) -> float:
    """Returns the memory of training one configuration, in GiB.

    Frozen weights, the adapter with its gradient and optimiser state, the activations that the backward pass needs and
    the logits of the label positions. Activations are counted from the layers' products, as Korthikanti et al. (2022,
    arXiv:2205.05198, section 4) do; attention keeps no matrix of scores. Accumulated batches run one after the other,
    so they take no memory.

    Args:
        config: The configuration.
        profile: The model; its shape must be known.
    """
    shape = profile.shape
    assert shape is not None
    return (_fixed(config, profile, shape) + config.training.batch_size * _per_example(config, shape)) / _GIB


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


def largest_batch(config: TrialConfig, profile: ModelProfile, machine_gib: float) -> int:
    """Returns how many examples fit side by side; 0 where the model itself does not."""
    shape = profile.shape
    assert shape is not None
    free = _HEADROOM * machine_gib * _GIB - _fixed(config, profile, shape)
    return max(int(free // _per_example(config, shape)), 0)


def bound_memory(
    space: Mapping[str, Any], settings: StudySettings, profile: ModelProfile, defaults: TrialConfig
) -> dict[str, Any]:
    """Turns the constraint ``fits_memory`` of a space into a bound of the batch size.

    Args:
        space: The space as a YAML file holds it.
        settings: The study, for its machine.
        profile: The model.
        defaults: The configuration that the space varies.

    Returns:
        The space, its constraints bound to this model and machine.

    Raises:
        StudyConfigError: The constraint is there and the model's shape is not known, or the model does not fit.
    """
    constraints = list(space.get(CONSTRAINTS) or ())
    wanted = [each for each in constraints if isinstance(each, Mapping) and each.get("fits_memory")]
    if not wanted:
        return dict(space)
    if profile.shape is None:
        raise StudyConfigError(
            f"study.space: {CONSTRAINTS}: fits_memory needs model_profile.shape; give the sizes of {profile.name} in "
            "its file in conf/*/study/models/."
        )
    ranks = space.get("lora.r") or {}
    rank = max([*ranks.get("values", ()), ranks.get("high", 0), defaults.lora.r])
    layers = [str(value) for value in (space.get("lora.target_modules") or {}).get("values", ())]
    widest = max(layers, key=lambda names: names.count(","), default=None)
    config = defaults.varied({"lora.r": rank} | ({"lora.target_modules": widest} if widest else {}))
    machine = settings.lightning
    batch = largest_batch(config, profile, machine.memory_gib)
    if batch < 1:
        raise StudyConfigError(
            f"study.lightning: {profile.name} with rank {rank} needs "
            f"{memory_gib(config.varied({'training.batch_size': 1}), profile):.1f} GiB for one example; "
            f"{machine.gpu_tier} has {machine.memory_gib:g} GiB. Choose a larger --gpu-tier or a smaller rank."
        )
    bound = {
        "product": ["training.batch_size"],
        "at_most": batch,
        "reason": f"{profile.name} on {machine.gpu_tier}, {machine.memory_gib:g} GiB",
    }
    return {**space, CONSTRAINTS: [bound if each in wanted else each for each in constraints]}
