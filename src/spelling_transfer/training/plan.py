"""How the steps of a run on a GPU are cut and run: sizes of passes, fixed shapes, what is captured, and if not why."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from spelling_transfer.models.attention import NotStaticError, check_attention, fixed_attention
from spelling_transfer.models.capture import CaptureError, free_bytes
from spelling_transfer.models.load import backbone, is_quantised
from spelling_transfer.training.copies import ComputeCopies
from spelling_transfer.training.data import AnswerData, Batch, Shapes
from spelling_transfer.training.errors import is_out_of_memory
from spelling_transfer.training.passes import estimate_pass_tokens, few_widths
from spelling_transfer.training.static import ReplayedAdamW, StaticStep

if TYPE_CHECKING:
    from spelling_transfer.training.module import AnswerModule

_LOGGER = logging.getLogger(__name__)

_ONE_PASS = 10**9
"""Cost of a pass on a GPU, in tokens: no padding is worth another pass where memory holds one."""

_LOGITS_SHARE = 0.1
"""Share of the free memory that logits may take."""


def plan_passes(module: AnswerModule) -> None:
    """Sizes the passes of a run by the memory that is free on the GPU, and limits their widths to a few."""
    trainer: Any = module.trainer
    data: AnswerData = trainer.datamodule
    free = free_bytes(module.device)
    # Under autocast most of what is kept is of 2 bytes, and some of 4.
    half = backbone(module.model).get_input_embeddings().weight.dtype != torch.float32
    tokens = estimate_pass_tokens(backbone(module.model).config, free, bytes_per_value=2 if half else 4)
    tokens = min(tokens, data.settings.pass_tokens or tokens)
    data.cutter.tokens = int(trainer.strategy.broadcast(tokens)) * trainer.world_size
    if data.settings.batching == "padded":
        data.cutter.widths = few_widths(data.examples.lengths, data.steps_ahead())
        data.cutter.pass_cost = _ONE_PASS
    if module.settings.logits_mb is None:
        module.logits_mb = max(1, int(_LOGITS_SHARE * free / 1e6))


def why_not_static(module: AnswerModule) -> str | None:
    """Returns why a run's steps cannot be captured; ``None`` where they may."""
    settings, trainer = module.settings, module.trainer
    if trainer is None or trainer.world_size > 1:
        return "they are spread over several devices"
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        return "float16 needs a gradient scaler, which inspects each gradient"
    if not isinstance(trainer.optimizers[0], ReplayedAdamW):
        return f"the update of {settings.optimizer} depends on its data"
    named = {
        "batching": settings.batching == "packed",
        "gradient_checkpointing": settings.gradient_checkpointing,
        "compile": settings.compile,
    }
    if chosen := [name for name, on in named.items() if on]:
        return f"training.{chosen[0]} is on"
    if settings.head == "liger":
        return "training.head is 'liger', whose kernel counts its labels on the host"
    if is_quantised(module.model):
        return "the base model is in 4 bits"
    try:
        check_attention(module.model)
    except NotStaticError as error:
        return str(error)
    return None


def make_static(module: AnswerModule, *, capture: bool = True) -> tuple[ComputeCopies, StaticStep]:
    """Makes the steps of a run static; captured where that works, as large as memory allows.

    Raises:
        RuntimeError: A single example does not fit into memory.
    """
    data: AnswerData = module.trainer.datamodule  # type: ignore[attr-defined]
    embedding = backbone(module.model).get_input_embeddings().weight
    mixed = module.trainer.precision == "bf16-mixed"
    copies = ComputeCopies(module.model, torch.bfloat16 if mixed and embedding.dtype == torch.bfloat16 else None)
    casts = mixed and embedding.dtype == torch.float32
    device = module.device.type

    def loss_of(batch: Batch) -> torch.Tensor:
        with fixed_attention(module.model), _casting(device, casts):
            return module.loss_of(batch)

    (optimizer,) = module.trainer.optimizers
    assert isinstance(optimizer, ReplayedAdamW)
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=module.device)
        group["capturable"] = device == "cuda"
    static = StaticStep(loss_of, copies, optimizer, module.settings.max_grad_norm, capture=capture)
    prepare_static(static, data)
    return copies, static


def prepare_static(static: StaticStep, data: AnswerData) -> None:
    """Captures the shapes of a run's passes, which are halved until they fit into memory.

    Raises:
        RuntimeError: A single example does not fit.
    """
    while True:
        data.shapes = Shapes.of(data)
        try:
            static.prepare(data.shapes.all())
        except (RuntimeError, CaptureError) as error:
            static.forget()
            torch.cuda.empty_cache()
            if is_out_of_memory(error):
                if not data.cutter.halve(data.shapes.rows, data.shapes.rows * max(data.shapes.labels)):
                    raise
            elif static.captures:
                beginning = " ".join(str(error).split())[:200]
                _LOGGER.info("Steps run kernel by kernel: they cannot be captured (%s).", beginning)
                static.captures = False
            else:
                raise
        else:
            break
    widths = ", ".join(str(width) for width in sorted(data.shapes.labels))
    _LOGGER.info(
        "Steps are split into passes of %d rows, %s tokens wide%s.",
        data.shapes.rows,
        widths,
        ", each captured as one graph" if static.captures else "",
    )


def _casting(device: str, wanted: bool) -> AbstractContextManager[Any]:
    # What autocast keeps of its casts would be freed while a graph still reads it.
    if wanted:
        return torch.autocast(device, torch.bfloat16, cache_enabled=False)
    return torch.autocast(device, enabled=False) if device == "cuda" else nullcontext()
