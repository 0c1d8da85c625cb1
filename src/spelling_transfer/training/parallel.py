"""Several devices: Lightning's DDP, and FSDP for a base model that one device does not hold."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy

from spelling_transfer.models.load import backbone, base_of
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
    return Sharded() if devices.strategy == "fsdp" else DDPStrategy()


class Sharded(ModelParallelStrategy):
    """Lightning's strategy for PyTorch's ``fully_shard`` (FSDP2), with checkpoints in one file."""

    def __init__(self, **options: Any) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False, **options)

    def setup_environment(self) -> None:
        """Spreads over all devices; Lightning's own choice is to do so over machines alone."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


def shard(model: Any, device_mesh: Any, *, over_subset: bool = False) -> None:
    """Spreads a model's parameters over the devices, a decoder layer at a time, in place.

    The embedding stays whole between forward and backward, because a tied head reads it after the decoder has run. A
    head of its own is spread only where it is trained.

    Raises:
        DeviceError: A head of its own is trained over a token subset, whose rows are not all on one device.
    """
    from torch.distributed.fsdp import fully_shard

    base = base_of(model)
    decoder, head, mesh = backbone(model), base.get_output_embeddings(), device_mesh["data_parallel"]
    embedding = base.get_input_embeddings()
    tied = head.weight is embedding.weight
    for layer in decoder.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(decoder, mesh=mesh, reshard_after_forward=False)
    if tied:
        # The head is outside the decoder and would keep the weight as it was before.
        base.set_output_embeddings(_tied_head(embedding))
    elif head.weight.requires_grad:
        if over_subset:
            raise DeviceError(
                "tokenizer.use_english_only_tokens: fsdp cannot train a head that is not tied to the embedding over a "
                "token subset. Use ddp, train with LoRA, or train over the whole vocabulary."
            )
        fully_shard(head, mesh=mesh, reshard_after_forward=False)


def _tied_head(embedding: Any) -> Any:
    import torch

    class TiedHead(torch.nn.Module):
        """A head that looks its weight up in the embedding, where it is exchanged at each step."""

        bias = None

        @property
        def weight(self) -> torch.nn.Parameter:
            return embedding.weight  # type: ignore[no-any-return]

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(states, embedding.weight)

    return TiedHead()


def without_weights(model: Any) -> Any:
    """Returns a copy of a model whose parameters are placeholders that take no memory."""
    import torch

    def placeholder(parameter: torch.nn.Parameter) -> torch.nn.Parameter:
        return torch.nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)

    return copy.deepcopy(model, {id(parameter): placeholder(parameter) for parameter in model.parameters()})


def gathered(model: Any, copy_without_weights: Any) -> Any:
    """Returns a sharded model as it was before, whole, in main memory; all devices must call this.

    ``fully_shard`` cannot be undone in place, so the weights go into a copy that was made before.
    """
    state = {
        name: (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).cpu()
        for name, tensor in model.state_dict().items()
    }
    # A tied head has no entry of its own; it is tied again below.
    copy_without_weights.load_state_dict(state, assign=True, strict=False)
    base_of(copy_without_weights).tie_weights()
    return copy_without_weights
