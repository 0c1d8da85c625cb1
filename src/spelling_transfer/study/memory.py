"""How much memory a trial takes, computed from the model's shape; the bound that a search space gets from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spelling_transfer.models.profile import ModelProfile, ModelShape
from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.space import CONSTRAINTS

TOKENS_PER_EXAMPLE = 42
"""Tokens of a training example: the encoded examples of ``local_prep`` have 30 to 60, the answer among them."""
TOKENS_PER_ANSWER = 10
"""Tokens of an answer: a word of 8 letters is spelt in about this many."""

_LIBRARIES_GIB = 1.0
"""Libraries, CUDA's context and the allocator's reserve."""
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
    logits = config.training.logits_mb * 1e6  # more are computed in chunks
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
