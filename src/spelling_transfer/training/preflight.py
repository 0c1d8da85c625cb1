"""What is checked before the first step, so that a run does not fail in its middle: examples, packing, arithmetic."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.load import backbone
from spelling_transfer.training.config import Precision, TrainingSettings
from spelling_transfer.training.data import EncodedExamples, TrainingDataError
from spelling_transfer.training.errors import DeviceError


def check_examples(
    examples: EncodedExamples, model: Any, settings: TrainingSettings, subset_rows: torch.Tensor | None
) -> int | None:
    """Checks examples against the model and the settings; returns the longest packed row, where there is a bound.

    Raises:
        TrainingDataError: An example is longer than the model's context, or a label is outside the subset.
        PackingError: Examples are to be packed and the model's attention does not keep them apart.
    """
    context = getattr(backbone(model).config, "max_position_embeddings", None)
    too_long = np.flatnonzero(examples.lengths > context) if context else np.empty(0, dtype=np.int64)
    if len(too_long):
        raise TrainingDataError(
            f"{len(too_long)} examples are longer than the model's context of {context} tokens (the longest has "
            f"{int(examples.lengths.max())}): {examples.names(too_long.tolist(), limit=5)}. Take words and wordings "
            "that are shorter, or a model with a longer context."
        )
    if subset_rows is not None:
        outside = examples.labelled_outside(subset_rows.cpu().numpy())
        if len(outside):
            raise TrainingDataError(
                f"tokenizer.use_english_only_tokens: {len(outside)} examples have labels outside the token subset: "
                f"{examples.names(outside.tolist(), limit=5)}. Widen the rule in conf/base/study/token_analysis/ and "
                "run 'kedro run --pipelines=token_analysis' again, or train over the whole vocabulary."
            )
    if settings.batching != "packed":
        return None
    check_packing(model)
    # Flash attention packs a single row a batch.
    return None if attention_of(model).startswith("flash") else settings.packed_tokens


class PackingError(SpellingTransferError):
    """Examples cannot be packed with this model."""


def attention_of(model: Any) -> str:
    """Returns the name of the model's attention implementation, as transformers has it."""
    # transformers keeps it under this name alone; where it goes, packing is refused and its test fails.
    return str(backbone(model).config._attn_implementation)


def check_packing(model: Any) -> None:
    """Packs two short examples and looks whether the second one's states depend on the first one's tokens.

    transformers builds the block-diagonal mask from positions that restart (``find_packed_sequence_indices`` in its
    ``masking_utils``) for sdpa, eager and flex attention, and takes them as sequence bounds for flash attention. An
    implementation from elsewhere, or a layer that is no attention, may do neither, so it is tried.

    Raises:
        PackingError: The second example's states changed with the first, or its positions did not restart.
    """
    decoder, name = backbone(model), attention_of(model)
    rows = decoder.get_input_embeddings().weight.shape[0]
    if rows < 2:
        raise PackingError("training.batching: packed needs a model with at least two embedding rows.")
    device = decoder.get_input_embeddings().weight.device
    length = 8
    count = torch.arange(length, device=device)
    first, other = (count % rows)[None], ((count + max(1, rows // 2)) % rows)[None]
    second = first
    positions = torch.arange(length, device=device).repeat(2)[None]
    was_training = decoder.training
    decoder.eval()
    try:
        with torch.no_grad():
            states = [
                decoder(
                    input_ids=torch.cat([before, second], dim=1),
                    attention_mask=None,
                    position_ids=positions,
                    use_cache=False,
                ).last_hidden_state[0, length:]
                for before in (first, other)
            ]
            alone = decoder(input_ids=second, attention_mask=None, use_cache=False).last_hidden_state[0]
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        raise PackingError(
            f"training.batching: packed cannot be used: attention '{name}' does not take packed examples ({error}). "
            "Set it to 'padded'."
        ) from error
    finally:
        decoder.train(was_training)
    scale = float(alone.float().abs().max())
    exact = alone.dtype == torch.float32
    if float((states[0] - states[1]).float().abs().max()) > (1e-5 if exact else 1e-2) * scale:
        raise PackingError(
            f"training.batching: packed cannot be used: attention '{name}' does not keep packed examples apart, so "
            "examples in one row would see each other and the loss would differ. Set it to 'padded', or load the "
            "model with sdpa, eager, flex or flash attention."
        )
    if float((states[0].float() - alone.float()).abs().max()) > (1e-3 if exact else 5e-2) * scale:
        raise PackingError(
            f"training.batching: packed cannot be used: with attention '{name}' an example's states depend on its "
            "place in the row. Set it to 'padded'."
        )


LightningPrecision = Literal["32-true", "bf16-mixed", "16-mixed"]


def lightning_precision(asked: Precision, device: str) -> LightningPrecision:
    """Returns Lightning's name of the precision.

    ``32-true`` leaves the weights in the type they were loaded with and casts nothing.

    Args:
        asked: The setting.
        device: ``cpu``, ``cuda`` or ``mps``.

    Raises:
        DeviceError: The device does not have it.
    """
    bf16_is_native = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if asked == "auto":
        if device != "cuda":
            return "32-true"
        return "bf16-mixed" if bf16_is_native else "16-mixed"
    if asked == "fp32":
        return "32-true"
    if asked == "bf16":
        if device == "cuda" and not bf16_is_native:
            raise DeviceError(
                f"training.precision: bf16 is not native to {torch.cuda.get_device_name()}. Set it to 'fp16' or 'auto'."
            )
        return "bf16-mixed"
    if device != "cuda":
        raise DeviceError(
            f"training.precision: fp16 needs CUDA for its gradient scaler, and this run is on {device}. Set it to "
            "'auto' or 'fp32'."
        )
    return "16-mixed"


def check_weights(model: Any) -> None:
    """Checks that what is trained is not too coarse to be trained.

    Raises:
        DeviceError: Trainable weights in float16, whose updates vanish and which a gradient scaler refuses.
    """
    half = [name for name, p in model.named_parameters() if p.requires_grad and p.dtype == torch.float16]
    if half:
        raise DeviceError(
            f"{len(half)} trained weights are float16 (first: {half[0]}), too coarse for small updates. "
            "Load the model in float32 or bfloat16 ('dtype' of its profile)."
        )
