"""Which decoder answers: its size by prompts and memory, kept with the model for the next call."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spelling_transfer.models.attention import NotStaticError, check_attention
from spelling_transfer.models.capture import CaptureError, GraphPool, free_bytes
from spelling_transfer.models.decode import PREFILLED_SHARE, Choose, DecoderSize, StaticDecoder, rounded
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.slots import LayerShape, layer_shapes

if TYPE_CHECKING:
    from spelling_transfer.models.generate import AnswerHead

_LOG = logging.getLogger(__name__)

SLOTS = (16, 64, 256, 512, 1024)
"""Answers side by side. Up to 512 a step of a large model takes little longer for more of them; beyond, the work of
the host and the reading of the weights are spread over more."""

_FIRST_COLUMNS = 128
"""Columns of slots that are made before any prompt is known."""

_MEMORY_SHARE = 0.8
"""Of the free memory, what slots may take; the estimate below knows nothing of what a library keeps for itself."""


class _NoRoomError(NotStaticError):
    """There is too little memory for now; later, or for shorter prompts, there may be enough."""


@dataclass(frozen=True)
class KeptDecoder:
    """A decoder, or why there is none, for the next call.

    Attributes:
        key: What it was made for: weights at their addresses, the head's rows, the way of choosing.
        wanted: The size that was asked for; memory may have allowed a smaller one.
    """

    key: Hashable
    wanted: DecoderSize
    decoder: StaticDecoder | str


def answers_in_slots(
    loaded: LoadedModel,
    prompts: Sequence[np.ndarray],
    numbers: torch.Tensor | None,
    head: AnswerHead,
    choose: Choose,
    *,
    key: Hashable,
    end_row: int,
    max_new_tokens: int,
    batch_size: int,
    prefix: np.ndarray,
) -> Iterator[dict[int, list[int]]]:
    """Generates the answers to prompts with the decoder that the model keeps, or with a new one. In inference mode.

    Args:
        loaded: The model, in evaluation mode.
        prompts: Rows of each prompt.
        numbers: The random numbers of each, shape ``(prompts, max_new_tokens)``; ``None`` where nothing is drawn.
        head: Which tokens can be chosen.
        choose: Chooses one; must not look at what tensors hold.
        key: Equal for calls whose ``head`` and ``choose`` do the same.
        end_row: The row of the end token.
        max_new_tokens: Longest answer, the end token included.
        batch_size: Most answers side by side; 16 are always allowed.
        prefix: Rows that every prompt begins with.

    Yields:
        Rows of some answers by the place of the prompt, the end left out.

    Raises:
        NotStaticError: The model or the machine allows no decoder. What was not yielded is not answered.
    """
    columns = max(map(len, prompts)) + max_new_tokens
    wanted = DecoderSize(_slots(len(prompts), batch_size), rounded(columns), max_new_tokens)
    casts = torch.is_autocast_enabled(loaded.device.type)  # for this call alone, as a rule
    key = key, end_row, tuple(prefix.tolist()), casts, _addresses(loaded.model)
    left = dict(enumerate(prompts))
    asked = wanted
    while left:
        decoder: StaticDecoder | None = None
        places = list(left)
        try:
            decoder = _decoder(loaded, head, choose, wanted, key, end_row, prefix)
            if wanted != asked:  # the next call is not to run out of memory again
                loaded.kept_decoder = KeptDecoder(key, asked, decoder)
            drawn = None if numbers is None else numbers[places]
            for done in decoder.answers([left[i] for i in places], drawn, max_new_tokens):
                answered = {places[place]: rows for place, rows in done.items()}
                for place in answered:
                    del left[place]
                yield answered
        except torch.OutOfMemoryError:
            out_of_memory = True
        except CaptureError as error:
            loaded.kept_decoder = KeptDecoder(key, wanted, str(error))
            raise NotStaticError(str(error)) from error
        except _NoRoomError:
            raise
        except NotStaticError as error:
            loaded.kept_decoder = KeptDecoder(key, wanted, str(error))
            raise
        else:
            out_of_memory = False
        if out_of_memory:  # outside the handler, whose traceback holds the decoder
            slots = wanted.slots if decoder is None else min(wanted.slots, decoder.size.slots)
            decoder = None
            loaded.free_decoder()
            wanted = _smaller(replace(wanted, slots=slots))


def _decoder(
    loaded: LoadedModel,
    head: AnswerHead,
    choose: Choose,
    wanted: DecoderSize,
    key: Hashable,
    end_row: int,
    prefix: np.ndarray,
) -> StaticDecoder:
    kept = loaded.kept_decoder
    if kept is not None and kept.key == key:
        if isinstance(kept.decoder, str):
            raise NotStaticError(kept.decoder)
        if kept.wanted.holds(wanted):
            kept.decoder.use(head)
            return kept.decoder
    kept = None
    loaded.free_decoder()
    layers = layer_shapes(loaded)
    size = _fitting(wanted, _slot_bytes(loaded, layers, head, wanted), _free_bytes(loaded.device))
    pool = GraphPool(loaded.device, enabled=loaded.device.type == "cuda")
    decoder = StaticDecoder(loaded, head, choose, size, layers, end_row=end_row, pool=pool, prefix=prefix)
    loaded.kept_decoder = KeptDecoder(key, wanted, decoder)
    return decoder


def new_decoder(
    loaded: LoadedModel,
    head: AnswerHead,
    choose: Choose,
    *,
    slots: int,
    new_tokens: int,
    end_row: int,
    prefix: np.ndarray,
) -> StaticDecoder:
    """Returns a decoder for prompts that come one by one, of any length; it widens its slots for a long one.

    Args:
        loaded: The model, in evaluation mode.
        head: Which tokens can be chosen.
        choose: Chooses one; must not look at what tensors hold.
        slots: Answers side by side.
        new_tokens: Longest answer, the end token included.
        end_row: The row of the end token.
        prefix: Rows that every prompt begins with.

    Raises:
        NotStaticError: The model allows no decoder.
    """
    with torch.inference_mode():
        layers = layer_shapes(loaded)
        check_attention(loaded.model)
        pool = GraphPool(loaded.device, enabled=loaded.device.type == "cuda")
        size = DecoderSize(slots, max(_FIRST_COLUMNS, rounded(len(prefix) + 1)), new_tokens)
        return StaticDecoder(loaded, head, choose, size, layers, end_row=end_row, pool=pool, prefix=prefix)


def _slots(n_prompts: int, batch_size: int) -> int:
    """Returns the fewest slots that hold the prompts, or the most that the batch size allows."""
    allowed = [n for n in SLOTS if n <= batch_size] or [SLOTS[0]]
    return next((n for n in allowed if n >= n_prompts), allowed[-1])


def _smaller(size: DecoderSize) -> DecoderSize:
    fewer = [n for n in SLOTS if n < size.slots]
    if not fewer:
        raise _NoRoomError(f"{size.slots} answers side by side do not fit into the GPU's memory")
    _LOG.warning("The GPU's memory does not hold %d answers side by side; %d run.", size.slots, fewer[-1])
    return replace(size, slots=fewer[-1])


def _fitting(wanted: DecoderSize, slot_bytes: int, free_bytes: int | None) -> DecoderSize:
    """Returns the size, or one of fewer slots that fits into so many bytes; ``None`` is without a bound."""
    if free_bytes is None or (wanted.slots + 1) * slot_bytes <= _MEMORY_SHARE * free_bytes:
        return wanted
    fitting = [n for n in SLOTS if n < wanted.slots and (n + 1) * slot_bytes <= _MEMORY_SHARE * free_bytes]
    if not fitting:
        raise _NoRoomError(
            f"{SLOTS[0]} answers side by side need {SLOTS[0] * slot_bytes / 1e9:.1f} GB of GPU memory, and "
            f"{free_bytes / 1e9:.1f} GB are free"
        )
    _LOG.warning(
        "%d answers run side by side instead of %d, which need %.1f GB of GPU memory: %.1f GB are free.",
        fitting[-1],
        wanted.slots,
        wanted.slots * slot_bytes / 1e9,
        free_bytes / 1e9,
    )
    return replace(wanted, slots=fitting[-1])


def _slot_bytes(loaded: LoadedModel, layers: list[LayerShape], head: AnswerHead, size: DecoderSize) -> int:
    """Estimates what a slot takes: its keys and values, its share of a prompt pass, its logits thrice."""
    config = loaded.backbone.config
    width = layers[0].dtype.itemsize
    hidden = int(config.hidden_size)
    states = width * (8 * hidden + 4 * int(getattr(config, "intermediate_size", None) or 4 * hidden))
    logits = len(head.rows) if head.rows is not None else loaded.vocabulary.n_rows
    kept = size.columns * sum(layer.token_bytes for layer in layers)
    return kept + size.columns * states // PREFILLED_SHARE + logits * (2 * width + 4)


def _free_bytes(device: torch.device) -> int | None:
    return free_bytes(device) if device.type == "cuda" else None


def _addresses(model: Any) -> Hashable:
    """What a recorded step depends on: where the weights are, and how adapters are switched."""
    weights = [*model.parameters(), *model.buffers()]
    places = tuple((tensor.data_ptr(), tuple(tensor.shape), tensor.dtype) for tensor in weights)
    if not hasattr(model, "peft_config"):
        return places
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapters = tuple(
        (tuple(layer.active_adapters), layer.disable_adapters, layer.merged, str(getattr(layer, "scaling", None)))
        for layer in model.modules()
        if isinstance(layer, BaseTunerLayer)
    )
    return places, adapters
