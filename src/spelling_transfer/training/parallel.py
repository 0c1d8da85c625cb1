"""Several devices: Lightning's DDP, and FSDP for a base model that one device does not hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy

from spelling_transfer.models.loss import backbone
from spelling_transfer.training.errors import DeviceError


@dataclass(frozen=True)
class Devices:
    """The devices of a run; all take part in each step, whose batches are dealt out over them.

    Attributes:
        number: Devices on this machine.
        strategy: ``ddp`` holds the model on each device; ``fsdp`` (PyTorch's ``fully_shard``) holds a part on each.
        machines: Machines with that many devices each.
    """

    number: int = 1
    strategy: Literal["ddp", "fsdp"] = "ddp"
    machines: int = 1


def make_strategy(devices: Devices) -> Any:
    """Returns Lightning's strategy for these devices.

    Raises:
        DeviceError: Several devices, and this process was not started once for each of them.
    """
    if devices.number * devices.machines == 1:
        return "auto"
    launched = TorchElasticEnvironment.detect() or SLURMEnvironment.detect()
    if not (launched or (LightningEnvironment.detect() and LightningEnvironment().creates_processes_externally)):
        raise DeviceError(
            f"devices: {devices.number} devices need a process each. Start the command with 'torchrun --nproc-per-node "
            f"{devices.number} …', or train with 'python -m spelling_transfer.training fit --trainer.devices "
            f"{devices.number}', which starts them itself."
        )
    if devices.strategy == "fsdp":
        return fsdp_strategy()
    return DDPStrategy()


def fsdp_strategy() -> ModelParallelStrategy:
    """Returns Lightning's strategy of sharded parameters, with checkpoints in one file."""
    return ModelParallelStrategy(tensor_parallel_size=1, save_distributed_checkpoint=False)


def shard(model: Any, device_mesh: Any) -> None:
    """Spreads a model's parameters over the devices, a decoder layer at a time, in place.

    The embedding stays whole between forward and backward, because a tied head reads it after the decoder has run.
    """
    from torch.distributed.fsdp import fully_shard

    decoder = backbone(model)
    mesh = device_mesh["data_parallel"]
    for layer in decoder.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(decoder, mesh=mesh, reshard_after_forward=False)
    head = model.get_output_embeddings()
    if head.weight is not model.get_input_embeddings().weight:
        fully_shard(head, mesh=mesh, reshard_after_forward=False)


def gather(model: Any) -> None:
    """Makes a sharded model whole on each device, so that it can be saved."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.unshard()


def process_rank() -> int:
    """Returns the rank a launcher gave this process, 0 without one."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) or 0)
